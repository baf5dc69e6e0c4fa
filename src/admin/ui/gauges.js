// The parts of the mixer that say whether moving the fader is safe. Each is drawn from the status alone.

import { mayOperate, post } from "./api.js";
import { announce, bar, bytes, facts, h, int, ms, num, panel, percent, ratio, show, span, table, unknown, usd, words } from "./dom.js";

const STATES = {
  closed: ["Closed", "Realtime may feed clients"],
  open: ["Open", "Everybody is on legacy, inside their open sockets"],
  half_open: ["Half open", "Probing Realtime; nobody is fed by it yet"],
};
const MODES = [["auto", "Automatic"], ["forced_open", "Hold open"], ["forced_closed", "Hold closed"], ["observe_only", "Observe only"]];
const amount = (value, unit) => (value === null || value === undefined ? null
  : unit === "ratio" ? ratio(value) : unit === "s" ? (value < 1 ? ms(value * 1000) : span(value)) : int(value));

function reasons(found) {
  const heads = [{ name: "Trigger" }, { name: "Now", number: true }, { name: "Limit", number: true }, { name: "Samples", number: true }, { name: "Trips", number: true }];
  const rows = found.triggers.map((one) => [words(one.name), amount(one.value, one.unit), `${one.name === "match" ? "≥" : "≤"} ${amount(one.limit, one.unit)}`,
    one.samples === null && one.min_samples === null ? null : `${int(one.samples)} of ${int(one.min_samples)}`, int(one.trips)]);
  return table("What the breaker looks at", heads, rows, { mark: (at) => (found.state !== "closed" && found.triggers[at].name === found.trigger ? "hit" : null) });
}

function why(found) {
  if (found.state === "closed" && !found.trips) return "It has not tripped since the start.";
  if (!found.trigger) return found.state === "closed" ? "" : "Realtime has not been proved to work yet.";
  const what = `${found.state === "closed" ? "Last trip" : "Tripped"} by ${words(found.trigger)}`;
  // For `connect` the trip says how long, the trigger how often.
  const unit = found.trigger === "connect" ? "s" : found.triggers.find((one) => one.name === found.trigger)?.unit;
  const seen = typeof found.measured === "number" ? `: ${amount(found.measured, unit)}, limit ${amount(found.limit, unit)}` : "";
  const back = typeof found.return_to_legacy_ms === "number" ? ` · all back on legacy in ${ms(found.return_to_legacy_ms)}` : "";
  return `${what}${seen}${back}`;
}

