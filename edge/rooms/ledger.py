"""The ledger of a room: the only record of each player's state (joining, here, away or left).

A player is added to the ledger when the seat is complete. No other task runs between the author's `admit` and this
addition, so that the room cannot change in between. After the addition, only four events can change the player's state:

* ``START``: the player's task has begun.
* ``LOSE``: the connection is lost; the seat waits for a new one for `Ledger.grace` seconds.
* ``FIND``: the player has a new connection.
* ``LEAVE``: the player leaves, for any reason. This is the last event.

`TRANSITIONS` contains the next state for each state and event. An event that does not apply, such as ``START`` for a
player who is away, does not change the state and is not an error. So a caller need not know in which order a task
starts, a connection changes and a deadline passes.

The number of a seat is free again when the task of its player has ended, including the task's clean-up: see
`Ledger.release_number`.

This module does not import the modules of rooms and players, because these import this module.
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

# A seat waits for this many seconds after its grace, so that a reconnect at the instant of the deadline succeeds.
TIE = 0.001


class PlayerState(enum.StrEnum):
    """The state of a player in the ledger."""

    JOINING = "joining"
    """The player has a seat, but the task of `Room.player` has not begun."""
    HERE = "here"
    """The task of `Room.player` has begun, and a connection holds the seat."""
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
    """The code and the reason with which a player left."""

    code: Code
    reason: str


class OpenTurn(abc.ABC):
    """The methods of an open turn that the ledger calls when the player leaves or when the connection changes."""

    @abc.abstractmethod
    def player_left(self) -> None:
        """End the turn, because its player has left."""

    @abc.abstractmethod
    def player_away(self) -> None:
        """Start the time limit `max_absence`, because the player's connection is lost."""

    @abc.abstractmethod
    def player_back(self) -> None:
        """Stop the time limit `max_absence`, because the player has a new connection."""

    @abc.abstractmethod
    def statistics(self) -> TurnStatistics:
        """Return the current statistics of the turn."""


class Member(abc.ABC):
    """The part of a player's run time that the ledger uses.

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
        """A number that gives the order of joining: a player who joins later has a higher number."""
        self.away_until: float = 0.0
        """The end of the grace, on Trio's clock, while the player is away."""
        self.documents: dict[str, Any] = {}
        """The shared documents of this player alone, by the name of the room's attribute."""
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
        """End the player's stay in the room. Return False, without effect, if the player has already left."""

    @abc.abstractmethod
    def recheck_space(self) -> None:
        """Check again whether this player's inbox has space, because the answer may have changed."""

    @abc.abstractmethod
    def move_deadline(self, before: float, after: float) -> None:
        """Tell the client that the deadline of its requests has moved: see `RequestTracker.move_deadline`."""

    @abc.abstractmethod
    def offer_early(self) -> None:
        """Offer the early events of this player to the room's listeners, one of which has begun."""


class Watch(abc.ABC):
    """An observer of a ledger. The ledger calls `note` after each change."""

    @abc.abstractmethod
    def note(self, member: Member) -> None:
        """Handle a change of this member's state."""


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
        """Called with each member after the member is removed from the ledger."""
        self._members: dict[str, Member] = {}
        """The members, by the id of their session, in the order in which they joined."""
        self._numbers = itertools.count()
        self._free_numbers: list[int] = []
        self._order = itertools.count()
        self._people = 0
        """The number of members that are not bots."""
        self._graces: list[tuple[float, int, Member]] = []
        """A heap of the deadlines of members who are away, and old deadlines of members who returned or left."""
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
        """Add a player whom the room has admitted."""
        self._members[member.session.id] = member
        member.joined = next(self._order)
        self._people += not member.session.bot
        self._note_change(member)

    def start(self, member: Member) -> None:
        """Record that the task of this player has begun."""
        self._change(member, Happens.START)

    def lose(self, member: Member, code: Code, reason: str) -> None:
        """Record that the connection of this player is lost. Start the grace; if it is 0 seconds, end the player."""
        if member.left:
            return
        if self.grace <= 0:
            member.leave(code, reason)
            return
        self._change(member, Happens.LOSE)
        member.away_until = trio.current_time() + self.grace
        if member.away_until < math.inf:  # an infinite deadline would stay in the heap for ever
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
        """Record that a player leaves, and end the player's turns. Return False if the player has already left."""
        if member.ending is not None:
            return False
        member.ending = ending
        self._change(member, Happens.LEAVE)
        for turn in member.turns[:]:
            turn.player_left()
        return True

    def remove(self, member: Member) -> None:
        """Remove a player who has left, so that another player can take the seat."""
        if self._members.get(member.session.id) is member:
            del self._members[member.session.id]
            if not member.session.bot:
                self._people -= 1
                self._empty_since = trio.current_time()
                self._timer.deadline = self._next_deadline()
            self._note_change(member)
            self.on_remove(member)

    async def run_timer(self, *, idle: float) -> None:
        """End each seat when its grace runs out. Return after `idle` seconds without players; bots do not count.

        One timer serves all seats. Players whose grace ends at the same time leave in the order in which they joined.

        *Cancellation*: from then on, no seat ends when its grace runs out.
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
        """Change the state of a member as `TRANSITIONS` says. Return False if the state stays the same."""
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
