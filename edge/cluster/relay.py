"""Relays forward the frames of connections between the client's server and the server that has the room.

The client's server is called the carrier. It only forwards frames. The client and the server of the room exchange
welcomes, counts, heartbeats and goodbyes. Therefore, if a carrier fails, its clients reconnect and keep their seats.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import attrs
import trio

from ..aio.guard import guarded
from ..codes import Code
from ..connections.bulk import Bulk
from ..connections.driver import CLOSING_SECONDS, close_transport
from ..errors import RemoteProtocolError
from ..protocol.codec import SUBPROTOCOLS, Codec, Frame, size_of
from ..protocol.limits import Limits
from ..protocol.pace import Pace
from ..transports.transport import Transport
from .link import PeerLinks, PeerMessage

# The maximum number of bytes of one connection that may be under way in each direction. The last frame may exceed it.
WINDOW_BYTES = 128 * 1024

OPEN, GONE, CLOSE, TOOK = "open", "gone", "close", "took"

ServeSeat = Callable[[Transport, Codec, str, str], Awaitable[None]]


class RelayedTransport(Transport):
    """The transport that the server of a room uses for a client that is connected to another server."""

    def __init__(self, relays: Relays, carrier: str, link: int) -> None:
        self._relays = relays
        self._carrier, self._link = carrier, link
        self._last_received_at = trio.current_time()
        self._arrived: deque[Frame] = deque()
        self._queued: deque[Frame] = deque()
        """Frames that wait because the window is full, in order."""
        self._under_way = 0
        self._over = self._closed = False
        self._lost = True
        self._changed = trio.Event()

    @property
    def last_received_at(self) -> float:
        return self._last_received_at

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        if self._closed:
            raise trio.ClosedResourceError
        if self.broken or self._over:
            raise trio.BrokenResourceError
        self._queued.extend(frames)
        self._send_kept()
        return self._has_space

    async def _write_queued(self) -> None:
        while not self._has_space:
            await self._changed.wait()
            if self._over:
                raise trio.BrokenResourceError
            self._send_kept()

    @property
    def _has_space(self) -> bool:
        return not self._queued and self._under_way <= WINDOW_BYTES

    def _send_kept(self) -> None:
        """Send queued frames until the window is full."""
        frames = []
        while self._queued and self._under_way <= WINDOW_BYTES:
            self._under_way += size_of(self._queued[0])
            frames.append(self._queued.popleft())
        if frames:
            self._relays.peer_links.put_frames(self._carrier, self._link, frames, up=False)

    async def receive(self) -> Frame:
        await trio.lowlevel.checkpoint()
        while not self._arrived or self._closed:
            if self._closed:
                raise trio.ClosedResourceError
            if self._over and self._lost:
                raise trio.BrokenResourceError
            if self._over:
                raise trio.EndOfChannel
            await self._changed.wait()
        frame = self._arrived.popleft()
        self._relays.peer_links.put(self._carrier, [TOOK, self._link, size_of(frame), True])
        return frame

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if not self._closed:
            self._closed = True
            self._relays.let_go(self._carrier, self._link)
            if not self._over:
                self._relays.peer_links.put(self._carrier, [CLOSE, self._link, code, reason])
            self._note_change()
        await trio.lowlevel.checkpoint()

    def take(self, frames: list[Frame]) -> None:
        """Store frames that the client has sent, until `receive` returns them."""
        self._last_received_at = trio.current_time()
        self._arrived.extend(frames)
        self._note_change()

    def note_taken(self, count: int) -> None:
        """Record that the carrier has written `count` more bytes to the client."""
        self._under_way -= count
        self._note_change()

    def end(self, code: int | None) -> None:
        """End the transport.

        Args:
          code: the code with which the client closed it; None if the client or the carrier is lost.
        """
        self._over, self._lost = True, code is None
        self.close_code = code
        self._note_change()

    def _note_change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


@attrs.define(eq=False)
class _Carried:
    """The carrier's side of a relayed connection."""

    relays: Relays
    owner: str
    link: int
    transport: Transport
    write_seconds: float
    nursery: trio.Nursery
    bulk: Bulk
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    goodbye: tuple[int, str] = (Code.MOVED, "the server is shutting down")
    under_way: int = 0
    """The bytes that were sent to the room's server, and that it has not read yet."""
    written: trio.Event | None = None
    """The event that is set when a waiting write to the client ends; None if no write waits."""
    _later: tuple[Frame, float] | None = None
    """A received frame that is delayed by the pace of its address, and the time at which it is sent."""
    _waiting: list[Frame] = attrs.field(factory=list)
    _space: trio.Event = attrs.field(factory=trio.Event)

    @property
    def has_space(self) -> bool:
        return self.under_way <= WINDOW_BYTES and self._later is None

    def receive_frame(self, frame: Frame, now: float) -> None:
        at = self.bulk.reserve(size_of(frame), now)
        if at > now:
            self._later = frame, at
            self.transport.stop_delivery()
        else:
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        self.under_way += size_of(frame)
        self.relays.peer_links.put_frames(self.owner, self.link, [frame], up=True)

    def note_taken(self, count: int) -> None:
        """Record that the room's server has read `count` more bytes."""
        self.under_way -= count
        space, self._space = self._space, trio.Event()
        space.set()

    async def read(self) -> None:
        """Send the client's frames to the room, until the client's transport raises."""
        while True:
            while not self.has_space:
                if self._later is not None:
                    frame, at = self._later
                    await trio.sleep_until(at)
                    self._later = None
                    self._take(frame)
                else:
                    await self._space.wait()
            await self.transport.deliver_to(self)

    def write(self, frames: list[Frame]) -> None:
        """Write frames to the client. Never waits."""
        self._waiting += frames
        if self.written is None:
            self._write_on()

    def _write_on(self) -> None:
        frames, self._waiting = self._waiting, []
        try:
            if self.transport.send_nowait(frames):
                self._note_written(frames)
            else:
                self.written = trio.Event()
                self.nursery.start_soon(self._wait_written, frames)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # `read` raises the same error

    async def _wait_written(self, frames: list[Frame]) -> None:
        assert self.written is not None
        done = False
        scope = trio.CancelScope(shield=True, deadline=trio.current_time() + self.write_seconds)
        with scope, contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.transport.flush()
            done = True
        self.written.set()
        self.written = None
        if not done:
            self.end(Code.STALLED, "the client does not read")
            return
        self._note_written(frames)
        if self._waiting:
            self._write_on()

    def _note_written(self, frames: list[Frame]) -> None:
        self.relays.peer_links.put(self.owner, [TOOK, self.link, sum(map(size_of, frames)), False])

    def end(self, code: int, reason: str) -> None:
        """Write all waiting frames, then close the client's transport with this code and reason."""
        self.goodbye = code, reason
        self.scope.cancel(reason)


