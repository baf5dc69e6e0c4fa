"""A reader of crossfade's `messages` broadcasts (envelope v1), to copy into a consumer. Standard library only.
Format: docs/envelope.md.

    reader = Reader(hold_ms=1000)
    channel.on_broadcast("messages", lambda payload: [handle(m) for m in reader.read(payload["payload"], now_ms()).messages])
    # and now and then: for message in reader.release(now_ms()): handle(message)

hold_ms = 0 hands messages out as they come; more waits so long for the ones before (classes travel at different
speeds, repetitions late), and a message that came too late even so is marked `late`.
"""

import base64
import binascii
import json
import zlib
from dataclasses import dataclass, field

FIELDS = {"to", "dir", "op", "type", "class", "path", "at", "id", "enc", "data", "len", "crc"}
OPTIONAL = {"part", "redacted"}
ENVELOPE = {"v", "src", "batch", "at", "replay", "messages"}
# Bounds, so that a long life does not fill memory.
STREAMS_MAX = 100_000
SEEN_MAX = 4096
PIECES_MAX = 1024


@dataclass
class Read:
    """What one envelope gave."""

    messages: list = field(default_factory=list)
    refused: str | None = None
    altered: int = 0
    repeated: int = 0


@dataclass
class _Stream:
    seen: set = field(default_factory=set)
    floor: int = 0  # everything up to here counts as seen
    last: int = 0  # the highest that was handed out
    waiting: dict = field(default_factory=dict)  # seq -> (message, since)


def _fault(envelope) -> str | None:
    """The first field that is wrong, or None."""
    if not isinstance(envelope, dict):
        return "envelope"
    if envelope.get("v") != 1:
        return "v"
    wrong = sorted(ENVELOPE - envelope.keys()) + sorted(envelope.keys() - ENVELOPE - {"sessions"})
    if wrong:
        return wrong[0]
    if not isinstance(envelope["messages"], list):
        return "messages"
    for message in envelope["messages"]:
        wrong = sorted(FIELDS - message.keys()) + sorted(message.keys() - FIELDS - OPTIONAL)
        if wrong:
            return wrong[0]
        if message["enc"] not in ("text", "base64"):
            return "enc"
    return None


def _bytes(message) -> bytes | None:
    """The bytes as they were sent; None if they were altered."""
    try:
        if message["enc"] == "text":
            data = message["data"].encode("utf-8")
        else:
            data = base64.b64decode(message["data"], validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    intact = len(data) == message["len"] and f"{zlib.crc32(data):08x}" == message["crc"]
    return data if intact else None


class Reader:
    """Checks, puts together, drops repetitions, puts in order."""

    def __init__(self, hold_ms: int = 0):
        self._hold_ms = hold_ms
        self._streams: dict = {}
        self._pieces: dict = {}

    def read(self, payload, now: int) -> Read:
        """Takes one envelope, as a dict or as text."""
        out = Read()
        envelope = payload
        if isinstance(payload, str):
            try:
                envelope = json.loads(payload)
            except ValueError:
                envelope = None
        out.refused = _fault(envelope)
        if out.refused:
            return out
        for carried in envelope["messages"]:
            data = _bytes(carried)
            if data is None:
                out.altered += 1
                continue
            for session, seq in carried["to"]:
                self._take(envelope, carried, data, session, seq, now, out)
        out.messages.extend(self.release(now))
        return out

    def release(self, now: int) -> list:
        """What has waited long enough; call it now and then when hold_ms is set."""
        ready = []
        for stream in self._streams.values():
            for seq in sorted(stream.waiting):
                message, since = stream.waiting[seq]
                if seq > stream.last + 1 and now - since < self._hold_ms:
                    break
                del stream.waiting[seq]
                ready.append({**message, "late": seq < stream.last})
                stream.last = max(stream.last, seq)
        return ready

    def _take(self, envelope, carried, data, session, seq, now, out):
        name = (envelope["src"], session, carried["dir"])
        stream = self._bounded(self._streams, name, STREAMS_MAX, _Stream)
        if seq <= stream.floor or seq in stream.seen:
            out.repeated += 1
            return
        if "part" in carried:
            data = self._join((name, seq), *carried["part"], data)
            if data is None:
                return
        stream.seen.add(seq)
        if len(stream.seen) > SEEN_MAX:
            oldest = min(stream.seen)
            stream.seen.discard(oldest)
            stream.floor = max(stream.floor, oldest)
        message = {key: carried[key] for key in ("dir", "op", "type", "class", "path", "at", "id")}
        message |= {"src": envelope["src"], "session": session, "seq": seq, "replay": envelope["replay"]}
        message |= {"redacted": carried.get("redacted", False), "data": data}
        stream.waiting[seq] = (message, now)

    def _join(self, name, number, of, data):
        """The whole message, once all its pieces are here."""
        pieces = self._bounded(self._pieces, name, PIECES_MAX, dict)
        if any(total != of for total, _ in pieces.values()):
            pieces.clear()
        pieces[number] = (of, data)
        if len(pieces) < of:
            return None
        del self._pieces[name]
        return b"".join(pieces[i][1] for i in range(1, of + 1))

    @staticmethod
    def _bounded(table, name, most, make):
        if name not in table:
            if len(table) >= most:
                del table[next(iter(table))]
            table[name] = make()
        return table[name]
