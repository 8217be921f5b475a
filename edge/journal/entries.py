"""Journal entries, and the interface of the store of journals."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import attrs


@attrs.frozen
class Entry:
    """An encoded entry of a room's journal."""

    room: str
    fence: int
    number: int
    """The number of the entry, counted from 1 for each fence. An entry that is appended twice is stored once."""
    data: bytes
    whole: bool = False
    """True if the entry replaces all earlier entries."""
    over: bool = False
    """True if the entry says that the room has closed for good. After such an entry, no server may restore the room,
    and all earlier entries may be deleted."""


class Written(enum.Enum):
    """The result of writing an entry."""

    THERE = "there"
    """The entry is in the journal."""
    FORGOTTEN = "forgotten"
    """The entry is not written, because the lease has ended or the broker has lost the lease or earlier entries. A
    whole entry can be written after the lease is renewed."""
    REFUSED = "refused"
    """The entry can never be written, because another server has claimed the room."""


class EntryStore(Protocol):
    """The store of the journals of rooms, such as a broker."""

    @property
    def lease_seconds(self) -> float:
        """The duration of a lease, in seconds."""

    async def append(self, entries: Sequence[Entry], /) -> Sequence[Written]:
        """Append entries to the journals of several rooms.

        Returns: the result for each entry.

        Raises:
          BrokerDown: the store can't be reached. Any of the entries may have been written.

        *Cancellation*: any of the entries may have been written.
        """
