"""What waits to be written to one connection."""

from __future__ import annotations

from collections.abc import Hashable

import trio

from ..codes import Code
from ..protocol.codec import Codec, Frame
from ..protocol.limits import Limits
from ..protocol.messages import Bye
from ..protocol.outgoing import Outgoing


class Outbox:
    """A bounded queue of messages in order, filled synchronously and emptied by the connection's one writer.

    *Backpressure*: a ``latest`` message replaces the waiting one of its key; a ``volatile`` one is dropped while a
    write is under way, or when the queue is full; any other is kept, and one too many ends the connection with
    `Code.OVERFLOW`. A replay does not count, and one message always fits.
    """

    def __init__(self, codec: Codec, limits: Limits) -> None:
        self.codec = codec
        self.goodbye: Bye | None = None
        """Once the connection is to end: what to say last."""
        self.writing = False
        """Whether the writer is in the middle of a write."""
        self._limits = limits
        self._first: list[Frame] = []
        self._waiting: dict[Hashable, Outgoing] = {}
        self._bytes = 0
        self._put = 0
        self._wake = trio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait."""
        return self._bytes

    def put(self, message: Outgoing) -> None:
        """Queue a message. Never waits."""
        if self.goodbye is not None or (message.volatile and (self.writing or not self._fits(message))):
            return
        replaced = self._waiting.pop(message.key, None) if message.key is not None else None
        if replaced is not None:
            self._bytes -= len(replaced.frame(self.codec))
        self._put += 1
        self._waiting[message.key if message.key is not None else self._put] = message
        self._bytes += len(message.frame(self.codec))
        if len(self._waiting) > 1 and not self._fits():
            self._waiting.clear()
            self.end(Code.OVERFLOW, "too much was waiting for this connection")
        self._wake.set()

    def put_first(self, *frames: Frame) -> None:
        """Write these before all else, beyond the limits: the welcome, then what a resumed seat must hear again."""
        self._first += frames
        self._wake.set()

    def end(self, code: Code, reason: str = "") -> None:
        """Write what waits, then this goodbye, then nothing. Once, for the first reason given."""
        if self.goodbye is None:
            self.goodbye = Bye(int(code), reason)
        self._wake.set()

    def wake(self) -> None:
        """Let the writer look at the clock: something is due earlier than it knew."""
        self._wake.set()

    def take(self) -> list[Frame]:
        """Everything that waits, as frames, in order."""
        frames = self._first + [message.frame(self.codec) for message in self._waiting.values()]
        self._first = []
        self._waiting.clear()
        self._bytes = 0
        self._wake = trio.Event()
        return frames

    def _fits(self, more: Outgoing | None = None) -> bool:
        frames = len(self._waiting) + (more is not None)
        size = self._bytes + (len(more.frame(self.codec)) if more is not None else 0)
        return frames <= self._limits.outbox_frames and size <= self._limits.outbox_bytes

    async def wait(self) -> None:
        """Wait until there is something to do since the last `take`."""
        await self._wake.wait()
