"""Holds the reader, and the published schema, against the shared vectors."""

import base64
import json
import pathlib
import sys

from reader import Reader

ROOT = pathlib.Path(__file__).resolve().parents[3]
VECTORS = ROOT / "tests/vectors/envelope"


def load(name):
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def shown(message):
    return {**message, "data": base64.b64encode(message["data"]).decode()}


def readers() -> int:
    checked = 0
    for scene in load("reader.json"):
        reader = Reader(scene["hold_ms"])
        for index, step in enumerate(scene["steps"]):
            got = reader.read(step["envelope"], step["now"])
            where = f"{scene['name']}, step {index}"
            assert (got.refused, got.altered, got.repeated) == (step["refused"], step["altered"], step["repeated"]), where
            assert [shown(message) for message in got.messages] == step["messages"], where
            checked += 1
    for case in load("altered.json"):
        assert Reader().read(case["envelope"], 0).altered == len(case["altered"]), case["name"]
        checked += 1
    for case in load("refused.json"):
        if case["fault"] in ("missing", "unknown", "version") and '"sessions"' not in case["envelope"]:
            assert Reader().read(case["envelope"], 0).refused, case["name"]
            checked += 1
    return checked


def schema() -> int:
    """Everything that our encoder writes is valid; what a schema can refuse of the refused texts is refused."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json.loads((ROOT / "docs/envelope.schema.json").read_text(encoding="utf-8")))
    texts = [path.read_text(encoding="utf-8") for path in VECTORS.glob("*.json") if path.read_text()[:1] == "{"]
    texts += [step["envelope"] for scene in load("reader.json") for step in scene["steps"] if not step["refused"]]
    for text in texts:
        validator.validate(json.loads(text))
    refused = 0
    for case in load("refused.json"):
        if case["fault"] in ("missing", "unknown"):
            assert not validator.is_valid(json.loads(case["envelope"])), case["name"]
            refused += 1
    assert len(texts) > 10 and refused > 10
    return len(texts) + refused


if __name__ == "__main__":
    print(f"python: {readers()} steps as they should be")
    if "--schema" in sys.argv[1:]:
        print(f"schema: {schema()} texts as they should be")
