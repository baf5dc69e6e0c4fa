"""Runs the Autobahn cases against an echo service twice, directly and through crossfade, and compares case by case.

    compare.py CROSSFADE [CASE ...]

Started by tests/groups/autobahn.sh, which installs the two packages. The mirror is on, against the Realtime
emulator, and must have carried messages; otherwise the comparison would be one of a plain proxy. Nothing here
judges the echo service: a case that fails both times in the same way is equal.
"""

import asyncio
import collections
import hashlib
import json
import os
import re
import signal
import sys
import tempfile
import urllib.request

from kosoku import FailureError, run_fuzzingclient

from echo import Echo

# 9.* are large messages for speed; tests/differential.rs has a 16 MiB one. Of 12.* and 13.* (compression) each
# group sends 1,000 messages per case; two of its sizes are enough to use every combination of parameters.
EXCLUDED = ["9.*"] + [f"{group}.*.{n}" for group in (12, 13) for n in range(1, 19) if n not in (1, 4)]
START_SECONDS = 30


class Process:
    """A child whose output is kept in a file and searched for a line."""

    def __init__(self, *command, **env):
        self.command, self.env = command, env

    async def __aenter__(self):
        self.log = tempfile.TemporaryFile("w+")
        env = {"PATH": os.environ.get("PATH", ""), **self.env}
        self.child = await asyncio.create_subprocess_exec(*self.command, stdout=self.log, stderr=self.log, env=env)
        return self

    async def __aexit__(self, *_):
        if self.child.returncode is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.child.wait(), 30)
            except asyncio.TimeoutError:
                self.child.kill()
                await self.child.wait()

    def text(self):
        return os.pread(self.log.fileno(), 1 << 24, 0).decode()

    async def says(self, pattern):
        for _ in range(START_SECONDS * 20):
            found = re.search(pattern, self.text(), re.MULTILINE)
            if found:
                return found.group(1)
            if self.child.returncode is not None:
                break
            await asyncio.sleep(0.05)
        sys.exit(f"{self.command} ended or hangs:\n{self.text()}")


async def run(address, cases):
    """Case to what there is to compare: verdicts, what arrived, and how the other side closed."""
    try:
        results = await run_fuzzingclient(address, cases or None, None if cases else EXCLUDED)
    except FailureError as failure:
        results = failure.results
    return {one.case_id: outcome(one) for one in results}


def outcome(one):
    arrived = hashlib.sha256(repr(one.received).encode()).hexdigest()[:16]
    close = (one.behavior_close.value, one.remote_close_code, one.remote_close_reason)
    return (one.behavior.value, arrived, *close)


def mirrored(metrics):
    """How many messages the mirror has seen and how many were read back from the emulator."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = dict(re.findall(r'^crossfade_mirror_messages_total{state="(\w+)"} (\d+)', text, re.MULTILINE))
    return int(found.get("seen", 0)), int(found.get("confirmed", 0))


async def through(binary, service, cases):
    """The same cases through `crossfade run` with the mirror on."""
    emulator = Process(binary, "emulator", "--listen", "127.0.0.1:0", "--events-per-second", "1000000")
    async with emulator:
        settings = {
            "CROSSFADE_UPSTREAM": f"ws://{service}",
            "CROSSFADE_LISTEN": "127.0.0.1:0",
            "CROSSFADE_METRICS_LISTEN": "127.0.0.1:0",
            "CROSSFADE_ADMIN_LISTEN": "127.0.0.1:0",
            "CROSSFADE_PLAN": "team",
            "CROSSFADE_DRAIN_SETTLE": "0s",
            "CROSSFADE_DRAIN_GRACE": "5s",
            "SUPABASE_URL": await emulator.says(r"^SUPABASE_URL=(\S+)"),
            "SUPABASE_KEY": await emulator.says(r"^SUPABASE_SERVICE_ROLE_KEY=(\S+)"),
        }
        async with Process(binary, "run", **settings) as proxy:
            address = await proxy.says(r'"listener":"proxy","addr":"([^"]+)"')
            metrics = await proxy.says(r'"listener":"metrics","addr":"([^"]+)"')
            verdicts = await run(address, cases)
            return verdicts, *await asyncio.to_thread(mirrored, metrics)


async def main(binary, cases):
    async with await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        direct = await run(f"{host}:{port}", cases)
        proxied, seen, confirmed = await through(binary, f"{host}:{port}", cases)
    different = sorted(case for case in direct.keys() | proxied.keys() if direct.get(case) != proxied.get(case))
    for case in different:
        print(f"case {case}: direct {direct.get(case)}, through crossfade {proxied.get(case)}")
    counts = collections.Counter(verdict for verdict, *_ in proxied.values())
    print(json.dumps(counts))
    print(f"{len(direct)} cases, {len(different)} different; the mirror saw {seen} messages, {confirmed} came back")
    if different or not direct or not confirmed:
        sys.exit(1)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
