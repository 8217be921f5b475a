"""Byte streams in memory, to be cut at any byte: a server and its clients in virtual time, over every transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import trio

import edge
from edge.client.client import Client
from edge.client.join import open_client
from edge.client.url import UrlDialler
from edge.server.serve import Server, open_server

Way = Literal["up", "down"]


@attrs.define(eq=False)
class Pipe:
    """One direction of a wire."""

    way: Way
    network: Network
    wire: Wire
    buffer: bytearray = attrs.field(factory=bytearray)
    ended: bool = False
    changed: trio.Event = attrs.field(factory=trio.Event)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.wire.cut and self.unnoticed:
            return
        if self.wire.cut or self.ended:
            raise trio.BrokenResourceError
        passed = self.network.pass_bytes(self.way, len(data))
        self.buffer += bytes(data)[:passed]
        if self.way == "up":
            self.wire.said += bytes(data)[:passed]
        if passed < len(data):
            self.wire.break_now()
            if not self.unnoticed:
                raise trio.BrokenResourceError
        self.wake()

    @property
    def unnoticed(self) -> bool:
        """Whether who writes here, the server, finds nothing wrong with a wire that is cut."""
        return self.way == "down" and self.network.half_open

    async def read(self, max_bytes: int | None) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self.buffer:
            if self.wire.cut and not (self.way == "up" and self.network.half_open):
                raise trio.BrokenResourceError
            if self.ended:
                return b""
            self.changed = trio.Event()
            await self.changed.wait()
        data = bytes(self.buffer[: max_bytes or len(self.buffer)])
        del self.buffer[: len(data)]
        return data

    def wake(self) -> None:
        self.changed.set()


@attrs.define(eq=False)
class End(trio.abc.HalfCloseableStream):
    """One end of a wire."""

    out: Pipe
    into: Pipe
    closed: bool = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.closed:
            raise trio.ClosedResourceError
        await trio.lowlevel.checkpoint()
        self.out.write(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self.closed:
            raise trio.ClosedResourceError
        return await self.into.read(max_bytes)

    async def send_eof(self) -> None:
        self.out.ended = True
        self.out.wake()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed = self.out.ended = self.into.ended = True
        self.out.wake()
        self.into.wake()
        await trio.lowlevel.checkpoint()


class Wire:
    """A connection, as two ends."""

    def __init__(self, network: Network) -> None:
        self.cut = False
        self.said = bytearray()
        """All that the client sent."""
        up, down = Pipe("up", network, self), Pipe("down", network, self)
        self.client, self.server = End(up, down), End(down, up)

    def break_now(self) -> None:
        """What has passed is there to be read; then both ends find it broken."""
        self.cut = True
        for pipe in (self.client.out, self.client.into):
            pipe.wake()


class Network:
    """Wires to one server, and the one cut that a test wants.

    Args:
      cut: after how many bytes which way, counted over all wires, the wire that carries the next is cut.
      half_open: whether the server does not notice a cut: it hears nothing more, and what it says vanishes.
    """

    def __init__(self, server: Server, *, cut: tuple[Way, int] | None = None, half_open: bool = False) -> None:
        self.server = server
        self.half_open = half_open
        self.passed: dict[Way, int] = {"up": 0, "down": 0}
        self.cut = cut
        self.wires: list[Wire] = []

    async def connect(self) -> trio.abc.Stream:
        wire = Wire(self)
        self.wires.append(wire)
        self.server.connections.start_soon(self.server.serve_connection, wire.server)
        await trio.lowlevel.checkpoint()
        return wire.client

    def pass_bytes(self, way: Way, count: int) -> int:
        """How many of these bytes get through."""
        if self.cut is not None and self.cut[0] == way and self.passed[way] + count > self.cut[1]:
            count = self.cut[1] - self.passed[way]
            self.cut = None
        self.passed[way] += count
        return count


@asynccontextmanager
async def open_network(
    app: edge.App, *, cut: tuple[Way, int] | None = None, half_open: bool = False
) -> AsyncIterator[Network]:
    """A server in memory, and the network to it, while a block runs."""
    async with open_server(app) as server:
        yield Network(server, cut=cut, half_open=half_open)
        server.drain()


@asynccontextmanager
async def joined(
    connect: Callable[[], Awaitable[trio.abc.Stream]],
    path: str,
    *kinds: edge.TransportKind,
    speaks: Any,
    hears: Any,
    client: str = "a-client-of-the-network",
    key: str | Callable[[], Awaitable[str]] | None = None,
    wait: float = 0.1,
) -> AsyncIterator[Client[Any, Any]]:
    """A client over this network."""

    async def wait_before(attempt: int) -> None:
        await trio.sleep(wait)

    dialler = UrlDialler(
        f"ws://edge.test{path}",
        codec=edge.JSON,
        limits=edge.Limits(),
        kinds=kinds or tuple(edge.TransportKind),
        connect=connect,
    )
    made: Client[Any, Any] = Client(
        dialler,
        speaks=speaks,
        hears=hears,
        name="ana",
        codec=edge.JSON,
        limits=edge.Limits(),
        wait_before=wait_before,
        inbox=1000,
        client=client,
        key=key,
    )
    async with open_client(made):
        yield made
