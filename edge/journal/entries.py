"""Journal entries, and the interface of the store of journals."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import attrs


@attrs.frozen
class Entry:
    """An encoded entry of the journal of a room."""

    room: str
    fence: int
    number: int
    """The number of the entry, from 1 for each fence. An entry that is appended twice is stored once."""
    data: bytes
    whole: bool = False
    """True if the entry replaces all entries before it."""
    over: bool = False
    """True if the entry says that the room has closed for good. Then no server may restore the room, and all entries
    before this one may be deleted."""


class Written(enum.Enum):
    """The result of writing an entry."""

    THERE = "there"
    """The entry is in the journal."""
    FORGOTTEN = "forgotten"
    """The entry is not written: the lease has run out, or the broker has lost the lease or earlier entries. After a
    renewal of the lease, a whole entry can be written."""
    REFUSED = "refused"
    """The entry can never be written, because another server has claimed the room."""


class EntryStore(Protocol):
    """The store of the journals of rooms, such as a broker."""

    @property
    def lease_seconds(self) -> float:
        """The seconds that a lease lasts."""

    async def append(self, entries: Sequence[Entry], /) -> Sequence[Written]:
        """Append entries to the journals of several rooms. Returns: the result for each entry.

        Raises:
          BrokerDown: the store can't be reached. Each entry may be written or not.

        *Cancellation*: each entry may be written or not.
        """
