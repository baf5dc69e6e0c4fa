// The demo, a browser, and a page that notes everything which must not happen.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { chromium } = createRequire(process.env.MODULES)("playwright-core");
export const SHOTS = "target/screenshots";
mkdirSync(SHOTS, { recursive: true });
const HANG_MS = 60_000;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

let passed = 0;

/** One test; an error ends them all. */
export async function test(name, body) {
  await body();
  passed += 1;
  console.log(`ok: ${name}`);
}

export const result = () => `test result: ok. ${passed} passed; 0 failed;`;

/** A folder that is this run's alone. */
export const folder = () => mkdtempSync(join(tmpdir(), "crossfade-dashboard-"));

/** Asks again until it holds: an event is awaited, not a time. */
export async function until(what, holds, longest = HANG_MS) {
  const end = Date.now() + longest;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${longest} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** A process of crossfade whose standard error is read. */
export class Process {
  text = "";

  constructor(words, environment = {}, program = process.env.CROSSFADE) {
    this.child = spawn(program, words, { stdio: ["pipe", "pipe", "pipe"], env: { PATH: process.env.PATH, ...environment } });
    for (const out of [this.child.stdout, this.child.stderr]) out.on("data", (data) => { this.text = (this.text + data).slice(-200_000); });
  }

  say(line) {
    this.child.stdin.write(`${line}\n`);
  }

  line(pattern) {
    return until(`a line like ${pattern} (${this.text.slice(-500)})`, () => pattern.exec(this.text));
  }

  async stop() {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const gone = new Promise((done) => this.child.once("exit", done));
      this.child.kill("SIGKILL");
      await gone;
    }
  }
}

/** The demo with its dashboard. */
export async function demo(...words) {
  const process = new Process(["demo", "--for", "600s", ...words]);
  const [, url, token] = await process.line(/dashboard (\S+) +token (\S+)/);
  return { url, token, ask: asking(url, token), stop: () => process.stop() };
}

const asking = (url, token) => async (path, options = {}) => {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", ...options.headers };
  const answer = await fetch(`${url}api/v1/${path}`, { ...options, headers });
  return { status: answer.status, body: await answer.json() };
};

/** `crossfade run` between a service and clients of ours, with the emulator as Realtime: what the demo is, in parts. */
export async function stage({ sessions, faults = [], environment = {}, tuning }) {
  const token = "only this test knows it, and it is long enough";
  const emulator = new Process(["emulator", "--listen", "127.0.0.1:0", "--events-per-second", "1000000", "--joins-per-second", "100000", "--users", "100000", ...faults.flatMap((one) => ["--fault", one])]);
  const ends = new Process([new URL("ends.mjs", import.meta.url).pathname, String(sessions)], {}, process.execPath);
  const parts = [ends, emulator];
  const stop = async () => { for (const one of parts) await one.stop(); };
  try {
    const [, supabase] = await emulator.line(/SUPABASE_URL=(\S+)/);
    const [, key] = await emulator.line(/SUPABASE_SERVICE_ROLE_KEY=(\S+)/);
    const [, service] = await ends.line(/service=(\d+)/);
    const file = tuning && join(folder(), "tuning.toml");
    if (file) writeFileSync(file, tuning);
    const proxy = new Process(["run"], { CROSSFADE_UPSTREAM: `ws://127.0.0.1:${service}`, CROSSFADE_LISTEN: "127.0.0.1:0", CROSSFADE_METRICS_LISTEN: "127.0.0.1:0", CROSSFADE_ADMIN_LISTEN: "127.0.0.1:0",
      CROSSFADE_ADMIN_TOKEN: token, CROSSFADE_SERVICE: "stage", CROSSFADE_POD: "stage-0", SUPABASE_URL: supabase, SUPABASE_KEY: key, CROSSFADE_PLAN: "custom:1000000", ...(file && { CROSSFADE_TUNING: file }), ...environment });
    parts.push(proxy);
    const at = async (name) => /127\.0\.0\.1:\d+/.exec((await proxy.line(new RegExp(`^(?=.*listening).*"${name}".*$`, "m")))[0])[0];
    const url = `http://${await at("admin")}/`;
    const ask = asking(url, token);
    await until("a closed breaker", async () => (await ask("status")).body.breaker.state === "closed");
    ends.say(`connect ${(await at("proxy")).split(":")[1]}`);
    await until(`${sessions} sessions (${ends.text.slice(-60)})`, () => ends.text.includes("all=open") || (ends.text.includes("failed=") && Promise.reject(new Error(ends.text.slice(-200)))), 300_000);
    return { url, token, ask, stop, proxy, ends };
  } catch (error) {
    await stop();
    throw error;
  }
}

export async function browser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
}

/** A page, and what it did that it should not have done. */
export async function open(chrome, url, options) {
  const context = await chrome.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(HANG_MS);
  const faults = [];
  const forgiven = new Set();
  page.on("request", (request) => {
    const { hostname, protocol } = new URL(request.url());
    if (protocol !== "data:" && hostname !== "127.0.0.1") faults.push(`asked ${request.url()}`);
  });
  page.on("console", (message) => {
    const said = message.text();
    if (message.type() === "error" && ![...forgiven].some((code) => said.includes(`status of ${code}`))) faults.push(`console: ${said}`);
  });
  page.on("pageerror", (error) => faults.push(`error: ${error.stack}`));
  const disk = process.env.UI_FROM_DISK;
  // While the page is worked on: its files come from the disk, everything else from the binary.
  if (disk) await page.route((where) => where.pathname === "/" || where.pathname.startsWith("/ui/"), (route) => {
    const path = join(disk, new URL(route.request().url()).pathname.replace(/^\/(ui\/)?/, "") || "index.html");
    const plan = path.replace("src/admin/ui/plans", "deploy/plans");
    return existsSync(plan) ? route.fulfill({ path: plan }) : route.continue();
  });
  await page.goto(url);
  return { page, faults, forgive: (code) => forgiven.add(String(code)), close: () => context.close() };
}

export async function signIn(page, token) {
  await page.click("#role");
  await page.fill("#token", token);
  await page.click("dialog .go");
  await page.waitForSelector("dialog:not([open])", { state: "attached" });
}

/** Text whose contrast is below WCAG's AA (4.5, or 3 for large text). Runs in the page. */
export function faint() {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const behind = (element) => {
    if (!element) return [255, 255, 255, 1];
    const colour = rgba(getComputedStyle(element).backgroundColor);
    return colour[3] === 1 ? colour : over(colour, behind(element.parentElement));
  };
  const light = (colour) => colour.slice(0, 3).map((n) => n / 255).map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4))
    .reduce((sum, n, at) => sum + n * [0.2126, 0.7152, 0.0722][at], 0);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest(".sr, .skip, :disabled, script, noscript, svg")) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const [a, b] = [light(over(rgba(style.color), back)), light(back)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < (large ? 3 : 4.5)) found.push(`${walker.currentNode.data.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return found;
}
