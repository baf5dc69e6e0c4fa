// The dashboard in a real browser, against the demo: what a person sees, does and is refused.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { crowd, nodes } from "./crowd.mjs";
import { drill, incident, plan, underway } from "./plan.mjs";
import { altered, proof } from "./proof.mjs";
import { Process, SHOTS, browser, demo, faint, folder, open, result, signIn, test, until } from "./world.mjs";

const VIEWS = ["", "sessions", "proof", "plan", "incidents", "audit", "setup"];
const count = (page, side) => page.textContent(`.deck.${side} .count`).then((text) => Number(text.replaceAll(",", "")));
const onRealtime = (status) => status.sessions.open.hot + (status.sessions.open.native ?? 0);
async function settled(ask, share) {
  return until(`${share} % on Realtime`, async () => {
    const { body } = await ask("status");
    const { preview } = await ask("rollout/preview", { method: "POST", body: JSON.stringify({ percent: share }) }).then((one) => ({ preview: one.body }));
    return body.rollout.percent === share && preview.moves_to_realtime === 0 && preview.moves_to_legacy === 0 && body;
  });
}

/** Every control of a view is reached by Tab, and shows that it is. */
async function walked(page, view) {
  await page.evaluate(() => document.getElementById("main").focus());
  const controls = await page.evaluate(() => [...document.querySelectorAll("#main :is(a[href], button, input, select, textarea, summary, [tabindex='0'])")].filter((one) => !one.disabled && one.checkVisibility()).length);
  for (let at = 0; at < Math.min(controls, 30); at += 1) {
    await page.keyboard.press("Tab");
    const [inside, ring] = await page.evaluate(() => [document.getElementById("main").contains(document.activeElement), getComputedStyle(document.activeElement).outlineStyle]);
    assert.ok(inside, `${view || "mixer"}: ${at} of ${controls} controls are reached`);
    assert.notEqual(ring, "none", `${view || "mixer"}: no focus ring at control ${at}`);
  }
}

async function confirm(page, text) {
  await page.waitForSelector(".confirm .sentence");
  await page.fill("#confirm", text);
  await page.click(".confirm .go");
}

