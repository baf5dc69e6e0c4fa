// Elements, and numbers as people read them. Nothing here knows what crossfade is.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element. Text is always text: nothing that a server sends becomes markup. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
/** An SVG element. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

/** Makes a node like another one of its kind, touching only what differs: focus, scroll place and selection stay. */
function patch(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (name !== "style" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  // The policy forbids style attributes, not styles.
  if (old.style && old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
  renew(old, fresh);
}

function renew(element, fresh) {
  const [before, after] = [[...element.childNodes], [...fresh.childNodes]];
  if (before.length === after.length && before.every((node, at) => node.nodeName === after[at].nodeName)) before.forEach((node, at) => patch(node, after[at]));
  else element.replaceChildren(...after);
}

/** Shows these children in an element. For what has no listeners of its own: an element that stays keeps its old ones. */
export function show(element, ...children) {
  renew(element, fill(h("div"), {}, children));
}

/** Says something to whoever listens instead of looking. */
export function announce(text) {
  const place = byId("polite");
  if (place.textContent !== text) place.textContent = text;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 3 });
export const NONE = "–";
const known = (n) => typeof n === "number" && Number.isFinite(n);

export const int = (n) => (known(n) ? whole.format(n) : NONE);
export const num = (n) => (known(n) ? (Math.abs(n) < 10 ? fine : short).format(n) : NONE);
export const percent = (n) => (known(n) ? `${(Math.abs(n) < 1 ? fine : short).format(n)} %` : NONE);
export const ratio = (n) => (known(n) ? percent(n * 100) : NONE);
export const rate = (n) => (known(n) ? (n < 10 ? short : whole).format(n) : NONE);
export const ms = (n) => (!known(n) ? NONE : n > 0 && n < 1 ? `${whole.format(Math.max(n * 1000, 1))} µs` : `${(n < 100 ? short : whole).format(n)} ms`);
export const usd = (n) => (known(n) ? `$${new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(n)}` : NONE);

export function bytes(n) {
  if (!known(n)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) [n, at] = [n / 1024, at + 1];
  return `${(at ? short : whole).format(n)} ${units[at]}`;
}

export function span(seconds) {
  if (!known(seconds)) return NONE;
  if (seconds < 10) return `${short.format(seconds)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  const both = (a, big, b, small) => (b ? `${a} ${big} ${b} ${small}` : `${a} ${big}`);
  if (minutes < 60) return both(minutes, "min", Math.floor(seconds % 60), "s");
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? both(hours, "h", minutes % 60, "min") : both(Math.floor(hours / 24), "d", hours % 24, "h");
}

/** Unix milliseconds as the reader's own time of day. */
export function clock(at) {
  if (!known(at)) return NONE;
  return new Date(at).toLocaleTimeString("en-GB", { hour12: false });
}

/** Unix milliseconds as time, with the day where it is not today. */
export function moment(at) {
  if (!known(at)) return NONE;
  const day = (one) => one.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  const then = day(new Date(at));
  return then === day(new Date()) ? clock(at) : `${then}, ${clock(at)}`;
}

export const words = (name) => String(name ?? NONE).replaceAll("_", " ");

/** What is not there is said, never made up. */
export const unknown = (text = "not measured yet") => h("span", { class: "unknown" }, text);

/** Pairs of name and value. */
export function facts(rows) {
  const row = ([name, value, note]) => h("div", {}, h("dt", {}, name), h("dd", {}, value ?? unknown(), note ? h("small", {}, note) : null));
  return h("dl", { class: "facts" }, rows.filter(Boolean).map(row));
}

/** A panel with a heading; `body` is what is drawn anew. */
export function panel(title, id, ...extra) {
  const body = h("div", { class: "body" });
  const element = h("section", { class: `panel ${id}`, "aria-labelledby": `${id}-title` },
    h("header", {}, h("h2", { id: `${id}-title` }, title), ...extra), body);
  return { element, body };
}

/** A part of a whole as a bar, with its words for a reader of the screen. */
export function bar(part, label, state) {
  const width = Math.max(0, Math.min(1, known(part) ? part : 0)) * 100;
  return h("div", { class: "bar", role: "img", "aria-label": label, "data-state": state },
    h("i", { style: { width: `${width.toFixed(2)}%` } }));
}

/** A table whose rows are given as cells. */
export function table(caption, heads, rows, options = {}) {
  const cell = (value, at) => h("td", { class: heads[at].number ? "n" : null, "data-name": heads[at].name }, value ?? unknown(NONE));
  const row = (cells, at) => h("tr", { class: options.mark?.(at) ?? null }, cells.map(cell));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: options.stack ? "stack" : null }, h("caption", { class: "sr" }, caption),
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col", class: head.number ? "n" : null }, head.name)))),
      h("tbody", {}, rows.map(row))));
}
