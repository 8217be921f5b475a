"""An echo and rooms in python-socketio, on uvicorn with uvloop, over WebSocket only. Servers with one Redis share
rooms."""

from __future__ import annotations

import sys
from typing import Any

import socketio
import uvicorn

others = socketio.AsyncRedisManager(sys.argv[3]) if len(sys.argv) > 3 else None
server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"], client_manager=others)
rooms: dict[str, str] = {}


@server.event
async def connect(sid: str, environ: dict[str, Any], auth: dict[str, str]) -> None:
    rooms[sid] = auth["room"]
    await server.enter_room(sid, auth["room"])


@server.event
async def disconnect(sid: str, reason: str) -> None:
    del rooms[sid]


@server.event
async def say(sid: str, event: dict[str, Any]) -> None:
    await server.emit("say", event, to=sid if sys.argv[2] == "echo" else rooms[sid])


uvicorn.run(
    socketio.ASGIApp(server),
    host="127.0.0.1",
    port=int(sys.argv[1]),
    loop="uvloop",
    http="httptools",
    ws_per_message_deflate=False,
    log_level="warning",
    backlog=4096,
)
