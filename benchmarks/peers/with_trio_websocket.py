"""An echo and rooms in trio-websocket. Each member of a room has a queue, and a task that writes the queued
messages."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from contextlib import suppress

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

rooms: defaultdict[str, set[trio.MemorySendChannel[str]]] = defaultdict(set)


async def attend(request: WebSocketRequest) -> None:
    socket = await request.accept()
    _, kind, room = request.path.split("/")
    send, receive = trio.open_memory_channel[str](1000)

    async def write() -> None:
        with suppress(ConnectionClosed):
            async for text in receive:
                await socket.send_message(text)

    async with trio.open_nursery() as nursery:
        if kind == "room":
            rooms[room].add(send)
            nursery.start_soon(write)
        with suppress(ConnectionClosed):
            while True:
                text = json.dumps(json.loads(await socket.get_message()))
                if kind == "echo":
                    await socket.send_message(text)
                    continue
                for member in rooms[room]:
                    member.send_nowait(text)
        rooms[room].discard(send)
        nursery.cancel_scope.cancel()


trio.run(serve_websocket, attend, "127.0.0.1", int(sys.argv[1]), None)
