"""The counts of sent, acknowledged and received messages, which both sides of a seat store across connections."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ..codes import Code
from ..errors import RemoteProtocolError
from .outgoing import Outgoing


@attrs.define(eq=False)
class Counts:
    """The counts of one side, and its window: the sent messages that a resume can repeat.

    The window holds references to shared messages, never copies.
    """

    max_frames: int
    """The maximum number of unacknowledged frames that are stored."""

    max_bytes: int
    """The maximum number of unacknowledged bytes that are stored. They are measured as JSON, with any codec."""

    on_pressure: Callable[[], object] = attrs.field(default=lambda: None)
    """Called by `give_up`, and for each message that is recorded while the window is more than half full or given
    up."""

    on_relief: Callable[[], object] = attrs.field(default=lambda: None)
    """Called when `pressed` becomes false: at most half of the window is in use."""

    on_empty: Callable[[], object] = attrs.field(default=lambda: None)
    """Called after each ack that leaves no message unacknowledged, and when the window is dropped."""

    sent: int = 0
    """The number of counted frames that were sent since the fresh start."""

    withheld: int = 0
    """The number of newest sent frames that may not be written yet, because the journal does not have them."""

    received: int = 0
    """The number of counted frames that were received since the fresh start."""

    confirmed: int | None = None
    """The number of received frames that may be acknowledged; None for all. A persistent room acknowledges a frame only
    after its journal has the frame."""

    connected: bool = False
    """True while there is a connection, on which the peer can acknowledge messages. Without a connection, a message
    that exceeds the window causes `give_up`."""

    exceeded: bool = False
    """True while more messages are unacknowledged than fit into the window. If this state lasts too long, the
    connection ends."""

    behind: bool = False
    """True once `give_up` was called. No message is counted or stored until the next fresh start."""

    pressed: bool = False
    """True while more than half of the window is in use."""

    _unacked: list[Outgoing] = attrs.field(factory=list)
    _unacked_bytes: int = 0

    @property
    def acked(self) -> int:
        """The number of messages that the peer has acknowledged."""
        return self.sent - len(self._unacked)

    def reset_counts(self) -> None:
        """Reset all counts to zero and drop the window, for a fresh start."""
        self.sent = self.received = self.withheld = 0
        self.confirmed = None if self.confirmed is None else 0
        self.behind = False
        self._forget_all()

    def record(self, message: Outgoing) -> None:
        """Count a message as sent, and store it until it is acknowledged.

        If there is no connection and the message does not fit into the window, call `give_up`.
        """
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
        """Drop the stored messages, because no connection follows."""
        self._unacked.clear()
        self._unacked_bytes = 0

    def give_up(self) -> None:
        """Drop the window, and store no messages until the next fresh start."""
        self.behind = True
        self._forget_all()
        self.on_pressure()

    def acknowledge(self, count: int) -> None:
        """Drop the first `count` frames since the fresh start, because the peer has acknowledged them.

        Raises:
          RemoteProtocolError: `count` is less than an earlier count, `count` is more than was written, or the window
            was given up.
        """
        if not self.can_resume(count):
            raise RemoteProtocolError(
                f"the peer acknowledged {count} frames, but {self.acked} before, and {self.sent} were sent",
                Code.MISCOUNT,
            )
        acknowledged = count - self.acked
        self._unacked_bytes -= sum([message.size for message in self._unacked[:acknowledged]])
        del self._unacked[:acknowledged]
        self._note_relief()
        if not self._unacked:
            self.on_empty()

    def can_resume(self, count: int) -> bool:
        """Return whether all frames after the first `count` are stored, so that a resume can send them again."""
        return not self.behind and self.acked <= count <= self.sent - self.withheld

    @property
    def acknowledgeable(self) -> int:
        """The number of received frames that may be acknowledged."""
        return self.received if self.confirmed is None else self.confirmed

    def unacked(self) -> list[Outgoing]:
        """Return the messages that a resume repeats, the oldest first."""
        return self._unacked[: max(0, len(self._unacked) - self.withheld)]

    def newest(self, count: int) -> list[Outgoing]:
        """Return the newest `count` unacknowledged messages, the oldest first."""
        return self._unacked[max(0, len(self._unacked) - count) :]

    def restore(self, sent: int, received: int, unacked: list[Outgoing], *, behind: bool) -> None:
        """Restore the counts and the window that another server stored."""
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
