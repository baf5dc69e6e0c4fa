"""A dashboard feed as many teams have it: everyone gets every price, and may say something. Knows nothing of crossfade."""

import asyncio
import itertools
import json
import os
import signal
from http import HTTPStatus

from websockets.asyncio.server import broadcast, serve

clients = set()


async def session(socket):
    clients.add(socket)
    try:
        await socket.send(json.dumps({"type": "welcome"}))
        async for message in socket:
            await socket.send(message)
    finally:
        clients.discard(socket)


def health(connection, request):
    if "Upgrade" not in request.headers:
        return connection.respond(HTTPStatus.OK, "ok\n")
    return None


async def main():
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    async with serve(session, os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "3000")), process_request=health):
        for n in itertools.count():
            broadcast(clients, json.dumps({"type": "price", "n": n}))
            done, _ = await asyncio.wait([stop], timeout=0.2)
            if done:
                return


asyncio.run(main())
