"""What both sides of a seat remember across connections: how much was sent, acknowledged and received."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from ..codes import Code
from ..errors import RemoteProtocolError
from .outgoing import Outgoing


@attrs.define(eq=False)
class Counts:
    """One side's counts, and what it must be able to send again.

    The window holds references to shared messages, never copies of them.
    """

    max_frames: int
    """How many unacknowledged frames are kept."""

    max_bytes: int
    """The same in bytes of JSON, whatever the connection speaks."""

    on_pressure: Callable[[], object] = attrs.field(default=lambda: None)
    """Called with each message that leaves more than half of that unacknowledged, or more than all."""

    on_relief: Callable[[], object] = attrs.field(default=lambda: None)
    """Called when it is less again."""

    on_empty: Callable[[], object] = attrs.field(default=lambda: None)
    """Called when nothing is unacknowledged any more."""

    sent: int = 0
    """Counted frames sent since the fresh start."""

    withheld: int = 0
    """How many of `sent`, the newest, have not been written to any connection yet, and may not be."""

    received: int = 0
    """Counted frames received since the fresh start."""

    confirmed: int | None = None
    """How many of `received` may be acknowledged; None for all."""

    connected: bool = False
    """Whether a connection may acknowledge more. Then more than the bounds is kept for a while: see `over`."""

    over: bool = False
    """Whether more than the bounds is kept. The connection gives up if that lasts."""

    behind: bool = False
    """Whether more went unacknowledged than is kept: nothing is kept any more, until the fresh start."""

    pressed: bool = False
    """Whether more than half of what is kept is unacknowledged."""

    _unacked: deque[Outgoing] = attrs.field(factory=deque)
    _unacked_bytes: int = 0

    @property
    def acked(self) -> int:
        """How many of `sent` the peer has acknowledged."""
        return self.sent - len(self._unacked)

    def start_afresh(self) -> None:
        """Forget everything: a new seat."""
        self.sent = self.received = self.withheld = 0
        self.confirmed = None if self.confirmed is None else 0
        self.behind = False
        self._forget_all()

    def record(self, message: Outgoing) -> None:
        """Note a counted message as sent, and keep it until it is acknowledged. With one too many, and no connection,
        keep nothing."""
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
                self.over = True
                if not self.connected:
                    self.give_up()
                    return
            self.on_pressure()

    def give_up(self) -> None:
        """Keep nothing more, until the fresh start."""
        self.behind = True
        self._forget_all()
        self.on_pressure()

    def acknowledge(self, count: int) -> None:
        """The peer has `count` frames: forget them.

        Raises:
          RemoteProtocolError: it can't have that many, or had more before.
        """
        if not self.can_resume(count):
            raise RemoteProtocolError(f"acknowledged {count} of {self.sent} frames, {self.acked} before", Code.MISCOUNT)
        for _ in range(count - self.acked):
            self._unacked_bytes -= self._unacked.popleft().size
        self._note_relief()
        if not self._unacked:
            self.on_empty()

    def can_resume(self, count: int) -> bool:
        """Whether everything after the peer's first `count` frames can be sent again."""
        return not self.behind and self.acked <= count <= self.sent - self.withheld

    @property
    def acknowledgeable(self) -> int:
        """How many received frames the peer may forget."""
        return self.received if self.confirmed is None else self.confirmed

    def unacked(self) -> list[Outgoing]:
        """What to send again, oldest first."""
        return list(self._unacked)[: max(0, len(self._unacked) - self.withheld)]

    def newest(self, count: int) -> list[Outgoing]:
        """The newest so many of what is not acknowledged, oldest first."""
        return list(self._unacked)[max(0, len(self._unacked) - count) :]

    def go_on(self, sent: int, received: int, unacked: list[Outgoing], *, behind: bool) -> None:
        """Be where another server's counts were."""
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
        if self.over and self._unacked_bytes <= self.max_bytes and len(self._unacked) <= self.max_frames:
            self.over = False
        if self.pressed and 2 * self._unacked_bytes <= self.max_bytes and 2 * len(self._unacked) <= self.max_frames:
            self.pressed = False
            self.on_relief()
