"""Journal entries, and the interface of the store that they are written to."""

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
    """The number of the entry under this fence, from 1. An entry that is appended twice is stored once."""
    data: bytes
    whole: bool = False
    """True if the entry replaces all entries before it."""
    over: bool = False
    """True if the room is over: no server may restore it, and all entries before this one may be deleted."""


class Written(enum.Enum):
    """The result of writing an entry."""

    THERE = "there"
    """The entry is in the journal."""
    FORGOTTEN = "forgotten"
    """The entry is not written: the lease has run out, or the broker has lost it or earlier entries. After a renewal of
    the lease, a whole entry can be written."""
    REFUSED = "refused"
    """The entry is not and will not be written: another server has claimed the room since."""


class EntryStore(Protocol):
    """Stores the journals of rooms. A broker is one."""

    @property
    def lease_seconds(self) -> float:
        """The length of a lease."""

    async def append(self, entries: Sequence[Entry], /) -> Sequence[Written]:
        """Append entries of several rooms. Returns: the result for each.

        Raises:
          BrokerDown: the store can't be reached. Each entry may be written or not.

        *Cancellation*: each entry may be written or not.
        """
