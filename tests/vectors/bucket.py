"""The bucket function once more, in Python: checks bucket.json, or writes it with --write.

    bucket = (h * 100000) >> 64, h = first 8 bytes, big-endian, of SHA-256(salt + ":" + key)
"""

import hashlib
import json
import pathlib
import sys

FILE = pathlib.Path(__file__).with_name("bucket.json")


def bucket(salt: str, key: str) -> int:
    digest = hashlib.sha256(f"{salt}:{key}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") * 100_000) >> 64


def inputs():
    """1,000 pairs: ordinary keys, awkward ones, several salts."""
    awkward = ["", ":", "a:b", " ", "0", "user 1", "Zoë", "日本語", "🙂", "a" * 500, "\"quoted\"", "\t", "key\n", "null"]
    for salt in ["crossfade", "mirror", "", "a:b", "größe"]:
        for key in awkward:
            yield salt, key
    for number in range(330):
        yield "crossfade", str(number)
        yield "crossfade", f"user-{number}@example.com"
    for number in range(135):
        yield "mirror", f"user-{number}@example.com"
        yield "checkout-2027", hashlib.md5(str(number).encode()).hexdigest()


def main() -> int:
    if "--write" in sys.argv[1:]:
        rows = [{"salt": salt, "key": key, "bucket": bucket(salt, key)} for salt, key in inputs()]
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    rows = json.loads(FILE.read_text(encoding="utf-8"))
    wrong = [row for row in rows if bucket(row["salt"], row["key"]) != row["bucket"]]
    print(f"{len(rows)} vectors, {len(wrong)} wrong")
    for row in wrong[:10]:
        print(f"  {row} should be {bucket(row['salt'], row['key'])}")
    return 1 if wrong or len(rows) != 1000 else 0


if __name__ == "__main__":
    sys.exit(main())
