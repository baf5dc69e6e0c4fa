// What was proved and what differs: the match and its sample, both legs, authorization, discrepancies, reports, noise.

import { get } from "./api.js";
import { clock, facts, h, int, moment, ms, num, panel, percent, ratio, show, table, unknown, words } from "./dom.js";
import { match, parity, VERDICTS } from "./gauges.js";
import { maySee, openReport, sample } from "./report.js";

const KINDS = ["late", "missing", "reordered", "altered", "duplicate", "extra"];
const number = (name) => ({ name, number: true });

/** A panel that is drawn anew from one path. */
function part([title, id, ...extra], path, draw) {
  const { element, body } = panel(title, id, ...extra);
  const load = async () => {
    try {
      show(body, draw(await get(path)));
    } catch (refusal) {
      show(body, h("p", { class: "refused" }, refusal.message));
    }
  };
  return { element, body, load };
}

function discrepancies(askToken) {
  let kind = "";
  const choose = h("select", { id: "kind", onchange: () => { kind = choose.value; load(); } }, [["", "All kinds"], ...KINDS.map((one) => [one, words(one)])].map(([value, name]) => h("option", { value }, name)));
  const { element, body } = panel("Discrepancies", "discrepancies", h("label", { for: "kind", class: "sr" }, "Kind"), choose);
  const enter = h("p", { class: "buttons" }, h("button", { type: "button", onclick: askToken }, "Enter a token"));
  element.append(enter);

  async function load() {
    enter.hidden = choose.disabled = maySee();
    choose.disabled = !maySee();
    // Not asked without a token: the answer would be a refusal, and is known.
    if (!maySee()) return show(body, h("p", {}, "Samples are parts of messages: a view or operate token shows them, on loopback too."), h("p", { class: "dim" }, "How many there are, by kind, stands in Match."));
    try {
      const found = await get("discrepancies");
      if (found === null) return show(body, unknown(), h("p", { class: "dim" }, "No validator compares the two legs, or it has not looked yet."));
      const rows = found.discrepancies.filter((one) => !kind || one.kind === kind);
      show(body, rows.length ? [h("p", { class: "dim" }, `${int(rows.length)} samples, secrets taken out, as of ${clock(found.at_ms)}`), h("ul", { class: "samples" }, rows.slice(-20).reverse().map(sample))]
        : h("p", {}, kind ? `No sample of the kind “${words(kind)}”.` : "None. What Realtime gave back was what the service sent."));
    } catch (refusal) {
      show(body, h("p", { class: "refused" }, refusal.message));
    }
  }
  return { element, load };
}

function reports(found) {
  if (found === null) return [unknown("No reports are kept."), h("p", { class: "dim" }, "CROSSFADE_STATE_DIR names a folder for them. The last hour stands in Match all the same.")];
  if (!found.reports.length) return [h("p", {}, "No report yet."), h("p", { class: "dim" }, "The rolling one comes within a minute, the first whole one with the next hour.")];
  const heads = [{ name: "Report" }, { name: "Until" }, { name: "Verdict" }, number("Match"), number("Pairs"), number("Needed"), number("Share")];
  return table("Reports, newest first", heads, found.reports.slice(-30).reverse().map((one) => [
    h("a", { href: `#/proof/${encodeURIComponent(one.id)}`, "data-id": one.id }, one.span === "rolling" ? "the last hour" : `${words(one.span)}, ${moment(one.from_ms)}`), moment(one.to_ms),
    h("span", { class: "verdict", "data-verdict": one.match.verdict }, VERDICTS[one.match.verdict]), ratio(one.match.ratio), int(one.match.pairs), int(one.match.needed), percent(one.percent)]), { stack: true });
}

const USES = { never_met: "never met", dead: "dead", met: "met", excusing: "excusing" };

