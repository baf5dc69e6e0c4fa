// The official JavaScript client against the emulator: what recording 12 saw at a real server must be seen here.
// What the client itself says is read from the recording, so that the expectations are not ours to bend.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Emulator } from "./emulator.mjs";
import { Inbox, within } from "./inbox.mjs";

const installed = createRequire(process.env.MODULES);
const { createClient } = installed("@supabase/supabase-js");
const WebSocket = installed("ws");

const notes = readFileSync("tests/wire/recordings/12-official-js-client.jsonl", "utf8")
  .trim().split("\n").map((line) => JSON.parse(line))
  .filter((line) => line.kind === "note").map((line) => line.text);

let passed = 0;
async function test(name, body) {
  await within(body(), name);
  passed += 1;
  console.log(`ok: ${name}`);
}

function client(emulator, key = emulator.anon, realtime = {}) {
  const auth = { persistSession: false, autoRefreshToken: false };
  return createClient(emulator.url, key, { auth, realtime: { transport: WebSocket, ...realtime } });
}

async function joined(supabase, name, config = {}) {
  const [states, inbox] = [new Inbox(), new Inbox()];
  const channel = supabase.channel(name, { config })
    .on("broadcast", { event: "*" }, inbox.put)
    .subscribe((state, error) => states.put({ state, error: error?.message }));
  assert.equal((await states.take(`joining ${name}`)).state, "SUBSCRIBED");
  return { channel, inbox, states };
}

const hex = (buffer) => Buffer.from(buffer).toString("hex");
// As the recorder wrote a callback down.
function told(message) {
  const payload = message.payload instanceof ArrayBuffer ? { arraybuffer: hex(message.payload) } : message.payload;
  return `callback got ${JSON.stringify({ type: message.type, event: message.event, payload })}`;
}

let emulator = await Emulator.start();
const supabase = client(emulator);

await test("send before subscribe goes over HTTP and reaches a listener as text", async () => {
  const listener = await joined(client(emulator), "early");
  const early = supabase.channel("early");
  assert.equal(await early.send({ type: "broadcast", event: "reading", payload: { early: 1 } }), "ok");
  assert.deepEqual((await listener.inbox.take("the early message")).payload, { early: 1 });
});

await test("httpSend succeeds", async () => {
  const sent = await supabase.channel("early-2").httpSend("reading", { n: 1 });
  assert.ok(notes.includes(`→ ${JSON.stringify(sent)}`), JSON.stringify(sent));
});

await test("own broadcasts of every payload come back as the recording has them", async () => {
  const { channel, inbox } = await joined(supabase, "js-1", { broadcast: { ack: true, self: true } });
  const sends = [
    { event: "reading", payload: { n: 1, text: "héllo" } },
    { event: "reading", payload: new Uint8Array([0, 1, 255]).buffer },
    { event: "reading" },
    { event: "mesure-é", payload: { n: 3 } },
  ];
  for (const send of sends) {
    assert.equal(await channel.send({ type: "broadcast", ...send }), "ok");
    const got = told(await inbox.take(send.event));
    assert.ok(notes.includes(got), `${got} is not in the recording`);
  }
});

await test("two clients hear each other: binary JSON, bytes, and text of a 1.0.0 sender", async () => {
  const [second, old] = [client(emulator), client(emulator, emulator.anon, { vsn: "1.0.0" })];
  const config = { broadcast: { ack: true } };
  const [a, b, c] = [await joined(supabase, "both", config), await joined(second, "both", config),
    await joined(old, "both", config)];
  const say = (who, payload) => who.channel.send({ type: "broadcast", event: "say", payload });
  assert.equal(await say(a, { from: "a" }), "ok");
  assert.deepEqual((await b.inbox.take("a to b")).payload, { from: "a" });
  assert.deepEqual((await c.inbox.take("a to c")).payload, { from: "a" });
  assert.equal(await say(b, new Uint8Array([1, 2, 3]).buffer), "ok");
  assert.equal(hex((await a.inbox.take("bytes, b to a")).payload), "010203");
  assert.equal(await say(c, { from: "c" }), "ok");
  assert.deepEqual((await a.inbox.take("text, c to a")).payload, { from: "c" });
  // Bytes never reach 1.0.0 listeners, so the next that b hears is c's, and c has heard nothing since a's.
  assert.deepEqual((await b.inbox.take("text, c to b")).payload, { from: "c" });
  assert.equal(c.inbox.events.length, 0);
  await Promise.all([second.removeAllChannels(), old.removeAllChannels()]);
});

