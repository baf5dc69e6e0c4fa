# The bucket function, as published, in the languages of those who want to predict it: SHA-256 is built into each.
ran=0
if command -v python3 >/dev/null; then
  python3 - <<'PYTHON'
import hashlib, json

vectors = json.load(open("tests/vectors/bucket.json", encoding="utf-8"))
for v in vectors:
    digest = hashlib.sha256((v["salt"] + ":" + v["key"]).encode()).digest()
    bucket = (int.from_bytes(digest[:8], "big") * 100000) >> 64
    assert bucket == v["bucket"], v
assert len(vectors) == 1000
print("python3:", len(vectors), "vectors agree")
PYTHON
  ran=1
fi
if command -v node >/dev/null; then
  node - <<'NODE'
const { createHash } = require("node:crypto");
const vectors = require(process.cwd() + "/tests/vectors/bucket.json");
for (const v of vectors) {
  const digest = createHash("sha256").update(v.salt + ":" + v.key, "utf8").digest();
  const bucket = Number((digest.readBigUInt64BE(0) * 100000n) >> 64n);
  if (bucket !== v.bucket) throw new Error(JSON.stringify(v));
}
if (vectors.length !== 1000) throw new Error("1000 vectors wanted");
console.log("node:", vectors.length, "vectors agree");
NODE
  ran=1
fi
if [ "$ran" -eq 0 ]; then
  echo "skip: neither python3 nor node is here"
  exit 77
fi