const chrome = await browser();
const started = [];
try {
  const changed = await altered();
  started.push(changed);
  await test("a fault shows the trip, its reason, the return and the way back", async () => {
    const show = await demo("--fault", "--clients", "60");
    started.push(show);
    const { page, faults, close } = await open(chrome, show.url, { viewport: { width: 1440, height: 900 } });
    await page.waitForSelector('.lamp[data-state="open"]');
    const cause = await until("the cause", async () => { const text = await page.textContent(".lamp"); return text.includes("Tripped by") && text; });
    const { body } = await show.ask("status");
    if (body.breaker.state === "open") assert.ok(cause.includes(body.breaker.trigger.replaceAll("_", " ")), cause);
    await until("everybody on legacy", async () => (await count(page, "realtime")) === 0 && (await count(page, "legacy")) === 60);
    await page.screenshot({ path: `${SHOTS}/desktop-mixer-open.png`, fullPage: true });
    await page.waitForSelector('.lamp[data-state="half_open"], .lamp[data-state="closed"]');
    await page.waitForSelector('.lamp[data-state="closed"]');
    const back = await until("the cohort on Realtime", async () => (await count(page, "realtime")) > 20 && page.textContent(".lamp"));
    assert.match(back, /all back on legacy in/);
    assert.match(back, /Last trip by/);
    await incident(show, page);
    assert.deepEqual(faults, []);
    await close();
    await show.stop();
  });

  const show = await demo("--clients", "120", "--state", folder());
  started.push(show);
  // A slow machine is no fault of Realtime: no trip may come between a test and what it waits for.
  const mode = (word) => show.ask("breaker", { method: "POST", body: JSON.stringify({ mode: word }) });
  assert.equal((await mode("observe_only")).status, 200);
  const { page, faults, forgive, close } = await open(chrome, show.url, { viewport: { width: 1440, height: 900 } });
  await page.waitForSelector(".deck .count:not(:empty)");
  await until("the demo's cohort", async () => (await settled(show.ask, 50)) !== null);

  await test("without a token everything is looked at and nothing is moved", async () => {
    assert.equal(await page.textContent("#role"), "Look only");
    await page.focus(".cap");
    await page.keyboard.press("PageUp");
    await page.waitForSelector(".confirm .sentence");
    assert.equal(await page.locator("#confirm").count(), 0);
    assert.match(await page.textContent(".confirm"), /Enter an operate token/);
    await page.keyboard.press("Escape");
    forgive(401);
    await page.click("#role");
    await page.fill("#token", "not the token");
    await page.click("dialog .go");
    await until("the refusal", async () => /token is wrong/.test(await page.textContent("dialog .refused")));
    await page.keyboard.press("Escape");
  });

  await test("the token stays out of the URL and of what outlives the tab", async () => {
    await signIn(page, show.token);
    await until("the role", async () => (await page.textContent("#role")) === "Operate");
    const kept = await page.evaluate(() => JSON.stringify([location.href, document.cookie, { ...localStorage }]));
    assert.ok(!kept.includes(show.token));
  });

  await test("values are the API's", async () => {
    await until("equal figures", async () => {
      const { body } = await show.ask("status");
      const shown = [await count(page, "legacy"), await count(page, "realtime")];
      return shown[0] === body.sessions.open.legacy && shown[1] === onRealtime(body);
    });
    const { body } = await show.ask("status");
    assert.equal(await page.getAttribute(".cap", "aria-valuenow"), String(body.rollout.percent));
    const line = await page.textContent(".fader-line");
    assert.ok(line.includes(`Wanted ${body.rollout.percent} %`) && line.includes("this pod only"), line);
    const tiers = await page.locator(".tiers tbody tr").count();
    assert.equal(tiers, body.tiers.length);
    assert.match(await page.textContent(".deck.legacy .figures"), body.latency.legacy ? /median/ : /not measured yet/);
    assert.match(await page.textContent(".panel.match"), body.match ? /pairs/ : /not measured yet/);
  });

  await test("the fader moves sessions: dragged, previewed, typed, confirmed", async () => {
    const slot = await page.locator(".slot").boundingBox();
    const y = slot.y + slot.height / 2;
    await page.mouse.move(slot.x + slot.width * 0.5, y);
    await page.mouse.down();
    await page.mouse.move(slot.x + slot.width * 0.6, y, { steps: 4 });
    await page.mouse.move(slot.x + slot.width * 0.75, y, { steps: 4 });
    await page.mouse.up();
    const told = await until("the preview", async () => { const text = await page.textContent(".confirm").catch(() => ""); return text.includes("75 %: moves") && text; });
    const preview = (await show.ask("rollout/preview", { method: "POST", body: '{"percent":75}' })).body;
    assert.ok(preview.moves_to_realtime > 10, JSON.stringify(preview));
    // Rates, and what follows from them, differ from one second to the next.
    const steady = (text) => text.replace(/[+-]\d+ messages/, "N messages").replace(/at most \d+ % of/, "N % of").replace(/at most \$\d+ a month/, "$N a month");
    assert.match(preview.sentence, /% of the quota, at most \$\d+ a month\.$/);
    assert.ok(steady(told).includes(steady(preview.sentence)), `${told} does not say: ${preview.sentence}`);
    assert.equal((await show.ask("rollout")).body.percent, 50, "nothing moves before it is confirmed");
    await page.fill("#confirm", "57");
    assert.ok(await page.isDisabled(".confirm .go"));
    await page.screenshot({ path: `${SHOTS}/desktop-mixer-confirm.png`, fullPage: true });
    await page.fill("#reason", "the browser test");
    await confirm(page, "75");
    await page.waitForSelector(".confirm[hidden]", { state: "attached" });
    const after = await settled(show.ask, 75);
    await until("the deck", async () => (await count(page, "realtime")) === onRealtime(after));
    const [entry] = (await show.ask("audit")).body.entries;
    assert.deepEqual([entry.action, entry.reason, entry.outcome, entry.after.percent], ["rollout", "the browser test", "done", 75]);
  });

  await test("the keyboard alone: in order to the fader, by arrows, and back", async () => {
    await page.goto(show.url);
    await page.waitForSelector(".deck .count:not(:empty)");
    await page.evaluate(() => document.activeElement.blur());
    const walk = [];
    for (let at = 0; at < 24 && walk.at(-1) !== "slider"; at += 1) {
      await page.keyboard.press("Tab");
      walk.push(await page.evaluate(() => document.activeElement.getAttribute("role") ?? document.activeElement.id ?? document.activeElement.textContent));
      const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.notEqual(ring, "none", `no focus ring at ${walk.at(-1)}`);
    }
    assert.equal(walk.at(-1), "slider", walk.join(" > "));
    for (const key of ["Home", "PageUp", "ArrowRight", "ArrowRight", "ArrowLeft", "Shift+ArrowRight"]) await page.keyboard.press(key);
    assert.equal(await page.getAttribute(".cap", "aria-valuenow"), "11.1");
    assert.match(await page.getAttribute(".cap", "aria-valuetext"), /11.1 % of the users on Realtime, not confirmed/);
    await page.waitForSelector("#confirm");
    await page.keyboard.press("Enter");
    await page.keyboard.type("11.1");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".confirm[hidden]", { state: "attached" });
    await settled(show.ask, 11.1);
    await until("what a screen reader hears", async () => /Confirmed: 11.1 %/.test(await page.textContent("#polite")));
  });

  await test("a change that somebody overtook is refused and explained", async () => {
    await page.focus(".cap");
    await page.keyboard.press("PageUp");
    await page.waitForSelector("#confirm");
    const put = await show.ask("rollout", { method: "PUT", headers: { "if-match": "*" }, body: '{"percent":30,"confirm":"30"}' });
    assert.equal(put.status, 200, JSON.stringify(put.body));
    forgive(412);
    await confirm(page, "21.1");
    const said = await until("the explanation", async () => { const text = await page.textContent(".confirm").catch(() => ""); return text.includes("Refused") && text; });
    assert.match(said, /somebody has changed the rollout meanwhile/);
    assert.match(said, /It stands at 30 % now/);
    assert.equal((await show.ask("rollout")).body.percent, 30);
    await page.keyboard.press("Escape");
  });

  await test("the emergency switch stands on every view until it is let go", async () => {
    await page.click(".why summary");
    await page.click(".switches .alarm");
    await until("the banner", async () => /emergency switch is on/.test(await page.textContent("#banner")));
    await until("everybody on legacy", async () => (await count(page, "realtime")) === 0);
    await page.click('#nav a[href="#/audit"]');
    assert.ok(await page.isVisible("#banner"));
    await page.click('#nav a[href="#/"]');
    await page.click(".why summary");
    await page.click(".switches .alarm");
    await page.waitForSelector("#banner", { state: "hidden" });
    await settled(show.ask, 30);
  });

  await test("sessions come a page at a time, and each says why it is here", async () => {
    await page.click('#nav a[href="#/sessions"]');
    await page.waitForSelector(".sessions tbody tr");
    assert.equal(await page.locator(".sessions tbody tr").count(), 50);
    await until("the total", async () => /1 to 50 of 120/.test(await page.textContent(".sessions > .dim")));
    await page.click(".pages button:last-child");
    await until("the second page", async () => /51 to 100/.test(await page.textContent(".sessions > .dim")));
    await page.selectOption("#lane", "legacy");
    await until("legacy alone", async () => (await page.locator(".sessions tbody .lane:not(.legacy)").count()) === 0);
    await page.click(".sessions tbody tr:first-child a");
    await page.waitForSelector(".why-here .sentence");
    const id = await page.textContent(".why-here dd code");
    const { body } = await show.ask(`sessions/${id}`);
    assert.ok((await page.textContent(".why-here .sentence")).includes(body.sentence));
    await page.click(".why-here .buttons button:first-child");
    await until("the move", async () => (await show.ask(`sessions/${id}`)).body.lane === "hot");
    await page.keyboard.press("Escape");
  });

  const few = { sessions: await nodes(page) };
  await page.click('#nav a[href="#/"]');
  await page.waitForSelector(".chart svg");
  few.mixer = await nodes(page);
  await drill(show, page, forgive);
  await plan(show, page, forgive);
  await underway(show);
  await mode("auto");

  await test("no error in the console, and no request left loopback", async () => {
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    console.log(`first contentful paint ${Math.round(paint)} ms`);
    assert.deepEqual(faults, []);
    await close();
  });

  for (const [kind, viewport] of [["desktop", { width: 1440, height: 900 }], ["phone", { width: 390, height: 844 }]]) {
    for (const colorScheme of ["light", "dark"]) {
      await test(`every view: ${kind}, ${colorScheme}`, async () => {
        const look = await open(chrome, show.url, { viewport, colorScheme, deviceScaleFactor: 1, reducedMotion: "reduce" });
        await look.page.waitForSelector(".chart svg");
        await signIn(look.page, show.token);
        for (const view of VIEWS) {
          await look.page.goto(`${show.url}#/${view}`);
          await look.page.waitForFunction((name) => document.querySelector("#nav [aria-current]")?.getAttribute("href") === `#/${name}`, view);
          if (view === "") await look.page.waitForSelector(".chart svg");
          if (view === "sessions") await look.page.waitForSelector(".sessions tbody tr");
          await look.page.waitForFunction(() => [...document.querySelectorAll(".panel > .body")].every((body) => body.childNodes.length > 0));
          await look.page.screenshot({ path: `${SHOTS}/${kind}-${view || "mixer"}${colorScheme === "dark" ? "-dark" : ""}.png`, fullPage: true });
          assert.deepEqual(await look.page.evaluate(faint), [], `faint text on ${view || "mixer"}`);
          assert.equal(await look.page.locator("table:not(:has(caption))").count(), 0, `a table without a caption on ${view || "mixer"}`);
          if (kind === "desktop" && colorScheme === "light") await walked(look.page, view);
          if (kind === "phone") await look.page.setViewportSize({ width: 360, height: 800 });
          const wide = await look.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(wide <= 0, `${view || "mixer"} is ${wide} px too wide`);
          await look.page.setViewportSize(viewport);
        }
        assert.deepEqual(look.faults, []);
        await look.page.evaluate(() => { document.querySelector(".panel h2").style.color = getComputedStyle(document.body).getPropertyValue("--line"); });
        assert.equal((await look.page.evaluate(faint)).length, 1, "faint text would be found");
        await look.close();
      });
    }
  }

  await proof(chrome, changed);
  await changed.stop();
  await crowd(chrome, few);

  await test("a page of the service shows which lane feeds it", async () => {
    const html = '<!doctype html><title>service</title><link rel="icon" href="data:,"><h1>Feed</h1><script src="/.crossfade/indicator.js" defer data-path="/feed"></script>';
    const service = createServer((request, answer) => answer.writeHead(request.url === "/" ? 200 : 404, { "content-type": "text/html" }).end(html));
    await new Promise((done) => service.listen(0, "127.0.0.1", done));
    const proxy = new Process(["run"], { CROSSFADE_UPSTREAM: `ws://127.0.0.1:${service.address().port}`, CROSSFADE_LISTEN: "127.0.0.1:0",
      CROSSFADE_METRICS_LISTEN: "127.0.0.1:0", CROSSFADE_ADMIN_LISTEN: "127.0.0.1:0", CROSSFADE_LANE_ENDPOINT: "on" });
    started.push(proxy);
    const [line] = await proxy.line(/.*"proxy".*/);
    const at = /127\.0\.0\.1:\d+/.exec(line)[0];
    const look = await open(chrome, `http://${at}/`, {});
    await look.page.waitForSelector("crossfade-lane:not([hidden])");
    assert.equal(await look.page.textContent("crossfade-lane"), "Data: Legacy");
    assert.deepEqual(look.faults, []);
    await proxy.stop();
    service.close();
    service.closeAllConnections();
  });
} finally {
  await chrome.close();
  for (const one of started) await one.stop();
}
console.log(result());
