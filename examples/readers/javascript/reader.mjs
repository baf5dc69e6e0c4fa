// A reader of crossfade's `messages` broadcasts (envelope v1), to copy into a consumer. No dependencies; runs in
// browsers, Deno and Node. Format: docs/envelope.md.
//
//   const reader = new Reader({ holdMs: 1000 });
//   channel.on("broadcast", { event: "messages" }, ({ payload }) => {
//     for (const message of reader.read(payload, Date.now()).messages) handle(message);
//   });
//   setInterval(() => reader.release(Date.now()).forEach(handle), 250);
//
// holdMs = 0 hands messages out as they come; more waits so long for the ones before (classes travel at different
// speeds, repetitions late), and a message that came too late even so is marked `late`. Sequence numbers are exact
// up to 2^53.

const FIELDS = ["to", "dir", "op", "type", "class", "path", "at", "id", "enc", "data", "len", "crc"];
const OPTIONAL = ["part", "redacted"];
const ENVELOPE = ["v", "src", "batch", "at", "replay", "messages"];
/** Bounds, so that a long life does not fill memory. */
const STREAMS_MAX = 100_000;
const SEEN_MAX = 4096;
const PIECES_MAX = 1024;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n >>> 0;
});

export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return ((crc ^ 0xffffffff) >>> 0).toString(16).padStart(8, "0");
}

function bytesOf(message) {
  if (message.enc === "text") return new TextEncoder().encode(message.data);
  return Uint8Array.from(atob(message.data), (c) => c.charCodeAt(0));
}

/** The first field that is wrong, or null. */
function fault(envelope) {
  if (typeof envelope !== "object" || envelope === null) return "envelope";
  if (envelope.v !== 1) return "v";
  const missing = ENVELOPE.find((field) => !(field in envelope));
  if (missing) return missing;
  const unknown = Object.keys(envelope).find((field) => !ENVELOPE.includes(field) && field !== "sessions");
  if (unknown) return unknown;
  if (!Array.isArray(envelope.messages)) return "messages";
  for (const message of envelope.messages) {
    const wrong = FIELDS.find((field) => !(field in message))
      ?? Object.keys(message).find((field) => !FIELDS.includes(field) && !OPTIONAL.includes(field));
    if (wrong) return wrong;
    if (message.enc !== "text" && message.enc !== "base64") return "enc";
  }
  return null;
}

class Stream {
  seen = new Set();
  floor = 0; // everything up to here counts as seen
  last = 0; // the highest that was handed out
  waiting = new Map(); // seq -> { message, since }
}

export class Reader {
  #holdMs;
  #streams = new Map();
  #pieces = new Map();

  constructor({ holdMs = 0 } = {}) {
    this.#holdMs = holdMs;
  }

  /** Takes one envelope, as an object or as text: { messages, refused, altered, repeated }. */
  read(payload, now) {
    const out = { messages: [], refused: null, altered: 0, repeated: 0 };
    let envelope = payload;
    if (typeof payload === "string") {
      try {
        envelope = JSON.parse(payload);
      } catch {
        envelope = null;
      }
    }
    out.refused = fault(envelope);
    if (out.refused) return out;
    for (const carried of envelope.messages) {
      let data;
      try {
        data = bytesOf(carried);
      } catch {
        data = new Uint8Array();
      }
      if (data.length !== carried.len || crc32(data) !== carried.crc) {
        out.altered++;
        continue;
      }
      for (const [session, seq] of carried.to) this.#take(envelope, carried, data, session, seq, now, out);
    }
    out.messages.push(...this.release(now));
    return out;
  }

  /** What has waited long enough; call it now and then when holdMs is set. */
  release(now) {
    const ready = [];
    for (const stream of this.#streams.values()) {
      if (stream.waiting.size === 0) continue;
      for (const seq of [...stream.waiting.keys()].sort((a, b) => a - b)) {
        const { message, since } = stream.waiting.get(seq);
        if (seq > stream.last + 1 && now - since < this.#holdMs) break;
        stream.waiting.delete(seq);
        ready.push({ ...message, late: seq < stream.last });
        stream.last = Math.max(stream.last, seq);
      }
    }
    return ready;
  }

  #take(envelope, carried, data, session, seq, now, out) {
    const name = JSON.stringify([envelope.src, session, carried.dir]);
    const stream = this.#stream(name);
    if (seq <= stream.floor || stream.seen.has(seq)) {
      out.repeated++;
      return;
    }
    const whole = carried.part ? this.#join(`${name} ${seq}`, carried.part, data) : data;
    if (!whole) return;
    stream.seen.add(seq);
    if (stream.seen.size > SEEN_MAX) {
      const oldest = Math.min(...stream.seen);
      stream.seen.delete(oldest);
      stream.floor = Math.max(stream.floor, oldest);
    }
    const { dir, op, type, path, at, id } = carried;
    const message = {
      src: envelope.src, session, seq, dir, op, type, class: carried.class, path, at, id,
      replay: envelope.replay, redacted: carried.redacted === true, data: whole,
    };
    stream.waiting.set(seq, { message, since: now });
  }

  /** The whole message, once all its pieces are here. */
  #join(name, [number, of], data) {
    let pieces = this.#pieces.get(name);
    if (!pieces || pieces.of !== of) {
      pieces = { of, parts: new Map() };
      this.#pieces.set(name, pieces);
      if (this.#pieces.size > PIECES_MAX) this.#pieces.delete(this.#pieces.keys().next().value);
    }
    pieces.parts.set(number, data);
    if (pieces.parts.size < of) return null;
    this.#pieces.delete(name);
    const parts = Array.from({ length: of }, (_, i) => pieces.parts.get(i + 1));
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  #stream(name) {
    let stream = this.#streams.get(name);
    if (!stream) {
      stream = new Stream();
      this.#streams.set(name, stream);
      if (this.#streams.size > STREAMS_MAX) this.#streams.delete(this.#streams.keys().next().value);
    }
    return stream;
  }
}
