"""An echo and rooms in Tornado, on its default event loop, which is asyncio's."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict

import tornado.web
import tornado.websocket

rooms: defaultdict[str, set[Room]] = defaultdict(set)


class Echo(tornado.websocket.WebSocketHandler):
    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(json.dumps(json.loads(message)))


class Room(tornado.websocket.WebSocketHandler):
    def open(self, room: str) -> None:
        self.members = rooms[room]
        self.members.add(self)

    def on_message(self, message: str | bytes) -> None:
        text = json.dumps(json.loads(message))
        for member in self.members:
            member.write_message(text)

    def on_close(self) -> None:
        self.members.discard(self)


async def main(port: int) -> None:
    app = tornado.web.Application([(r"/echo/.*", Echo), (r"/room/(.*)", Room)])
    app.listen(port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1])))
