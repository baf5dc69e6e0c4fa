// The plan with its gates, the audit trail, and how this process is set up.

import { maybe, mayOperate, post } from "./api.js";
import { announce, clock, h, int, list, num, panel, percent, show, span, table, unknown, words } from "./dom.js";
import { tiers } from "./gauges.js";

const ACTIONS = ["start", "pause", "resume", "promote", "abort"];

function gates(found) {
  const rows = list(found?.gates ?? [], "gates");
  if (!rows.length) return h("p", { class: "dim" }, "No gate.");
  const verdict = (gate) => (gate.pass === true ? "pass" : gate.pass === false ? "hold" : "no data");
  return h("ul", { class: "gates" }, rows.map((gate) => h("li", { "data-pass": verdict(gate) }, h("i", { "aria-hidden": "true" }), h("b", {}, words(gate.name)), h("span", {}, verdict(gate)),
    h("small", {}, gate.why ?? `${num(gate.value)} of ${num(gate.limit)}`))));
}

export function plan({ status }) {
  const { element, body } = panel("Plan", "plan");
  const gate = panel("Gates", "gates");
  const refused = h("p", { class: "refused", role: "alert", hidden: true });
  const buttons = h("p", { class: "buttons" }, ACTIONS.map((action) => h("button", { type: "button", class: action === "abort" ? "alarm" : null, onclick: () => act(action) }, words(action))));

  async function act(action) {
    refused.hidden = true;
    try {
      await post(`plan/${action}`, { reason: "on the dashboard" });
      announce(`Plan: ${action}`);
      load();
    } catch (refusal) {
      refused.hidden = false;
      refused.textContent = `Refused: ${refusal.message}`;
    }
  }

  function draw(found) {
    const steps = list(found.steps ?? [], "steps");
    const at = typeof found.step === "number" ? found.step : -1;
    const wait = (one) => { const bake = one.bake_s ?? one.bake; return typeof bake === "number" ? span(bake) : bake ?? ""; };
    return [h("p", { class: "big" }, words(found.state ?? "no state"), found.reason && h("small", {}, ` ${words(found.reason)}`)),
      h("ol", { class: "steps" }, steps.map((one, index) => h("li", { class: index < at ? "done" : index === at ? "now" : "", "aria-current": index === at ? "step" : null },
        h("b", {}, percent(one.percent ?? one)), h("small", {}, wait(one)))))];
  }

  async function load() {
    try {
      const found = await maybe("plan");
      const none = () => [unknown("no plan in this version"), h("p", { class: "dim" }, `The fader stands at ${percent(status()?.rollout.percent)} and is moved by hand.`)];
      show(body, found === null ? none() : draw(found));
      buttons.hidden = found === null || !mayOperate();
      const judged = await maybe("gate").catch((refusal) => ({ gates: [{ name: "gate", pass: false, why: refusal.message }] }));
      show(gate.body, judged === null ? unknown("no gate in this version") : gates(judged.gates ? judged : found));
    } catch (refusal) {
      show(body, h("p", { class: "refused" }, refusal.message));
    }
  }
  element.append(buttons, refused);
  load();
  const timer = setInterval(load, 5000);
  return { element: h("div", { class: "panels two" }, element, gate.element), leave: () => clearInterval(timer), role: load, update: () => {} };
}

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
      const rows = list((await maybe("audit")) ?? [], "entries");
      if (!rows.length) return show(body, h("p", {}, "Nobody has changed anything since the start."));
      const heads = ["When", "Who", "What", "Change", "Why", "Outcome"].map((name) => ({ name }));
      show(body, table("Audit trail", heads, rows.map((one) => [clock(one.at), [one.role ?? one.who, one.remote && h("small", {}, ` ${one.remote}`)], [words(one.action), one.subject && h("small", {}, ` ${one.subject.slice(0, 8)}`)],
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
      settings = list((await maybe("config")) ?? [], "settings");
      draw();
      const found = await maybe("rollout");
      show(rules.body, found ? ruled(found.rules ?? [], found) : unknown());
    } catch (refusal) {
      show(body, h("p", { class: "refused" }, refusal.message));
    }
  }
  load();
  return { element: h("div", { class: "setup" }, h("div", { class: "panels two" }, who.element, rules.element), element), role: load, update: who.update };
}
