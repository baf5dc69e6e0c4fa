// One report of the validator, opened: what was compared, how sure that makes us, and what was not looked at.

import { currentRole, get } from "./api.js";
import { openDialog } from "./dialog.js";
import { bar, facts, h, int, moment, ms, percent, ratio, table, unknown, words } from "./dom.js";
import { VERDICTS } from "./gauges.js";

export const maySee = () => currentRole() === "view" || currentRole() === "operate";
const number = (name) => ({ name, number: true });
const shares = (title, name, parts) => {
  const rows = Object.entries(parts).filter(([, one]) => one.pairs + one.not_compared > 0);
  if (!rows.length) return null;
  return [h("h3", {}, title), table(title, [{ name }, number("Pairs"), number("Against"), number("Not compared"), number("Coverage")], rows.map(([key, one]) => [words(key), int(one.pairs), int(one.bad), int(one.not_compared), ratio(one.coverage)]), { stack: true })];
};

/** One sample: what went out, what came back, and where they differ. */
export function sample(one) {
  return h("li", { class: "sample", "data-kind": one.kind },
    h("p", {}, h("b", { class: "kind" }, words(one.kind)), h("code", {}, one.type), h("span", { class: "dim" }, `${moment(one.at_ms)} · session ${one.session} ${one.dir} ${one.seq} · ${one.class}${one.messages > 1 ? ` · ${int(one.messages)} messages` : ""}`)),
    one.differs?.length ? h("p", {}, "differs at ", one.differs.map((at) => [h("code", {}, at), " "])) : null,
    h("dl", {}, [["sent", one.sent, one.len[0]], ["came back", one.got, one.len[1]]].map(([name, text, bytes]) => h("div", {}, h("dt", {}, name, typeof bytes === "number" ? h("small", {}, ` ${int(bytes)} bytes`) : null), h("dd", {}, text ? h("code", {}, text) : unknown(name === "sent" ? "not known any more" : "nothing"))))));
}

const LEGS = [["queue", "Our own queue", "from the tap to the publish"], ["realtime", "Realtime", "from the publish to the read-back"], ["behind_legacy", "Behind legacy", "how much later a reader of Realtime has it than the legacy client"]];

function legs(latency) {
  const upTo = (value) => (value === null ? unknown("–") : `≤ ${ms(value)}`);
  return [h("h3", {}, "Latency of both legs"), table("Latency of both legs", [{ name: "Leg" }, ...["median", "95 %", "99 %"].map(number)],
    LEGS.map(([key, name, what]) => [[name, h("small", { class: "doc" }, what)], upTo(latency[key].p50_ms), upTo(latency[key].p95_ms), upTo(latency[key].p99_ms)]))];
}

function whole(one) {
  const found = one.match;
  const left = Object.entries(one.not_compared).filter(([, n]) => n > 0);
  const rules = one.noise.rules;
  return h("div", { class: "report" },
    h("header", {}, h("p", { class: "dim" }, `${moment(one.from_ms)} to ${moment(one.to_ms)} · ${one.service} · ${one.pod}${one.percent === undefined ? "" : ` · share ${percent(one.percent)}`}`), h("h2", { id: "dialog-title" }, one.span === "rolling" ? "The last hour" : `Report ${one.id}`)),
    h("p", { class: "big" }, found.pairs ? ratio(found.ratio) : unknown("no pairs"), h("span", { class: "verdict", "data-verdict": found.verdict }, VERDICTS[found.verdict])),
    bar(found.pairs / found.needed, `${int(found.pairs)} pairs of ${int(found.needed)} needed`, found.verdict),
    h("p", { class: "dim" }, `${int(found.pairs)} pairs; ${int(found.needed)} would prove ${ratio(found.gate)} with ${ratio(found.confidence)} confidence.`),
    h("div", { class: "columns" },
      h("section", {}, h("h3", {}, "Kinds"), facts(Object.entries(found.kinds).map(([kind, n]) => [words(kind), int(n)]))),
      h("section", {}, h("h3", {}, "Coverage"), facts([["compared of what was published", ratio(found.coverage)], ...left.map(([why, n]) => [`not compared: ${words(why)}`, int(n)]), ["matched by a noise rule", int(found.by_noise)], ["repeated by us", int(found.repeated)], ["our echoes", int(found.echoes)], ["no envelope", int(found.malformed)]]))),
    legs(one.latency), shares("By class", "Class", one.classes), shares("By event type", "Type", one.types), shares("By size", "Size", one.sizes),
    h("h3", {}, "Noise and self-test"), facts([["noise rules", int(rules.length), rules.length ? `${int(rules.filter((rule) => rule.use.excused > 0).length)} excusing, ${int(rules.filter((rule) => rule.dead).length)} dead` : null],
      ["self-tests", int(one.self_test.runs), one.self_test.failures ? `${int(one.self_test.failures)} did not see a known fault` : one.self_test.runs ? "every known fault was seen" : "none yet"],
      ["authorization", one.parity ? `${int(one.parity.pairs)} pairs asked about` : null]]),
    h("h3", {}, "Samples"), !maySee() ? h("p", {}, "Samples are parts of messages: they need a view or operate token.") : one.samples.length ? h("ul", { class: "samples" }, one.samples.slice(0, 50).map(sample)) : h("p", {}, "Nothing differed."),
    h("p", { class: "buttons" }, h("button", { type: "button", class: "quiet", onclick: () => document.getElementById("dialog").close() }, "Done")));
}

export async function openReport(id) {
  const dialog = openDialog(h("div", { class: "report" }, h("h2", { id: "dialog-title" }, "Report"), h("p", { class: "dim" }, "Asking …")));
  dialog.classList.add("wide-dialog");
  dialog.addEventListener("close", () => dialog.classList.remove("wide-dialog"), { once: true });
  try {
    dialog.replaceChildren(whole(await get(`reports/${encodeURIComponent(id)}`)));
    dialog.querySelector(".report > .buttons button").focus({ preventScroll: true });
    dialog.scrollTop = 0;
  } catch (refusal) {
    dialog.firstElementChild.append(h("p", { class: "refused", role: "alert" }, refusal.message), h("p", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close")));
  }
}
