// The plan: where the rollout stands, what each gate measures, what holds it, and the five words that people may say.

import { get, mayOperate, post } from "./api.js";
import { confirm } from "./dialog.js";
import { bar, h, ms, panel, percent, ratio, show, span, unknown, words } from "./dom.js";

const PHASES = {
  none: ["No plan", "The fader is moved by hand."],
  idle: ["Ready", "Nobody has started it yet."],
  running: ["Running", "It goes on by itself when the gates have passed for long enough."],
  paused: ["Paused", "It stays where it is until somebody resumes it."],
  done: ["Done", "Every step was taken."],
  aborted: ["Aborted", "It went to 0 % and ended."],
};
const WORDS = { idle: ["start"], none: ["start"], done: ["start"], aborted: ["start"], running: ["pause", "promote", "abort"], paused: ["resume", "abort"] };
const NAMES = { start: "Start a plan …", pause: "Pause …", resume: "Resume …", promote: "Next step now …", abort: "Abort …" };
const SHIPPED = [["default", "default: eight steps, about twelve days"], ["two-weeks", "two weeks"], ["eight-weeks", "eight weeks"]];
const GATES = {
  match: ["Match", ratio, "≥"], breaker: ["Breaker", (n) => (n === 1 ? "closed" : "not closed"), "must be"],
  p95_ms: ["95 % of the round trips", ms, "<"], quota: ["Use of the quota", ratio, "<"],
};
const VERDICTS = { pass: "passes", fail: "fails", no_data: "no data yet" };

const percentOf = (step) => Number(step.percent);
const bake = (step) => step.bake_s ?? step.bake_seconds;

/** Steps on a line, as stations that the fader passes. */
function steps(list, found) {
  const part = (one) => (one.state === "current" && one.bake_s > 0 && found ? Math.min(1, found.baked_s / one.bake_s) : null);
  return h("ol", { class: "steps" }, list.map((one) => h("li", { class: one.state ?? "ahead", "aria-current": one.state === "current" ? "step" : null },
    h("i", { "aria-hidden": "true" }), h("b", {}, percent(percentOf(one))), h("small", {}, bake(one) ? span(bake(one)) : "no bake"),
    h("span", { class: "sr" }, `, ${words(one.state ?? "ahead")}`), part(one) === null ? null : bar(part(one), `${span(found.baked_s)} of ${span(one.bake_s)} watched`))));
}

function gates(found) {
  if (!found.gates.length) return h("p", { class: "dim" }, "This plan asks for no gate.");
  const row = (gate) => {
    const [name, shown, sign] = GATES[gate.name] ?? [words(gate.name), String, "of"];
    return h("li", { "data-verdict": gate.verdict }, h("i", { "aria-hidden": "true" }), h("b", {}, name),
      h("span", { class: "figure" }, gate.value === null ? unknown() : shown(gate.value)), h("span", { class: "limit" }, `${sign} ${shown(gate.limit)}`),
      h("span", { class: "says" }, VERDICTS[gate.verdict] ?? words(gate.verdict)), h("small", {}, gate.why));
  };
  return h("ul", { class: "gates" }, found.gates.map(row));
}

function stands(found) {
  const [name, meaning] = PHASES[found.phase];
  const why = { person: "by a person", fleet_trip: "breakers have tripped", moved: "somebody else moved the share" }[found.why];
  const at = found.step ? `Step ${found.step} of ${found.steps.length}` : null;
  const left = found.left_s === null ? null : found.left_s > 0 ? `${span(found.left_s)} of passing gates left` : "every gate has passed for long enough";
  return [
    h("div", { class: "stand" }, h("p", { class: "big" }, found.name ?? name, h("span", { class: "verdict", "data-phase": found.phase }, why ? `${name}: ${why}` : name)),
      h("p", { class: "dim" }, [at, left ?? meaning].filter(Boolean).join(" · "))),
    found.steps.length ? steps(found.steps, found) : null,
    found.holds.length ? h("div", { class: "holds" }, h("h3", {}, "What keeps it from going on"), h("ul", {}, found.holds.map((one) => h("li", {}, one)))) : null,
    h("p", { class: "dim" }, { redis: "Kept in Redis for the whole fleet; ", state_dir: "Kept by this pod's state folder; " }[found.kept_in] ?? "No place to keep a plan; ",
      found.kept_in === null ? "a start is refused with what is missing." : found.drives ? "this pod drives it." : "another pod drives it, or none yet."),
  ];
}

/** What a share would move, as the fader's preview says it. */
async function foresight(to) {
  const found = await post("rollout/preview", { percent: to }).catch((refusal) => ({ refusal }));
  if (found.refusal) return [h("p", { class: "warn" }, `No preview: ${found.refusal.message}`)];
  return [h("p", { class: "sentence" }, found.sentence), ...found.warnings.map((one) => h("p", { class: "warn" }, one))];
}

