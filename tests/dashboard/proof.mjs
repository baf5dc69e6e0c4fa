// Proof, with a Realtime that changes a few messages: discrepancies, reports, types and noise rules as the API has them.
import assert from "node:assert/strict";
import { folder, open, signIn, stage, test, until } from "./world.mjs";

const TUNING = `[[validator.noise]]
pointer = "/sent_at"
allow = "ignore"

[[validator.noise]]
pointer = "/nowhere"
allow = { tolerance = 0.5 }
type = "price"
`;

/** Starts early: the validator's first report takes a minute. */
export async function altered() {
  const one = await stage({ sessions: 24, faults: ["corrupt topic=crossfade:* after_pushes=60 for_pushes=40"], tuning: TUNING,
    environment: { CROSSFADE_STATE_DIR: folder(), CROSSFADE_ROLLOUT_PERCENT: "50", CROSSFADE_MIRROR_PERCENT: "100" } });
  // The breaker would take the sessions off such a Realtime; here it is to be looked at.
  assert.equal((await one.ask("breaker", { method: "POST", body: '{"mode":"observe_only"}' })).status, 200);
  one.ends.say("say 4");
  return one;
}

export async function proof(chrome, show) {
  const { page, faults, close } = await open(chrome, `${show.url}#/proof`, { viewport: { width: 1440, height: 900 } });
  await test("without a token samples are not asked for, and the page says so", async () => {
    await until("the words", async () => /a view or operate token shows them/.test(await page.textContent(".discrepancies .body")));
    await page.waitForSelector(".types tbody tr");
    assert.deepEqual(faults, [], "no refusal in the console");
    await page.click(".discrepancies .buttons button");
    await page.waitForSelector("#token");
    await page.keyboard.press("Escape");
    await signIn(page, show.token);
  });

  await test("discrepancies are the API's, by kind, with what was sent and what came back", async () => {
    // They go on coming for a while: each look asks the API anew.
    const samples = async (kind) => (await show.ask("discrepancies")).body?.discrepancies.filter((one) => !kind || one.kind === kind) ?? [];
    const shown = () => page.locator(".samples li").allTextContents();
    const same = async (kind) => {
      const [wanted, found] = [await samples(kind), await shown()];
      return wanted.length > 0 && found.length === Math.min(wanted.length, 20) && found[0].includes(wanted.at(-1).sent ?? "not known any more") && found[0].includes(wanted.at(-1).got ?? "nothing");
    };
    await until("an altered one", async () => (await samples("altered")).length > 0);
    await until("all of them", () => same(""));
    await page.selectOption("#kind", "altered");
    await until("the altered ones", async () => (await same("altered")) && (await page.locator('.samples li:not([data-kind="altered"])').count()) === 0);
    await page.selectOption("#kind", "extra");
    await until("none of this kind", async () => /No sample of the kind/.test(await page.textContent(".discrepancies .body")));
    await page.selectOption("#kind", "");
  });

  await test("match, types and noise rules are the API's", async () => {
    await until("the match", async () => {
      const { match } = (await show.ask("status")).body;
      return (await page.textContent(".match .body")).includes(`altered${match.kinds.altered}`);
    });
    const { types } = (await show.ask("types")).body;
    const [row] = await page.locator(".types tbody tr").allTextContents();
    assert.ok(row.startsWith(types[0].type), row);
    // Its comments count messages, which go on coming.
    const rulesIn = (text) => text.split("\n").filter((line) => line && !line.startsWith("#")).join("\n");
    assert.equal(rulesIn(await page.textContent(".rules-file pre")), rulesIn((await show.ask("types")).body.proposed));
    const rules = (await until("a rule that was met", async () => { const { body } = await show.ask("noise"); return body.rules.some((one) => one.met > 0) && body; })).rules;
    await until("the rules' use", async () => {
      const uses = await page.locator(".noise .use").evaluateAll((found) => found.map((one) => one.dataset.use));
      const states = (await show.ask("noise")).body.rules.map((one) => one.state);
      return uses.length === rules.length && states.join() === uses.join();
    });
  });

  await test("a report opens: kinds, coverage, both legs and samples", async () => {
    await until("the rolling report", async () => (await page.locator('.reports a[data-id="rolling"]').count()) === 1, 150_000);
    await page.click('.reports a[data-id="rolling"]');
    await page.waitForSelector("dialog .columns");
    const { body } = await show.ask("reports/rolling");
    const text = await page.textContent("dialog");
    for (const word of ["Kinds", "Coverage", "Behind legacy", "Our own queue", "self-tests"]) assert.ok(text.includes(word), word);
    assert.ok(text.includes(`altered${body.match.kinds.altered}`), text);
    assert.equal(await page.locator("dialog .samples li").count(), Math.min(body.samples.length, 50));
    await page.screenshot({ path: "target/screenshots/desktop-report.png" });
    await page.keyboard.press("Escape");
  });
  assert.deepEqual(faults, []);
  await close();
}
