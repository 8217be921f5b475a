"""A network in memory, between clients and a real server: bytes that take their time, come in pieces, or never.

Its chance is drawn from one seed, so a run in virtual time repeats itself, but for the random bytes of WebSocket masks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Literal

import attrs
import trio

Way = Literal["up", "down"]
"""From a client to the server, or back."""

Side = Literal["client", "server"]
BOTH: frozenset[Side] = frozenset(("client", "server"))

# What a socket's two buffers and the way between them hold.
CAPACITY = 256 * 1024


@attrs.frozen(kw_only=True)
class Conditions:
    """How a network is."""

    latency: float = 0.0
    """Seconds that a byte takes one way, at least."""
    jitter: float = 0.0
    """At most this many more seconds. The order stays, as with TCP."""
    pieces: float = math.inf
    """How many bytes a reader is given at once, at most: a frame may arrive in as many pieces as it has bytes."""
    capacity: int = CAPACITY
    """How many bytes may be under way on a connection, each way, before its writer has to wait."""


class Network:
    """The way to one server, for any number of clients.

    Args:
      serve: serves one connection, as `Server.serve_connection` does.
      nursery: where connections are served.
      conditions: how it is; to be changed at any time.
      seed: what delays and pieces are drawn from.
    """

    def __init__(
        self,
        serve: Callable[[trio.abc.Stream], Awaitable[object]],
        nursery: trio.Nursery,
        *,
        conditions: Conditions | None = None,
        seed: int = 0,
    ) -> None:
        self.conditions = conditions or Conditions()
        self.links: list[Link] = []
        self.random = Random(seed)  # noqa: S311  # a simulation, not a secret
        self._serve = serve
        self._nursery = nursery

    def link(self) -> Link:
        """A client's way to the server."""
        link = Link(self)
        self.links.append(link)
        return link

    def heal(self) -> None:
        """End every trouble that there is: from now on bytes pass at once. What is cut stays cut."""
        self.conditions = Conditions()
        for link in self.links:
            link.heal()

    def open(self, wire: Wire) -> None:
        """The server accepts a connection."""
        self._nursery.start_soon(self._serve, wire.server)

    def delay(self) -> float:
        """How long the next bytes take."""
        conditions = self.conditions
        return conditions.latency + (conditions.jitter * self.random.random() if conditions.jitter else 0.0)

    def piece(self, available: int) -> int:
        """How many of so many bytes a reader is given."""
        most = min(available, self.conditions.pieces)
        return available if most == available else self.random.randint(1, int(most))


class Link:
    """One client's way to the server. Made by `Network.link`; `connect` is for its connector."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.wires: list[Wire] = []
        """Every connection so far, newest last."""
        self.passed: dict[Way, int] = {"up": 0, "down": 0}
        """How many bytes have been written, each way."""
        self.troubled = False
        """True if anything has ever gone wrong on it."""
        self._offline: Literal["", "refused", "silent"] = ""
        self._reading = True
        self._cut: tuple[Way, int, frozenset[Side]] | None = None

    async def connect(self) -> trio.abc.Stream:
        """A connection to the server, a round trip later.

        Raises:
          OSError: the client is offline.
        """
        await trio.sleep(2 * self.network.delay())
        if self.offline == "refused":
            raise OSError("the network can't be reached")
        wire = Wire(self)
        if self.offline == "silent":
            wire.cut(noticed_by=frozenset())
        else:
            self.network.open(wire)
        self.wires.append(wire)
        return wire.client

    @property
    def offline(self) -> Literal["", "refused", "silent"]:
        """What becomes of a client that connects: it gets through, or is refused, or hears nothing."""
        return self._offline

    @offline.setter
    def offline(self, offline: Literal["", "refused", "silent"]) -> None:
        self._offline = offline
        self.troubled |= bool(offline)

    @property
    def reading(self) -> bool:
        """True if the client takes what has come for it off its socket."""
        return self._reading

    @reading.setter
    def reading(self, reading: bool) -> None:
        self._reading = reading
        self.troubled |= not reading
        for wire in self.wires:
            wire.wake()

    def cut(self, *, noticed_by: frozenset[Side] = BOTH) -> None:
        """Cut its connection, if there is one: who does not notice hears nothing more, and speaks into the void."""
        self.troubled = True
        for wire in self.wires:
            wire.cut(noticed_by=noticed_by)

    def cut_after(self, way: Way, count: int, *, noticed_by: frozenset[Side] = BOTH) -> None:
        """Cut its connection once so many more bytes have passed this way, and the next would."""
        self.troubled = True
        self._cut = (way, self.passed[way] + count, noticed_by)

    def heal(self) -> None:
        """End its troubles."""
        self.offline, self._cut, self.reading = "", None, True

    def allow(self, wire: Wire, way: Way, count: int) -> int:
        """How many of these bytes get through."""
        if self._cut is not None and self._cut[0] == way and self.passed[way] + count > self._cut[1]:
            count, noticed_by, self._cut = max(0, self._cut[1] - self.passed[way]), self._cut[2], None
            wire.cut(noticed_by=noticed_by)
        self.passed[way] += count
        return count


class Wire:
    """One connection: a stream for each side."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.lost: frozenset[Side] | None = None
        """Once it is cut: who has noticed."""
        self.said = bytearray()
        """All that the client sent."""
        up, down = _Pipe(self, "up", "client", "server"), _Pipe(self, "down", "server", "client")
        self.client: trio.abc.HalfCloseableStream = _End(up, down)
        self.server: trio.abc.HalfCloseableStream = _End(down, up)
        self._pipes = (up, down)

    def cut(self, *, noticed_by: frozenset[Side] = BOTH) -> None:
        """Nothing more passes. What has passed is there to be read; then who notices finds the wire broken."""
        self.lost = noticed_by | (self.lost or frozenset())
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        for pipe in self._pipes:
            pipe.wake()


