"""An in-memory server that clients reach from many addresses, a friendly client that must be served at once, and raw
WebSockets of an attacker."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import trio

import edge
from edge.client.client import Client
from edge.server.serve import Server, open_server
from edge.testing.network import Link, Network
from tests.network import joined
from tests.small_rooms import Say

ATTACKER, ANOTHER, FRIEND = "203.0.113.7", "203.0.113.8", "198.51.100.1"
CLIENT = "an-attacker-with-a-name"
MASK = b"\1\2\3\4"


@edge.event("point", delivery="volatile")
class Point:
    x: int


@edge.event("steer", delivery="latest")
class Steer:
    x: int


@edge.event("know")
class Know:
    """Asks for the numbers of received events."""


@edge.event("heard")
class Heard:
    texts: int
    points: int
    steered: int
    wanted: int | None


Speaks = Say | Point | Steer | Know


class Plaza(edge.Room[Speaks, Heard]):
    seats = edge.Seats(minimum=1, maximum=100, grace=5)
    heard = 0

    async def player(self, player: edge.Player[Speaks, Heard]) -> None:
        texts: list[str] = []
        points = steered = 0
        async for event in player:
            match event:
                case Say(text):
                    assert text == str(len(texts)) or not text.isdigit(), "out of order"
                    texts.append(text)
                    self.heard += 1
                case Point():
                    points += 1
                case Steer():
                    steered += 1
                case Know():
                    wanted = player.latest(Steer)
                    player.reply(event, Heard(len(texts), points, steered, wanted.x if wanted else None))


@attrs.frozen
class Town:
    """An in-memory server that clients reach from any address, and a friendly client with a seat in one of its
    rooms."""

    server: Server
    friend: Client[Speaks, Heard]

    def connects(self, address: str) -> Callable[[], Awaitable[trio.abc.Stream]]:
        return link_from(self.server, address).connect

    @asynccontextmanager
    async def join(
        self, address: str, path: str = "/rooms/plaza/one", **options: Any
    ) -> AsyncIterator[Client[Any, Any]]:
        async with joined(self.connects(address), path, sends=Speaks, receives=Heard, **options) as client:
            await client.request(Know(), Heard)
            yield client

    async def say(self, request: bytes, address: str = ATTACKER) -> bytes:
        """Send these bytes on a new connection, and return everything that the server answers."""
        async with await self.connects(address)() as stream:
            await stream.send_all(request)
            return await everything(stream)

    async def websocket(
        self, address: str = ATTACKER, path: str = "/rooms/plaza/one", *, hello: bool = True, client: str = CLIENT
    ) -> Raw:
        """Open a WebSocket on which any bytes can be written."""
        raw = Raw(await self.connects(address)())
        await raw.stream.send_all(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: edge.1.json\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await raw.stream.receive_some(1)
        assert head.startswith(b"HTTP/1.1 101")
        if hello:
            await raw.send(frame(["$hello", {"name": "eve", "client": client}]))
            assert (await raw.next())[0] == "$welcome"
        return raw

    async def check_friend(self) -> None:
        """Check that the server answers the friendly client within 0.1 seconds."""
        with trio.fail_after(0.1):
            await self.friend.request(Know(), Heard)


def link_from(server: Server, address: str) -> Link:
    """Return a link to a server, on which the client has this address."""

    async def serve(stream: trio.abc.Stream) -> None:
        await server.serve_connection(stream, address)

    return Network(serve, server.connections).link()


@asynccontextmanager
async def town(**options: Any) -> AsyncIterator[Town]:
    app = edge.App({"plaza": Plaza}, **options)
    async with open_server(app) as server:
        friend = joined(link_from(server, FRIEND).connect, "/rooms/plaza/one", sends=Speaks, receives=Heard)
        async with friend as client:
            here = Town(server, client)
            await here.check_friend()
            yield here
            await here.check_friend()
        server.drain()


@attrs.frozen
class Raw:
    """The attacker's end of a WebSocket."""

    stream: trio.abc.Stream

    async def send(self, *frames: bytes) -> None:
        await self.stream.send_all(b"".join(frames))

    async def flood(self, data: bytes) -> None:
        """Write these bytes again and again until the server closes the connection."""
        with suppress(trio.BrokenResourceError):
            while True:
                await self.stream.send_all(data)

    async def next(self) -> list[Any]:
        """Return the next message. Return a close frame as ``["close", code]``, and a pong frame as ``["pong"]``."""
        first, size = await self._exactly(2)
        if size == 126:
            size = int.from_bytes(await self._exactly(2), "big")
        payload = await self._exactly(size)
        if first & 15 == 8:
            return ["close", int.from_bytes(payload[:2], "big")]
        if first & 15 == 10:
            return ["pong"]
        message: list[Any] = json.loads(payload)
        return message

    async def until(self, *names: str) -> list[Any]:
        """Return the next message with one of these names."""
        with trio.fail_after(60):
            while (message := await self.next())[0] not in names:
                pass
        return message

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            received = await self.stream.receive_some(size - len(data))
            if not received:
                raise trio.EndOfChannel
            data += received
        return data


def frame(payload: Any, *, first: int = 0x81, masked: bool = True) -> bytes:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    length = (
        bytes([len(data) | 128 * masked])
        if len(data) < 126
        else bytes([126 | 128 * masked]) + len(data).to_bytes(2, "big")
        if len(data) < 65536
        else bytes([127 | 128 * masked]) + len(data).to_bytes(8, "big")
    )
    if not masked:
        return bytes([first]) + length + data
    return bytes([first]) + length + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(data))


async def everything(stream: trio.abc.Stream) -> bytes:
    answer = b""
    try:
        while received := await stream.receive_some():
            answer += received
    except trio.BrokenResourceError:
        pass
    return answer


def is_crowded(answer: bytes) -> bool:
    """Return True if this response refuses a request as crowded, and check its headers and body."""
    if not answer.startswith(b"HTTP/1.1 503"):
        return False
    assert b"edge-code: 4005" in answer
    assert b'"code": "crowded"' in answer
    assert b"retry-after: 1" in answer
    return True


GET = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_GET = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
