// The audit trail, and how this process is set up.

import { get } from "./api.js";
import { h, int, moment, panel, percent, show, table, words } from "./dom.js";
import { tiers } from "./gauges.js";

/** A change as a person would tell it. */
function told(before, after) {
  const pairs = Object.entries(after ?? {}).filter(([name]) => name !== "version");
  const say = (value) => (Array.isArray(value) ? value.join(", ") || "nobody" : value === null ? "none" : String(value));
  const changed = pairs.filter(([name, value]) => JSON.stringify(before?.[name]) !== JSON.stringify(value));
  return changed.map(([name, value]) => `${words(name)}: ${before && name in before ? `${say(before[name])} → ` : ""}${say(value)}`).join("; ") || "no difference";
}

export function audit() {
  const { element, body } = panel("Audit", "audit", h("small", {}, "the last 500 changes and refusals, newest first"));
  async function load() {
    try {
      const { entries: rows } = await get("audit");
      if (!rows.length) return show(body, h("p", {}, "Nobody has changed anything since the start."));
      const heads = ["When", "Who", "What", "Change", "Why", "Outcome"].map((name) => ({ name }));
      show(body, table("Audit trail", heads, rows.map((one) => [moment(one.at), [one.role, one.remote && h("small", {}, ` ${one.remote}`)], [words(one.action), one.subject && h("small", {}, ` ${one.subject.slice(0, 8)}`)],
        one.after ? told(one.before, one.after) : "–", one.reason ?? "–", h("span", { class: "outcome", "data-outcome": one.outcome === "done" ? "done" : "refused" }, words(one.outcome))]), { stack: true }));
    } catch (refusal) {
      show(body, h("p", { class: "refused" }, refusal.message));
    }
  }
  load();
  const timer = setInterval(load, 10_000);
  return { element, leave: () => clearInterval(timer), role: load, heard: (kind) => { if (kind === "audit") load(); } };
}

export function setup() {
  const who = tiers();
  const { element, body } = panel("Configuration", "config", h("small", {}, "secrets are never shown"));
  const rules = panel("Rules", "rules");
  const find = h("input", { type: "search", id: "find", placeholder: "Find a variable", oninput: () => draw() });
  element.querySelector("header").append(h("label", { class: "sr", for: "find" }, "Find a variable"), find);
  let settings = [];

  function draw() {
    const part = find.value.trim().toLowerCase();
    const rows = settings.filter((one) => `${one.name} ${one.doc}`.toLowerCase().includes(part));
    const heads = ["Variable", "Value", "From"].map((name) => ({ name }));
    show(body, rows.length ? table("Variables", heads, rows.map((one) => [[h("code", {}, one.name), h("small", { class: "doc" }, one.doc)],
      one.secret ? (one.value === null ? "not set" : "hidden") : one.value === null ? "not set" : h("code", {}, one.value), one.source]), { stack: true }) : h("p", {}, "No such variable."));
  }

  function ruled(rows, found) {
    const note = h("p", { class: "dim" }, `Users are dealt by salt ${found.salt_fingerprint}: pods with the same fingerprint deal alike.`);
    if (!rows.length) return [h("p", {}, "No rule: the percentage alone decides."), note];
    const heads = ["Rule", "When", "Then"].map((name) => ({ name }));
    return [table("Rules, first match wins", heads, rows.map((one) => [one.name, one.keys === null ? one.when.join(" and ") : `${int(one.keys)} keys`, `${one.then}${one.percent === null ? "" : ` ${percent(one.percent)}`}${one.lane ? `, ${one.lane}` : ""}`])), note];
  }

  async function load() {
    try {
      ({ settings } = await get("config"));
      draw();
      const found = await get("rollout");
      show(rules.body, ruled(found.rules, found));
    } catch (refusal) {
      show(body, h("p", { class: "refused" }, refusal.message));
    }
  }
  load();
  return { element: h("div", { class: "setup" }, h("div", { class: "panels two" }, who.element, rules.element), element), role: load, update: who.update };
}
