"""One connection at work: the frames of a transport through the protocol's machine, in and out, until one side is done.

Everything is decided in synchronous steps: `take_in` for a frame that came, `flush` for what is to be written, `sweep`
for what is due. The caller's own task waits for frames, or for the end; whoever has read one may bring it, without a
task in between. The post flushes. Only where a write would block a task waits for it: shielded, because a write
cancelled midway corrupts the stream, and by a deadline, so that a peer which does not read can't hold anybody up.
"""

from __future__ import annotations

import contextlib
import logging
import math
from functools import partial
from typing import Protocol

import attrs
import trio

from ..codes import Code
from ..errors import InvalidEvent, RemoteProtocolError
from ..protocol.codec import Frame, size_of
from ..protocol.connection import Connection
from ..protocol.messages import Bye, Message
from ..protocol.pace import Pace
from ..transports.transport import Transport
from .bulk import Bulk
from .outbox import Outbox
from .scheduler import Alarm, Post, open_post

log = logging.getLogger("edge.transports")

# How long the last words of a connection may take, its closing handshake included.
CLOSING_SECONDS = 2.0
# How long a write may take while more waits behind it than an outbox holds.
SLOW_SECONDS = 1.0
# How much a peer has to take within `Limits.write_seconds`.
WRITE_BYTES = 64 * 1024
# How long somebody may be too fast before they are told.
TELL_SECONDS = 1.0
# How long after a write has failed the peer's last words are still read: who says goodbye and closes may do so while a
# write to them is under way.
LAST_WORDS_SECONDS = 1.0


@attrs.frozen
class Ended:
    """Why a connection ended. `by_peer` tells whether the goodbye came from the other side."""

    code: Code
    reason: str
    by_peer: bool
    unconfirmed: bool = False
    """Whether the peer could not make sure that this is the end: see `Room.when_cut_off`."""


class Receiver(Protocol):
    """Where the messages of a connection go."""

    @property
    def has_space(self) -> bool:
        """Whether one more message may be delivered. Asked before each is read, so that `deliver` need not wait."""

    async def wait_space(self) -> None:
        """Wait until `has_space` is true."""

    def deliver(self, message: Message, /) -> None:
        """Take a message. Never waits."""

    def refuse(self, fault: InvalidEvent, /) -> None:
        """A message came that is not one; tell the peer."""


async def exchange(
    transport: Transport,
    connection: Connection,
    outbox: Outbox,
    receiver: Receiver,
    post: Post | None = None,
    bulk: Pace | None = None,
) -> Ended:
    """Carry messages both ways until either side says goodbye or the transport breaks; then close the transport.

    Args:
      post: writes for it; by default, one of its own.
      bulk: the pace of what it sends in bulk, in bytes, shared with the other connections of its address.

    *Cancellation* says goodbye with `Outbox.parting`, and takes two seconds at most.
    """
    if post is None:
        async with open_post() as post:
            return await exchange(transport, connection, outbox, receiver, post, bulk)
    work = _Exchange(transport, connection, outbox, receiver, post, Bulk(bulk))
    try:
        with work.reading:
            work.begin()
            await work.read()
    except trio.Cancelled:
        work.end(outbox.parting, "this side is shutting down")
        raise
    finally:
        await work.close()
    assert work.ended is not None
    return work.ended


async def close_transport(transport: Transport, code: int, reason: str, *, deadline: float = math.inf) -> None:
    """Close a transport with a code, whatever scope this is in: by the deadline, and within two seconds."""
    with trio.CancelScope(shield=True, deadline=min(deadline, trio.current_time() + CLOSING_SECONDS)):
        await transport.close(code, reason)


