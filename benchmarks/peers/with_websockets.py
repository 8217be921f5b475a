"""An echo and rooms in websockets, on uvloop. The rooms use its function `broadcast`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

rooms: defaultdict[str, set[ServerConnection]] = defaultdict(set)


async def attend(connection: ServerConnection) -> None:
    assert connection.request is not None
    _, kind, room = connection.request.path.split("/")
    members = rooms[room]
    members.add(connection)
    try:
        async for text in connection:
            event = json.loads(text)
            if kind == "echo":
                await connection.send(json.dumps(event))
            else:
                broadcast(members, json.dumps(event))
    finally:
        members.discard(connection)


async def main(port: int) -> None:
    async with serve(attend, "127.0.0.1", port, compression=None, backlog=4096):
        await asyncio.get_running_loop().create_future()


uvloop.run(main(int(sys.argv[1])))
