"""What waits to be written to one connection."""

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
    """What a room says may be written until an instant, which moves while the room has the right to speak."""

    @property
    def until(self) -> float:
        """The instant, on Trio's clock."""


@attrs.frozen
class _Always:
    until: float = math.inf


ALWAYS = _Always()


class Outbox:
    """A bounded queue of messages in order, filled synchronously and emptied by the connection's one writer.

    *Backpressure*: a ``latest`` message replaces the waiting one of its key. A ``volatile`` one is dropped while a
    write is under way, or when the queue is full. Any other is kept. While a write is under way, the writer is told of
    each message beyond the bounds, and ends the connection with `Code.OVERFLOW` if the peer does not take that write
    soon. Without a write nothing is too much: a burst of the room is no slow reader.
    """

    def __init__(self, codec: Codec, limits: Limits) -> None:
        self.codec = codec
        self.gate: Gate = ALWAYS
        """Until when it may be written."""
        self.parting = Code.DRAINING
        """What is said when all is cancelled from outside."""
        self.goodbye: Bye | None = None
        """Once the connection is to end: what to say last."""
        self.writing = False
        """Whether a write is under way that has to wait for the peer."""
        self.notify: Callable[[], object] = _nobody
        """Called when there is something to do for whoever writes: once, until the next `take`."""
        self.on_overfull: Callable[[], object] = _nobody
        """Called with each message that is one too many."""
        self.on_crowded: Callable[[], object] = _nobody
        """Called with each message beyond what may be sent in one step."""
        self.ready = False
        """Whether it has been called since the last `take`."""
        self._json = codec is JSON
        self._max_frames, self._max_bytes = limits.outbox_frames, limits.outbox_bytes
        self._step_frames, self._step_bytes = limits.step_frames, limits.step_bytes
        self._first: list[Frame] = []
        self._waiting: dict[Hashable, Frame] = {}
        self._bytes = 0
        self._put = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def crowded(self) -> bool:
        """Whether more waits than may be sent in one step."""
        return self._bytes > self._step_bytes or len(self._waiting) > self._step_frames

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait."""
        return self._bytes

    def put(self, message: Outgoing) -> None:
        """Queue a message. Never waits."""
        if self.goodbye is not None or (message.volatile and not self._takes(message)):
            return
        key, waiting = message.key, self._waiting
        if self._json:
            frame, size = message.text, message.size
        else:
            frame = message.frame(self.codec)
            size = size_of(frame)
        if key is None:
            key = self._put = self._put + 1
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

    def put_first(self, *frames: Frame) -> None:
        """Write these before all else, beyond the limits: the welcome, then what a resumed seat must hear again."""
        self._first += frames
        self.wake()

    def end(self, code: Code, reason: str = "", *, unconfirmed: bool = False) -> None:
        """Write what waits, then this goodbye, then nothing. Once, for the first reason given."""
        if self.goodbye is None:
            self.goodbye = Bye(int(code), reason, unconfirmed=unconfirmed)
        self.wake()

    def drop(self) -> None:
        """Write nothing of what waits."""
        self._first.clear()
        self._waiting.clear()
        self._bytes = 0

    def wake(self) -> None:
        """Let whoever writes look at the clock: something is due earlier than they knew."""
        if not self.ready:
            self.ready = True
            self.notify()

    def take(self) -> list[Frame]:
        """Everything that waits, as frames, in order."""
        frames = list(self._waiting.values())
        if self._first:
            frames, self._first = self._first + frames, []
        self._waiting.clear()
        self._bytes = 0
        self.ready = False
        return frames

    def _takes(self, message: Outgoing) -> bool:
        """Whether a volatile message can be written at once."""
        return (
            not self.writing and len(self._waiting) < self._max_frames and self._bytes + message.size <= self._max_bytes
        )


def _nobody() -> None:
    """Nobody writes yet."""