@attrs.define(eq=False)
class _Exchange:
    transport: Transport
    connection: Connection
    outbox: Outbox
    receiver: Receiver
    post: Post
    bulk: Bulk
    ended: Ended | None = None
    reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Cancelled when it is over, for a reader that waits for more."""
    _full: bool = False
    """Whether the reader is waiting for the receiver, or for its time: then silence is ours, not the peer's."""
    _held: bool = False
    """Whether the last frame came faster than its pace, and the next waits for its time."""
    _later: tuple[Frame, float] | None = None
    """A frame that has come and waits for the pace of its address; and until when."""
    _held_since: float = math.inf
    """Since when that has been so for each frame."""
    _waiting: _Wait | None = None
    """A write that has to wait for the peer."""
    _silent: bool = False
    """Whether nothing more is written: the goodbye was, or a write has failed, or the peer has ended it."""
    _alarms: list[Alarm] = attrs.field(factory=list)
    """When the post will sweep this connection..."""
    _soonest: float = math.inf
    """...and the first of these."""

    # --- in

    def begin(self) -> None:
        """From now on the post writes what waits."""
        self.outbox.notify = partial(self.post.note, self)
        self.outbox.on_overfull = self._note_overfull
        self.transport.on_doubt = self._check
        if self.outbox.ready:
            self.outbox.notify()
        self._held = self.connection.wanted_at > trio.current_time()  # by what came before on the same seat
        self._expect_sweep()

    def _check(self) -> None:
        """Ask the peer for a sign of life."""
        if self.connection.check(trio.current_time()):
            self._expect_sweep()

    async def read(self) -> None:
        """Have frames taken in until it is over."""
        while self.ended is None:
            try:
                if self.has_space:
                    await self.transport.feed(self)
                else:
                    self._full = True
                    await self._wait_space()
                    self._full = False
                    self.connection.heard(trio.current_time())
            except trio.EndOfChannel:
                self.end_by_peer(self.transport.close_code, self.transport.close_reason)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                self.end_by_peer(None, str(exc) or "the transport broke")
            except RemoteProtocolError as exc:
                self.end(exc.code, str(exc))

    async def _wait_space(self) -> None:
        """Wait for one of the reasons why there is no space to go."""
        if self._later is not None:
            frame, at = self._later
            await trio.sleep_until(at)
            self._later = None
            self._take(frame, trio.current_time(), size_of(frame))
        elif self._held:
            await trio.sleep_until(self.connection.wanted_at)
            self._held = False
        else:
            await self.receiver.wait_space()

    @property
    def has_space(self) -> bool:
        return not self._held and self._later is None and self.receiver.has_space

    def take_in(self, frame: Frame, now: float) -> None:
        """A frame came."""
        size = size_of(frame)
        at = self.bulk.reserve(size, now)
        if at > now and not self._silent:
            self._later = frame, at
            self.transport.stop_feed()
        else:
            self._take(frame, now, size)

    def _take(self, frame: Frame, now: float, size: int) -> None:
        if self.ended is not None or self.outbox.goodbye is not None:
            return  # whatever comes after our goodbye belongs to nobody: the seat may have a newer connection
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
                except Exception:  # a fault of ours, which whoever reads for many connections could not place
                    log.exception("a message could not be taken in")
                    self.end(Code.INTERNAL_ERROR, "an error where the message arrived")
                    self.reading.cancel("a fault of ours")
        if connection.wanted_at > now and not self._silent:  # a peer that has gone has said all it will
            self._hold_back(now)
        elif self._held_since < math.inf:
            self._held_since = math.inf
        if connection.ack_due <= now:
            self.outbox.wake()
        elif connection.ack_due < self._soonest:
            self._expect_sweep()

    def _hold_back(self, now: float) -> None:
        """It is too fast: wait before the next frame; or it has been so for too long."""
        connection, limits = self.connection, self.connection.limits
        self._held = True
        self._held_since = min(self._held_since, now)
        if now - self._held_since > limits.catch_up_seconds:
            self.end(Code.FLOODING, "more came, for longer, than is heard of one connection")
        elif now - self._held_since > TELL_SECONDS and not connection.held_back:
            connection.held_back = True
            most = f"{limits.events_per_second:g} messages or {limits.bytes_per_second:g} bytes a second"
            text = f"more than {most}: later ones wait, see Limits"
            self.receiver.refuse(InvalidEvent("too_fast", text))

    # --- out

    def flush(self, now: float, early: float = 0.0) -> None:
        """Write what waits, and what is due by now, or within so many seconds. A goodbye is left to `close`."""
        if self._waiting is not None or self._silent:
            return
        outbox, connection = self.outbox, self.connection
        if outbox.gate.until <= now:  # this process was stopped for longer than that: what waits is not ours to say
            outbox.drop()
            self.end(Code.MOVED, "the room is not this server's any more")
        if outbox.goodbye is not None:
            self.reading.cancel("a goodbye is to be said")
            return
        frames = outbox.take()
        if early or connection.ack_due <= now or connection.ping_due <= now or connection.counts.over:
            try:
                frames += connection.due(now, early=early)
            except RemoteProtocolError as exc:
                self.end(exc.code, str(exc))
            else:
                self._expect_sweep()
        if not frames:
            return
        try:
            written = self.transport.send_nowait(frames)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._note_failure()
            return
        if not written:
            outbox.writing = True
            pieces = 1 + sum(map(size_of, frames)) // WRITE_BYTES
            self._waiting = _Wait(now, pieces * connection.limits.write_seconds)
            self.post.start_soon(self._wait_written)
            self._expect_sweep()

    def sweep(self, now: float, early: float) -> None:
        """An alarm has gone off."""
        self._alarms = [alarm for alarm in self._alarms if alarm.at > now + early]
        self._soonest = min((alarm.at for alarm in self._alarms), default=math.inf)
        self.connection.heard(now if self._full else self.transport.heard_at)
        waiting = self._waiting
        if waiting is not None and waiting.overfull and now + early >= waiting.began + SLOW_SECONDS:
            self.outbox.drop()
            self.end(Code.OVERFLOW, "too much was waiting for this connection")
            self.reading.cancel("the peer does not read")
        elif waiting is not None and now + early >= self.connection.dead_at:
            self.outbox.drop()
            self.end(Code.SILENT, "nothing heard, while a write waited")
            self.reading.cancel("the peer is silent")
        self.flush(now, early)
        self._expect_sweep()

    async def close(self) -> None:
        """Say what is still to be said, and close the transport, in two seconds at most."""
        goodbye = self.outbox.goodbye
        if self.ended is None and (goodbye is None or self._silent):  # a write had failed, and no last words have come
            self.end_by_peer(None, "the transport broke")
        elif self.ended is None and goodbye is not None:
            self.ended = Ended(Code(goodbye.code), goodbye.reason, by_peer=False)
        if self.ended is not None and self.ended.by_peer and self._waiting is None and self.transport.close_nowait():
            self._fall_silent()
            return
        said = False
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSING_SECONDS) as closing:
            if self._waiting is not None:
                self._waiting.scope.deadline = min(self._waiting.scope.deadline, closing.deadline)
                await self._waiting.over.wait()
            await self._say_last_words()
            said = True
            await self.transport.close(*self._fall_silent())
        if not said:
            self.end(Code.STALLED, "the last words did not get out in time")
            await close_transport(self.transport, *self._fall_silent(), deadline=closing.deadline)

    def _fall_silent(self) -> tuple[int, str]:
        """Write nothing from now on. Returns: the code and the reason to close the transport with."""
        self._silent = True
        for alarm in self._alarms:
            self.post.cancel(alarm)
        if (goodbye := self.outbox.goodbye) is None:  # the same by every way that there is back to the peer
            assert self.ended is not None
            return (1000 if self.ended.code is Code.LOST else self.ended.code), ""
        return goodbye.code, goodbye.reason

    def end(self, code: Code, reason: str) -> None:
        """This side ends it, with a goodbye."""
        self.outbox.end(code, reason)
        self.ended = self.ended or Ended(code, reason, by_peer=False)

    def end_by_peer(self, code: int | None, reason: str, *, unconfirmed: bool = False) -> None:
        """The other side ended it: there is nobody left to say goodbye to."""
        if self.ended is None:
            self.ended = Ended(Code.of(code), reason, by_peer=True, unconfirmed=unconfirmed)
            self._silent = True
            if not self.transport.stop_feed():
                self.reading.cancel("the peer has ended it")

    async def _say_last_words(self) -> None:
        goodbye = self.outbox.goodbye
        if self._silent or goodbye is None:
            return
        self._silent = True
        frames = self.outbox.take()
        frames.append(self.connection.send(goodbye, now=trio.current_time()))
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if not self.transport.send_nowait(frames):
                await self.transport.flush()

    async def _wait_written(self) -> None:
        waiting = self._waiting
        assert waiting is not None
        failed = False
        with waiting.scope as patience:
            try:
                await self.transport.flush()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                failed = True
        self._waiting, self.outbox.writing = None, False
        if failed:
            self._note_failure()
        elif patience.cancelled_caught:
            self.end(Code.STALLED, "a write took too long")
            self._silent = True
            self.reading.cancel("the peer does not read")
        else:
            self.flush(trio.current_time())
            self._expect_sweep()
        waiting.over.set()

    def _note_overfull(self) -> None:
        """The outbox holds too much behind a write, which may only just have begun: it gets a second to finish."""
        waiting = self._waiting
        if waiting is not None and not waiting.overfull:
            waiting.overfull = True
            self._alarms.append(self.post.expect(self, waiting.began + SLOW_SECONDS))

    def fail(self) -> None:
        """A fault of ours: nothing sensible can be said any more."""
        self.end_by_peer(None, "an error in the server")

    def _note_failure(self) -> None:
        """Nobody reads us; but what they said before they went may still come."""
        self._silent = True
        self.reading.deadline = min(self.reading.deadline, trio.current_time() + LAST_WORDS_SECONDS)

    def _expect_sweep(self) -> None:
        """Set an alarm for when something is due. While a write waits, only the silence of the peer is."""
        due = self.connection.next_due if self._waiting is None else self.connection.dead_at
        if due < self._soonest and not self._silent and (self._waiting is None or self.ended is None):
            self._soonest = due
            self._alarms.append(self.post.expect(self, due))


class _Wait:
    """A write that waits for its peer, for so many seconds."""

    def __init__(self, began: float, seconds: float) -> None:
        self.began = began
        self.overfull = False
        """Whether more waits behind it than may."""
        self.scope = trio.CancelScope(shield=True, deadline=began + seconds)
        self.over = trio.Event()