function noise(found) {
  if (found === null) return unknown();
  const allowed = (one) => (one.allow === "tolerance" ? `± ${num(one.tolerance)}` : words(one.allow));
  const rules = found.rules.length ? table("Noise rules", [{ name: "Place" }, { name: "Event type" }, { name: "Allowed" }, number("Met"), number("Excused"), { name: "Use" }],
    found.rules.map((one) => [h("code", {}, one.pointer), one.type === null ? "all" : h("code", {}, one.type), allowed(one), int(one.met), int(one.excused), h("span", { class: "use", "data-use": one.state }, USES[one.state] ?? words(one.state))]), { stack: true })
    : h("p", {}, "No rule: a single different byte is a discrepancy.");
  const dead = found.rules.some((one) => one.state === "dead") && h("p", { class: "warn" }, `A rule that was not met in ${int(found.dead_after)} samples is dead: it protects nothing.`);
  if (!found.proposed.length) return [rules, dead];
  return [rules, dead, h("h3", {}, "Differs anyway between two legacy sessions"), table("Proposed rules", [{ name: "Event type" }, { name: "Path" }, number("Pairs"), number("Identical"), { name: "Places" }],
    found.proposed.map((one) => [h("code", {}, one.type), h("code", {}, one.path), int(one.pairs), int(one.identical), one.pointers.map((at) => [h("code", {}, at), " "])]), { stack: true })];
}

function types(found) {
  if (found === null) return [unknown(), h("p", { class: "dim" }, "Nothing is mirrored, so nobody classifies.")];
  if (!found.types.length) return h("p", {}, "No event was seen yet.");
  const heads = [{ name: "Event type" }, { name: "Class" }, { name: "Named by" }, number("Seen"), number("Share"), number("A second"), number("Bytes each"), { name: "Proposed" }];
  const rows = found.types.map((one) => [h("code", {}, one.type), one.class === null ? "left out" : words(one.class), one.rule === null ? words(one.why) : `rule ${one.rule}`,
    int(one.count), ratio(one.share), num(one.per_s), int(one.bytes_avg), one.proposed === null ? "as its rule says" : words(one.proposed)]);
  return [table("Event types", heads, rows, { stack: true }), found.untracked > 0 && h("p", { class: "dim" }, `${int(found.untracked)} messages of types that found no room in the table.`),
    h("details", { class: "rules-file" }, h("summary", {}, "A rule file that would decide about them (CROSSFADE_CLASSIFY=@/path)"), h("pre", { tabindex: "0" }, found.proposed))];
}

export function proof({ argument, askToken }) {
  const [proved, allowed] = [match(), parity()];
  const legs = panel("Latency now", "legs");
  const differ = discrepancies(askToken);
  const kept = part(["Reports", "reports", h("small", {}, "open one for its kinds, coverage and samples")], "reports", reports);
  const parts = [differ, kept, part(["Event types and classes", "types"], "types", types), part(["Noise rules", "noise"], "noise", noise)];
  const load = () => parts.forEach((one) => one.load());
  kept.body.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-id]");
    if (!link) return;
    event.preventDefault();
    openReport(link.dataset.id);
  });
  load();
  const timer = setInterval(load, 5000);
  if (argument) openReport(argument);
  return {
    element: h("div", { class: "proof" }, h("div", { class: "panels" }, proved.element, legs.element, allowed.element), parts.map((one) => one.element)),
    leave: () => clearInterval(timer),
    role: load,
    update(status) {
      proved.update(status);
      allowed.update(status);
      const leg = (name) => ["p50_ms", "p95_ms", "p99_ms"].map((of) => (status.latency[name] ? ms(status.latency[name][of]) : unknown(of === "p95_ms" ? undefined : "–")));
      show(legs.body, table("Latency of both legs, last minute", [{ name: "Leg" }, ...["median", "95 %", "99 %"].map(number)], [["Legacy", ...leg("legacy")], ["Realtime", ...leg("realtime")]]),
        h("p", { class: "dim" }, "Over the last minute. Legacy: one turn inside this process. Realtime: from the publish to the read-back."),
        facts([["a healthy round trip is learnt as", status.breaker?.baseline_ms ? ms(status.breaker.baseline_ms) : null]]));
    },
  };
}
