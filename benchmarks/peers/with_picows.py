"""An echo and rooms in picows, on uvloop. picows calls its listeners from Cython, and has no protocol above the
frame."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict

import uvloop
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

rooms: defaultdict[str, set[WSTransport]] = defaultdict(set)


class Listener(WSListener):
    def __init__(self, path: str) -> None:
        super().__init__()
        _, self.kind, self.room = path.split("/")

    def on_ws_connected(self, transport: WSTransport) -> None:
        rooms[self.room].add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        rooms[self.room].discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            payload = json.dumps(json.loads(frame.get_payload_as_bytes())).encode()
            for member in (transport,) if self.kind == "echo" else rooms[self.room]:
                member.send(WSMsgType.TEXT, payload)


def listen(request: WSUpgradeRequest) -> WSListener:
    return Listener(request.path.decode())


async def main(port: int) -> None:
    server = await ws_create_server(listen, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


uvloop.install()
asyncio.run(main(int(sys.argv[1])))
