// The bucket function once more, in JavaScript, with what a browser has built in: checks bucket.json.
//
//     bucket = (h * 100000) >> 64, h = first 8 bytes, big-endian, of SHA-256(salt + ":" + key)

import { readFile } from "node:fs/promises";

async function bucket(salt, key) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${salt}:${key}`));
  const h = new DataView(digest).getBigUint64(0, false);
  return Number((h * 100000n) >> 64n);
}

const rows = JSON.parse(await readFile(new URL("bucket.json", import.meta.url), "utf8"));
let wrong = 0;
for (const { salt, key, bucket: expected } of rows) {
  const found = await bucket(salt, key);
  if (found !== expected) {
    wrong += 1;
    console.log(`  ${JSON.stringify({ salt, key })}: ${expected} should be ${found}`);
  }
}
console.log(`${rows.length} vectors, ${wrong} wrong`);
process.exitCode = wrong || rows.length !== 1000 ? 1 : 0;
