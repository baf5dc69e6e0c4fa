// The cold lane between a client of the service's wire and supabase-js: neither knows of the other, and the service is
// not asked. What each side hears is the only witness.
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
// The emulator's own, public on purpose.
const SECRET = "crossfade-emulator-secret-for-local-use-only";
const folder = mkdtempSync(join(tmpdir(), "crossfade-cold-"));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const emulator = await Emulator.start();
// In the service's place: counts who comes, and takes nobody.
let asked = 0;
const service = net.createServer((socket) => {
  socket.on("error", () => {});
  socket.once("data", () => { asked += 1; socket.destroy(); });
}).listen(0, "127.0.0.1");
await new Promise((resolve) => service.once("listening", resolve));

writeFileSync(join(folder, "secret"), SECRET);
const tuning = join(folder, "tuning.toml");
writeFileSync(tuning, `[cold]\njwt_secret_file = "${join(folder, "secret")}"\njoin_timeout_ms = 20000\n`);
const crossfade = spawn(process.env.CROSSFADE, ["run"], {
  stdio: ["ignore", "ignore", "pipe"],
  env: {
    CROSSFADE_UPSTREAM: `ws://127.0.0.1:${service.address().port}`,
    CROSSFADE_LISTEN: "127.0.0.1:0",
    CROSSFADE_METRICS_LISTEN: "127.0.0.1:0",
    CROSSFADE_ADMIN_LISTEN: "127.0.0.1:0",
    CROSSFADE_LOG_FORMAT: "json",
    CROSSFADE_BREAKER: "forced_closed",
    CROSSFADE_ROLLOUT_LANE: "cold",
    CROSSFADE_ROLLOUT_PERCENT: "100",
    CROSSFADE_COLD_AUTH: "jwt",
    CROSSFADE_COLD_SOURCE: "room:{path}",
    CROSSFADE_TUNING: tuning,
    SUPABASE_URL: emulator.url,
    SUPABASE_KEY: emulator.service,
    SUPABASE_ANON_KEY: emulator.anon,
  },
});
process.once("exit", () => crossfade.kill("SIGKILL"));
const proxy = await within(new Promise((resolve) => {
  createInterface({ input: crossfade.stderr }).on("line", (line) => {
    const said = JSON.parse(line);
    if (said.message === "listening" && said.listener === "proxy") resolve(said.addr);
  });
}), "crossfade listening");

// One upgrade: the open socket with its inbox, or the status of the refusal.
function knock(path, token, headers = {}) {
  const fields = { "x-user-id": "somebody", ...(token && { authorization: `Bearer ${token}` }), ...headers };
  const [socket, inbox] = [new WebSocket(`ws://${proxy}${path}`, { headers: fields }), new Inbox()];
  socket.on("message", (bytes, binary) => inbox.put(binary ? bytes : bytes.toString()));
  return within(new Promise((resolve) => {
    socket.once("open", () => resolve({ socket, inbox }));
    socket.once("unexpected-response", (_, answer) =>
      resolve({ status: answer.statusCode, error: answer.headers["x-crossfade-error"] }));
    socket.on("error", () => resolve({ status: 0 }));
  }), `an answer for ${path}`);
}

// Until Realtime was read back, the service is asked, which takes nobody.
async function cold(path, token) {
  for (const end = Date.now() + HANG_MS; Date.now() < end; await pause(50)) {
    const fared = await knock(path, token);
    if (fared.socket) return fared;
  }
  throw new Error("no cold session");
}

let passed = 0;
function ok(name) {
  passed += 1;
  console.log(`ok: ${name}`);
}

const one = await cold("/lobby", emulator.authenticated);
const before = asked;
const two = await cold("/lobby", emulator.authenticated);
const auth = { persistSession: false, autoRefreshToken: false };
const supabase = createClient(emulator.url, emulator.anon, { auth, realtime: { transport: WebSocket } });
await supabase.realtime.setAuth(emulator.authenticated);
const [heard, states] = [new Inbox(), new Inbox()];
const channel = supabase.channel("room:lobby", { config: { private: true, broadcast: { ack: true } } })
  .on("broadcast", { event: "*" }, heard.put)
  .subscribe(states.put);
assert.equal(await states.take("joining"), "SUBSCRIBED");

one.socket.send('{"event":"chat","text":"hello"}');
const said = await heard.take("what the cold client said");
assert.equal(said.event, "chat");
assert.equal(said.payload.text, "hello");
assert.equal(await two.inbox.take("the same beside it"), '{"event":"chat","text":"hello"}');
ok("a cold client's message reaches supabase-js and another cold client");

assert.equal(await channel.send({ type: "broadcast", event: "chat", payload: { text: "back" } }), "ok");
for (const client of [one, two]) {
  assert.equal(await client.inbox.take("what supabase-js said"), '{"text":"back"}');
}
ok("what supabase-js broadcasts reaches every cold client");

assert.deepEqual(await knock("/lobby", undefined), { status: 401, error: "cold_token" });
assert.deepEqual(await knock("/lobby", "not.a.token"), { status: 401, error: "cold_token" });
assert.deepEqual(await knock("/lobby", emulator.service), { status: 401, error: "cold_token" });
// The anon key is a valid token, and the policies give it nothing.
assert.deepEqual(await knock("/lobby", emulator.anon), { status: 403, error: "cold_denied" });
const evil = { origin: "https://evil.example" };
assert.deepEqual(await knock("/lobby", emulator.authenticated, evil), { status: 403, error: "cold_origin" });
assert.deepEqual(await knock("/lobby?presence=1", emulator.authenticated), { status: 501, error: "cold_presence" });
assert.equal(asked, before, "the service was asked");
ok("who must not get in does not, and the service never hears of it");

await emulator.kill();
console.log(`${passed} passed, 0 failed`);
process.exit(0);
