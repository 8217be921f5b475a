"""One connection at work: the frames of a transport through the protocol's machine, in and out, until one side is done.

Two tasks. The reader is the caller's own. The writer is the only one that touches the transport's sending side: it is
shielded, because a write cancelled midway corrupts the stream, and the shield is lifted by a deadline once the reader
has ended, so that the last words get out and a peer that does not read can't hold anybody up.
"""

from __future__ import annotations

import abc
import math

import attrs
import trio

from ..codes import Code
from ..errors import InvalidEvent, RemoteProtocolError
from ..protocol.connection import Connection
from ..protocol.messages import Bye, Message
from ..sessions.outbox import Outbox
from .transport import Transport

# How long the last words of a connection may take, its closing handshake included.
CLOSING_SECONDS = 2.0
# How long after a write has failed the peer's last words are still read: who says goodbye and closes may do so while a
# write to them is under way.
LAST_WORDS_SECONDS = 1.0


@attrs.frozen
class Ended:
    """Why a connection ended. `by_peer` tells whether the goodbye came from the other side."""

    code: Code
    reason: str
    by_peer: bool


class Receiver(abc.ABC):
    """Where the messages of a connection go."""

    @property
    @abc.abstractmethod
    def has_space(self) -> bool:
        """Whether one more message may be delivered. Asked before each is read, so that `deliver` need not wait."""

    @abc.abstractmethod
    async def wait_space(self) -> None:
        """Wait until it may."""

    @abc.abstractmethod
    def deliver(self, message: Message) -> None:
        """Take a message. Never waits."""

    @abc.abstractmethod
    def refuse(self, fault: InvalidEvent) -> None:
        """A message came that is not one; tell the peer."""


async def exchange(transport: Transport, connection: Connection, outbox: Outbox, receiver: Receiver) -> Ended:
    """Carry messages both ways until either side says goodbye or the transport breaks; then close the transport.

    *Cancellation* says goodbye with `Code.DRAINING`, and takes two seconds at most.
    """
    work = _Exchange(transport, connection, outbox, receiver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work.write)
        await work.read()
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
    ended: Ended | None = None
    full: bool = False
    """Whether the reader is waiting for the receiver: then silence is ours, not the peer's."""
    read_done: trio.Event = attrs.field(factory=trio.Event)
    reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    writing: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True))

    async def read(self) -> None:
        try:
            with self.reading:
                await self._read()
        except trio.Cancelled:
            self._end(Code.DRAINING, "this side is shutting down")
            raise
        finally:
            self.read_done.set()
            self.writing.deadline = trio.current_time() + CLOSING_SECONDS
            self.outbox.wake()

    async def write(self) -> None:
        with self.writing:
            await self._write()
        if self.writing.cancelled_caught:
            self._end(Code.STALLED, "the last words did not get out in time")
        self.reading.cancel("the connection has ended")
        goodbye = self.outbox.goodbye or Bye(1000)
        await close_transport(self.transport, goodbye.code, goodbye.reason, deadline=self.writing.deadline)

    async def _read(self) -> None:
        while self.ended is None:
            try:
                if not self.receiver.has_space:
                    self.full = True
                    await self.receiver.wait_space()
                    self.full = False
                    self.connection.heard(trio.current_time())
                frame = await self.transport.receive()
                if self.outbox.goodbye is not None:
                    return  # whatever comes after our goodbye belongs to nobody: the seat may have a newer connection
                message = self.connection.receive(frame, now=trio.current_time())
            except InvalidEvent as exc:
                self.receiver.refuse(exc)
            except RemoteProtocolError as exc:
                self._end(exc.code, str(exc))
            except trio.EndOfChannel:
                self._end_by_peer(self.transport.close_code, "")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._end_by_peer(None, "the transport broke")
            else:
                if isinstance(message, Bye):
                    self._end_by_peer(message.code, message.reason)
                elif message is not None:
                    self.receiver.deliver(message)
            if self.connection.next_due <= trio.current_time():
                self.outbox.wake()

    async def _write(self) -> None:
        while not (self.ended is not None and self.ended.by_peer):
            now = trio.current_time()
            self.connection.heard(now if self.full else self.transport.heard_at)
            frames = self.outbox.take()
            goodbye = self.outbox.goodbye
            if goodbye is None:
                try:
                    frames += self.connection.due(now)
                except RemoteProtocolError as exc:
                    self._end(exc.code, str(exc))
                    continue
            else:
                self._end(Code(goodbye.code), goodbye.reason)
                frames.append(self.connection.send(goodbye, now=now))
            if (frames and not await self._send(frames)) or goodbye is not None:
                return
            with trio.move_on_at(self.connection.next_due):
                await self.outbox.wait()

    async def _send(self, frames: list[str | bytes]) -> bool:
        self.outbox.writing = True
        try:
            with trio.move_on_after(self.connection.limits.write_seconds) as patience:
                await self.transport.send(frames)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            with trio.move_on_after(LAST_WORDS_SECONDS):
                await self.read_done.wait()
            self._end_by_peer(None, "the transport broke")
            return False
        finally:
            self.outbox.writing = False
        if patience.cancelled_caught:
            self._end(Code.STALLED, f"a write took more than {self.connection.limits.write_seconds:g} s")
            return False
        return True

    def _end(self, code: Code, reason: str) -> None:
        """This side ends it: the writer says goodbye."""
        self.outbox.end(code, reason)
        self.ended = self.ended or Ended(code, reason, by_peer=False)

    def _end_by_peer(self, code: int | None, reason: str) -> None:
        """The other side ended it: there is nobody left to say goodbye to."""
        self.ended = self.ended or Ended(Code.of(code), reason, by_peer=True)
        self.outbox.wake()
