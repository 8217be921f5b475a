"""The connection driver passes frames between a transport and the connection machine, until the connection ends.

All decisions are made in synchronous methods. `receive_frame` processes a received frame, `flush` writes frames, and
`on_timer` handles due timers. The socket reader calls `receive_frame`, and the write scheduler calls the other two,
without a task in between. The task that calls `drive_connection` waits for the end of the connection, or for space to
read more frames. A write that would block waits in a task of its own, so that it delays no other connection. The task
of the write is shielded, because a write that is cancelled midway corrupts the stream. The task has a deadline, because
the peer may never read.
"""

from __future__ import annotations

import contextlib
import logging
import math
from functools import partial
from typing import Protocol

import attrs
import trio

from ..aio.timers import Timer
from ..codes import Code
from ..errors import InvalidEvent, RemoteProtocolError
from ..protocol.codec import Frame, size_of
from ..protocol.connection import Connection
from ..protocol.messages import Bye, Message
from ..protocol.pace import Pace
from ..transports.transport import Transport
from .bulk import Bulk
from .outbox import Outbox
from .scheduler import Sender, WriteScheduler, open_write_scheduler

log: logging.Logger = logging.getLogger("edge.transports")

# Seconds for writing the goodbye of a connection and for the closing handshake of its transport.
CLOSING_SECONDS = 2.0
# Seconds that a blocked write may take if the outbox exceeds its bounds.
SLOW_SECONDS = 1.0
# The bytes that a peer must read within `Limits.write_seconds`.
WRITE_BYTES = 64 * 1024
# Seconds of throttling after which the peer is sent the error `too_fast`.
TELL_SECONDS = 1.0
# Seconds for which a connection is still read after a write has failed. The peer may send its goodbye and
# close the connection while this side writes.
GOODBYE_SECONDS = 1.0


@attrs.frozen
class Ended:
    """The end of a connection, with its reason."""

    code: Code
    reason: str
    by_peer: bool
    """True if the peer ended the connection, False if this side did."""
    unconfirmed: bool = False
    """True if the journal may never record that the player left or the room closed: see `Room.when_cut_off`."""


class MessageReceiver(Protocol):
    """Receives the messages of a connection."""

    @property
    def has_space(self) -> bool:
        """True if one more message may be delivered. The driver checks this before it reads a frame."""

    async def wait_space(self) -> None:
        """Wait until `has_space` is true."""

    def deliver(self, message: Message, /) -> None:
        """Process a message. This method never waits."""

    def refuse(self, fault: InvalidEvent, /) -> None:
        """Send the peer an error about one of its messages."""


async def drive_connection(
    transport: Transport,
    connection: Connection,
    outbox: Outbox,
    receiver: MessageReceiver,
    scheduler: WriteScheduler | None = None,
    bulk: Pace | None = None,
) -> Ended:
    """Pass messages both ways until either side ends the connection or the transport breaks. Then close the transport.

    Args:
      scheduler: writes for this connection; by default, a new scheduler for this connection only.
      bulk: the pace, in bytes, that all connections of the peer's address share, see `Bulk`; None for no limit.

    *Cancellation* sends a goodbye with the code `Outbox.cancel_code`, and takes two seconds at most.
    """
    if scheduler is None:
        async with open_write_scheduler() as scheduler:
            return await drive_connection(transport, connection, outbox, receiver, scheduler, bulk)
    work = ConnectionDriver(transport, connection, outbox, receiver, scheduler, Bulk(bulk))
    try:
        with work.reading:
            work.begin()
            await work.read()
    except trio.Cancelled:
        work.end(outbox.cancel_code, "this side is shutting down")
        raise
    finally:
        await work.close()
    assert work.ended is not None
    return work.ended


async def close_transport(transport: Transport, code: int, reason: str, *, deadline: float = math.inf) -> None:
    """Close a transport with a code, shielded from cancellation.

    Closing takes two seconds at most, and ends at the deadline.
    """
    with trio.CancelScope(shield=True, deadline=min(deadline, trio.current_time() + CLOSING_SECONDS)):
        await transport.close(code, reason)


