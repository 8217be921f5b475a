"""A seat that outlives its connections."""

from __future__ import annotations

from typing import Any

import trio

from ..codes import Code, Retry
from ..protocol.connection import Connection
from ..protocol.limits import Limits
from ..rooms.player import Player
from ..rooms.room import Room
from ..rooms.seat import Seat
from ..rooms.session import Session
from ..rooms.statistics import SeatStatistics
from .outbox import Outbox
from .sending import Sending

# After these the client starts from nothing, but the player goes on.
AFRESH = (Code.MISCOUNT, Code.BEHIND)

# How many pages that had a seat, and lost it to another, it remembers, to tell them so when they come back.
MAX_FORMER = 16


class HeldSeat(Sending, Seat):
    """A session's place in one room: it counts both ways, and keeps what its client has not acknowledged.

    Args:
      room: where to sit.
      session: whose seat it is.
      name: what the client wants to be called, where the session does not say.
      limits: sizes and times.

    Raises:
      Refused: see `Room.take_seat`.
    """

    def __init__(self, room: Room[Any, Any], session: Session, name: str, limits: Limits) -> None:
        super().__init__(limits)
        self.session = session
        self.name = session.name or name
        self.inbox = limits.inbox
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
        self.connection: Connection | None = None
        """The machine of its newest connection."""
        self.player: Player[Any, Any] = room.take_seat(self)

    def statistics(self) -> SeatStatistics:
        outbox, unacked = self.outbox, self.counts.sent - self.counts.acked
        if outbox is None or self.connection is None:
            return SeatStatistics(unacked=unacked)
        return SeatStatistics(self.connection.clock.round_trip, len(outbox), outbox.waiting_bytes, unacked)

    def measure(self) -> None:
        outbox = self.outbox
        if outbox is not None and self.connection is not None and self.connection.ask_clock(trio.current_time()):
            outbox.wake()

    def end(self, code: Code, reason: str) -> None:
        self.over = True
        self.disconnect(code, reason)

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
        outbox.lease = self.player.room.lease
        self.player.room.seats.back(self.player)
        if self.player.ending is not None:
            outbox.end(self.player.ending.code, self.player.ending.reason)

    def lose(self, outbox: Outbox, code: Code, reason: str) -> None:
        """The connection is gone: the seat waits for another, unless one has taken it, or none may come back."""
        if not self.detach(outbox):
            return
        if code.retry is Retry.RESUME or code in AFRESH:
            self.player.room.seats.away(self.player, code, reason)
        else:
            self.player.leave(code, reason)

    def _note_pressure(self) -> None:
        if self.counts.behind:
            self.disconnect(Code.BEHIND, "too much was not acknowledged")
        else:
            self.player.read_on()
