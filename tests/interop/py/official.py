"""The official Python client (PyPI `realtime`) against the emulator, judged by what recording 13 saw at a real server."""

import asyncio
import json
import os
import re
import signal
import sys
import urllib.request

from realtime import AsyncRealtimeClient, RealtimeSubscribeStates

HANG = 30.0
SUBSCRIBED = RealtimeSubscribeStates.SUBSCRIBED
TABLE = (
    "monitoring_events(id uuid primary key default gen_random_uuid(), event_type text, timestamp timestamptz, "
    "data jsonb, source text, created_at timestamptz default now())"
)
ROWS = ["--table", TABLE, "--table-policy", "anon:monitoring_events:rw"]
RECORDING = "tests/wire/recordings/13-official-python-client.jsonl"


def notes():
    with open(RECORDING, encoding="utf-8") as lines:
        return [line["text"] for line in map(json.loads, lines) if line["kind"] == "note"]


class Emulator:
    """`crossfade emulator` as a process, and the environment file that it prints."""

    @classmethod
    async def start(cls, listen="127.0.0.1:0"):
        self = cls()
        self.process = await asyncio.create_subprocess_exec(
            os.environ["CROSSFADE"], "emulator", "--listen", listen, *ROWS, stdout=asyncio.subprocess.PIPE
        )
        RUNNING.append(self.process)
        env = {}
        while "SUPABASE_SERVICE_ROLE_KEY" not in env:
            line = (await asyncio.wait_for(self.process.stdout.readline(), HANG)).decode()
            assert line, "the emulator did not start"
            name, _, value = line.strip().partition("=")
            env[name] = value
        self.url = env["SUPABASE_URL"]
        self.anon = env["SUPABASE_ANON_KEY"]
        self.authenticated = env["AUTHENTICATED_TOKEN"]
        return self

    async def kill(self):
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def client(self, key=None, **options):
        return AsyncRealtimeClient(f"{self.url}/realtime/v1", key or self.anon, **options)


RUNNING = []


class Channel:
    """One joined channel: what its callbacks said, to be awaited one by one."""

    def __init__(self, client, name, event="reading", **config):
        self.states, self.heard = asyncio.Queue(), asyncio.Queue()
        self.channel = client.channel(name, {"config": config})
        self.channel.on_broadcast(event, self.heard.put_nowait)

    async def join(self):
        await self.channel.subscribe(lambda state, error=None: self.states.put_nowait((state, error)))
        return self

    async def state(self):
        return await asyncio.wait_for(self.states.get(), HANG)

    async def hear(self):
        return await asyncio.wait_for(self.heard.get(), HANG)


async def joined(client, name, **config):
    channel = await Channel(client, name, **config).join()
    assert await channel.state() == (SUBSCRIBED, None), name
    return channel


async def own_broadcast_comes_back(emulator):
    client = emulator.client()
    own = await joined(client, "py-1", broadcast={"ack": True, "self": True})
    await own.channel.send_broadcast("reading", {"n": 1})
    got = await own.hear()
    told = {name: got[name] for name in ("event", "payload")}
    assert f"callback got {json.dumps(told)}" in notes(), got
    await client.close()


async def two_clients_hear_each_other(emulator):
    one, two = emulator.client(), emulator.client()
    a, b = await joined(one, "both"), await joined(two, "both")
    await a.channel.send_broadcast("reading", {"from": "a", "text": "héllo"})
    assert (await b.hear())["payload"] == {"from": "a", "text": "héllo"}
    await b.channel.send_broadcast("reading", {"from": "b"})
    # Without `self` a hears nothing of its own, so b's is the first.
    assert (await a.hear())["payload"] == {"from": "b"}
    await one.close()
    await two.close()


async def http_send_reaches_a_listener(emulator):
    client = emulator.client()
    listener = await joined(client, "http")
    await client.channel("http-sender").http_send("reading", {"n": 2})
    other = emulator.client()
    await other.channel("http").http_send("reading", {"n": 3})
    assert (await listener.hear())["payload"] == {"n": 3}
    await client.close()


async def presence_is_tracked(emulator):
    client, synced, states = emulator.client(), asyncio.Queue(), asyncio.Queue()
    channel = client.channel("py-3", {"config": {"presence": {"key": "me", "enabled": True}}})
    channel.on_presence_sync(lambda: synced.put_nowait(dict(channel.presence_state())))
    await channel.subscribe(lambda state, error=None: states.put_nowait(state))
    assert await asyncio.wait_for(states.get(), HANG) == SUBSCRIBED
    assert await asyncio.wait_for(synced.get(), HANG) == {}
    await channel.track({"a": 1})
    assert (await asyncio.wait_for(synced.get(), HANG))["me"][0]["a"] == 1
    await client.close()


