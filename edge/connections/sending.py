"""The sending half of a seat, at either end: what outlives the connections it is sent over."""

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

log = logging.getLogger("edge.sessions")


class Sending:
    """Counts what is sent, keeps what may be wanted again, and queues it for the connection there is."""

    def __init__(self, limits: Limits) -> None:
        self.counts = Counts(limits.window_frames, limits.window_bytes, self._note_pressure, self._note_relief)
        """What was sent, acknowledged and received since the fresh start."""
        self.outbox: Outbox | None = None
        """The outbox of the connection there is now."""
        self.over = False
        """Whether nothing more is sent."""
        self.latest: LatestValues[Outgoing] = LatestValues(
            limits.outbox_frames, limits.window_bytes, self._note_dropped
        )
        """Latest values, for a connection that comes later."""
        self._relieved = trio.Event()

    def send(self, message: Outgoing) -> None:
        """Record a message if it counts, keep it if it is a latest value, and queue it if there is a connection."""
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
        text = "more than %s of latest values: the oldest, %r, is not sent again on a resume"
        log.warning(text, most, oldest, extra=self._log_context())

    def _log_context(self) -> dict[str, object]:
        """What a record of the log says that it is about."""
        return {}

    @property
    def pressed(self) -> bool:
        """Whether half of what may go unacknowledged does: now the peer's acks must not be kept waiting."""
        return self.counts.pressed

    async def wait_relief(self) -> None:
        """Wait until not pressed."""
        await trio.lowlevel.checkpoint()
        while self.pressed:
            await self._relieved.wait()

    def start_afresh(self) -> None:
        """What was under way is lost; latest values are kept."""
        self.counts.start_afresh()

    def forget_latest(self) -> None:
        """The seat is lost: what was current in it is, too."""
        self.latest.clear()

    def attach(self, outbox: Outbox) -> None:
        """A connection has come: the newest wins, and an older one is told. What the peer missed is queued first."""
        if self.outbox is not None:
            self.outbox.end(Code.REPLACED, "another connection took the seat")
        self.outbox = outbox
        missed = [*self.counts.unacked(), *self._current()]
        outbox.put_first(*(message.frame(outbox.codec) for message in missed))

    def _current(self) -> list[Outgoing]:
        """The latest values that may be told."""
        return self.latest.values()

    def detach(self, outbox: Outbox) -> bool:
        """The connection is gone. False if another had taken its place."""
        if self.outbox is not outbox:
            return False
        self.outbox = None
        return True

    def _note_pressure(self) -> None:
        """More than half of what may go unacknowledged does; or all of it, and nothing is kept any more."""

    def _note_relief(self) -> None:
        relieved, self._relieved = self._relieved, trio.Event()
        relieved.set()
