"""A seat that outlives its connections."""

from __future__ import annotations

import logging
import math

import trio

from ..codes import Code, Retry
from ..connections.outbox import Outbox
from ..connections.sending import Sending
from ..errors import SendOverflow
from ..protocol.connection import Connection
from ..protocol.limits import Limits
from ..protocol.outgoing import Outgoing
from ..rooms.player_runtime import PlayerRuntime
from ..rooms.room_runtime import RoomRuntime
from ..rooms.seat import Seat
from ..rooms.session import Session
from ..rooms.statistics import SeatStatistics

log = logging.getLogger("edge.sessions")

# After these the client starts from nothing, but the player goes on.
AFRESH = (Code.MISCOUNT, Code.BEHIND)

# The server ends a connection with these because its client does not read, acknowledge or answer, or sends too much.
CUT_OFF = (Code.OVERFLOW, Code.BEHIND, Code.STALLED, Code.FLOODING)

# How many pages that had a seat, and lost it to another, it remembers, to tell them so when they come back.
MAX_FORMER = 16


class HeldSeat(Sending, Seat):
    """A session's place in one room: it counts both ways, and keeps what its client has not acknowledged.

    Args:
      session: whose seat it is.
      name: what the client wants to be called, where the session does not say.
      limits: sizes and times.
    """

    player: PlayerRuntime
    """Once it was admitted: see `enter`."""

    def __init__(self, session: Session, name: str, limits: Limits) -> None:
        super().__init__(limits)
        self._goodbye = Code.LEFT, ""
        """What is said last, once its player has ended..."""
        self._parted = False
        """...and whether it has been."""
        self.session = session
        self.name = session.name or name
        self.inbox = limits.inbox
        self.inbox_bytes = limits.inbox_bytes
        self._sent_bytes = limits.sent_bytes
        self.client = ""
        """The client that has the seat: one page, or one program."""
        self.attempt = 0
        """Its newest attempt to connect..."""
        self.since = 0
        """...the one at which it started afresh..."""
        self.why = ""
        """...and why it did."""
        self.former: tuple[str, ...] = ()
        """Clients that had the seat before."""
        self.crowded = self._told_crowded = False
        self.connection: Connection | None = None
        """The machine of its newest connection."""

    def enter(self, room: RoomRuntime, *, number: int | None = None) -> None:
        """Have the room admit it. Only a seat that is whole may enter: from now on others find it.

        Args:
          number: of the seat, if it was given on another server.

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
    def light_at(self) -> float:
        return -math.inf if self.connection is None else self.connection.light_at

    def measure(self) -> None:
        outbox = self.outbox
        if outbox is not None and self.connection is not None and self.connection.ask_clock(trio.current_time()):
            outbox.wake()

    def _log_context(self) -> dict[str, object]:
        return self.player.log_context

    def check_size(self, message: Outgoing) -> None:
        if message.size > self._sent_bytes:
            size = f"{message.name} is {message.size} bytes, and may be {self._sent_bytes}"
            raise ValueError(f"{size}: send it in parts, or raise Limits.sent_bytes")

    def check_crowded(self, message: Outgoing) -> None:
        if self.outbox is not None and not self.outbox.writing and self.outbox.crowded:
            sent = f"{len(self.outbox)} messages, {self.outbox.waiting_bytes} bytes"
            text = f"{sent}, were sent to {self.name!r} without a pause: wait in such a loop, with trio.sleep(0.01)"
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
        """Tell the client that its player has ended.

        Args:
          unconfirmed: see `RestorableSeat.conclude`.
        """
        self._parted = True
        if self.outbox is not None:
            self.outbox.end(*self._goodbye, unconfirmed=unconfirmed)

    def disconnect(self, code: Code, reason: str) -> None:
        """End the connection, if there is one; the code says what becomes of the seat."""
        if self.outbox is not None:
            self.outbox.end(code, reason)

    def give_to(self, client: str, why: str) -> None:
        """This client has the seat from now on, and begins from nothing: what was on the way is lost."""
        if self.client and client != self.client:
            self.former = (*self.former[1 - MAX_FORMER :], self.client)
        self.client, self.since, self.why = client, self.attempt, why
        self.start_afresh()

    def attach(self, outbox: Outbox) -> None:
        """A connection takes the seat: the newest wins, and an older one is told. What it missed is queued for it."""
        super().attach(outbox)
        outbox.on_crowded = self._note_crowded
        self.counts.connected = True
        outbox.gate = self.player.room.lease
        self.player.room.ledger.find_again(self.player)
        if self._parted:
            outbox.end(*self._goodbye)

    def lose(self, outbox: Outbox, code: Code, reason: str) -> None:
        """The connection is gone: the seat waits for another, unless one has taken it, or none may come back."""
        if not self.detach(outbox):
            return
        self.counts.connected = False
        self._note_cut_off(code, reason)
        self.player.room.note_strain(self.player, strained=False)
        if code.retry is Retry.RESUME or code in AFRESH:
            self.player.room.ledger.lose(self.player, code, reason)
        else:
            self.player.leave(code, reason)

    def _note_cut_off(self, code: Code, reason: str) -> None:
        """Tell the first time that a connection of this kind of room is ended because of what its client does."""
        room = self.player.room
        if code in CUT_OFF and room.counters.is_first("cut off", room.kind, code):
            text = "the connection of %r in %s was ended as %s: %s; later ones are not logged"
            log.warning(text, self.name, room.kind.class_name, code.name, reason, extra=self._log_context())

    def _note_pressure(self) -> None:
        if self.counts.behind:
            self.disconnect(Code.BEHIND, "too much was not acknowledged")
            return
        if self.counts.connected:
            self.player.room.note_strain(self.player, strained=True)
        self.player.read_on()

    def _note_relief(self) -> None:
        super()._note_relief()
        self.player.room.note_strain(self.player, strained=False)
