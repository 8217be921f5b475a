"""A seat that outlives its connections."""

from __future__ import annotations

import logging
import math
from typing import Any

import trio

from ..codes import Code, Retry
from ..connections.outbox import Outbox
from ..connections.sending import SendBuffer
from ..errors import SendOverflow
from ..protocol.connection import Connection
from ..protocol.limits import Limits
from ..protocol.outgoing import Outgoing
from ..rooms.player_runtime import PlayerRuntime
from ..rooms.room_runtime import RoomRuntime
from ..rooms.seat import Seat
from ..rooms.session import Session
from ..rooms.statistics import SeatStatistics

log: logging.Logger = logging.getLogger("edge.sessions")

# If a connection ends with one of these codes, the client starts fresh on its next connection, and the player stays.
FRESH_CODES = (Code.MISCOUNT, Code.BEHIND)

# The server ends a connection with one of these codes if the client does not read or acknowledge messages, or if the
# client sends too much.
ENDED_BY_SERVER = (Code.OVERFLOW, Code.BEHIND, Code.STALLED, Code.FLOODING)

# A seat stores at most this many clients that have lost the seat to another page. The server refuses these clients when
# they reconnect.
MAX_FORMER = 16


class HeldSeat(SendBuffer, Seat):
    """A session's place in one room. It counts messages in both directions, and stores unacknowledged messages.

    `send` is inherited from `SendBuffer`.

    Args:
      session: the session that has the seat.
      name: the name that the client asks for, which is used if the session has no name.
      limits: the limits of the seat's messages.
      options: the join options, an instance of their class.
    """

    player: PlayerRuntime
    """The run time of the player, set by `enter`."""

    def __init__(self, session: Session, name: str, limits: Limits, options: Any = None) -> None:
        super().__init__(limits)
        self.options = options
        self._goodbye = Code.LEFT, ""
        """The code and the reason of the goodbye, which is sent after the player has ended."""
        self._goodbye_due = False
        """True once the goodbye may be sent."""
        self.session = session
        self.name: str = session.name or name
        self.inbox: int = limits.inbox
        self.inbox_bytes: int = limits.inbox_bytes
        self._sent_bytes = limits.sent_bytes
        self.client: str = ""
        """The client that has the seat: the random name of one page or program."""
        self.attempt: int = 0
        """The number of the client's newest connection."""
        self.since: int = 0
        """The number of the connection with which the client last started fresh."""
        self.why: str = ""
        """The reason for the last fresh start: see `Welcome.why`."""
        self.former: tuple[str, ...] = ()
        """Clients that had the seat before, the oldest first."""
        self.crowded: bool = False
        self._told_crowded = False
        self.connection: Connection | None = None
        """The connection machine of the newest connection; None before the first connection."""

    def enter(self, room: RoomRuntime, *, number: int | None = None) -> None:
        """Add this seat to a room. Call this method last, because from then on other code can find the seat.

        Args:
          number: the number of a seat that is restored from a journal; None for a new seat, which gets a free number.

        Raises:
          Refused: see `RoomRuntime.take_seat`.
        """
        self.player = room.take_seat(self) if number is None else room.restore_seat(self, number)

    def statistics(self) -> SeatStatistics:
        outbox, unacked = self.outbox, self.counts.sent - self.counts.acked
        if outbox is None or self.connection is None:
            return SeatStatistics(unacked=unacked)
        return SeatStatistics(self.connection.clock.round_trip, len(outbox), outbox.waiting_bytes, unacked)

    @property
    def low_rate_at(self) -> float:
        return -math.inf if self.connection is None else self.connection.low_rate_at

    def measure(self) -> None:
        outbox = self.outbox
        if outbox is not None and self.connection is not None and self.connection.ask_clock(trio.current_time()):
            outbox.wake()

    def _log_context(self) -> dict[str, object]:
        return self.player.log_context

    def wake_documents(self) -> None:
        if self.outbox is not None:
            self.outbox.wake_documents()

    def check_size(self, message: Outgoing) -> None:
        if message.size > self._sent_bytes:
            size = f"{message.name} has {message.size} bytes, but at most {self._sent_bytes} are allowed"
            raise ValueError(f"{size}: send it in parts, or increase Limits.sent_bytes")

    def check_crowded(self, message: Outgoing) -> None:
        if self.outbox is not None and not self.outbox.writing and self.outbox.crowded:
            sent = f"{len(self.outbox)} messages, {self.outbox.waiting_bytes} bytes"
            text = f"{sent}, were sent to {self.name!r} without a pause: call trio.sleep(0.01) in the loop that sends"
            if not self._told_crowded:
                self._told_crowded = True
                log.warning("%s: %r is not sent", text, message, extra=self._log_context())
            raise SendOverflow(text)
        self.crowded = False

    def _note_crowded(self) -> None:
        self.crowded = True

    def end(self, code: Code, reason: str) -> None:
        self.over = True
        self._goodbye = code, reason
        self.conclude()

    def conclude(self, *, unconfirmed: bool = False) -> None:
        """Send the client its goodbye, after its player has ended.

        Args:
          unconfirmed: see `RestorableSeat.conclude`.
        """
        self._goodbye_due = True
        if self.outbox is not None:
            self.outbox.end(*self._goodbye, unconfirmed=unconfirmed)
        else:
            self.release()

    def disconnect(self, code: Code, reason: str) -> None:
        """End the connection, if there is a connection. See `lose` for the effect of the code on the seat."""
        if self.outbox is not None:
            self.outbox.end(code, reason)

    def give_to(self, client: str, why: str) -> None:
        """Give the seat to a client that starts fresh, and drop the unacknowledged messages.

        Args:
          why: the reason for the fresh start: see `Welcome.why`.
        """
        if self.client and client != self.client:
            self.former = (*self.former[1 - MAX_FORMER :], self.client)
        self.client, self.since, self.why = client, self.attempt, why
        self.reset_counts()

    def attach(self, outbox: Outbox) -> None:
        """Attach a new connection, end the previous connection, and queue the messages that the client missed."""
        super().attach(outbox)
        outbox.on_crowded = self._note_crowded
        self.counts.connected = True
        outbox.gate = self.player.room.lease
        if (sharing := self.player.room.sharing) is not None:
            outbox.sharing = sharing
        self.player.room.ledger.find_again(self.player)
        if self._goodbye_due:
            outbox.end(*self._goodbye)

    def lose(self, outbox: Outbox, code: Code, reason: str) -> None:
        """Detach a connection that has ended.

        If the code allows a resume or a fresh start, the seat waits for a new connection; otherwise the player leaves.
        """
        if not self.detach(outbox):
            return
        self.counts.connected = False
        if self._goodbye_due:
            self.release()
        self._note_cut_off(code, reason)
        self.player.room.note_strain(self.player, strained=False)
        if code.retry is Retry.RESUME or code in FRESH_CODES:
            self.player.room.ledger.lose(self.player, code, reason)
        else:
            self.player.leave(code, reason)

    def _note_cut_off(self, code: Code, reason: str) -> None:
        """Log the first connection that ended with each code of `ENDED_BY_SERVER`, for each kind of room."""
        room = self.player.room
        if code in ENDED_BY_SERVER and room.counters.is_first("cut off", room.kind, code):
            text = "the connection of %r in %s was ended as %s: %s; further connections that end so are not logged"
            log.warning(text, self.name, room.kind.class_name, code.name, reason, extra=self._log_context())

    def _note_pressure(self) -> None:
        if self.counts.behind:
            self.disconnect(Code.BEHIND, "too many messages were not acknowledged")
            return
        if self.counts.connected:
            self.player.room.note_strain(self.player, strained=True)
        self.player.recheck_space()

    def _note_relief(self) -> None:
        super()._note_relief()
        self.player.room.note_strain(self.player, strained=False)
