// An outage between crossfade and Realtime, as a supabase-js subscriber sees it: the past is not told, the present is.
// The subscriber stays joined all the while: what it does not hear was not sent. What it hears is the only witness.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Emulator } from "./emulator.mjs";
import { Inbox, within } from "./inbox.mjs";

const installed = createRequire(process.env.MODULES);
const { createClient } = installed("@supabase/supabase-js");
const WebSocket = installed("ws");

const HANG_MS = 60_000;
const TOPIC = "room:alerts";
const OUTAGE = 50;
// Alerts are numbered: those of the outage from here, those after it from there.
const [PAST, LIVE] = [10_000, 20_000];
const rules = join(mkdtempSync(join(tmpdir(), "crossfade-events-")), "rules.toml");
writeFileSync(rules, `[[rule]]\nevent = "alert"\nclass = "critical"\nshared = true\ntopic = "${TOPIC}"\n`);

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Asks again and again until there is something.
async function until(what, find) {
  for (const end = Date.now() + HANG_MS; Date.now() < end; await pause(50)) {
    const found = await find();
    if (found) return found;
  }
  throw new Error(`nothing for ${HANG_MS} ms: ${what}`);
}

// The way to Realtime, which can be cut.
class Way {
  sockets = new Set();
  open = true;
  constructor(to) {
    this.server = net.createServer((near) => {
      if (!this.open) return near.destroy();
      const far = net.connect(to.port, to.hostname);
      for (const [socket, other] of [[near, far], [far, near]]) {
        this.sockets.add(socket);
        socket.on("error", () => {}).on("close", () => {
          this.sockets.delete(socket);
          other.destroy();
        });
      }
      near.pipe(far);
      far.pipe(near);
    });
  }
  async listen() {
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${this.server.address().port}`;
  }
  cut() {
    this.open = false;
    for (const socket of this.sockets) socket.destroy();
  }
}

// crossfade between a service and one client.
class Crossfade {
  static async start(emulator, way, age) {
    const self = new Crossfade();
    const service = new WebSocket.WebSocketServer({ port: 0, host: "127.0.0.1" });
    await new Promise((resolve) => service.once("listening", resolve));
    const env = {
      CROSSFADE_UPSTREAM: `ws://127.0.0.1:${service.address().port}`, CROSSFADE_LISTEN: "127.0.0.1:0",
      CROSSFADE_METRICS_LISTEN: "127.0.0.1:0", CROSSFADE_ADMIN_LISTEN: "127.0.0.1:0", CROSSFADE_LOG_FORMAT: "json",
      CROSSFADE_BREAKER: "forced_closed", CROSSFADE_PLAN: "custom:1000000", CROSSFADE_MIRROR_FORMAT: "both",
      CROSSFADE_CLASSIFY: `@${rules}`, CROSSFADE_EVENTS_MAX_AGE: age, CROSSFADE_POD: `js-${age}`,
      SUPABASE_URL: await way.listen(), SUPABASE_KEY: emulator.service,
    };
    self.child = spawn(process.env.CROSSFADE, ["run"], { env, stdio: ["ignore", "ignore", "pipe"] });
    process.once("exit", () => self.child.kill("SIGKILL"));
    const addresses = {};
    const log = createInterface({ input: self.child.stderr });
    await within(new Promise((resolve) => log.on("line", (line) => {
      const said = JSON.parse(line);
      if (said.message === "listening") addresses[said.listener] = said.addr;
      if (addresses.proxy && addresses.metrics) resolve();
    })), "crossfade listening");
    self.metrics = `http://${addresses.metrics}/metrics`;
    await self.value("crossfade_realtime_connected", 1);
    const opened = new Promise((resolve) => service.once("connection", resolve));
    self.client = new WebSocket(`ws://${addresses.proxy}/feed`);
    self.socket = await within(opened, "a session");
    self.service = service;
    return self;
  }
  write(n) {
    this.socket.send(JSON.stringify({ event: "alert", n }));
  }
  // Waits until a figure is at least (or, for 0, exactly) this.
  async value(series, wanted) {
    await until(`${series} ${wanted}`, async () => {
      const text = await (await fetch(this.metrics)).text();
      const line = text.split("\n").find((one) => one.startsWith(`${series} `));
      const found = Number(line?.split(" ")[1] ?? 0);
      return wanted === 0 ? line && found === 0 : found >= wanted;
    });
  }
  async stop() {
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.client.terminate();
    this.child.kill("SIGKILL");
    await gone;
    this.service.close();
  }
}

// How many events of an outage the subscriber hears once one after it has come.
async function outage(emulator, heard, age) {
  const way = new Way(new URL(emulator.url));
  const crossfade = await Crossfade.start(emulator, way, age);
  heard.length = 0;
  let first = 0;
  // A slow machine may let one become the past by itself.
  await until("a first alert", () => {
    crossfade.write(first += 1);
    return heard.length > 0;
  });
  way.cut();
  await crossfade.value("crossfade_realtime_connected", 0);
  for (let n = 0; n < OUTAGE; n += 1) crossfade.write(PAST + n);
  await crossfade.value('crossfade_mirror_messages_total{state="seen"}', first + OUTAGE);
  await pause(2_500); // that they become the past is the point
  way.open = true;
  await crossfade.value("crossfade_realtime_connected", 1);
  let live = LIVE;
  // The sink's back-off may last longer than an event lives: the service goes on until one comes through.
  await until("a live alert after the outage", () => {
    live += 1;
    crossfade.write(live);
    return heard.some((n) => n > LIVE);
  });
  await crossfade.stop();
  way.cut();
  way.server.close();
  return new Set(heard.filter((n) => n >= PAST && n < LIVE)).size;
}

const emulator = await Emulator.start();
const auth = { persistSession: false, autoRefreshToken: false };
const supabase = createClient(emulator.url, emulator.anon, { auth, realtime: { transport: WebSocket } });
await supabase.realtime.setAuth(emulator.authenticated);
const [heard, states] = [[], new Inbox()];
supabase.channel(TOPIC, { config: { private: true } })
  .on("broadcast", { event: "*" }, (said) => heard.push(said.payload.n))
  .subscribe(states.put);
assert.equal(await states.take("joining"), "SUBSCRIBED");

assert.equal(await outage(emulator, heard, "1s"), 0, "events of the outage came after it");
console.log("ok: after an outage no stale event, and live ones");
// The same without a limit worth the name: the subscriber would have heard them.
assert.equal(await outage(emulator, heard, "1h"), OUTAGE, "this test would not see a stale event");
console.log("ok: without an age limit the same subscriber hears the past");

await emulator.kill();
console.log("2 passed, 0 failed");
process.exit(0);