/** The question before each word. The version is that of what was looked at. */
async function question(word, found, load) {
  const headers = { "If-Match": `"${found.version}"` };
  const act = (more = {}) => async (reason) => {
    const answer = await post(`plan/${word}`, { ...more, reason }, headers);
    load();
    return answer;
  };
  const look = async () => question(word, await get("plan"), load);
  const here = found.steps[(found.step ?? 1) - 1];
  const next = found.steps[found.step ?? 0];
  if (word === "pause") return { title: "Pause the plan?", say: h("p", {}, `The share stays at ${percent(here?.percent)}. Nothing moves. Resuming begins this step's bake anew.`), button: "Pause", done: "Plan paused", act: act(), look };
  if (word === "abort") return { title: "Abort the plan?", say: h("p", {}, "The share goes to 0 % at once and the plan ends: everybody returns to legacy, inside their open sockets."), button: "Abort and go to 0 %", alarm: true, done: "Plan aborted", act: act(), look };
  if (word === "resume") {
    return { title: "Resume the plan?", say: [h("p", {}, `Step ${found.step} begins anew: ${percent(here?.percent)}, ${span(here?.bake_s)} of passing gates.`), await foresight(here?.percent)],
      word: String(here?.percent), button: `Go on at ${percent(here?.percent)}`, done: "Plan resumed", act: act(), look };
  }
  if (word === "promote") {
    const failing = found.holds.length ? h("p", { class: "warn" }, `The gates do not pass now (${found.holds.join("; ")}). This goes on all the same.`) : null;
    if (!next) return { title: "End the plan?", say: [h("p", {}, "This was the last step: the plan is done, and the share stays."), failing], word: "done", button: "End it", done: "Plan done", act: act(), look };
    return { title: "Take the next step now?", say: [h("p", {}, `From ${percent(here?.percent)} to ${percent(next.percent)}, gates or not.`), failing, await foresight(next.percent)],
      word: String(next.percent), button: `Move to ${percent(next.percent)}`, done: "Next step taken", act: act(), look };
  }
  return begin(found, act, look);
}

/** Which plan, and what its first step does. */
function begin(found, act, look) {
  let chosen = found.name ? { steps: found.steps } : null;
  let told = "";
  const preview = h("div", { class: "say" });
  const text = h("textarea", { id: "plan-text", rows: "8", spellcheck: "false", hidden: true });
  const label = h("label", { for: "plan-text", hidden: true }, "The plan, as JSON");
  const choices = [found.name && ["", `${found.name} (the one that is there)`], ...SHIPPED, ["own", "another: paste its JSON"]].filter(Boolean);
  const select = h("select", { id: "which" }, choices.map(([value, name]) => h("option", { value }, name)));

  async function choose(ready) {
    const own = select.value === "own";
    text.hidden = label.hidden = !own;
    told = "";
    try {
      if (own) chosen = text.value.trim() ? JSON.parse(text.value) : null;
      else chosen = select.value ? await (await fetch(`/ui/plans/${select.value}.json`)).json() : { steps: found.steps };
      if (chosen && !chosen.steps?.length) throw new Error("a plan has steps");
    } catch (error) {
      chosen = null;
      told = `This is no plan: ${error.message}`;
    }
    const first = chosen?.steps[0];
    show(preview, chosen ? [steps(chosen.steps.map((one) => ({ percent: one.percent, bake_s: bake(one) }))), h("p", {}, `It begins with ${percent(percentOf(first))}.`)] : told ? h("p", { class: "refused" }, told) : []);
    ready();
    if (first) preview.append(...(await foresight(percentOf(first))));
  }
  return {
    title: "Start a plan?",
    extra: (ready) => {
      select.onchange = () => choose(ready);
      text.oninput = () => choose(ready);
      choose(ready);
      return [h("p", {}, h("label", { for: "which" }, "Plan"), select), label, text, preview];
    },
    word: () => (chosen ? String(percentOf(chosen.steps[0])) : null),
    button: "Start",
    done: "Plan started",
    act: (reason) => act(select.value ? { plan: chosen } : {})(reason),
    look,
  };
}

export function plan({ askToken }) {
  const { element, body } = panel("Plan", "plan");
  const judged = panel("Gates", "gates-panel", h("small", { id: "gates-scope" }));
  const buttons = h("p", { class: "buttons" });
  let found = null;
  let drawn = "";

  function offer() {
    const can = mayOperate() ? WORDS[found.phase] : [];
    const key = `${can.join()} ${mayOperate()}`;
    if (key === drawn) return;
    drawn = key;
    buttons.replaceChildren(...can.map((word, at) => h("button", { type: "button", "data-word": word, class: word === "abort" ? "alarm" : at === 0 && word !== "pause" ? "go" : null,
      onclick: async () => confirm(await question(word, found, load)) }, NAMES[word])),
    ...(can.length ? [] : [h("button", { type: "button", onclick: askToken }, "Enter an operate token to work the plan")]));
  }

  async function load() {
    try {
      found = await get("plan");
      show(body, stands(found));
      show(judged.body, gates(found));
      judged.element.querySelector("#gates-scope").textContent = found.scope === "fleet" ? "figures of the fleet" : "figures of this pod";
      offer();
    } catch (refusal) {
      show(body, h("p", { class: "refused" }, refusal.message));
    }
  }
  element.append(buttons);
  load();
  const timer = setInterval(load, 3000);
  return { element: h("div", { class: "planned" }, element, judged.element), leave: () => clearInterval(timer), role: load, heard: (kind) => { if (kind === "audit") load(); } };
}
