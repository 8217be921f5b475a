"""The outbox: messages that wait to be written to one connection."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Protocol

import attrs

from ..codes import Code
from ..protocol.codec import JSON, Codec, Frame, size_of
from ..protocol.limits import Limits
from ..protocol.messages import Bye
from ..protocol.outgoing import Outgoing


class Gate(Protocol):
    """The deadline for writing a room's messages, which is the end of the room's lease."""

    @property
    def until(self) -> float:
        """The deadline, on Trio's clock."""


class Documents(Protocol):
    """The shared documents of a room."""

    @property
    def is_ahead(self) -> bool:
        """True if no document may be sent whole now."""


@attrs.frozen
class _Always:
    until: float = math.inf


ALWAYS = _Always()


@attrs.frozen
class _Ready:
    is_ahead: bool = False


READY = _Ready()


class Outbox:
    """A bounded, ordered queue of messages, filled synchronously and emptied by the write scheduler.

    *Backpressure*: a ``latest`` message replaces the queued message with the same key. A ``volatile`` message is
    dropped while a write waits for the peer, or if the queue is full. Patches of a shared document that come while a
    write waits become one message with the whole document, before all queued messages. All other messages are queued.
    While a write waits, `on_overfull` is called for each message beyond the bounds. The driver then ends the connection
    with `Code.OVERFLOW` if the peer does not read soon. Without such a write there are no bounds, because a burst of
    messages does not mean that the peer is slow.
    """

    def __init__(self, codec: Codec, limits: Limits) -> None:
        self.codec = codec
        self.gate: Gate = ALWAYS
        """The deadline for writing the messages."""
        self.sharing: Documents = READY
        """The shared documents of the room. While they may not be sent whole, `take` returns nothing."""
        self.cancel_code = Code.DRAINING
        """The code of the goodbye if the connection is cancelled from outside."""
        self.goodbye: Bye | None = None
        """The last message; None until this side ends the connection."""
        self.writing = False
        """True while a write waits for the peer."""
        self.notify: Callable[[], object] = _nobody
        """Called when frames must be written, at most once before each `take`. `ConnectionDriver.begin` sets this to
        `WriteScheduler.schedule`."""
        self.on_overfull: Callable[[], object] = _nobody
        """Called for each message beyond the bounds while a write waits."""
        self.on_crowded: Callable[[], object] = _nobody
        """Called for each message beyond `Limits.step_frames` or `step_bytes`, unless `on_overfull` is called."""
        self.ready: bool = False
        """True if `notify` was called since the last call of `take`."""
        self._json = codec is JSON
        self._max_frames, self._max_bytes = limits.outbox_frames, limits.outbox_bytes
        self._step_frames, self._step_bytes = limits.step_frames, limits.step_bytes
        self._first: list[Frame] = []
        self._waiting: dict[Hashable, Frame] = {}
        self._stale: dict[str, Callable[[bool], Outgoing]] = {}
        """Shared documents that have changed while a write waits, and the functions that return them whole."""
        self._bytes = 0
        self._number = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def crowded(self) -> bool:
        """True if the queue exceeds `Limits.step_frames` or `step_bytes`."""
        return self._bytes > self._step_bytes or len(self._waiting) > self._step_frames

    @property
    def waiting_bytes(self) -> int:
        """The number of queued bytes."""
        return self._bytes

    def put(self, message: Outgoing) -> None:
        """Queue a message. This method never waits."""
        if self.goodbye is not None or (message.volatile and not self._takes(message)):
            return
        if message.whole is not None and (self.writing or message.name in self._stale):
            self._stale[message.name] = message.whole
            return
        key, waiting = message.key, self._waiting
        if self._json:
            frame, size = message.text, message.size
        else:
            frame = message.frame(self.codec)
            size = size_of(frame)
        if key is None:
            key = self._number = self._number + 1
        elif key in waiting:
            self._bytes -= size_of(waiting.pop(key))
        waiting[key] = frame
        self._bytes += size
        if self.writing and (self._bytes > self._max_bytes or len(waiting) > self._max_frames) and len(waiting) > 1:
            self.on_overfull()
        elif self._bytes > self._step_bytes or len(waiting) > self._step_frames:
            self.on_crowded()
        if not self.ready:
            self.ready = True
            self.notify()

    def wake_documents(self) -> None:
        """Request a write if shared documents wait to be sent whole."""
        if self._stale:
            self.wake()

    def will_send_whole(self, name: str) -> bool:
        """Return whether the next write has the whole shared document of this name, with all its changes until then."""
        return name in self._stale

    def put_first(self, *frames: Frame) -> None:
        """Queue frames before all others, without bounds: the welcome, or the messages that a resume repeats."""
        self._first += frames
        self.wake()

    def end(self, code: Code, reason: str = "", *, unconfirmed: bool = False) -> None:
        """End the connection with this goodbye, after the queued messages. Later calls do not change the goodbye."""
        if self.goodbye is None:
            self.goodbye = Bye(int(code), reason, unconfirmed=unconfirmed)
        self.wake()

    def drop(self) -> None:
        """Drop all queued messages."""
        self._first.clear()
        self._waiting.clear()
        self._stale.clear()
        self._bytes = 0

    def wake(self) -> None:
        """Request a write: call `notify`, unless it was called since the last `take`."""
        if not self.ready:
            self.ready = True
            self.notify()

    def take(self) -> list[Frame]:
        """Remove and return all queued frames, in order."""
        if self._stale and self.sharing.is_ahead and self.goodbye is None:  # the queued messages come after them
            frames, self._first, self.ready = self._first, [], False
            return frames
        if self._stale and self.sharing.is_ahead:
            self._stale.clear()  # the client gets the documents from the server that continues the room
        frames = list(self._waiting.values())
        if self._stale:  # before the events, so that the client has each change at the events that come after it
            stale, self._stale = [*self._stale.values()], {}
            frames = [whole(whole is not stale[-1]).frame(self.codec) for whole in stale] + frames
        if self._first:
            frames, self._first = self._first + frames, []
        self._waiting.clear()
        self._bytes = 0
        self.ready = False
        return frames

    def _takes(self, message: Outgoing) -> bool:
        """True if no write is blocked and a volatile message fits in the queue."""
        return (
            not self.writing and len(self._waiting) < self._max_frames and self._bytes + message.size <= self._max_bytes
        )


def _nobody() -> None:
    """Do nothing, until a driver sets another function."""
