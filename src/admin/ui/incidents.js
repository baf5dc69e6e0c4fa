// Trips that the flight recorder has kept, each as a timeline; and drills, the same way back rehearsed on a few.

import { get, mayOperate, post } from "./api.js";
import { seconds } from "./charts.js";
import { confirm, openDialog } from "./dialog.js";
import { clock, facts, h, int, moment, ms, panel, percent, ratio, show, span, table, unknown, words } from "./dom.js";

const MEANINGS = {
  error_ratio: "too many batches were lost over the last minutes", fast_burn: "most batches were lost within seconds",
  stall: "nothing was read back while batches waited", latency: "round trips became much slower than usual",
  connect: "Realtime could not be connected to", match: "what came back did not match what went in",
  forced: "a person opened it", fleet: "other pods had opened theirs",
};
const OUTCOMES = {
  passed: "everybody went to legacy and came back in time", empty: "no hot session was in the slice: nothing is shown",
  stuck_hot: "some were still hot after 10 s", stuck_legacy: "some were not hot again after 60 s", aborted: "the breaker opened, or Realtime could not be used, meanwhile",
};
const inSeconds = (trigger) => ["stall", "latency", "connect"].includes(trigger);
const figure = (trigger, n) => (inSeconds(trigger) ? (n < 1 ? ms(n * 1000) : span(n)) : trigger === "fleet" || trigger === "forced" ? int(n) : ratio(n));
const permille = (n) => percent(n / 10);

/** A decision as a person would tell it. */
function told(one) {
  const is = (joined) => (joined ? "joined" : "away");
  switch (one.what) {
    case "opened": return `The breaker opened: ${words(one.trigger)}${one.limit > 0 ? `, ${figure(one.trigger, one.measured)} against ${figure(one.trigger, one.limit)}` : ""}${one.latched ? ", latched" : ""}.`;
    case "half_opened": return "Probing began.";
    case "closed": return `The breaker closed; ${permille(one.share_permille)} of the cohort admitted.`;
    case "share": return `Paced return: ${permille(one.share_permille)} of the cohort.`;
    case "would_trip": return `It would have opened: ${words(one.trigger)} (observe only).`;
    case "mode": return `The breaker's mode: ${words(one.mode)}.`;
    case "person": return `A person said: ${words(one.word)}.`;
    case "links": return `Links to Realtime: publishing ${is(one.publish)}, reading back ${is(one.readback)}.`;
    case "quota": return "Realtime: too many messages a second.";
    case "spacing": return one.refused ? "The plan allows too few publishes for the hot lane." : "The plan allows the hot lane again.";
    case "fleet": return `${int(one.tripped)} of ${int(one.live)} pods have tripped.`;
    case "settings": return "The rollout's settings changed.";
    case "drill": return `A drill ended: ${words(one.outcome)}, ${int(one.moved)} sessions.`;
    case "returned": return `The last session was back on legacy, after ${ms(one.took_ms)}.`;
    default: return words(one.what);
  }
}

function fromTrip(at, trip) {
  const far = (at - trip) / 1000;
  return Math.abs(far) < 0.0005 ? "the trip" : `${far < 0 ? "−" : "+"}${span(Math.abs(far))}`;
}

function timeline(found) {
  const rows = found.decisions.filter((one) => one.at_ms > found.at_ms - 120_000);
  const left = found.decisions.length - rows.length;
  return [left > 0 && h("p", { class: "dim" }, `${int(left)} earlier decisions are in the file.`),
    h("ol", { class: "timeline" }, rows.map((one) => h("li", { class: one.what === "opened" && one.at_ms === found.at_ms ? "trip" : one.at_ms < found.at_ms ? "before" : "after" },
      h("time", { datetime: new Date(one.at_ms).toISOString(), title: clock(one.at_ms) }, fromTrip(one.at_ms, found.at_ms)),
      h("span", {}, told(one)), h("small", {}, `${int(one.hot)} hot`))))];
}

function whole(found) {
  const moved = Object.entries(found.moved_back).filter(([, n]) => n > 0);
  const back = found.returned_ms !== null ? ms(found.returned_ms) : found.hot_before === 0 ? "nobody was hot" : `not over: ${int(found.hot_left)} still hot`;
  return h("div", { class: "incident" },
    h("header", {}, h("p", { class: "dim" }, `${moment(found.at_ms)} · ${found.service} · ${found.pod} · ${found.version}`), h("h2", { id: "dialog-title" }, `${words(found.trigger)}: ${MEANINGS[found.trigger] ?? "a probe failed or took too long"}`)),
    h("ul", { class: "tiles" }, h("li", {}, h("b", {}, int(found.hot_before)), h("span", {}, "on Realtime before"), h("small", {}, moved.map(([why, n]) => `${int(n)} moved back (${words(why)})`).join(", ") || "nobody moved back")),
      h("li", {}, h("b", {}, back), h("span", {}, "until all on legacy"), h("small", {}, "inside their open sockets")),
      found.limit > 0 && h("li", {}, h("b", {}, figure(found.trigger, found.measured)), h("span", {}, "measured"), h("small", {}, `limit ${figure(found.trigger, found.limit)}, ${int(found.samples)} samples`)),
      h("li", {}, h("b", {}, span(found.open_for_ms / 1000)), h("span", {}, "cool-down"), h("small", {}, found.latched ? "latched: a person must reset it" : "then it probes"))),
    !found.complete && h("p", { class: "warn" }, "Not complete: written at the trip; what followed is not in it yet."),
    h("h3", {}, "What came from Realtime"), seconds(found), h("h3", {}, "What was decided"), timeline(found),
    h("p", { class: "buttons" }, h("button", { type: "button", class: "quiet", onclick: () => document.getElementById("dialog").close() }, "Done")));
}

