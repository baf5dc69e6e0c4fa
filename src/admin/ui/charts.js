// Pictures from figures: the latency of both legs, and a deck's platter.

import { h, int, ms, s } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [960, 250, 58, 12, 14, 46];

/** A round number above, so that the scale is easy to read. */
function ceiling(n) {
  const power = 10 ** Math.floor(Math.log10(Math.max(n, 1)));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= n) ?? 10 * power;
}

/** A line with gaps where there is no value. */
function path(points, x, y) {
  let text = "";
  let open = false;
  for (const [at, value] of points) {
    if (typeof value !== "number") { open = false; continue; }
    text += `${open ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    open = true;
  }
  return text;
}

/** Both legs' 95th percentile over the last quarter of an hour, with the breaker's state beneath. */
export function latency(history) {
  const points = history?.points ?? [];
  if (points.length < 2) return h("p", { class: "unknown" }, "The first points come within ten seconds of the start.");
  const [first, last] = [points[0].at, points.at(-1).at];
  const top = ceiling(Math.max(...points.flatMap((p) => [p.legacy_p95_ms ?? 0, p.realtime_p95_ms ?? 0]), 4));
  const x = (at) => LEFT + ((at - first) / Math.max(last - first, 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
  const legs = ["legacy", "realtime"].map((leg) => [leg, points.map((p) => [p.at, p[`${leg}_p95_ms`]])]);
  const grid = [0, 0.5, 1].map((part) => [s("path", { class: "grid", d: `M${LEFT} ${y(top * part)}H${WIDTH - RIGHT}` }),
    s("text", { x: LEFT - 8, y: y(top * part) + 4, "text-anchor": "end" }, ms(top * part))]);
  const states = points.slice(1).map((p, at) => s("rect", { class: `state ${p.breaker ?? "none"}`, x: x(points[at].at).toFixed(1), y: HEIGHT - BOTTOM + 10,
    width: Math.max(x(p.at) - x(points[at].at) + 0.4, 0.5).toFixed(1), height: 6 }));
  const minutes = Math.round((last - first) / 60000);
  const from = minutes ? `${minutes} min ago` : `${Math.round((last - first) / 1000)} s ago`;
  const opened = points.filter((p) => p.breaker === "open").length;
  const label = `95th percentile over time. Legacy: ${ends(legs[0][1])}. Realtime: ${ends(legs[1][1])}. Breaker open in ${opened} of ${points.length} points.`;
  return h("figure", { class: "chart" },
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, grid,
      legs.map(([leg, line]) => s("path", { class: `line ${leg}`, d: path(line, x, y) })), states,
      s("text", { x: LEFT, y: HEIGHT - 8 }, from), s("text", { x: WIDTH - RIGHT, y: HEIGHT - 8, "text-anchor": "end" }, "now")),
    h("figcaption", {}, legs.map(([leg, line]) => h("span", { class: `key ${leg}` }, leg === "legacy" ? "Legacy" : "Realtime",
      h("b", {}, line.some(([, value]) => typeof value === "number") ? ms(line.findLast(([, value]) => typeof value === "number")[1]) : "not measured yet"))),
    h("span", { class: "key strip" }, "Breaker")));
}

function ends(line) {
  const values = line.map(([, value]) => value).filter((value) => typeof value === "number");
  if (!values.length) return "not measured yet";
  return `${ms(values.at(-1))} now, between ${ms(Math.min(...values))} and ${ms(Math.max(...values))}`;
}

/** A deck's platter: the ring is the deck's share of the open sessions. */
export function platter(side) {
  const round = 2 * Math.PI * 88;
  const ring = s("circle", { class: "ring", cx: 100, cy: 100, r: 88, "stroke-dasharray": `0 ${round}` });
  const grooves = [74, 66, 58, 50].map((r) => s("circle", { class: "groove", cx: 100, cy: 100, r }));
  const needle = s("path", { class: "needle", d: "M100 26v18" });
  const spin = s("g", { class: "spin" }, needle);
  const count = h("b", { class: "count" });
  const share = h("span", { class: "share" });
  const element = h("div", { class: `platter ${side}` },
    s("svg", { viewBox: "0 0 200 200", "aria-hidden": "true" }, s("circle", { class: "disc", cx: 100, cy: 100, r: 80 }), grooves,
      s("circle", { class: "bed", cx: 100, cy: 100, r: 88 }), ring, spin),
    h("p", {}, count, h("span", { class: "unit" }, "sessions"), share));
  return {
    element,
    update(open, all, plays) {
      const part = all ? open / all : 0;
      ring.setAttribute("stroke-dasharray", `${(part * round).toFixed(2)} ${round.toFixed(2)}`);
      count.textContent = int(open);
      share.textContent = all ? `${(part * 100).toFixed(part > 0 && part < 0.01 ? 2 : 1)} % of all` : "none open";
      spin.classList.toggle("plays", plays && open > 0);
    },
  };
}
