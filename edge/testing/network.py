"""A simulated network between clients and a real server. The network delays, splits and loses bytes.

One seed determines all random choices of the network, so a run in virtual time can be repeated. Only the masks of
WebSocket frames differ.
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
"""A direction: ``up`` is from a client to the server."""

Side = Literal["client", "server"]
BOTH: frozenset[Side] = frozenset(("client", "server"))

# The number of bytes that two socket buffers and the network between them store, as an ordinary value.
CAPACITY = 256 * 1024


@attrs.frozen(kw_only=True)
class Conditions:
    """The properties of a network."""

    latency: float = 0.0
    """The shortest delay of a byte in one direction, in seconds."""
    jitter: float = 0.0
    """The longest random addition to the delay, in seconds. Bytes stay in order, as with TCP."""
    pieces: float = math.inf
    """The maximum number of bytes that one read returns. With 1, each read returns one byte."""
    capacity: int = CAPACITY
    """The maximum number of bytes under way in each direction of a connection. At this number, the writer waits."""


class Network:
    """A simulated network between one server and any number of clients.

    Args:
      serve: serves one connection, like `Server.serve_connection`.
      nursery: runs `serve` for each connection.
      conditions: the properties of the network. The attribute `conditions` may be replaced at any time.
      seed: determines the delays, and how many bytes each read returns.
    """

    def __init__(
        self,
        serve: Callable[[trio.abc.Stream], Awaitable[object]],
        nursery: trio.Nursery,
        *,
        conditions: Conditions | None = None,
        seed: int = 0,
    ) -> None:
        self.conditions: Conditions = conditions or Conditions()
        self.links: list[Link] = []
        self.random: Random = Random(seed)  # noqa: S311  # a simulation, not a secret
        self._serve = serve
        self._nursery = nursery

    def link(self) -> Link:
        """Make a link for a client."""
        link = Link(self)
        self.links.append(link)
        return link

    def heal(self) -> None:
        """End all disturbances. From now on, the network adds no delay. Connections that are cut stay cut."""
        self.conditions = Conditions()
        for link in self.links:
            link.heal()

    def open(self, wire: Wire) -> None:
        """Let the server accept a connection."""
        self._nursery.start_soon(self._serve, wire.server)

    def delay(self) -> float:
        """Return the delay of the next bytes, in seconds."""
        conditions = self.conditions
        return conditions.latency + (conditions.jitter * self.random.random() if conditions.jitter else 0.0)

    def piece(self, available: int) -> int:
        """Return how many of the `available` bytes one read returns."""
        most = min(available, self.conditions.pieces)
        return available if most == available else self.random.randint(1, int(most))


class Link:
    """One client's access to the network. `Network.link` makes a link, and the client's connector calls `connect`."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.wires: list[Wire] = []
        """All connections so far, the newest last."""
        self.passed: dict[Way, int] = {"up": 0, "down": 0}
        """The number of bytes written, in each direction."""
        self.troubled: bool = False
        """True once the link has been disturbed in any way."""
        self._offline: Literal["", "refused", "silent"] = ""
        self._reading = True
        self._cut: tuple[Way, int, frozenset[Side]] | None = None

    async def connect(self) -> trio.abc.Stream:
        """Connect to the server, after the delay of a round trip.

        Raises:
          OSError: `offline` is ``refused``.

        *Cancellation*: no connection is opened.
        """
        await trio.sleep(2 * self.network.delay())
        if self.offline == "refused":
            raise OSError("the simulated network refuses the connection")
        wire = Wire(self)
        if self.offline == "silent":
            wire.cut(noticed_by=frozenset())
        else:
            self.network.open(wire)
        self.wires.append(wire)
        return wire.client

    @property
    def offline(self) -> Literal["", "refused", "silent"]:
        """The effect of `connect`: empty for a connection, ``refused`` for an error, ``silent`` for no answer."""
        return self._offline

    @offline.setter
    def offline(self, offline: Literal["", "refused", "silent"]) -> None:
        self._offline = offline
        self.troubled |= bool(offline)

    @property
    def reading(self) -> bool:
        """True while the client reads from its socket."""
        return self._reading

    @reading.setter
    def reading(self, reading: bool) -> None:
        self._reading = reading
        self.troubled |= not reading
        for wire in self.wires:
            wire.wake()

    def cut(self, *, noticed_by: frozenset[Side] = BOTH) -> None:
        """Cut the connections of this client. A side that is not in `noticed_by` gets no error, and the bytes that it
        writes are lost."""
        self.troubled = True
        for wire in self.wires:
            wire.cut(noticed_by=noticed_by)

    def cut_after(self, way: Way, count: int, *, noticed_by: frozenset[Side] = BOTH) -> None:
        """Let `count` more bytes pass in the direction `way`, and cut the connection at the next byte."""
        self.troubled = True
        self._cut = (way, self.passed[way] + count, noticed_by)

    def heal(self) -> None:
        """End all disturbances of this link."""
        self.offline, self._cut, self.reading = "", None, True

    def allow(self, wire: Wire, way: Way, count: int) -> int:
        """Return how many of `count` bytes pass. Cut the wire if `cut_after` was called and its number is exceeded."""
        if self._cut is not None and self._cut[0] == way and self.passed[way] + count > self._cut[1]:
            count, noticed_by, self._cut = max(0, self._cut[1] - self.passed[way]), self._cut[2], None
            wire.cut(noticed_by=noticed_by)
        self.passed[way] += count
        return count


class Wire:
    """One simulated connection, with a stream for each side."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.lost: frozenset[Side] | None = None
        """The sides that notice the cut; None while the wire is not cut."""
        self.said: bytearray = bytearray()
        """All bytes that the client sent."""
        up, down = _Pipe(self, "up", "client", "server"), _Pipe(self, "down", "server", "client")
        self.client: trio.abc.HalfCloseableStream = _End(up, down)
        self.server: trio.abc.HalfCloseableStream = _End(down, up)
        self._pipes = (up, down)

    def cut(self, *, noticed_by: frozenset[Side] = BOTH) -> None:
        """Cut the wire. Bytes that are under way can still be read. Each side in `noticed_by` then gets
        `BrokenResourceError`: a reader after these bytes, a writer at once."""
        self.lost = noticed_by | (self.lost or frozenset())
        self.wake()

    def wake(self) -> None:
        """Wake the waiting readers and writers, because the state of the wire has changed."""
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
        """The bytes under way, in pieces with their times of arrival. Empty bytes mark the end of the stream."""
        self._size = 0
        self._arrival = 0.0
        self._closed = False
        """True once the reader has closed its end."""
        self._ended = False
        """True once the writer has ended the stream."""
        self._changed = trio.Event()

    def wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def end(self) -> None:
        """End the stream of bytes."""
        if not self._ended and self._wire.lost is None:
            self._put(b"")
        self._ended = True

    def close(self) -> None:
        """Close the reader's end."""
        self._closed = True
        self.wake()

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        while data:
            if self._wire.lost is not None and self._writer not in self._wire.lost:
                return  # the writer does not notice the cut, and its bytes are lost
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
            return b""  # the mark of the stream's end stays in the queue
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