/** The breaker's lamp, its words, countdown, reasons, and its switch for whoever may use it. */
export function breaker() {
  const lamp = h("div", { class: "lamp" });
  const detail = h("details", { class: "why" }, h("summary", {}, "Triggers and switches"));
  const shown = h("div");
  const refused = h("p", { class: "refused", role: "alert", hidden: true });
  const mode = h("select", { id: "mode", onchange: () => act("breaker", { mode: mode.value, reason: "set on the dashboard" }, `Breaker: ${mode.selectedOptions[0].textContent}`) },
    MODES.map(([value, name]) => h("option", { value }, name)));
  const reset = h("button", { type: "button", onclick: () => act("breaker/reset", { reason: "reset on the dashboard" }, "Breaker reset") }, "Reset");
  const off = h("button", { type: "button", class: "alarm", onclick: () => act("rollout/emergency-off", { on: off.dataset.on !== "true", reason: "switched on the dashboard" }, "Emergency switch") });
  const switches = h("div", { class: "switches" }, h("label", { for: "mode" }, "Breaker"), mode, reset, off);
  const locked = h("p", { class: "dim" }, "Switches need an operate token.");
  detail.append(shown, switches, locked, refused);

  async function act(path, body, done) {
    refused.hidden = true;
    try {
      const { warnings = [] } = (await post(path, body)) ?? {};
      announce([done, ...warnings].join(". "));
      if (warnings.length) { refused.hidden = false; refused.textContent = warnings.join(" "); }
    } catch (refusal) {
      refused.hidden = false;
      refused.textContent = `Refused: ${refusal.message}`;
    }
  }

  function role() {
    switches.hidden = !mayOperate();
    locked.hidden = mayOperate();
  }
  role();
  return {
    element: h("div", { class: "breaker" }, lamp, detail),
    role,
    update(status) {
      const found = status.breaker;
      const held = (status.rollout.emergency ?? []).includes("api");
      off.dataset.on = String(held);
      off.textContent = held ? "Let go of the emergency switch" : "Emergency: all to legacy";
      if (!found) return show(lamp, h("p", { class: "state" }, "No breaker"), h("p", {}, "Supabase is not configured: a pure proxy."));
      const [name, meaning] = STATES[found.state] ?? [words(found.state), ""];
      lamp.dataset.state = found.state;
      const parts = [h("h2", {}, "Breaker"), h("p", { class: "state" }, h("i", { "aria-hidden": "true" }), name), h("p", { class: "meaning" }, meaning)];
      if (found.latched) parts.push(h("p", { class: "count" }, h("b", {}, "latched"), " until a person resets it"));
      else if (typeof found.left_s === "number") parts.push(h("p", { class: "count" }, h("b", {}, span(found.left_s)), found.state === "open" ? " until it probes" : " for this step"));
      if (found.state === "half_open") parts.push(h("p", { class: "count" }, `good probes ${int(found.probes_good)} of ${int(found.probes_needed)}`));
      if (found.state === "closed" && found.share_percent < 100) parts.push(h("p", { class: "count" }, `paced return: ${percent(found.share_percent)} of the cohort admitted`));
      parts.push(h("p", { class: "cause" }, why(found)));
      if (found.topics_stopped > 0) parts.push(h("p", { class: "warn" }, `${int(found.topics_stopped)} event topics are stopped, each by a breaker of its own`));
      if (found.mode !== "auto") parts.push(h("p", { class: "warn" }, words(found.mode)));
      show(lamp, parts);
      if (document.activeElement !== mode) mode.value = found.mode;
      show(shown, reasons(found), facts([["a healthy round trip is learnt as", found.baseline_ms === null ? null : ms(found.baseline_ms)],
        ["trips in 24 hours", int(found.trips_24h), `${int(found.trips)} since the start`], ["event topics stopped by breakers of their own", int(found.topics_stopped)],
        ["kept for the next process", found.saves === null ? "nothing is kept" : `${int(found.saves)} times`, found.saves_failed ? `${int(found.saves_failed)} writes failed` : null]]));
    },
  };
}

export const VERDICTS = { match: "Match", mismatch: "Mismatch", not_enough_data: "Not enough data" };

/** How many of the messages arrived as they were sent, from how many samples. */
export function match() {
  const { element, body } = panel("Match", "match", h("a", { href: "#/proof" }, "Discrepancies"));
  return {
    element,
    update({ match: found }) {
      if (!found) return show(body, h("p", { class: "big" }, unknown()), h("p", { class: "dim" }, "No validator compares the two legs in this process, or it has not looked yet."));
      const kinds = Object.entries(found.kinds).filter(([kind, count]) => count > 0 && kind !== "matched");
      show(body, h("p", { class: "big" }, found.pairs ? ratio(found.ratio) : unknown("no pairs yet"), h("span", { class: "verdict", "data-verdict": found.verdict }, VERDICTS[found.verdict] ?? words(found.verdict))),
        bar(found.pairs / found.needed, `${int(found.pairs)} pairs of ${int(found.needed)} needed`, found.verdict),
        h("p", { class: "dim" }, `${int(found.pairs)} pairs in the last hour; ${int(found.needed)} would prove ${ratio(found.gate)}`),
        facts([["coverage", typeof found.coverage === "number" ? ratio(found.coverage) : null, "of what was published"], kinds.length === 0 && ["differences", "none"], ...kinds.map(([kind, count]) => [words(kind), int(count)])]));
    },
  };
}

