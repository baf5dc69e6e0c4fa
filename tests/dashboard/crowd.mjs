// Many sessions: the page costs what it costs with few. Times are printed and not judged.
import assert from "node:assert/strict";
import { open, signIn, stage, test, until } from "./world.mjs";

const SESSIONS = Number(process.env.CROWD_SESSIONS ?? 2000);
export const nodes = (page) => page.evaluate(() => document.querySelectorAll("*").length);

/** `few` is the number of elements of the mixer and of the sessions' view at 120 sessions. */
export async function crowd(chrome, few) {
  const show = await stage({ sessions: SESSIONS, environment: { CROSSFADE_ROLLOUT_PERCENT: "50" } });
  try {
    show.ends.say("say 20");
    await test(`${SESSIONS} sessions: painted, paged, alive, and no larger than with 120`, async () => {
      await until("the cohort", async () => (await show.ask("status")).body.rollout.live_percent > 45, 300_000);
      const { page, faults, close } = await open(chrome, show.url, { viewport: { width: 1440, height: 900 } });
      await page.evaluate(() => {
        globalThis.tasks = [];
        new PerformanceObserver((list) => globalThis.tasks.push(...list.getEntries().map((one) => one.duration))).observe({ type: "longtask", buffered: true });
      });
      await until("every session", async () => {
        const counts = await page.locator(".deck .count").allTextContents();
        return counts.reduce((sum, text) => sum + Number(text.replaceAll(",", "")), 0) === SESSIONS;
      });
      await signIn(page, show.token);
      await page.waitForSelector(".chart svg");
      const mixer = await nodes(page);
      await page.goto(`${show.url}#/sessions`);
      await page.waitForSelector(".sessions tbody tr");
      const first = await nodes(page);
      for (let at = 1; at <= 10; at += 1) {
        await page.click(".pages button:last-child");
        await until(`page ${at + 1}`, async () => (await page.textContent(".sessions > .dim")).startsWith(`${at * 50 + 1} to ${at * 50 + 50} of ${SESSIONS.toLocaleString("en")}`));
      }
      // Every second the page is told anew: its head shows how long the process is up.
      let [beats, before] = [0, ""];
      await until("ten more updates", async () => {
        const now = await page.textContent("#where");
        beats += Number(now !== before);
        before = now;
        return beats > 10;
      });
      const began = Date.now();
      const all = await show.ask("sessions?limit=500");
      assert.equal(all.body.sessions.length, Math.min(500, SESSIONS));
      const took = Date.now() - began;
      const last = await nodes(page);
      const { paint, longest, heap } = await page.evaluate(() => ({ paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime, longest: Math.max(0, ...globalThis.tasks), heap: performance.memory?.usedJSHeapSize }));
      console.log(`${SESSIONS} sessions: first paint ${Math.round(paint)} ms, longest task ${Math.round(longest)} ms, 500 sessions in ${took} ms, ${last} elements, heap ${Math.round(heap / 1e6)} MB`);
      assert.equal(await page.locator(".sessions tbody tr").count(), 50);
      for (const [what, now, then] of [["the mixer", mixer, few.mixer], ["sessions", first, few.sessions], ["sessions after ten pages", last, first]]) {
        assert.ok(Math.abs(now - then) < 60, `${what}: ${now} elements, ${then} with few sessions`);
      }
      assert.deepEqual(faults, []);
      await close();
    });
  } finally {
    await show.stop();
  }
}