async function openIncident(id) {
  const dialog = openDialog(h("div", { class: "incident" }, h("h2", { id: "dialog-title" }, "Incident"), h("p", { class: "dim" }, "Asking …")));
  dialog.classList.add("wide-dialog");
  dialog.addEventListener("close", () => dialog.classList.remove("wide-dialog"), { once: true });
  try {
    dialog.replaceChildren(whole(await get(`incidents/${encodeURIComponent(id)}`)));
    dialog.querySelector(".buttons button").focus({ preventScroll: true });
    dialog.scrollTop = 0;
  } catch (refusal) {
    dialog.firstElementChild.append(h("p", { class: "refused", role: "alert" }, refusal.message), h("p", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close")));
  }
}

/** `20261122T004100Z-stall` as a time and a trigger. */
function named(id) {
  const [, y, mo, d, ho, mi, s, trigger] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-(.+)$/.exec(id) ?? [];
  return trigger ? { at: Date.UTC(y, mo - 1, d, ho, mi, s), trigger } : { at: null, trigger: id };
}

function kept(ids) {
  if (!ids.length) return [h("p", { class: "big calm" }, "No trip."), h("p", { class: "dim" }, "When the breaker opens, the minutes before it are kept here: decisions, figures by the second, and how long everybody needed to be back on legacy.")];
  return h("ul", { class: "trips" }, ids.map((id) => {
    const { at, trigger } = named(id);
    return h("li", {}, h("a", { href: `#/incidents/${encodeURIComponent(id)}`, "data-id": id }, h("b", {}, words(trigger)), h("span", {}, MEANINGS[trigger] ?? "a probe failed or took too long"), h("time", {}, moment(at))));
  }));
}

function rehearsed(rows) {
  if (!rows.length) return [h("p", { class: "big calm" }, "No drill yet."), h("p", { class: "dim" }, "A drill takes a few hot sessions back to legacy by the same way as a trip, and lets them return.")];
  const [last] = rows;
  const heads = [{ name: "When" }, { name: "Outcome" }, { name: "By" }, { name: "Moved", number: true }, { name: "To legacy", number: true }, { name: "Back", number: true }];
  return [h("p", { class: "big" }, last.moved === 0 ? "Nobody moved" : last.to_legacy_ms === null ? "Not all moved" : ms(last.to_legacy_ms), h("span", { class: "verdict", "data-verdict": last.outcome === "passed" ? "match" : last.outcome.startsWith("stuck") ? "mismatch" : "" }, words(last.outcome))),
    h("p", { class: "dim" }, `The last drill, ${moment(last.at_ms)}: ${OUTCOMES[last.outcome] ?? ""}; ${int(last.moved)} of ${int(last.hot)} hot sessions.`),
    table("Drills, newest first", heads, rows.slice(0, 20).map((one) => [moment(one.at_ms), words(one.outcome), words(one.cause), `${int(one.moved)} of ${int(one.hot)}`,
      ...[one.to_legacy_ms, one.to_hot_ms].map((took) => (took === null ? unknown("not all") : one.moved === 0 ? "–" : ms(took)))]), { stack: true })];
}

export function incidents({ argument, askToken, status }) {
  const trips = panel("Incidents", "incidents", h("small", {}, "newest first"));
  const drills = panel("Drills", "drills");
  const begin = h("button", { type: "button", onclick: () => (mayOperate() ? ask() : askToken()) });
  let under = null; // the number of the drill that this page began

  function ask() {
    const hot = status()?.sessions.open.hot ?? 0;
    confirm({
      title: "Begin a drill?",
      say: [h("p", { class: "sentence" }, `A small part of the ${int(hot)} hot sessions goes back to legacy and returns.`),
        h("p", {}, "Their sockets stay open and nothing is lost: it is the order that a trip gives, timed. It is over within about a minute, and at once if the breaker opens.")],
      button: "Begin the drill", done: "The drill has begun",
      act: async (reason) => {
        const { after } = await post("drill", { reason });
        under = after.number;
        load();
      },
    });
  }

  async function load() {
    begin.textContent = mayOperate() ? "Begin a drill …" : "Enter an operate token to begin a drill";
    try {
      const [{ incidents: ids }, { drills: rows }] = await Promise.all([get("incidents"), get("drill")]);
      show(trips.body, kept(ids));
      if (rows.some((one) => one.number === under)) under = null;
      show(drills.body, under === null ? [] : h("p", { class: "warn", role: "status" }, `Drill ${under} is under way.`), rehearsed(rows));
    } catch (refusal) {
      show(trips.body, h("p", { class: "refused" }, refusal.message));
    }
  }
  drills.element.append(h("p", { class: "buttons" }, begin));
  trips.body.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-id]");
    if (!link) return;
    event.preventDefault();
    openIncident(link.dataset.id);
  });
  load();
  const timer = setInterval(load, 2000);
  if (argument) openIncident(argument);
  return { element: h("div", { class: "panels two" }, trips.element, drills.element), leave: () => clearInterval(timer), role: load };
}
