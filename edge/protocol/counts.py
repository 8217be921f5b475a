"""The counts that both sides of a seat remember across connections: messages sent, acknowledged and received."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from ..codes import Code
from ..errors import RemoteProtocolError
from .outgoing import Outgoing


@attrs.define(eq=False)
class Counts:
    """One side's counts, and the window of messages that it can send again.

    The window holds references to shared messages, never copies of them.
    """

    max_frames: int
    """The most unacknowledged frames that are stored."""

    max_bytes: int
    """The same in bytes of JSON, whichever codec the connection uses."""

    on_pressure: Callable[[], object] = attrs.field(default=lambda: None)
    """Called for each message that leaves more than half of the window unacknowledged, or that does not fit into it."""

    on_relief: Callable[[], object] = attrs.field(default=lambda: None)
    """Called when less than half of the window is unacknowledged again."""

    on_empty: Callable[[], object] = attrs.field(default=lambda: None)
    """Called when all messages are acknowledged."""

    sent: int = 0
    """Counted frames sent since the fresh start."""

    withheld: int = 0
    """The number of the newest of `sent` that may not be written yet: the journal does not have them."""

    received: int = 0
    """Counted frames received since the fresh start."""

    confirmed: int | None = None
    """How many of `received` may be acknowledged; None for all. A persistent room acknowledges what its journal has."""

    connected: bool = False
    """True while there is a connection, which may acknowledge more. Then the window may be exceeded: see `exceeded`."""

    exceeded: bool = False
    """True while the window is exceeded. If that lasts, the connection ends."""

    behind: bool = False
    """True once the window was given up: nothing is stored until the next fresh start."""

    pressed: bool = False
    """True while more than half of the window is unacknowledged."""

    _unacked: deque[Outgoing] = attrs.field(factory=deque)
    _unacked_bytes: int = 0

    @property
    def acked(self) -> int:
        """The number of messages that the peer has acknowledged."""
        return self.sent - len(self._unacked)

    def reset_counts(self) -> None:
        """Start again from zero."""
        self.sent = self.received = self.withheld = 0
        self.confirmed = None if self.confirmed is None else 0
        self.behind = False
        self._forget_all()

    def record(self, message: Outgoing) -> None:
        """Count a message as sent, and store it until it is acknowledged. If it does not fit and there is no
        connection, give up the window."""
        if self.behind:
            self.on_pressure()
            return
        self.sent += 1
        self._unacked.append(message)
        self._unacked_bytes += message.size
        if 2 * self._unacked_bytes > self.max_bytes or 2 * len(self._unacked) > self.max_frames:
            self.pressed = True
            if len(self._unacked) > 1 and (
                self._unacked_bytes > self.max_bytes or len(self._unacked) > self.max_frames
            ):
                self.exceeded = True
                if not self.connected:
                    self.give_up()
                    return
            self.on_pressure()

    def release(self) -> None:
        """Drop the stored messages: no connection follows."""
        self._unacked.clear()
        self._unacked_bytes = 0

    def give_up(self) -> None:
        """Give up the window: store nothing until the next fresh start."""
        self.behind = True
        self._forget_all()
        self.on_pressure()

    def acknowledge(self, count: int) -> None:
        """Forget the first `count` frames, which the peer has.

        Raises:
          RemoteProtocolError: the peer cannot have that many, or had more before.
        """
        if not self.can_resume(count):
            raise RemoteProtocolError(f"acknowledged {count} of {self.sent} frames, {self.acked} before", Code.MISCOUNT)
        for _ in range(count - self.acked):
            self._unacked_bytes -= self._unacked.popleft().size
        self._note_relief()
        if not self._unacked:
            self.on_empty()

    def can_resume(self, count: int) -> bool:
        """True if all frames after the peer's first `count` can be sent again."""
        return not self.behind and self.acked <= count <= self.sent - self.withheld

    @property
    def acknowledgeable(self) -> int:
        """The number of received frames that may be acknowledged."""
        return self.received if self.confirmed is None else self.confirmed

    def unacked(self) -> list[Outgoing]:
        """The messages to send again, the oldest first."""
        return list(self._unacked)[: max(0, len(self._unacked) - self.withheld)]

    def newest(self, count: int) -> list[Outgoing]:
        """The newest `count` unacknowledged messages, the oldest first."""
        return list(self._unacked)[max(0, len(self._unacked) - count) :]

    def restore(self, sent: int, received: int, unacked: list[Outgoing], *, behind: bool) -> None:
        """Restore the counts that another server had."""
        self.sent, self.received, self.behind = sent, received, behind
        self.confirmed = received
        self._unacked.extend(unacked)
        self._unacked_bytes = sum(message.size for message in unacked)

    def _forget_all(self) -> None:
        self._unacked.clear()
        self.withheld = 0
        self._unacked_bytes = 0
        self._note_relief()
        self.on_empty()

    def _note_relief(self) -> None:
        if self.exceeded and self._unacked_bytes <= self.max_bytes and len(self._unacked) <= self.max_frames:
            self.exceeded = False
        if self.pressed and 2 * self._unacked_bytes <= self.max_bytes and 2 * len(self._unacked) <= self.max_frames:
            self.pressed = False
            self.on_relief()