/** Every mirrored message is accounted for. */
export function ledger() {
  const { element, body } = panel("Ledger", "ledger");
  return {
    element,
    update({ mirror: found }) {
      if (!found) return show(body, unknown("nothing is mirrored"));
      const shed = Object.entries(found.shed ?? {}).filter(([, count]) => count > 0);
      const sum = shed.reduce((all, [, count]) => all + count, 0);
      show(body, found.write_denied && h("p", { class: "warn" }, "Realtime lets our role read a topic of ours and not write it: a policy is missing."), h("p", { class: "big" }, int(found.seen), h("span", { class: "verdict", "data-verdict": found.imbalance === 0 ? "match" : "mismatch" }, found.imbalance === 0 ? "Adds up" : `Off by ${int(found.imbalance)}`)),
        h("p", { class: "dim" }, "messages seen, and where each of them is"),
        facts([["read back", int(found.confirmed)], ["acknowledged only", int(found.acked_only)], ["in flight", int(found.in_flight)],
          ["on disk", found.spooled === null ? "no spool" : int(found.spooled)], ["given up", int(sum), shed.map(([reason, count]) => `${words(reason)} ${int(count)}`).join(", ")],
          ["batches", `${int(found.batches)}`, found.unacked ? `${int(found.unacked)} waiting` : null], ["links", found.connected ? "joined" : "not joined"]]),
        bar(found.buffered_bytes / found.buffer_limit_bytes, "memory for the mirror"), h("p", { class: "dim" }, `${bytes(found.buffered_bytes)} of ${bytes(found.buffer_limit_bytes)} in memory`));
    },
  };
}

/** The disk queue. */
export function spool() {
  const { element, body } = panel("Spool", "spool");
  return {
    element,
    update({ spool: found }) {
      if (!found) return show(body, h("p", {}, "No disk queue."), h("p", { class: "dim" }, "What an outage makes wait must fit into memory; CROSSFADE_SPOOL_DIR sets one up."));
      show(body, h("p", { class: "big" }, int(found.records), h("span", { class: "verdict", "data-verdict": found.state === "ok" ? "match" : "mismatch" }, words(found.state))),
        typeof found.limit_bytes === "number" && bar(found.bytes / found.limit_bytes, "disk for the spool"), h("p", { class: "dim" }, `${bytes(found.bytes)} of ${bytes(found.limit_bytes)} on disk`),
        facts([["oldest", typeof found.oldest_age_s === "number" ? span(found.oldest_age_s) : "nothing waits"], ["damaged records skipped", int(found.damaged)], ["a kill now would lose at most", int(found.at_risk), "messages"], found.lost_at_most > 0 && ["lost by the last kill, at most", int(found.lost_at_most)]]));
    },
  };
}

/** The plan's rate and what a month costs. */
export function quota() {
  const { element, body } = panel("Quota and cost", "quota");
  return {
    element,
    update({ quota: found }) {
      if (!found) return show(body, unknown(), h("p", { class: "dim" }, "This process does not report its share of the plan."));
      show(body, h("p", { class: "big" }, ratio(found.used_ratio), h("span", { class: "verdict" }, words(found.plan))), bar(found.used_ratio, "share of the budget in use", found.used_ratio > 0.8 ? "mismatch" : ""),
        h("p", { class: "dim" }, `${num(found.used_per_s)} of ${num(found.budget_per_s)} messages/s of this pod`),
        facts([["a month at this rate", typeof found.month_messages === "number" ? int(found.month_messages) : null, "messages"], ["its cost", typeof found.month_cost_usd === "number" ? usd(found.month_cost_usd) : "none sold", found.month_cost_usd === null ? "the plan sells no more messages" : "beyond the included ones"],
          ["between two publishes", ms(found.spacing_ms), "at full use"], found.deferred > 0 && ["batches withheld", int(found.deferred)], found.refusals > 0 && ["refused by Realtime", int(found.refusals)]]),
        found.hot_refused && h("p", { class: "warn" }, found.hot_refused));
    },
  };
}

