"""The service of a pod, and its clients. Each writes what it has seen, and knows nothing of crossfade.

Usage: pod_load.py service PORT LOG | pod_load.py crowd URL COUNT LOG
"""

import asyncio
import collections
import json
import pathlib
import signal
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

# Numbered messages, one a session and turn.
TURN = 0.5
# A session that has seen so many in either direction is under way.
STEADY = 8


async def service(port, log):
    sessions = collections.defaultdict(lambda: {"read": [], "written": [], "peer": None})
    gone = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)

    async def speak(socket, seen):
        for n in range(1_000_000):
            text = f"news {n}"
            seen["written"].append(text)
            await socket.send(text)
            await asyncio.sleep(TURN)

    async def session(socket):
        seen = sessions[socket.request.headers["x-user-id"]]
        seen["peer"] = socket.remote_address[0]
        speaking = asyncio.create_task(speak(socket, seen))
        try:
            async for text in socket:
                seen["read"].append(text)
        except ConnectionClosed:
            pass
        finally:
            speaking.cancel()
            seen["code"] = socket.close_code

    async with serve(session, "0.0.0.0", port, ping_interval=None, backlog=1024):
        await gone.wait()
    pathlib.Path(log).write_text(json.dumps(sessions))


async def client(url, user, seen, may_start):
    async with may_start:
        socket = await connect(url, additional_headers={"x-user-id": user}, ping_interval=None, open_timeout=60)

    async def speak():
        for n in range(1_000_000):
            await socket.send(f"said {n}")
            seen["sent"].append(f"said {n}")
            await asyncio.sleep(TURN)

    speaking = asyncio.create_task(speak())
    try:
        async for text in socket:
            seen["received"].append(text)
    except ConnectionClosed:
        pass
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    seen["code"] = socket.close_code


async def crowd(url, count, log):
    seen = {str(n): {"sent": [], "received": [], "code": None} for n in range(count)}
    may_start = asyncio.Semaphore(20)
    clients = [asyncio.create_task(client(url, user, of, may_start)) for user, of in seen.items()]

    async def steady():
        while min(min(len(one["sent"]), len(one["received"])) for one in seen.values()) < STEADY:
            await asyncio.sleep(0.1)
        print("steady", flush=True)

    watching = asyncio.create_task(steady())
    await asyncio.gather(*clients)
    watching.cancel()
    pathlib.Path(log).write_text(json.dumps(seen))


if __name__ == "__main__":
    if sys.argv[1] == "service":
        asyncio.run(service(int(sys.argv[2]), sys.argv[3]))
    else:
        asyncio.run(crowd(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
