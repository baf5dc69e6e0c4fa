// The official JavaScript client through crossfade's native lane: the service behind it never hears of it, and
// crossfade's own rights never reach it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { Emulator } from "./emulator.mjs";
import { Inbox, within } from "./inbox.mjs";

const installed = createRequire(process.env.MODULES);
const { createClient } = installed("@supabase/supabase-js");
const WebSocket = installed("ws");

let passed = 0;
async function test(name, body) {
  await within(body(), name);
  passed += 1;
  console.log(`ok: ${name}`);
}

// The legacy service: it greets, and notes the head of every upgrade.
async function legacyService() {
  const heads = [];
  const handleProtocols = (offers) => (offers.has("legacy.v1") ? "legacy.v1" : false);
  const server = new WebSocket.WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols });
  server.on("connection", (socket, request) => {
    heads.push(request.headers);
    socket.send("hello of the service");
  });
  await new Promise((resolve) => server.once("listening", resolve));
  return { server, heads, port: server.address().port };
}

// `crossfade run`, everybody with a key on the native lane.
async function crossfade(emulator, port) {
  const env = {
    CROSSFADE_UPSTREAM: `ws://127.0.0.1:${port}`, CROSSFADE_LISTEN: "127.0.0.1:0", CROSSFADE_METRICS_LISTEN: "127.0.0.1:0",
    CROSSFADE_ADMIN_LISTEN: "127.0.0.1:0", CROSSFADE_LOG_FORMAT: "json", CROSSFADE_POD: "native-0",
    CROSSFADE_ROLLOUT_LANE: "native", CROSSFADE_ROLLOUT_PERCENT: "100", CROSSFADE_BREAKER: "forced_closed",
    SUPABASE_URL: emulator.url, SUPABASE_KEY: emulator.service, SUPABASE_ANON_KEY: emulator.anon,
  };
  const child = spawn(process.env.CROSSFADE, ["run"], { env, stdio: ["ignore", "pipe", "pipe"] });
  process.once("exit", () => child.kill("SIGKILL"));
  const listening = new Inbox();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      try {
        const event = JSON.parse(line);
        if (event.message === "listening" && event.listener === "proxy") listening.put(event.addr);
      } catch { /* a line for people */ }
    });
  }
  return { child, address: await listening.take("crossfade listens") };
}

// What a browser application does: its own subprotocol and `realtime`, with the service's cookie and token on board.
const secrets = { cookie: "session=of-the-service", authorization: "Bearer of-the-service" };
class Offering extends WebSocket {
  constructor(url) {
    super(url, ["realtime", "legacy.v1"], { headers: { "x-user-id": "somebody", ...secrets } });
  }
}
function through(proxy, key) {
  const auth = { persistSession: false, autoRefreshToken: false };
  return createClient(`http://${proxy.address}`, key, { auth, realtime: { transport: Offering } });
}

async function joining(supabase, name, config = {}) {
  const [states, inbox] = [new Inbox(), new Inbox()];
  const channel = supabase.channel(name, { config })
    .on("broadcast", { event: "*" }, inbox.put)
    .subscribe((state, error) => states.put({ state, error: error?.message }));
  return { channel, inbox, state: (await states.take(`joining ${name}`)).state };
}

// A plain WebSocket: the subprotocol that was agreed on.
function agreed(proxy, protocols, headers) {
  const socket = new WebSocket(`ws://${proxy.address}/feed`, protocols, { headers });
  return within(new Promise((resolve, reject) => {
    socket.once("open", () => resolve({ socket, protocol: socket.protocol }));
    socket.once("error", reject);
  }), "the upgrade");
}

const emulator = await Emulator.start();
const service = await legacyService();
const proxy = await crossfade(emulator, service.port);

await test("the native lane opens when Realtime has been read back", async () => {
  for (;;) {
    const { socket, protocol } = await agreed(proxy, ["realtime", "legacy.v1"], { "x-user-id": "somebody" });
    socket.terminate();
    if (protocol === "realtime") return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});
const before = service.heads.length;

await test("the client joins, sends and hears itself, and the service hears nothing", async () => {
  const { channel, inbox, state } = await joining(through(proxy, emulator.anon), "native-1", { broadcast: { ack: true, self: true } });
  assert.equal(state, "SUBSCRIBED");
  assert.equal(await channel.send({ type: "broadcast", event: "reading", payload: { n: 1, text: "héllo" } }), "ok");
  const heard = await inbox.take("its own broadcast");
  assert.deepEqual([heard.event, heard.payload.n, heard.payload.text], ["reading", 1, "héllo"]);
  assert.equal(service.heads.length, before);
});

await test("a message crosses from a client at Supabase to one behind crossfade", async () => {
  const near = await joining(through(proxy, emulator.anon), "native-2");
  const direct = createClient(emulator.url, emulator.anon, { auth: { persistSession: false }, realtime: { transport: WebSocket } });
  const far = await joining(direct, "native-2", { broadcast: { ack: true } });
  assert.deepEqual([near.state, far.state], ["SUBSCRIBED", "SUBSCRIBED"]);
  assert.equal(await far.channel.send({ type: "broadcast", event: "reading", payload: { n: 2 } }), "ok");
  assert.equal((await near.inbox.take("the far message")).payload.n, 2);
});

await test("a private channel is refused to the anon key: crossfade's own key is nobody's", async () => {
  const { state } = await joining(through(proxy, emulator.anon), "room:1", { private: true });
  assert.equal(state, "CHANNEL_ERROR");
});

await test("a private channel is opened by the client's own token", async () => {
  const supabase = through(proxy, emulator.anon);
  await supabase.realtime.setAuth(emulator.authenticated);
  const { state } = await joining(supabase, "room:1", { private: true });
  assert.equal(state, "SUBSCRIBED");
});

await test("who does not offer realtime, or has no key, stays with the service and its credentials", async () => {
  const own = await agreed(proxy, ["legacy.v1"], { "x-user-id": "somebody", ...secrets });
  const keyless = await agreed(proxy, ["realtime", "legacy.v1"], secrets);
  assert.deepEqual([own.protocol, keyless.protocol], ["legacy.v1", "legacy.v1"]);
  for (const head of service.heads.slice(before)) {
    assert.equal(head.cookie, secrets.cookie);
    assert.equal(head.authorization, secrets.authorization);
    assert.equal(head["sec-websocket-protocol"], "legacy.v1", "the offer is taken out");
  }
  assert.equal(service.heads.length, before + 2);
});

console.log(`${passed} tests of the native lane passed`);
process.exit(0);
