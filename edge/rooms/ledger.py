"""The ledger of a room: the only record of the players who are joining, here or away, and of their leaving.

A seat enters the ledger only when it is complete, in the same synchronous step in which the author's `admit` accepts
the player, so that the room cannot change in between. From then on only four things change its state:

* ``START``: the player's task has begun.
* ``LOSE``: the connection is lost; the seat waits for a new one for `Ledger.grace` seconds.
* ``FIND``: the player has a new connection.
* ``LEAVE``: the player leaves, for any reason. This is the last event.

`TRANSITIONS` has the next state for each state. What does not apply, such as ``START`` for a player who is away, leaves
the state as it is, and is no error. So a caller need not know in which order a task starts, a connection changes and a
deadline passes. The number of a
seat is free again when its player's task has ended, including its clean-up: see `Ledger.release_number`.

The ledger does not import rooms or players, which import the ledger.
"""

from __future__ import annotations

import abc
import enum
import heapq
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from ..codes import Code
from ..errors import Refused
from .seat import Seat
from .session import Session
from .statistics import TurnStatistics

# The seconds by which a seat outlives its grace, so that a reconnect at the instant of the deadline succeeds.
TIE = 0.001


class PlayerState(enum.StrEnum):
    """The state of a player in the ledger."""

    JOINING = "joining"
    """The player has a seat; the task of `Room.player` has not begun."""
    HERE = "here"
    """Connected."""
    AWAY = "away"
    """The connection is lost, and the seat waits for a new one."""
    LEFT = "left"
    """The player has left, for the reason in `Player.ending`."""


class Happens(enum.Enum):
    """An event that may change the state of a player."""

    START = enum.auto()
    LOSE = enum.auto()
    FIND = enum.auto()
    LEAVE = enum.auto()


TRANSITIONS = {
    PlayerState.JOINING: {
        Happens.START: PlayerState.HERE,
        Happens.LOSE: PlayerState.AWAY,
        Happens.FIND: PlayerState.JOINING,
        Happens.LEAVE: PlayerState.LEFT,
    },
    PlayerState.HERE: {
        Happens.START: PlayerState.HERE,
        Happens.LOSE: PlayerState.AWAY,
        Happens.FIND: PlayerState.HERE,
        Happens.LEAVE: PlayerState.LEFT,
    },
    PlayerState.AWAY: {
        Happens.START: PlayerState.AWAY,
        Happens.LOSE: PlayerState.AWAY,
        Happens.FIND: PlayerState.HERE,
        Happens.LEAVE: PlayerState.LEFT,
    },
    PlayerState.LEFT: dict.fromkeys(Happens, PlayerState.LEFT),
}


@attrs.frozen
class Ending:
    """Why a player left."""

    code: Code
    reason: str


class OpenTurn(abc.ABC):
    """The interface of an open turn for the ledger, which calls it when the player leaves or the connection changes."""

    @abc.abstractmethod
    def player_left(self) -> None:
        """End the turn, because its player has left."""

    @abc.abstractmethod
    def player_away(self) -> None:
        """Start the limit of the absence, because the player's connection is lost."""

    @abc.abstractmethod
    def player_back(self) -> None:
        """End the limit of the absence, because the player has a new connection."""

    @abc.abstractmethod
    def statistics(self) -> TurnStatistics:
        """Return a snapshot of the turn."""


class Member(abc.ABC):
    """A player, as the ledger knows it.

    Args:
      seat: sends messages to the player.
      number: the number of the seat.
    """

    facade: Any
    """The author's `Player`, once it exists."""

    def __init__(self, seat: Seat, number: int) -> None:
        self.seat = seat
        self.session: Session = seat.session
        self.name: str = seat.name
        self.number = number
        self.state = PlayerState.JOINING
        self.ending: Ending | None = None
        self.joined = 0
        """The place in the order of joining. A player who joins later has a higher number."""
        self.away_until: float = 0.0
        """While away: the end of the grace, on Trio's clock."""
        self.turns: list[OpenTurn] = []
        """The open turns of this player."""

    @property
    def connected(self) -> bool:
        """True while a connection holds the seat."""
        return self.state in (PlayerState.JOINING, PlayerState.HERE)

    @property
    def left(self) -> bool:
        """True once the player has left."""
        return self.ending is not None

    @abc.abstractmethod
    def leave(self, code: Code, reason: str = "") -> bool:
        """End the player's stay in the room. Return false, without effect, if the player has already left."""

    @abc.abstractmethod
    def recheck_space(self) -> None:
        """Check again if there is space for more events of this player."""


class Watch(abc.ABC):
    """An observer of a ledger, which is notified of each change."""

    @abc.abstractmethod
    def note(self, member: Member) -> None:
        """Handle a change of the state of this member."""


