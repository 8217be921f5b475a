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
        """Record what another server needs to restore this seat.

        Args:
          table: takes the messages that the record refers to.
          whole: record everything, not only what changed since the last record.
        """

    @abc.abstractmethod
    def recorded(self) -> None:
        """The newest `record` is written to the room's journal."""

    @abc.abstractmethod
    def conclude(self, *, unconfirmed: bool = False) -> None:
        """Tell the client that its player has ended: the end is written to the room's journal.

        Args:
          unconfirmed: the end may never be written, and the client is told so.
        """

    @abc.abstractmethod
    def hand_over(self) -> None:
        """The end of the player will not be written: on another server the player has not ended."""


class Journal(abc.ABC):
    """Records a persistent room. Reliable events and ends of seats leave the room only after they are written."""

    concluded: bool
    """True once the journal says that the room is over, or the room does not wait for that any longer."""

    written_number: int
    """The number of entries that are written."""

    @abc.abstractmethod
    def mark_changed(self, member: Member | None = None) -> None:
        """Something changed that belongs into the next entry: in this player, or in the room."""

    @abc.abstractmethod
    def note_left(self, member: Member) -> None:
        """A player has left."""

    @abc.abstractmethod
    def note_fact(self, fact: Any) -> None:
        """The room was given a fact, by `Room.persist`."""

    @abc.abstractmethod
    def note_end(self, seat: RestorableSeat) -> None:
        """The player of this seat has ended. What the seat says last waits until the journal has it."""

    @abc.abstractmethod
    def conclude(self) -> None:
        """The room closes for good: write that it is over."""

    @abc.abstractmethod
    async def wait_written(self) -> None:
        """Wait until everything that has happened up to now is written, or never will be.

        *Cancellation*: nothing is lost.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """The room has closed: wait until the journal says so, or another server may have the room.

        *Cancellation* is ignored; the wait is bounded.
        """
