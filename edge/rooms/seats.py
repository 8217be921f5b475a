"""`Seats`, the object through which an author's room uses its seats: the policy, and the players who hold seats."""

from __future__ import annotations

import weakref
from typing import Any

import trio

from ..aio.members import guard_members
from .ledger import Ledger
from .player import Player
from .presence import Changes, ChangesWatch, Presence


@guard_members()
class Seats:
    """The seats of a room. As a class attribute of a `Room`, this object is the policy that each room copies.

    Args:
      minimum: the number of players for which `wait_minimum` waits. By default, a round also needs this many players.
      maximum: the number of seats. Further applicants are refused as ``full``.
      grace: the seconds for which a seat waits for a new connection; 0 ends the seat at once.
    """

    def __init__(self, *, minimum: int = 1, maximum: int = 100, grace: float = 30) -> None:
        for name, value in (("minimum", minimum), ("maximum", maximum)):
            if type(value) is not int:
                raise TypeError(f"Seats({name}={value!r}): {name} must be an int, the number of seats")
        if type(grace) not in (int, float):
            raise TypeError(f"Seats(grace={grace!r}): grace must be seconds, as an int or a float, such as math.inf")
        if not grace >= 0:  # this also finds a NaN, unlike `grace < 0`
            raise ValueError(f"Seats(grace={grace!r}): grace must be seconds, and not less than 0")
        if not 0 <= minimum <= maximum:
            raise ValueError("Seats needs 0 <= minimum <= maximum")
        self.__edge_ledger = Ledger(minimum=minimum, maximum=maximum, grace=grace)

    def __init_subclass__(cls) -> None:
        raise TypeError(f"{cls.__name__} inherits from edge.Seats: define further attributes on the room instead")

    def __repr__(self) -> str:
        return f"<Seats: {len(self)} of {self.maximum} taken>"

    def __len__(self) -> int:
        return len(self.__edge_ledger)

    @property
    def minimum(self) -> int:
        """The number of players for which `wait_minimum` waits."""
        return self.__edge_ledger.minimum

    @property
    def maximum(self) -> int:
        """The number of seats."""
        return self.__edge_ledger.maximum

    @property
    def grace(self) -> float:
        """The seconds for which a seat without a connection waits for a new connection."""
        return self.__edge_ledger.grace

    @property
    def locked(self) -> bool:
        """True while applicants are refused as ``locked``: see `Room.lock`."""
        return self.__edge_ledger.locked

    @property
    def free(self) -> int:
        """The number of free seats."""
        return self.maximum - len(self)

    @property
    def enough(self) -> bool:
        """True if at least `minimum` players hold a seat."""
        return len(self) >= self.minimum

    @property
    def players(self) -> tuple[Player[Any, Any], ...]:
        """All players who hold a seat, connected or away, in the order in which they joined."""
        return tuple(member.facade for member in self.__edge_ledger.members)

    def presence(self) -> tuple[Presence, ...]:
        """Return the presence of each player who holds a seat, in the order in which they joined."""
        return tuple(Presence(each.number, each.name, each.connected) for each in self.__edge_ledger.members)

    def find(self, session: str) -> Player[Any, Any] | None:
        """Return the player of the session with this id, or None."""
        member = self.__edge_ledger.find(session)
        return None if member is None else member.facade

    async def wait_minimum(self) -> None:
        """Wait until at least `minimum` players hold a seat.

        *Cancellation*: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        while not self.enough:
            await self.wait_change()

    async def wait_change(self) -> None:
        """Wait until a player joins, leaves, loses the connection or reconnects.

        *Cancellation*: nothing is lost, because `presence` has the current state.
        """
        await self.__edge_ledger.changed.wait()

    def changes(self) -> Changes:
        """Return an iterator over changes of presence: ``async for change in seats.changes()``. See `Changes`."""
        watch = ChangesWatch()
        for member in self.__edge_ledger.members:
            watch.note(member)
        changes = Changes._create(watch)
        self.__edge_ledger.watches.append(watch)
        weakref.finalize(changes, self.__edge_ledger.watches.remove, watch).atexit = False
        return changes


def ledger_of(seats: Seats) -> Ledger:
    """Return the ledger of a room's seats."""
    ledger: Ledger = seats._Seats__edge_ledger  # type: ignore[attr-defined]  # a private name
    return ledger


def empty(seats: Seats) -> Seats:
    """Return new, empty seats with the same policy."""
    return Seats(minimum=seats.minimum, maximum=seats.maximum, grace=seats.grace)