class Ledger:
    """The members of a room, and the limits on their number.

    Args:
      minimum: see `Seats`.
      maximum: see `Seats`.
      grace: see `Seats`.
    """

    def __init__(self, *, minimum: int, maximum: int, grace: float) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.grace = grace
        self.locked = False
        """True while applicants are refused as ``locked``."""
        self.watches: list[Watch] = []
        self.changed: trio.Event = trio.Event()
        """Set at each change, and then replaced by a new event."""
        self.on_remove: Callable[[Member], object] = lambda member: None
        """Called with each member that is removed."""
        self._members: dict[str, Member] = {}
        """The members by session, in the order in which they joined."""
        self._numbers = itertools.count()
        self._free_numbers: list[int] = []
        self._order = itertools.count()
        self._people = 0
        """The number of members that are not bots."""
        self._graces: list[tuple[float, int, Member]] = []
        """A heap of deadlines of members who are away. Deadlines of members who came back or left are still in it."""
        self._empty_since = 0.0
        self._idle = math.inf
        self._timer = trio.CancelScope()

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> tuple[Member, ...]:
        """All members who hold a seat, in the order in which they joined."""
        return tuple(self._members.values())

    def find(self, session: str) -> Member | None:
        """Return the member of the session with this id, or None."""
        return self._members.get(session)

    def check_free(self) -> None:
        """Check that a seat is free.

        Raises:
          Refused: the room is locked (`Code.LOCKED`), or has no free seat (`Code.FULL`).
        """
        if self.locked:
            raise Refused("the room is locked", Code.LOCKED)
        if len(self) >= self.maximum:
            raise Refused(f"all {self.maximum} seats are taken", Code.FULL)

    def take_number(self) -> int:
        """Take and return the lowest free number."""
        return heapq.heappop(self._free_numbers) if self._free_numbers else next(self._numbers)

    def release_number(self, number: int) -> None:
        """Free the number of a player whose task has ended."""
        heapq.heappush(self._free_numbers, number)

    def reserve(self, numbers: Iterable[int]) -> None:
        """Mark these numbers as taken. Call this before any number is taken."""
        taken = set(numbers)
        first = max(taken, default=-1) + 1
        self._numbers = itertools.count(first)
        self._free_numbers = [number for number in range(first) if number not in taken]

    def add(self, member: Member) -> None:
        """Add a player that the room has admitted."""
        self._members[member.session.id] = member
        member.joined = next(self._order)
        self._people += not member.session.bot
        self._note_change(member)

    def start(self, member: Member) -> None:
        """Record that the task of this player has begun."""
        self._change(member, Happens.START)

    def lose(self, member: Member, code: Code, reason: str) -> None:
        """Record that the connection of this player is lost. Start the grace, or let the player leave if grace is 0."""
        if member.left:
            return
        if self.grace <= 0:
            member.leave(code, reason)
            return
        self._change(member, Happens.LOSE)
        member.away_until = trio.current_time() + self.grace
        if member.away_until < math.inf:  # an infinite grace would stay in the heap for ever
            heapq.heappush(self._graces, (member.away_until, next(self._order), member))
            self._timer.deadline = self._next_deadline()
        for turn in member.turns:
            turn.player_away()
        self._note_change(member)

    def find_again(self, member: Member) -> None:
        """Record that this player has a new connection."""
        if self._change(member, Happens.FIND):
            for turn in member.turns:
                turn.player_back()
            self._note_change(member)

    def leave(self, member: Member, ending: Ending) -> bool:
        """Record that a player leaves, and end the player's turns. Return false if the player had left already."""
        if member.ending is not None:
            return False
        member.ending = ending
        self._change(member, Happens.LEAVE)
        for turn in member.turns[:]:
            turn.player_left()
        return True

    def remove(self, member: Member) -> None:
        """Remove a player that has left, so that the seat is free."""
        if self._members.get(member.session.id) is member:
            del self._members[member.session.id]
            if not member.session.bot:
                self._people -= 1
                self._empty_since = trio.current_time()
                self._timer.deadline = self._next_deadline()
            self._note_change(member)
            self.on_remove(member)

    async def run_timer(self, *, idle: float) -> None:
        """End seats when their grace runs out. Return once no player except bots has held a seat for `idle` seconds.

        One timer serves all seats. Players whose grace ends at the same time leave in the order in which they joined.

        *Cancellation*: no more seats end by grace.
        """
        self._empty_since = trio.current_time()
        self._idle = idle
        while True:
            now = trio.current_time()
            for member in self._take_expired(now):
                member.leave(Code.EXPIRED, f"away for {self.grace:g} s")
            if not self._people and now >= self._empty_since + idle:
                return
            with trio.CancelScope(deadline=self._next_deadline()) as self._timer:
                await trio.sleep_forever()

    def _change(self, member: Member, happens: Happens) -> bool:
        """Change the state of a member by `TRANSITIONS`. Return false if the state stays the same."""
        before, member.state = member.state, TRANSITIONS[member.state][happens]
        return member.state is not before

    def _take_expired(self, now: float) -> list[Member]:
        expired = []
        while self._graces and self._graces[0][0] + TIE <= now:
            until, _, member = heapq.heappop(self._graces)
            if member.state is PlayerState.AWAY and member.away_until == until:
                expired.append(member)
        return sorted(expired, key=lambda member: member.joined)

    def _next_deadline(self) -> float:
        while self._graces and self._graces[0][2].state is not PlayerState.AWAY:
            heapq.heappop(self._graces)
        grace = self._graces[0][0] + TIE if self._graces else math.inf
        return min(grace, math.inf if self._people else self._empty_since + self._idle)

    def _note_change(self, member: Member) -> None:
        for watch in self.watches:
            watch.note(member)
        changed, self.changed = self.changed, trio.Event()
        changed.set()
