"""Entries of journals, as they are handed to whatever stores them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import attrs


@attrs.frozen
class Entry:
    """An entry of the journal of a room."""

    room: str
    fence: int
    number: int
    """Counts this owner's entries, from 1: the same entry twice is one."""
    data: bytes
    whole: bool = False
    """True if all that came before may be forgotten."""
    over: bool = False
    """True if the room is over: nobody is to go on with it, and all that came before may be forgotten."""


class Written(enum.Enum):
    """The result of writing an entry."""

    THERE = "there"
    """It is in the log."""
    FORGOTTEN = "forgotten"
    """It is not: the broker does not know the lease, or the entries before. Once the lease is renewed, a whole entry
    will do."""
    REFUSED = "refused"
    """It is not, and never will be: another has claimed the room since."""


class EntryStore(Protocol):
    """Stores the journals of rooms. A broker is one."""

    @property
    def lease_seconds(self) -> float:
        """The length of a lease."""

    async def append(self, entries: Sequence[Entry], /) -> Sequence[Written]:
        """Append entries of several rooms. Returns: what became of each.

        Raises:
          BrokerDown: the store can't be reached. Each entry may be written or not.
        """
