// Pictures from figures: the latency of both legs, and a deck's platter.

import { h, int, ms, s } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP] = [960, 286, 84, 2, 12];
/** Where the scale of the latency ends, and the band beneath it. */
const [FLOOR, BAND, BAND_HEIGHT] = [202, 216, 36];

/** The decades that hold these values: both legs differ by a factor of a hundred and more. */
function decades(values) {
  const seen = values.filter((value) => value > 0);
  if (!seen.length) return [0, 2];
  const low = Math.floor(Math.log10(Math.min(...seen)));
  return [low, Math.max(Math.ceil(Math.log10(Math.max(...seen))), low + 1)];
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

/** Both legs' 95th percentile over the last quarter of an hour; beneath it who fed the sessions, and the breaker. */
export function latency(history) {
  const points = history.points;
  if (points.length < 2) return h("p", { class: "unknown" }, "The first points come within ten seconds of the start.");
  const [first, last] = [points[0].at, points.at(-1).at];
  const [low, high] = decades(points.flatMap((p) => [p.legacy_p95_ms, p.realtime_p95_ms]));
  const x = (at) => LEFT + ((at - first) / Math.max(last - first, 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => FLOOR - ((Math.log10(Math.max(value, 10 ** low)) - low) / (high - low)) * (FLOOR - TOP);
  const legs = ["legacy", "realtime"].map((leg) => [leg, points.map((p) => [p.at, p[`${leg}_p95_ms`]])]);
  const grid = Array.from({ length: high - low + 1 }, (_, at) => 10 ** (low + at)).map((value) => [s("path", { class: "grid", d: `M${LEFT} ${y(value)}H${WIDTH - RIGHT}` }),
    s("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, ms(value))]);
  const states = points.slice(1).map((p, at) => s("rect", { class: `state ${p.breaker ?? "none"}`, x: x(points[at].at).toFixed(1), y: HEIGHT - 28,
    width: Math.max(x(p.at) - x(points[at].at) + 0.4, 0.5).toFixed(1), height: 5 }));
  const minutes = Math.round((last - first) / 60000);
  const from = minutes ? `${minutes} min ago` : `${Math.round((last - first) / 1000)} s ago`;
  const opened = points.filter((p) => p.breaker === "open").length;
  const label = `95th percentile over time. Legacy: ${ends(legs[0][1])}. Realtime: ${ends(legs[1][1])}. Breaker open in ${opened} of ${points.length} points.`;
  return h("figure", { class: "chart" },
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, grid,
      legs.map(([leg, line]) => s("path", { class: `line ${leg}`, d: path(line, x, y) })), fed(points, x), states,
      s("text", { x: LEFT, y: HEIGHT - 6 }, from), s("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, "now")),
    h("figcaption", {}, legs.map(([leg, line]) => h("span", { class: `key ${leg}` }, leg === "legacy" ? "Legacy, inside this process" : "Realtime, there and back",
      h("b", {}, line.some(([, value]) => typeof value === "number") ? ms(line.findLast(([, value]) => typeof value === "number")[1]) : "not measured yet"))),
    h("span", { class: "key strip" }, "Breaker")));
}

/** The crossfade itself: of the open sessions, the part that Realtime fed. */
function fed(points, x) {
  const y = (part) => BAND + BAND_HEIGHT - part * BAND_HEIGHT;
  const part = (p) => (p.sessions_open ? p.sessions_hot / p.sessions_open : 0);
  const top = points.map((p) => `L${x(p.at).toFixed(1)} ${y(part(p)).toFixed(1)}`).join("");
  const [from, to] = [x(points[0].at).toFixed(1), x(points.at(-1).at).toFixed(1)];
  return [s("rect", { class: "band legacy", x: from, y: BAND, width: Math.max(to - from, 1), height: BAND_HEIGHT }),
    s("path", { class: "band realtime", d: `M${from} ${BAND + BAND_HEIGHT}${top}L${to} ${BAND + BAND_HEIGHT}Z` }),
    s("text", { x: LEFT - 8, y: BAND + BAND_HEIGHT / 2 + 4, "text-anchor": "end" }, "fed by")];
}

/** The seconds round a trip: read back, failed, and what waited. */
export function seconds(incident) {
  const shown = incident.seconds.filter((one) => one.at_ms > incident.at_ms - 60_000 && one.at_ms < incident.at_ms + 60_000);
  if (!shown.length) return h("p", { class: "unknown" }, "Nothing came from Realtime in the minute before.");
  const [from, to] = [Math.min(shown[0].at_ms, incident.at_ms - 10_000), Math.max(shown.at(-1).at_ms + 1000, incident.at_ms + 2000)];
  const most = Math.max(...shown.map((one) => Math.max(one.returned, one.waiting, one.failed)), 1);
  const [wide, high] = [WIDTH, 150];
  const x = (at) => ((at - from) / (to - from)) * wide;
  const y = (n) => high - 24 - (n / most) * (high - 40);
  const width = Math.max(x(from + 1000) - 2, 1).toFixed(1);
  const bars = (name) => shown.filter((one) => one[name] > 0).map((one) => s("rect", { class: `second ${name}`, x: x(one.at_ms).toFixed(1), width, y: y(one[name]).toFixed(1), height: (high - 24 - y(one[name])).toFixed(1) }));
  const trip = x(incident.at_ms).toFixed(1);
  const sum = (name) => int(shown.reduce((all, one) => all + one[name], 0));
  return h("figure", { class: "chart" },
    s("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `Seconds round the trip: ${sum("returned")} batches read back, ${sum("failed")} failed, at most ${int(Math.max(...shown.map((one) => one.waiting)))} waiting.` },
      s("path", { class: "grid", d: `M0 ${high - 24}H${wide}` }), bars("waiting"), bars("returned"), bars("failed"),
      s("path", { class: "trip-line", d: `M${trip} 0V${high - 20}` }), s("text", { x: trip, y: high - 6, "text-anchor": x(incident.at_ms) > wide * 0.9 ? "end" : "middle" }, "trip"),
      s("text", { x: 0, y: high - 6 }, `−${Math.round((incident.at_ms - from) / 1000)} s`), x(incident.at_ms) < wide * 0.85 && s("text", { x: wide, y: high - 6, "text-anchor": "end" }, `+${Math.round((to - incident.at_ms) / 1000)} s`)),
    h("figcaption", {}, h("span", { class: "key" }, "read back", h("b", {}, sum("returned"))), h("span", { class: "key alarm" }, "failed", h("b", {}, sum("failed"))), h("span", { class: "key waiting" }, "waiting")));
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