@attrs.define(eq=False)
class ConnectionDriver:
    transport: Transport
    connection: Connection
    outbox: Outbox
    receiver: MessageReceiver
    scheduler: WriteScheduler
    bulk: Bulk
    ended: Ended | None = None
    reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """The cancel scope of `read`. It is cancelled when the connection has ended, so that `read` stops waiting."""
    _paused: bool = False
    """True while this side does not read. During this time, the peer's silence does not end the connection."""
    _throttled: bool = False
    """True if the last frame exceeded the connection's pace, so that the next frame is read later."""
    _throttled_since: float = math.inf
    """The time since which every frame has exceeded the pace; infinite if the last frame did not exceed it."""
    _delayed: tuple[Frame, float] | None = None
    """A frame that exceeds the pace of its address, and the time at which it is delivered."""
    _blocked_write: _BlockedWrite | None = None
    """The write that waits for the peer to read, if there is one."""
    _stopped_writing: bool = False
    """True if nothing more is written: the goodbye was written, a write failed, or the peer ended the connection."""
    _timers: list[Timer[Sender]] = attrs.field(factory=list)
    """The pending timers of this connection."""
    _soonest: float = math.inf
    """The time of the earliest pending timer; infinite without timers."""

    def begin(self) -> None:
        """Connect the outbox and the transport to this driver, and the driver to the write scheduler."""
        self.outbox.notify = partial(self.scheduler.schedule, self)
        self.outbox.on_overfull = self._note_overfull
        self.transport.on_doubt = self._check
        if self.outbox.ready:
            self.outbox.notify()
        # true if the previous connection exceeded its pace
        self._throttled = self.connection.next_read_at > trio.current_time()
        self._set_timer()

    def _check(self) -> None:
        """Ping the peer, because the transport suspects that the peer has disconnected."""
        if self.connection.check(trio.current_time()):
            self._set_timer()

    async def read(self) -> None:
        """Read frames until the connection has ended."""
        while self.ended is None:
            try:
                if self.has_space:
                    await self.transport.deliver_to(self)
                else:
                    self._paused = True
                    await self._wait_space()
                    self._paused = False
                    self.connection.note_received(trio.current_time())
            except trio.EndOfChannel:
                self.end_by_peer(self.transport.close_code, self.transport.close_reason)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                self.end_by_peer(None, str(exc) or "the transport broke")
            except RemoteProtocolError as exc:
                self.end(exc.code, str(exc))

    async def _wait_space(self) -> None:
        """Wait until one of the causes that block reading has ended.

        The three causes are the pace of the address (`_delayed`), the pace of this connection (`_throttled`), and a
        receiver without space, such as a full inbox.
        """
        if self._delayed is not None:
            frame, at = self._delayed
            await trio.sleep_until(at)
            self._delayed = None
            self._take(frame, trio.current_time(), size_of(frame))
        elif self._throttled:
            await trio.sleep_until(self.connection.next_read_at)
            self._throttled = False
        else:
            await self.receiver.wait_space()

    @property
    def has_space(self) -> bool:
        return not self._throttled and self._delayed is None and self.receiver.has_space

    def receive_frame(self, frame: Frame, now: float) -> None:
        """Process a frame from the transport, or delay it if it exceeds the pace of its address."""
        size = size_of(frame)
        if self.bulk.limited and (at := self.bulk.reserve(size, now)) > now and not self._stopped_writing:
            self._delayed = frame, at
            self.transport.stop_delivery()
        else:
            self._take(frame, now, size)

    def _take(self, frame: Frame, now: float, size: int) -> None:
        if self.ended is not None or self.outbox.goodbye is not None:
            return  # frames after this side's goodbye are dropped: the seat may have a newer connection
        connection = self.connection
        try:
            message = connection.receive(frame, now=now, size=size)
        except InvalidEvent as exc:
            self.receiver.refuse(exc)
        except RemoteProtocolError as exc:
            self.end(exc.code, str(exc))
        else:
            if type(message) is Bye:
                self.end_by_peer(message.code, message.reason, unconfirmed=message.unconfirmed)
            elif message is not None:
                try:
                    self.receiver.deliver(message)
                except RemoteProtocolError as exc:
                    self.end(exc.code, str(exc))
                except Exception:  # a bug of edge
                    log.exception("a bug in edge: a received message could not be delivered, so its connection ends")
                    self.end(Code.INTERNAL_ERROR, "an error in the server")
                    self.reading.cancel("an error in the server")
        # The last frames of a peer that has disconnected are not throttled.
        if connection.next_read_at > now and not self._stopped_writing:
            self._throttle(now)
        elif self._throttled_since < math.inf:
            self._throttled_since = math.inf
        if connection.ack_due <= now:
            self.outbox.wake()
        elif connection.ack_due < self._soonest:
            self._set_timer()

    def _throttle(self, now: float) -> None:
        """Delay the next frame, because the peer exceeds its pace.

        If the peer exceeds its pace for more than `Limits.catch_up_seconds`, end the connection.
        """
        connection, limits = self.connection, self.connection.limits
        self._throttled = True
        self._throttled_since = min(self._throttled_since, now)
        if now - self._throttled_since > limits.catch_up_seconds:
            self.end(Code.FLOODING, "the connection exceeded its pace for too long")
        elif now - self._throttled_since > TELL_SECONDS and not connection.throttled:
            connection.throttled = True
            most = f"{limits.events_per_second:g} messages or {limits.bytes_per_second:g} bytes a second"
            text = f"this connection sends more than {most}: later messages are delayed, see Limits"
            self.receiver.refuse(InvalidEvent("too_fast", text))

    def flush(self, now: float, early: float = 0.0) -> None:
        """Write the queued messages, and the acks and pings that are due within `early` seconds.

        If a goodbye is queued, write nothing and end `read`, because `close` then writes the goodbye.
        """
        if self._blocked_write is not None or self._stopped_writing:
            return
        outbox, connection = self.outbox, self.connection
        if outbox.gate.until <= now:  # the lease has expired, for example because the process was suspended
            outbox.drop()
            self.end(Code.MOVED, "this server no longer has the room")
        if outbox.goodbye is not None:
            self.reading.cancel("this side ended the connection")
            return
        frames = outbox.take()
        if early or connection.ack_due <= now or connection.ping_due <= now or connection.counts.exceeded:
            try:
                frames += connection.due(now, early=early)
            except RemoteProtocolError as exc:
                self.end(exc.code, str(exc))
            else:
                self._set_timer()
        if not frames:
            return
        try:
            written = self.transport.send_nowait(frames)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._note_write_failure()
            return
        if not written:
            outbox.writing = True
            pieces = 1 + sum(map(size_of, frames)) // WRITE_BYTES
            self._blocked_write = _BlockedWrite(now, pieces * connection.limits.write_seconds)
            self.scheduler.start_soon(self._wait_written)
            self._set_timer()

    def on_timer(self, now: float, early: float) -> None:
        """Perform the actions that are due by now or within `early` seconds, and set a timer for the next action.

        The connection ends if the peer does not read, or is silent.
        """
        self._timers = [timer for timer in self._timers if timer.at > now + early]
        self._soonest = min((timer.at for timer in self._timers), default=math.inf)
        self.connection.note_received(now if self._paused else self.transport.last_received_at)
        waiting = self._blocked_write
        if waiting is not None and waiting.overfull and now + early >= waiting.began + SLOW_SECONDS:
            self.outbox.drop()
            self.end(Code.OVERFLOW, "too many messages waited while the peer did not read")
            self.reading.cancel("the peer does not read")
        elif waiting is not None and now + early >= self.connection.dead_at:
            self.outbox.drop()
            self.end(Code.SILENT, "no bytes received while a write was blocked")
            self.reading.cancel("the peer is silent")
        self.flush(now, early)
        self._set_timer()

    async def close(self) -> None:
        """Write the goodbye, if there is one. Then close the transport. Together they take two seconds at most."""
        goodbye = self.outbox.goodbye
        if self.ended is None and (goodbye is None or self._stopped_writing):  # no goodbye of the peer arrived
            self.end_by_peer(None, "the transport broke")
        elif self.ended is None and goodbye is not None:
            self.ended = Ended(Code(goodbye.code), goodbye.reason, by_peer=False)
        if (
            self.ended is not None
            and self.ended.by_peer
            and self._blocked_write is None
            and self.transport.close_nowait()
        ):
            self._stop_writing()
            return
        said = False
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSING_SECONDS) as closing:
            if self._blocked_write is not None:
                self._blocked_write.scope.deadline = min(self._blocked_write.scope.deadline, closing.deadline)
                await self._blocked_write.over.wait()
            await self._write_goodbye()
            said = True
            await self.transport.close(*self._stop_writing())
        if not said:
            self.end(Code.STALLED, "the goodbye could not be written in time")
            await close_transport(self.transport, *self._stop_writing(), deadline=closing.deadline)

    def _stop_writing(self) -> tuple[int, str]:
        """Stop writing permanently. Return the code and the reason with which the caller must close the transport."""
        self._stopped_writing = True
        self.outbox.drop()  # frees the messages, which may be large, before the garbage collector runs
        for timer in self._timers:
            self.scheduler.cancel(timer)
        if (goodbye := self.outbox.goodbye) is None:  # this side sends no goodbye, only the transport's close code
            assert self.ended is not None
            return (1000 if self.ended.code is Code.LOST else self.ended.code), ""
        return goodbye.code, goodbye.reason

    def end(self, code: Code, reason: str) -> None:
        """End the connection from this side, with a goodbye."""
        self.outbox.end(code, reason)
        self.ended = self.ended or Ended(code, reason, by_peer=False)

    def end_by_peer(self, code: int | None, reason: str, *, unconfirmed: bool = False) -> None:
        """Mark the connection as ended by the peer, or by a broken transport. No goodbye is sent."""
        if self.ended is None:
            self.ended = Ended(Code.of(code), reason, by_peer=True, unconfirmed=unconfirmed)
            self._stopped_writing = True
            if not self.transport.stop_delivery():
                self.reading.cancel("the peer ended the connection")

    async def _write_goodbye(self) -> None:
        goodbye = self.outbox.goodbye
        if self._stopped_writing or goodbye is None:
            return
        self._stopped_writing = True
        frames = self.outbox.take()
        frames.append(self.connection.send(goodbye, now=trio.current_time()))
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if not self.transport.send_nowait(frames):
                await self.transport.flush()

    async def _wait_written(self) -> None:
        waiting = self._blocked_write
        assert waiting is not None
        failed = False
        with waiting.scope as scope:
            try:
                await self.transport.flush()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                failed = True
        self._blocked_write, self.outbox.writing = None, False
        if failed:
            self._note_write_failure()
        elif scope.cancelled_caught:
            self.end(Code.STALLED, "a write took too long")
            self._stopped_writing = True
            self.reading.cancel("the peer does not read")
        else:
            self.flush(trio.current_time())
            self._set_timer()
        waiting.over.set()

    def _note_overfull(self) -> None:
        """Set a timer, because the outbox is overfull.

        The timer ends the connection one second after the blocked write began.
        """
        waiting = self._blocked_write
        if waiting is not None and not waiting.overfull:
            waiting.overfull = True
            self._timers.append(self.scheduler.set_timer(self, waiting.began + SLOW_SECONDS))

    def fail(self) -> None:
        """End the connection after a bug in edge. No goodbye is sent."""
        self.end_by_peer(None, "an error in the server")

    def _note_write_failure(self) -> None:
        """Stop writing, but read for one more second, because frames of the peer may still arrive."""
        self._stopped_writing = True
        self.reading.deadline = min(self.reading.deadline, trio.current_time() + GOODBYE_SECONDS)

    def _set_timer(self) -> None:
        """Set a timer for the next due action. While a write is blocked, set a timer only for the peer's silence."""
        due = self.connection.next_due if self._blocked_write is None else self.connection.dead_at
        if due < self._soonest and not self._stopped_writing and (self._blocked_write is None or self.ended is None):
            self._soonest = due
            self._timers.append(self.scheduler.set_timer(self, due))


class _BlockedWrite:
    """A write that waits until the peer reads, with a deadline."""

    def __init__(self, began: float, seconds: float) -> None:
        self.began = began
        self.overfull = False
        """True once the outbox has exceeded its bounds during this write."""
        self.scope = trio.CancelScope(shield=True, deadline=began + seconds)
        self.over = trio.Event()