await test("presence: track and untrack", async () => {
  const syncs = new Inbox();
  const states = new Inbox();
  const channel = supabase.channel("js-3", { config: { presence: { key: "me" } } });
  channel.on("presence", { event: "sync" }, () => syncs.put(channel.presenceState())).subscribe(states.put);
  assert.equal(await states.take("joining js-3"), "SUBSCRIBED");
  assert.deepEqual(await syncs.take("the first sync"), {});
  assert.equal(await channel.track({ a: 1 }), "ok");
  assert.equal((await syncs.take("the track")).me[0].a, 1);
  assert.equal(await channel.untrack(), "ok");
  assert.deepEqual(await syncs.take("the untrack"), {});
});

// Made-up ids and times, each by what it is.
const alike = (text) => text.replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "ID")
  .replace(/\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)/g, "TIME$1");

await test("postgres_changes: subscribed, told of a row as in the recording", async () => {
  const [systems, rows] = [new Inbox(), new Inbox()];
  const channel = supabase.channel("js-4")
    .on("system", {}, (told) => systems.put(`callback: system ${JSON.stringify(told)}`))
    .on("postgres_changes", { event: "INSERT", schema: "public", table: "monitoring_events" },
      (told) => rows.put(`callback got ${JSON.stringify(told)}`))
    .subscribe();
  const system = await systems.take("the system message");
  assert.ok(notes.includes(system), system);
  const row = { event_type: "js", timestamp: "now", data: { v: 1 }, source: "js" };
  const { error } = await supabase.from("monitoring_events").insert(row);
  assert.equal(error, null);
  const got = alike(await rows.take("the row"));
  assert.ok(notes.map(alike).includes(got), `${got} is not in the recording`);
  await supabase.removeChannel(channel);
});

await test("a new token, a private channel that policies allow and one that they deny", async () => {
  await supabase.realtime.setAuth(emulator.authenticated);
  const room = await joined(supabase, "room:js", { private: true, broadcast: { ack: true } });
  assert.equal(await room.channel.send({ type: "broadcast", event: "reading", payload: { n: 5 } }), "ok");
  const states = new Inbox();
  const secret = supabase.channel("secret", { config: { private: true } })
    .subscribe((state, error) => states.put(`client says: channel secret ${state} ${error?.message ?? ""}`.trim()));
  const refused = await states.take("the refusal");
  assert.ok(refused.includes("CHANNEL_ERROR") && notes.includes(refused), refused);
  await supabase.removeChannel(secret);
});

await test("unsubscribe says ok and CLOSED", async () => {
  const { channel, states } = await joined(supabase, "js-2");
  assert.equal(await channel.unsubscribe(), "ok");
  assert.equal((await states.take("the end of js-2")).state, "CLOSED");
});

// The part of `key` that is signed stays; the signature is another.
const forged = (key) => `${key.split(".").slice(0, 2).join(".")}.${Buffer.alloc(32).toString("base64url")}`;

await test("a wrong key is refused with 401 and the client says so", async () => {
  const url = `${emulator.url.replace("http", "ws")}/realtime/v1/websocket?vsn=2.0.0&apikey=${forged(emulator.anon)}`;
  const [status, body] = await new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    socket.on("open", () => reject(new Error("a forged key was accepted")));
    socket.on("error", () => {});
    socket.on("unexpected-response", async (_, answer) => {
      let text = "";
      for await (const chunk of answer) text += chunk;
      resolve([answer.statusCode, text]);
    });
  });
  assert.equal(status, 401);
  assert.deepEqual(JSON.parse(body), { error: "Failed to validate JWT signature" });
  const [wrong, states] = [client(emulator, forged(emulator.anon)), new Inbox()];
  wrong.channel("x").subscribe((state) => states.put(state));
  assert.equal(await states.take("the wrong key's answer"), "CHANNEL_ERROR");
  await wrong.removeAllChannels();
  await wrong.realtime.disconnect();
});

await test("a killed emulator: the client reconnects, rejoins and hears again", async () => {
  const { inbox, states } = await joined(supabase, "again");
  const address = emulator.address();
  await emulator.kill();
  await states.until((event) => event.state === "CHANNEL_ERROR", "the loss");
  emulator = await Emulator.start(address);
  await states.until((event) => event.state === "SUBSCRIBED", "the return");
  const sender = await joined(client(emulator), "again", { broadcast: { ack: true } });
  assert.equal(await sender.channel.send({ type: "broadcast", event: "back", payload: { n: 9 } }), "ok");
  assert.deepEqual((await inbox.take("a message after the return")).payload, { n: 9 });
});

await emulator.kill();
console.log(`${passed} passed, 0 failed`);
process.exit(0);
