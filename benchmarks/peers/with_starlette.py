"""An echo and rooms in Starlette, on uvicorn with uvloop and by default with uvicorn's default WebSocket
implementation."""

from __future__ import annotations

import json
import sys
from collections import defaultdict

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

rooms: defaultdict[str, set[WebSocket]] = defaultdict(set)


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(json.dumps(json.loads(await socket.receive_text())))
    except WebSocketDisconnect:
        pass


async def room(socket: WebSocket) -> None:
    await socket.accept()
    members = rooms[socket.path_params["room"]]
    members.add(socket)
    try:
        while True:
            text = json.dumps(json.loads(await socket.receive_text()))
            for member in tuple(members):
                await member.send_text(text)
    except WebSocketDisconnect:
        pass
    finally:
        members.discard(socket)


app = Starlette(routes=[WebSocketRoute("/echo/{room}", echo), WebSocketRoute("/room/{room}", room)])
uvicorn.run(
    app,
    host="127.0.0.1",
    port=int(sys.argv[1]),
    loop="uvloop",
    http="httptools",
    ws=sys.argv[2] if len(sys.argv) > 2 else "auto",
    ws_per_message_deflate=False,
    log_level="warning",
    backlog=4096,
)
