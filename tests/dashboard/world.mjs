// The demo, a browser, and a page that notes everything which must not happen.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";

const { chromium } = createRequire(process.env.MODULES)("playwright-core");
const HANG_MS = 60_000;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** Asks again until it holds: an event is awaited, not a time. */
export async function until(what, holds) {
  const end = Date.now() + HANG_MS;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${HANG_MS} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** A process of crossfade whose standard error is read. */
export class Process {
  text = "";

  constructor(words, environment = {}) {
    this.child = spawn(process.env.CROSSFADE, words, { stdio: ["ignore", "ignore", "pipe"], env: { PATH: process.env.PATH, ...environment } });
    this.child.stderr.on("data", (data) => { this.text += data; });
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
  const ask = async (path, options = {}) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", ...options.headers };
    const answer = await fetch(`${url}api/v1/${path}`, { ...options, headers });
    return { status: answer.status, body: await answer.json() };
  };
  return { url, token, ask, stop: () => process.stop() };
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