class Relays:
    """The relayed connections of this server: from its clients to rooms of other servers, and from clients of other
    servers to its rooms.

    Args:
      serve_seat: serves a connection to a room of this server.
      nursery: runs `serve_seat` for relayed connections.
    """

    def __init__(self, serve_seat: ServeSeat, nursery: trio.Nursery, limits: Limits) -> None:
        self.peer_links: PeerLinks
        self._serve_seat = serve_seat
        self._nursery = nursery
        self._limits = limits
        self._links = itertools.count(1)
        self._carried: dict[int, _Carried] = {}
        self._served: dict[tuple[str, int], RelayedTransport] = {}

    async def relay(
        self,
        transport: Transport,
        codec: Codec,
        hello: Frame,
        owner: str,
        kind: str,
        name: str,
        *,
        bulk: Pace | None = None,
    ) -> None:
        """Relay a connection to the server of its room, until the client or that server ends it. Close the transport.

        Args:
          hello: the first frame of the connection, which the caller has read.
          owner: the server of the room.
          bulk: the pace, in bytes, of large messages, shared with the other connections of the client's address.

        *Cancellation* closes the transport with `Code.MOVED`: the client reconnects and resumes.
        """
        link = next(self._links)
        told: int | None = None
        async with trio.open_nursery() as nursery:
            carried = _Carried(self, owner, link, transport, self._limits.write_seconds, nursery, Bulk(bulk))
            self._carried[link] = carried
            protocol = next(text for text, spoken in SUBPROTOCOLS.items() if spoken is codec)
            self.peer_links.put(owner, [OPEN, link, kind, name, protocol, hello], opening=True)
            try:
                with carried.scope:
                    await carried.read()
            except trio.EndOfChannel:
                told = transport.close_code or 1000
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            except RemoteProtocolError as exc:
                told = exc.code
                carried.goodbye = exc.code, str(exc)
            finally:
                del self._carried[link]
                self.peer_links.put(owner, [GONE, link, told])
                with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSING_SECONDS) as closing:
                    while carried.written is not None:
                        await carried.written.wait()
                await close_transport(transport, *carried.goodbye, deadline=closing.deadline)

    @property
    def carried(self) -> tuple[int, ...]:
        """The numbers of the links on which this server relays its clients' connections to other servers."""
        return tuple(self._carried)

    async def send_on(self, link: int) -> None:
        """Close a client's relayed connection, so that the client reconnects through another server."""
        if link in self._carried:
            self._carried[link].end(Code.MOVED, "the server is shutting down")
        await trio.lowlevel.checkpoint()

    def take(self, sender: str, message: PeerMessage) -> bool:
        """Handle a message from another server. Return False if it is not about a relayed connection."""
        match message:
            case [str(kind), int(link), *rest] if kind == OPEN:
                self._open(sender, link, *rest)
            case [str(kind), int(link), code] if kind == GONE:
                served = self._served.get((sender, link))
                if served is not None:
                    served.end(code)
            case [str(kind), int(link), int(code), str(reason)] if kind == CLOSE:
                if (carried := self._carried_by(sender, link)) is not None:
                    carried.end(code, reason)
            case [str(kind), int(link), int(count), up] if kind == TOOK:
                receiver = self._carried_by(sender, link) if up else self._served.get((sender, link))
                if receiver is not None:
                    receiver.note_taken(count)
            case _:
                return False
        return True

    def take_frames(self, sender: str, up: bool, links: list[int], frames: list[Frame]) -> None:
        """Pass frames to the relayed connections `links`: to the room if `up` is true, otherwise to the client."""
        for link in links:
            if up and (served := self._served.get((sender, link))) is not None:
                served.take(frames)
            elif not up and (carried := self._carried_by(sender, link)) is not None:
                carried.write(frames)

    def lose(self, server: str) -> None:
        """End all connections that are relayed to or from a server, after messages were lost."""
        for (carrier, _), served in [*self._served.items()]:
            if carrier == server:
                served.end(None)
        for carried in [*self._carried.values()]:
            if carried.owner == server:
                carried.end(Code.MOVED, "the link to the server of the room was lost")

    def let_go(self, carrier: str, link: int) -> None:
        """Remove a relayed connection to a room of this server, because its transport is closed."""
        self._served.pop((carrier, link), None)

    def _open(self, carrier: str, link: int, kind: str, name: str, protocol: str, hello: Frame) -> None:
        transport = self._served[carrier, link] = RelayedTransport(self, carrier, link)
        transport.take([hello])
        serve = partial(self._serve_seat, transport, SUBPROTOCOLS[protocol], kind, name)
        self._nursery.start_soon(guarded, "a relayed connection", serve)

    def _carried_by(self, owner: str, link: int) -> _Carried | None:
        carried = self._carried.get(link)
        return carried if carried is not None and carried.owner == owner else None
