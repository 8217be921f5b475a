"""The interface between a persistent room and its journal. The package `edge.journal` implements the journal."""

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
          table: the method adds the seat's messages to this table; the record contains their indices.
          whole: True to record everything; False to record only the messages since the previous record.
        """

    @abc.abstractmethod
    def recorded(self) -> None:
        """Acknowledge the received messages and send the withheld messages that the newest `record` includes.

        Called when the entry with that record is written.
        """

    @abc.abstractmethod
    def conclude(self, *, unconfirmed: bool = False) -> None:
        """Send the client its goodbye, after the end of the player is written to the room's journal.

        Args:
          unconfirmed: True if the end may never be written. In this case the goodbye says so.
        """

    @abc.abstractmethod
    def hand_over(self) -> None:
        """End the connection with `Code.MOVED`, because another server restores the seat from the journal."""


class Journal(abc.ABC):
    """The journal of one persistent room. A reliable event or the end of a seat is sent only after it is written."""

    concluded: bool
    """True once the end of the room is written, or once the room no longer waits for the end to be written."""

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
        """Add a fact to the next entry. `Room.persist` calls this method."""

    @abc.abstractmethod
    def note_end(self, seat: RestorableSeat) -> None:
        """Record that the player of this seat has ended. The seat's last messages wait until the end is written."""

    @abc.abstractmethod
    def conclude(self) -> None:
        """Request an entry which records that the room has closed for good."""

    @abc.abstractmethod
    async def wait_written(self) -> None:
        """Wait until all changes made before this call are written, or until the room closes or loses its lease.

        *Cancellation*: nothing is lost.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Wait until the end of the closed room is written, until the lease ends, or until a time limit.

        *Cancellation* is ignored during the wait.
        """
