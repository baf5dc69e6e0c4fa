// The mixer: two decks, the breaker between them, the fader beneath; then what says whether moving it is safe.

import { get } from "./api.js";
import { latency, platter } from "./charts.js";
import { facts, h, int, ms, panel, rate, show } from "./dom.js";
import { fader } from "./fader.js";
import { breaker, lanes, ledger, match, quota, spool, tiers } from "./gauges.js";

const SIDES = { legacy: ["Legacy", ["legacy"]], realtime: ["Realtime", ["hot", "cold", "native"]] };

function deck(side) {
  const [name, lanes] = SIDES[side];
  const disc = platter(side);
  const body = h("div", { class: "figures" });
  const element = h("section", { class: `deck ${side}`, "aria-labelledby": `deck-${side}` },
    h("header", {}, h("h2", { id: `deck-${side}` }, name), h("p", { class: "sub" }, side === "legacy" ? "your service" : "Supabase Realtime")), disc.element, body);
  return {
    element,
    update(status) {
      const open = status.sessions.open;
      const all = Object.values(open).reduce((sum, n) => sum + n, 0);
      const here = lanes.reduce((sum, lane) => sum + (open[lane] ?? 0), 0);
      const flows = status.flow.messages_down_per_s + status.flow.messages_up_per_s > 0;
      disc.update(here, all, flows);
      const leg = status.latency[side];
      const split = side === "realtime" ? lanes.filter((lane) => lane === "hot" || open[lane] > 0).map((lane) => `${lane} ${int(open[lane])}`).join(" · ") : `upstream ${status.upstream.reachable ? "reachable" : "not reachable"}`;
      const rows = leg ? [["median", ms(leg.p50_ms)], ["95 %", ms(leg.p95_ms)], ["99 %", ms(leg.p99_ms)]] : [["latency", null]];
      show(body, facts(rows), h("p", { class: "split" }, split));
    },
  };
}

function centre() {
  const flow = h("div", { class: "flow" });
  const switchboard = breaker();
  return {
    element: h("section", { class: "centre", "aria-label": "Breaker" }, switchboard.element, flow),
    role: switchboard.role,
    update(status) {
      switchboard.update(status);
      const { messages_down_per_s: down, messages_up_per_s: up } = status.flow;
      show(flow, h("p", {}, h("b", {}, rate(down)), h("span", {}, "messages/s to clients")), h("p", {}, h("b", {}, rate(up)), h("span", {}, "messages/s from clients")));
    },
  };
}

function legs() {
  const { element, body } = panel("Latency of both legs", "latency", h("small", {}, "95th percentile, last 15 minutes"));
  let busy = false;
  let last = 0;
  return {
    element,
    async update(status) {
      if (busy || status.at - last < 4900) return;
      [busy, last] = [true, status.at];
      try {
        show(body, latency(await get("history")));
      } catch {
        // The banner tells; the last picture stays.
      } finally {
        busy = false;
      }
    },
  };
}

export function mixer({ askToken }) {
  const slide = fader(askToken);
  const middle = centre();
  const parts = [deck("legacy"), middle, deck("realtime"), slide, match(), legs(), ledger(), spool(), quota(), tiers(), lanes()];
  const [left, , right, , proved, line, book, disk, plan, who, flows] = parts;
  const element = h("div", { class: "mixer" },
    h("div", { class: "plate" }, h("div", { class: "decks" }, left.element, middle.element, right.element), slide.element),
    h("div", { class: "wide" }, line.element, proved.element), h("div", { class: "panels" }, flows.element, book.element, h("div", { class: "pile" }, plan.element, disk.element)), who.element);
  return {
    element,
    update(status) { for (const part of parts) part.update(status); },
    role() { slide.again(); middle.role(); },
  };
}