class _Pipe:
    """One direction of a wire."""

    def __init__(self, wire: Wire, way: Way, writer: Side, reader: Side) -> None:
        self._wire = wire
        self._network = wire.link.network
        self._way = way
        self._writer = writer
        self._reader = reader
        self._passing: deque[tuple[float, bytes]] = deque()
        """What is under way, by when it arrives; nothing at all is the end."""
        self._size = 0
        self._arrival = 0.0
        self._closed = False
        """True if the reader has gone."""
        self._ended = False
        """True if the writer has said that nothing more comes."""
        self._changed = trio.Event()

    def wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def end(self) -> None:
        """Nothing more is written."""
        if not self._ended and self._wire.lost is None:
            self._put(b"")
        self._ended = True

    def close(self) -> None:
        """Nothing more is read."""
        self._closed = True
        self.wake()

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        while data:
            if self._wire.lost is not None and self._writer not in self._wire.lost:
                return  # into the void
            if self._wire.lost is not None or self._closed or self._ended:
                raise trio.BrokenResourceError
            free = self._network.conditions.capacity - self._size
            if free <= 0:
                await self._changed.wait()
                continue
            written = data[:free]
            passed = self._wire.link.allow(self._wire, self._way, len(written))
            if passed:
                self._put(written[:passed])
            data = data[passed:]

    async def read(self, max_bytes: float) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise trio.ClosedResourceError
            waits_until = math.inf
            if self._reader == "server" or self._wire.link.reading:
                if self._passing:
                    waits_until = self._passing[0][0]
                    if waits_until <= trio.current_time():
                        return self._take(max_bytes)
                elif self._reader in (self._wire.lost or ()):
                    raise trio.BrokenResourceError
            if waits_until == math.inf:
                await self._changed.wait()
            else:
                with trio.CancelScope(deadline=waits_until):
                    await self._changed.wait()

    def _put(self, data: bytes) -> None:
        if self._way == "up":
            self._wire.said += data
        self._arrival = max(self._arrival, trio.current_time() + self._network.delay())
        self._passing.append((self._arrival, data))
        self._size += len(data)
        self.wake()

    def _take(self, max_bytes: float) -> bytes:
        now, arrived = trio.current_time(), bytearray()
        while self._passing and self._passing[0][0] <= now and self._passing[0][1]:
            arrived += self._passing.popleft()[1]
        if not arrived:
            return b""  # the end, which stays
        piece = self._network.piece(int(min(len(arrived), max_bytes)))
        if piece < len(arrived):
            self._passing.appendleft((now, bytes(arrived[piece:])))
        self._size -= piece
        self.wake()
        return bytes(arrived[:piece])


class _End(trio.abc.HalfCloseableStream):
    """One side's end of a wire."""

    def __init__(self, out: _Pipe, into: _Pipe) -> None:
        self._out = out
        self._into = into
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        await self._out.write(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._into.read(math.inf if max_bytes is None else max_bytes)

    async def send_eof(self) -> None:
        self._out.end()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self._closed = True
        self._out.end()
        self._into.close()
        await trio.lowlevel.checkpoint()