/** Who decides about the percentage. */
export function tiers() {
  const { element, body } = panel("Who decides", "tiers");
  return {
    element,
    update({ tiers: found, rollout }) {
      const heads = [{ name: "Tier" }, { name: "Says", number: true }, { name: "State" }];
      const rows = (found ?? []).map((one) => [words(one.tier), typeof one.percent === "number" ? percent(one.percent) : "–",
        one.decides ? h("strong", {}, "decides") : one.state === "known" && typeof one.age_s === "number" ? `known, ${span(one.age_s)} old` : words(one.state)]);
      show(body, table("Tiers, highest first", heads, rows, { mark: (at) => (found[at].decides ? "hit" : null) }),
        h("p", { class: "dim" }, rollout.scope === "fleet" ? "A change reaches the whole fleet." : "A change reaches this pod only."));
    },
  };
}

const LANES = { legacy: "the service itself", hot: "Realtime, one channel a session", cold: "Realtime, inside the open socket", native: "Realtime, the client's own" };

/** Who is fed by what, who should be, and who is on the way. */
export function lanes() {
  const { element, body } = panel("Lanes", "lanes", h("a", { href: "#/sessions" }, "Sessions"));
  return {
    element,
    update({ sessions, rollout }) {
      const all = Math.max(Object.values(sessions.open).reduce((sum, n) => sum + n, 0), 1);
      const wanted = Object.fromEntries(rollout.adoption.map((one) => [one.lane, one]));
      const row = ([lane, n]) => h("li", { "data-lane": lane, class: n || wanted[lane]?.wanted > 0 ? null : "unused" }, h("b", {}, words(lane)), h("span", { class: "n" }, int(n)),
        h("div", { class: `bar lane-bar ${lane}`, "aria-hidden": "true" }, h("i", { style: { width: `${((n / all) * 100).toFixed(2)}%` } })),
        h("small", {}, wanted[lane]?.wanted > 0 ? `${int(wanted[lane].there)} of ${int(wanted[lane].wanted)} wanted are there` : LANES[lane] ?? ""));
      const back = Object.entries(sessions.moved_back).filter(([, n]) => n > 0);
      const ended = Object.entries(sessions.ended).filter(([, n]) => n > 0);
      show(body, h("ul", { class: "lanes-list" }, Object.keys(LANES).filter((lane) => lane in sessions.open).map((lane) => row([lane, sessions.open[lane]]))),
        facts([["on the way now", int(rollout.moving)], ["moved to Realtime", int(sessions.moved_to_hot), "since the start"],
          ["moved back", int(back.reduce((sum, [, n]) => sum + n, 0)), back.map(([why, n]) => `${words(why)} ${int(n)}`).join(", ")],
          ["ended", int(ended.reduce((sum, [, n]) => sum + n, 0)), ended.map(([why, n]) => `${words(why)} ${int(n)}`).join(", ")],
          ["clients that offer native", rollout.native_offers_ratio === null ? unknown("not configured") : ratio(rollout.native_offers_ratio)]]));
    },
  };
}

/** Who may read on Realtime against who receives on legacy. */
export function parity() {
  const { element, body } = panel("Authorization", "parity");
  return {
    element,
    update({ parity: found }) {
      if (!found) return show(body, h("p", { class: "big" }, unknown()), h("p", { class: "dim" }, "Who may read on Realtime is not compared with who receives on legacy in this process."));
      const verdicts = Object.entries(found.checks).filter(([, n]) => n > 0);
      show(body, h("p", { class: "big" }, int(found.watched), h("span", { class: "verdict", "data-verdict": found.checks.over > 0 ? "mismatch" : "match" }, found.checks.over > 0 ? `${int(found.checks.over)} may read too much` : "Nobody reads too much")),
        h("p", { class: "dim" }, `sampled sessions; last compared ${found.last_check_s === null ? "never" : `${span(found.last_check_s)} ago`}`),
        facts([...verdicts.map(([word, n]) => [words(word), int(n)]), ...Object.entries(found.unknown).filter(([, n]) => n > 0).map(([why, n]) => [`unknown: ${words(why)}`, int(n)])]));
    },
  };
}