def alike(told):
    """Made-up ids and times, each by what it is; key order is the parser's."""
    text = json.dumps({**told, "ids": len(told["ids"])}, sort_keys=True)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", r"TIME\1", text)


def put_row(emulator, row):
    headers = {"apikey": emulator.anon, "content-type": "application/json"}
    body = json.dumps(row).encode()
    request = urllib.request.Request(f"{emulator.url}/rest/v1/monitoring_events", body, headers)
    with urllib.request.urlopen(request, timeout=HANG) as answer:
        return answer.status


async def postgres_changes_are_told_as_recorded(emulator):
    client, systems, rows = emulator.client(), asyncio.Queue(), asyncio.Queue()
    channel = client.channel("py-4")
    channel.on_postgres_changes("INSERT", rows.put_nowait, table="monitoring_events", schema="public")
    channel.on_system(systems.put_nowait)
    await channel.subscribe()
    assert "Subscribed to PostgreSQL" in str(await asyncio.wait_for(systems.get(), HANG))
    row = {"event_type": "py", "timestamp": "now", "data": {}, "source": "py"}
    assert await asyncio.to_thread(put_row, emulator, row) == 201
    got = alike(await asyncio.wait_for(rows.get(), HANG))
    start = 'callback got {"data"'
    recorded = [note.removeprefix("callback got ") for note in notes() if note.startswith(start)]
    assert got in [alike(json.loads(note)) for note in recorded], got
    await client.close()


async def a_new_token_is_taken_while_joined(emulator):
    client = emulator.client()
    own = await joined(client, "py-1", broadcast={"self": True})
    await client.set_auth(emulator.authenticated)
    await own.channel.send_broadcast("reading", {"n": 4})
    assert (await own.hear())["payload"] == {"n": 4}
    await client.close()


async def private_topic_without_policy_is_refused(emulator):
    client = emulator.client()
    await client.set_auth(emulator.authenticated)
    secret = await Channel(client, "secret", private=True).join()
    state, error = await secret.state()
    assert state == RealtimeSubscribeStates.CHANNEL_ERROR, state
    wanted = "Unauthorized: You do not have permissions to read from this Channel topic: secret"
    assert wanted in str(error), error
    await client.close()


async def wrong_key_is_refused(emulator):
    head, body, _ = emulator.anon.split(".")
    client = emulator.client(f"{head}.{body}.{'A' * 43}", auto_reconnect=False)
    try:
        await client.connect()
    except Exception as error:
        assert "401" in str(error), error
    else:
        raise AssertionError("a forged key was accepted")


async def leave_says_closed(emulator):
    client = emulator.client()
    channel = await joined(client, "py-2")
    await channel.channel.unsubscribe()
    assert (await channel.state())[0] == RealtimeSubscribeStates.CLOSED
    await client.close()


async def reconnects_after_a_restart(emulator):
    client = emulator.client(initial_backoff=0.2, max_retries=20)
    channel = await joined(client, "again")
    await emulator.kill()
    assert (await channel.state())[0] == RealtimeSubscribeStates.CHANNEL_ERROR
    emulator.__dict__.update((await Emulator.start(emulator.url.removeprefix("http://"))).__dict__)
    while (await channel.state())[0] != SUBSCRIBED:
        pass
    sender = await joined(emulator.client(), "again")
    await sender.channel.send_broadcast("reading", {"n": 9})
    assert (await channel.hear())["payload"] == {"n": 9}
    await client.close()


TESTS = [
    own_broadcast_comes_back,
    two_clients_hear_each_other,
    http_send_reaches_a_listener,
    presence_is_tracked,
    postgres_changes_are_told_as_recorded,
    a_new_token_is_taken_while_joined,
    leave_says_closed,
    private_topic_without_policy_is_refused,
    wrong_key_is_refused,
    reconnects_after_a_restart,
]


async def main():
    try:
        return await run_all(await Emulator.start())
    finally:
        for process in RUNNING:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def run_all(emulator):
    failed = 0
    for test in TESTS:
        try:
            await asyncio.wait_for(test(emulator), 2 * HANG)
            print(f"ok: {test.__name__}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAILED: {test.__name__}: {error!r}", flush=True)
    print(f"{len(TESTS) - failed} passed, {failed} failed", flush=True)
    return failed


sys.exit(min(asyncio.run(main()), 1))
