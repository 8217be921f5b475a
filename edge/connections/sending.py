"""The send buffer of a seat, in a server or a client. The buffer outlives the seat's connections."""

from __future__ import annotations

import logging
from collections.abc import Hashable

import trio

from ..codes import Code
from ..protocol.counts import Counts
from ..protocol.latest import LatestValues
from ..protocol.limits import Limits
from ..protocol.outgoing import Outgoing
from .outbox import Outbox

log: logging.Logger = logging.getLogger("edge.sessions")


class SendBuffer:
    """Counts sent messages, stores them for a resume, and queues them for the current connection."""

    def __init__(self, limits: Limits) -> None:
        self.counts: Counts = Counts(limits.window_frames, limits.window_bytes, self._note_pressure, self._note_relief)
        """Counts of sent, acknowledged and received messages since the fresh start."""
        self.outbox: Outbox | None = None
        """The outbox of the current connection; None without a connection."""
        self.over = False
        """True once no more messages may be sent."""
        self.latest: LatestValues[Outgoing] = LatestValues(
            limits.outbox_frames, limits.window_bytes, self._note_dropped
        )
        """The newest sent ``latest`` event of each key, for the next connection."""
        self._relieved: trio.Event | None = None
        """Set when `pressed` becomes false; None if no task waits for it."""

    def send(self, message: Outgoing) -> None:
        """Count a message or store it as a latest value. Then queue the message if there is a connection."""
        if self.over:
            return
        if message.counted:
            self.counts.record(message)
        elif message.key is not None:
            self.latest.put(message.key, message, message.size)
        if self.outbox is not None:
            self.outbox.put(message)

    def _note_dropped(self, key: Hashable, oldest: Outgoing) -> None:
        most = f"{self.latest.max_values} keys or {self.latest.max_bytes} bytes"
        text = "the latest values sent to a seat exceed %s, so the oldest value, %r, is dropped: use fewer keys"
        log.warning(text, most, oldest, extra=self._log_context())

    def _log_context(self) -> dict[str, object]:
        """Return the context of log records about this seat."""
        return {}

    @property
    def pressed(self) -> bool:
        """True while more than half of the window is in use, so that the peer's acks must be read soon."""
        return self.counts.pressed

    async def wait_relief(self) -> None:
        """Wait until `pressed` is false. A cancellation has no other effect."""
        await trio.lowlevel.checkpoint()
        while self.pressed:
            if self._relieved is None:
                self._relieved = trio.Event()
            await self._relieved.wait()

    def reset_counts(self) -> None:
        """Reset the counts and drop the unacknowledged messages, but not the latest values."""
        self.counts.reset_counts()
        self.latest.dropped = False

    def forget_latest(self) -> None:
        """Drop the latest values, because the seat is lost."""
        self.latest.clear()

    def can_resume(self, received: int) -> bool:
        """True if a peer that has received this many counted messages can resume, because all later ones are stored."""
        return self.counts.can_resume(received) and not self.latest.dropped

    def release(self) -> None:
        """Drop all stored messages, which may be large, because no connection of the seat follows."""
        self.counts.release()
        self.latest.clear()

    def attach(self, outbox: Outbox) -> None:
        """Use a new connection: end the previous connection, and queue the messages that the peer missed."""
        if self.outbox is not None:
            self.outbox.end(Code.REPLACED, "another connection took the seat")
        self.outbox = outbox
        missed = [*self.counts.unacked(), *self._current()]
        outbox.put_first(*(message.frame(outbox.codec) for message in missed))

    def _current(self) -> list[Outgoing]:
        """Return the latest values that may be sent."""
        return self.latest.values()

    def detach(self, outbox: Outbox) -> bool:
        """Stop using a connection that has ended. Return false if a newer connection is in use."""
        if self.outbox is not outbox:
            return False
        self.outbox = None
        return True

    def _note_pressure(self) -> None:
        """Do nothing. A subclass may override this method, which is called as `Counts.on_pressure`."""

    def _note_relief(self) -> None:
        if self._relieved is not None:
            self._relieved.set()
            self._relieved = None
