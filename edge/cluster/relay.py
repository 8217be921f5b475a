"""Connections whose room is on another server: their frames are relayed both ways.

The server at which a client has arrived only carries frames. Welcome, counts, heartbeats and goodbyes are between the
client and the server of the room, so that a carrier which dies costs a reconnect, and no seat.
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

# How much of one connection may be on its way each way, besides one frame.
WINDOW_BYTES = 128 * 1024

OPEN, GONE, CLOSE, TOOK = "open", "gone", "close", "took"

ServeSeat = Callable[[Transport, Codec, str, str], Awaitable[None]]


class RelayedTransport(Transport):
    """The room's end of a connection whose client is at another server."""

    def __init__(self, relays: Relays, carrier: str, link: int) -> None:
        self._relays = relays
        self._carrier, self._link = carrier, link
        self._last_received_at = trio.current_time()
        self._arrived: deque[Frame] = deque()
        self._queued: deque[Frame] = deque()
        """Frames beyond the window, in order."""
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
        """Send as much as may be under way."""
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
        """The client has sent these."""
        self._last_received_at = trio.current_time()
        self._arrived.extend(frames)
        self._note_change()

    def note_taken(self, count: int) -> None:
        """The client has been given so many bytes."""
        self._under_way -= count
        self._note_change()

    def end(self, code: int | None) -> None:
        """The client has closed, with this code; or it, or its server, is lost."""
        self._over, self._lost, self.close_code = True, code is None, code
        self._note_change()

    def _note_change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


@attrs.define(eq=False)
class _Carried:
    """The client's end: frames off its transport and onto it."""

    relays: Relays
    owner: str
    link: int
    transport: Transport
    write_seconds: float
    nursery: trio.Nursery
    bulk: Bulk
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    goodbye: tuple[int, str] = (Code.MOVED, "the server is going")
    under_way: int = 0
    """Bytes on their way to the room."""
    written: trio.Event | None = None
    """While a write waits for the client."""
    _later: tuple[Frame, float] | None = None
    """A frame that has come and waits for the pace of its address; and until when."""
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
        """The room has taken so many bytes."""
        self.under_way -= count
        space, self._space = self._space, trio.Event()
        space.set()

    async def read(self) -> None:
        """Carry what the client says, until it is gone."""
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
        """Carry to the client. Never waits."""
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
            pass  # the reader notices, too

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
        """It is over: close the client's transport with this code, once what waits is written."""
        self.goodbye = code, reason
        self.scope.cancel(reason)


class Relays:
    """Every connection that is carried here for another server, or there for this one.

    Args:
      serve_seat: serves a connection to a room of this server.
      nursery: where.
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
        """Carry a connection to its room, to its end, and close it.

        Args:
          hello: its first frame, which has been read.
          large: the pace of what it sends in bulk, in bytes, shared with the other connections of its address.

        *Cancellation* tells the client to come back, and resume.
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
        """The links of those who are carried for other servers."""
        return tuple(self._carried)

    async def send_on(self, link: int) -> None:
        """Have a client that is carried come back by another server."""
        if link in self._carried:
            self._carried[link].end(Code.MOVED, "the server is shutting down")
        await trio.lowlevel.checkpoint()

    def take(self, sender: str, message: PeerMessage) -> bool:
        """A message has come: whether it was about a connection."""
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
        """Frames have come for these links."""
        for link in links:
            if up and (served := self._served.get((sender, link))) is not None:
                served.take(frames)
            elif not up and (carried := self._carried_by(sender, link)) is not None:
                carried.write(frames)

    def lose(self, server: str) -> None:
        """Everything that was shared with this server is over."""
        for (carrier, _), served in [*self._served.items()]:
            if carrier == server:
                served.end(None)
        for carried in [*self._carried.values()]:
            if carried.owner == server:
                carried.end(Code.MOVED, "the server of the room is gone")

    def let_go(self, carrier: str, link: int) -> None:
        """The room's end is closed."""
        self._served.pop((carrier, link), None)

    def _open(self, carrier: str, link: int, kind: str, name: str, protocol: str, hello: Frame) -> None:
        transport = self._served[carrier, link] = RelayedTransport(self, carrier, link)
        transport.take([hello])
        serve = partial(self._serve_seat, transport, SUBPROTOCOLS[protocol], kind, name)
        self._nursery.start_soon(guarded, "a carried connection", serve)

    def _carried_by(self, owner: str, link: int) -> _Carried | None:
        carried = self._carried.get(link)
        return carried if carried is not None and carried.owner == owner else None
