// Both ends of many sessions in a process of its own: a WebSocket service, and clients that read what it says.
// Frames are written by hand: nine thousand sockets want little of each. Words on standard input: `connect PORT`,
// `say FEWER` (each message goes to one of so many sessions, in turn).
import { createHash } from "node:crypto";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";

const SESSIONS = Number(process.argv[2]);
const AT_ONCE = 100;
const served = [];
const clients = [];
let counter = 0;

/** A short text frame as a server writes it. */
function frame(text) {
  const body = Buffer.from(text);
  const head = body.length < 126 ? Buffer.from([0x81, body.length]) : Buffer.from([0x81, 126, body.length >> 8, body.length & 255]);
  return Buffer.concat([head, body]);
}

const service = createServer({ noDelay: true }, (socket) => {
  let asked = "";
  socket.on("error", () => {});
  socket.on("data", function upgrade(data) {
    asked += data.toString("latin1");
    if (!asked.includes("\r\n\r\n")) return;
    socket.off("data", upgrade).resume();
    const key = /sec-websocket-key: *(\S+)/i.exec(asked)[1];
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    served.push(socket);
  });
});

function enter(port, index) {
  return new Promise((done, failed) => {
    const socket = connect(port, "127.0.0.1");
    let heard = "";
    socket.on("error", failed);
    socket.on("close", () => failed(new Error("closed")));
    socket.on("data", function answer(data) {
      heard += data.toString("latin1");
      if (!heard.includes("\r\n\r\n")) return;
      socket.off("data", answer).resume();
      if (!heard.startsWith("HTTP/1.1 101")) return failed(new Error(heard.split("\r\n")[0]));
      clients.push(socket);
      done();
    });
    socket.write(`GET /feed HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nx-user-id: user-${index}\r\n\r\n`);
  });
}

async function all(port) {
  for (let from = 0; from < SESSIONS; from += AT_ONCE) {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, SESSIONS - from) }, (_, at) => enter(port, from + at)));
    console.log(`open=${clients.length}`);
  }
  console.log("all=open");
}

function say(each) {
  setInterval(() => {
    for (let at = counter % each; at < served.length; at += each) {
      served[at].write(frame(JSON.stringify({ event: "price", symbol: "AB", price: 100 + (counter % 50), sent_at: counter, n: counter })));
    }
    counter += 1;
  }, 100);
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const [word, value] = line.split(" ");
  if (word === "connect") all(Number(value)).catch((error) => { console.log(`failed=${error.message}`); process.exit(1); });
  if (word === "say") say(Number(value));
}).on("close", () => process.exit(0));
service.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => console.log(`service=${service.address().port}`));
