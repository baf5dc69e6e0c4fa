// What was proved and what differs: the match figure's parts, discrepancies with samples, event types and classes,
// reports of the validator.

import { maybe } from "./api.js";
import { clock, h, int, list, ms, panel, ratio, show, table, unknown, words } from "./dom.js";
import { match } from "./gauges.js";

const text = (value) => (value === null || value === undefined ? null : typeof value === "object" ? h("code", { class: "sample" }, JSON.stringify(value)) : String(value));

function part(title, id, path, name, missing, draw) {
  const { element, body } = panel(title, id);
  const load = async () => {
    try {
      const found = await maybe(path);
      show(body, found === null ? [unknown(missing)] : draw(list(found, name), found));
    } catch (refusal) {
      show(body, h("p", { class: "refused" }, refusal.message));
    }
  };
  return { element, load };
}

function discrepancies(rows) {
  if (!rows.length) return h("p", {}, "None. What Realtime gave back was what the service sent.");
  const heads = ["When", "Kind", "Session", "Type", "The service sent", "Realtime gave back"].map((name) => ({ name }));
  return table("Discrepancies, newest first", heads, rows.map((one) => [clock(one.at), h("span", { class: "kind" }, words(one.kind)), text(one.session ?? one.no), text(one.type ?? one.event),
    text(one.expected ?? one.sent ?? one.sample?.expected ?? one.sample), text(one.observed ?? one.received ?? one.sample?.observed)]), { stack: true });
}

function types(rows, found) {
  const rules = found?.proposed ?? found?.rules ?? found?.proposed_rules;
  if (!rows.length) return h("p", {}, "No event was seen yet.");
  const heads = [{ name: "Event type" }, { name: "Class" }, { name: "Seen", number: true }, { name: "Size", number: true }, { name: "Proposed rule" }];
  return [table("Event types", heads, rows.map((one) => [h("code", {}, one.type ?? one.name ?? one.event), words(one.class), int(one.count ?? one.seen ?? one.messages), int(one.bytes_avg ?? one.bytes),
    text(one.rule ?? one.proposed)]), { stack: true }), typeof rules === "string" && h("pre", { tabindex: "0" }, rules)];
}

function reports(rows) {
  if (!rows.length) return h("p", {}, "No report yet: the first comes after an hour.");
  const heads = [{ name: "Report" }, { name: "Until" }, { name: "Verdict" }, { name: "Match", number: true }, { name: "Pairs", number: true }];
  return table("Reports", heads, rows.map((one) => [String(one.id ?? one.name), clock(one.at ?? one.until), words(one.verdict), ratio(one.ratio ?? one.match), int(one.pairs)]), { stack: true });
}

export function proof() {
  const proved = match();
  const legs = panel("Latency now", "legs");
  const parts = [
    part("Discrepancies", "discrepancies", "discrepancies", "discrepancies", "not measured yet: no validator in this process", discrepancies),
    part("Event types and classes", "types", "types", "types", "not measured yet: no classifier in this process", types),
    part("Reports", "reports", "reports", "reports", "not measured yet: no validator in this process", reports),
  ];
  const load = () => parts.forEach((one) => one.load());
  load();
  const timer = setInterval(load, 10_000);
  return {
    element: h("div", { class: "panels two" }, proved.element, legs.element, parts.map((one) => one.element)),
    leave: () => clearInterval(timer),
    role: load,
    update(status) {
      proved.update(status);
      const heads = [{ name: "Leg" }, ...["median", "95 %", "99 %"].map((name) => ({ name, number: true }))];
      const leg = (name) => [name, ...["p50_ms", "p95_ms", "p99_ms"].map((of) => (status.latency[name] ? ms(status.latency[name][of]) : unknown()))];
      show(legs.body, table("Latency of both legs, last minute", heads, [leg("legacy"), leg("realtime")], { stack: true }),
        h("p", { class: "dim" }, "Over the last minute. Realtime: from the publish to the read-back."));
    },
  };
}
