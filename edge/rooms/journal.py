"""The interface between a persistent room and its journal, which is a higher layer."""

from __future__ import annotations

import abc
from typing import Any

from .ledger import Member
from .records import MessageTable, SeatRecord
from .seat import Seat


class RestorableSeat(Seat):
    """A seat that another server can restore."""

    @abc.abstractmethod
    def record(self, table: MessageTable, *, whole: bool) -> SeatRecord:
        """Return a record from which another server can restore this seat.

        Args:
          table: takes the messages that the record refers to.
          whole: record everything, not only the changes since the previous record.
        """

    @abc.abstractmethod
    def recorded(self) -> None:
        """Acknowledge the received messages that the journal has, and send the withheld messages. Called when the entry
        with the newest `record` is written."""

    @abc.abstractmethod
    def conclude(self, *, unconfirmed: bool = False) -> None:
        """Send the client its goodbye, after the end of the player is written to the room's journal.

        Args:
          unconfirmed: true if the end may never be written, which the goodbye then reports.
        """

    @abc.abstractmethod
    def hand_over(self) -> None:
        """Send the client `Code.MOVED`: the end of the player is not written, so another server restores the seat."""


class Journal(abc.ABC):
    """Records a persistent room. Reliable events and the ends of seats are sent only after they are written."""

    concluded: bool
    """True once the end of the room is written, or the room no longer waits for that."""

    written_number: int
    """The number of the newest written entry; 0 before the first."""

    @abc.abstractmethod
    def mark_changed(self, member: Member | None = None) -> None:
        """Request a new entry, because the state of this player or of the room has changed."""

    @abc.abstractmethod
    def note_left(self, member: Member) -> None:
        """Record that a player has left."""

    @abc.abstractmethod
    def note_fact(self, fact: Any) -> None:
        """Note a fact for the next entry. `Room.persist` calls this."""

    @abc.abstractmethod
    def note_end(self, seat: RestorableSeat) -> None:
        """Record the end of the player of this seat. The last messages of the seat wait until the end is written."""

    @abc.abstractmethod
    def conclude(self) -> None:
        """Request an entry which records that the room has closed for good."""

    @abc.abstractmethod
    async def wait_written(self) -> None:
        """Wait until everything up to now is written, or until the room closes or loses its lease.

        *Cancellation*: nothing is lost.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Wait until the end of the closed room is written, or until another server may have the room.

        *Cancellation* is ignored; the wait is bounded.
        """
