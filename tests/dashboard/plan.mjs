// The plan and the drill, worked through the page; the oracle is what the API and the audit say afterwards.
import assert from "node:assert/strict";
import { test, until } from "./world.mjs";

const STEPS = [{ percent: "20", bake_seconds: 3600 }, { percent: "40", bake_seconds: 3600 }, { percent: "60", bake_seconds: 60 }];
export const PLAN = { schema: 1, name: "nightly", steps: STEPS, gates: { match: { ratio: 0.999, pairs: 2995 }, breaker: true, p95_ms: 500, quota: 0.8 } };

const stands = (show) => async (phase, step) => until(`the plan ${phase} at ${step}`, async () => {
  const { body } = await show.ask("plan");
  return body.phase === phase && (step === undefined || body.step === step) && body;
});

/** Opens the question, types, gives the reason, confirms; reads what comes of it. */
async function say(page, word, typed, reason) {
  await page.click(`[data-word="${word}"]`);
  await page.waitForSelector("dialog .ask");
  if (typed) await page.fill("#typed", typed);
  if (reason) await page.fill("#because", reason);
  await page.click("dialog .go");
}

async function understood(page, done) {
  await until(done, async () => (await page.textContent("dialog h2").catch(() => "")).includes(done));
  assert.match(await page.textContent("dialog .warn"), /this pod's plan alone/);
  await page.click("dialog .go");
  await page.waitForSelector("dialog:not([open])", { state: "attached" });
}

export async function plan(show, page, forgive) {
  const stand = stands(show);
  const audited = async (action, outcome) => {
    const [entry] = (await show.ask("audit")).body.entries;
    assert.deepEqual([entry.action, entry.outcome], [action, outcome]);
    return entry;
  };

  await test("a plan is started with its first step seen before, and its gates say what they measure", async () => {
    await page.click('#nav a[href="#/plan"]');
    await page.click('[data-word="start"]');
    await page.selectOption("#which", "two-weeks");
    const shipped = (await (await fetch(`${show.url}ui/plans/two-weeks.json`)).json()).steps;
    await until("the shipped plan's steps", async () => (await page.locator("dialog .steps li").count()) === shipped.length);
    assert.ok((await page.textContent("dialog label kbd")) === String(Number(shipped[0].percent)));
    await page.fill("#typed", "99");
    assert.ok(await page.isDisabled("dialog .go"), "another word confirms nothing");
    await page.keyboard.press("Escape");
    assert.equal((await show.ask("plan")).body.phase, "none", "nothing was started");

    forgive(422);
    await page.click('[data-word="start"]');
    await page.selectOption("#which", "own");
    await page.fill("#plan-text", JSON.stringify({ ...PLAN, schema: 9 }));
    await page.fill("#typed", "20");
    await page.click("dialog .go");
    await until("the refusal", async () => /Refused: .*schema/.test(await page.textContent("dialog .refused")));
    await page.fill("#plan-text", JSON.stringify(PLAN));
    await until("its preview", async () => /20 %: /.test(await page.textContent("dialog .say .sentence").catch(() => "")));
    await page.fill("#because", "the browser's plan");
    await page.click("dialog .go");
    await understood(page, "Plan started");
    const found = await stand("running", 1);
    assert.equal((await audited("plan_start", "done")).reason, "the browser's plan");
    await until("the share", async () => (await show.ask("rollout")).body.percent === 20);
    await until("the steps", async () => (await page.textContent(".planned .steps .current b").catch(() => "")) === "20 %");
    const shown = await page.locator(".planned .steps b").allTextContents();
    assert.deepEqual(shown, found.steps.map((one) => `${one.percent} %`));
    await until("the gates as the API says", async () => {
      const { gates } = (await show.ask("plan")).body;
      const verdicts = await page.locator(".gates li").evaluateAll((rows) => rows.map((row) => row.dataset.verdict));
      const whys = await page.locator(".gates small").allTextContents();
      return gates.every((gate, at) => gate.verdict === verdicts[at] && (gate.verdict !== "pass" ? whys[at] === gate.why : true));
    });
  });

  await test("the next step, a stale one, a pause, a resume and the end: each says what it does, and the API did it", async () => {
    await say(page, "promote", "40", "I have looked");
    await understood(page, "Next step taken");
    await stand("running", 2);
    assert.equal((await audited("plan_promote", "done")).reason, "I have looked");

    forgive(412);
    forgive(409);
    await page.waitForSelector('[data-word="promote"]');
    await page.click('[data-word="promote"]');
    await page.fill("#typed", "60");
    assert.equal((await show.ask("plan/pause", { method: "POST", body: "{}" })).status, 200);
    await page.click("dialog .go");
    await until("that it was overtaken", async () => /Refused: the plan stands elsewhere meanwhile/.test(await page.textContent("dialog .refused").catch(() => "")));
    assert.equal(await page.inputValue("#typed"), "", "what was typed counts for what was seen");
    await page.fill("#typed", "60");
    await page.click("dialog .go");
    await until("why it is refused", async () => /Refused: .*not possible while/.test(await page.textContent("dialog .refused").catch(() => "")));
    await audited("plan_promote", "plan_refused");
    assert.equal((await show.ask("rollout")).body.percent, 40);
    await page.keyboard.press("Escape");
    await until("why it holds", async () => (await page.textContent(".holds").catch(() => "")).includes("a person has paused it"));

    await say(page, "resume", "40");
    await understood(page, "Plan resumed");
    await stand("running", 2);
    await page.waitForSelector('[data-word="pause"]');
    await say(page, "pause");
    await understood(page, "Plan paused");
    await stand("paused", 2);
    await page.waitForSelector('[data-word="abort"]');
    await page.click('[data-word="abort"]');
    assert.match(await page.textContent("dialog .say"), /goes to 0 % at once/);
    assert.equal(await page.locator("#typed").count(), 0, "the way back asks for nothing to be typed");
    await page.click("dialog .go");
    await understood(page, "Plan aborted");
    await stand("aborted");
    await audited("plan_abort", "done");
    await until("everybody on legacy", async () => (await show.ask("status")).body.sessions.open.hot === 0);
  });
}

/** Leaves a plan under way, as the pictures want it. */
export async function underway(show) {
  const steps = ["1", "10", "50", "75", "100"].map((percent, at) => ({ percent, bake_seconds: 3600 * (at + 1) }));
  const post = (word, body) => show.ask(`plan/${word}`, { method: "POST", headers: { "if-match": "*" }, body: JSON.stringify(body) });
  assert.equal((await post("start", { plan: { ...PLAN, name: "two-weeks", steps } })).status, 200);
  for (const _ of [1, 2]) assert.equal((await post("promote", {})).status, 200);
  await until("the step's share", async () => (await show.ask("status")).body.sessions.open.hot > 30);
}

export async function drill(show, page, forgive) {
  await test("a drill is begun, its outcome shown; the next one comes too soon and is told why", async () => {
    await page.click('#nav a[href="#/incidents"]');
    const begin = page.locator(".drills .buttons button");
    await begin.click();
    assert.match(await page.textContent("dialog .say"), /Their sockets stay open/);
    await page.fill("#because", "a rehearsal");
    await page.click("dialog .go");
    await page.waitForSelector("dialog:not([open])", { state: "attached" });
    const [record] = await until("its record", async () => { const { drills } = (await show.ask("drill")).body; return drills.length && drills; });
    await until("the outcome", async () => (await page.textContent(".drills .verdict").catch(() => "")) === record.outcome.replaceAll("_", " "));
    assert.match(await page.textContent(".drills .body"), new RegExp(`${record.moved} of ${record.hot} hot sessions`));
    const [entry] = (await show.ask("audit")).body.entries;
    assert.deepEqual([entry.action, entry.reason, entry.outcome], ["drill", "a rehearsal", "done"]);
    forgive(409);
    await begin.click();
    await page.click("dialog .go");
    await until("the refusal", async () => /Refused: the last drill ended less than a minute ago/.test(await page.textContent("dialog .refused")));
    await page.keyboard.press("Escape");
  });
}

export async function incident(show, page) {
  await test("the trip is kept as an incident: the same figures as the API's, as a timeline", async () => {
    await page.click('#nav a[href="#/incidents"]');
    await page.waitForSelector(".trips a");
    const { incidents } = (await show.ask("incidents")).body;
    assert.equal(await page.locator(".trips a").count(), incidents.length);
    const kept = await until("a complete one", async () => { const { body } = await show.ask(`incidents/${incidents.at(-1)}`); return body.complete && body; });
    await page.locator(".trips a").last().click();
    await page.waitForSelector("dialog .timeline");
    const text = await page.textContent("dialog .tiles");
    assert.ok(text.includes(`${kept.hot_before}on Realtime before`), text);
    const took = kept.returned_ms < 1 ? "µs" : `${kept.returned_ms < 100 ? Math.round(kept.returned_ms * 10) / 10 : Math.round(kept.returned_ms)} ms`;
    assert.ok(text.includes(took), `${text} does not say ${took}`);
    assert.equal(await page.locator("dialog .timeline li").count(), kept.decisions.length);
    assert.match(await page.textContent("dialog .timeline .trip"), new RegExp(`The breaker opened: ${kept.trigger.replaceAll("_", " ")}`));
    await page.keyboard.press("Escape");
  });
}
