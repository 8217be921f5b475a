"""The seats of a room: its policy, and the one ledger of who joins, sits and is away."""

from __future__ import annotations

import heapq
import itertools
import math
import weakref
from collections.abc import Iterable
from typing import Any

import trio

from ..codes import Code
from ..errors import Refused
from .player import Player, Standing
from .presence import Changes, Presence, Watch

# A seat whose grace has run out ends this much later, so that a reconnect at the very instant of the deadline wins.
TIE = 0.001


class Seats:
    """How many may sit, and who does. As a class attribute of a `Room` it is the policy of each room's own.

    Args:
      minimum: how many `wait_minimum` waits for, and below how many of its own players a round is cancelled.
      maximum: how many seats there are; the next applicant is refused as ``full``.
      grace: how many seconds a seat waits for its connection to come back; 0 ends it at once.
    """

    def __init__(self, *, minimum: int = 1, maximum: int = 100, grace: float = 30) -> None:
        if not 0 <= minimum <= maximum:
            raise ValueError("a room needs 0 <= minimum <= maximum")
        self.minimum = minimum
        self.maximum = maximum
        self.grace = grace
        self.locked = False
        """Whether applicants are refused as ``locked``."""
        self._ledger: dict[str, Player[Any, Any]] = {}
        self._watches: list[Watch] = []
        self._numbers = itertools.count()
        self._free_numbers: list[int] = []
        self._order = itertools.count()
        self._people = 0
        """How many of the seated are no bots."""
        self._graces: list[tuple[float, int, Player[Any, Any]]] = []
        """A heap: until when who is away has to be back, and who; those who came back or left meanwhile included."""
        self._changed = trio.Event()
        self._empty_since = 0.0
        self._idle = math.inf
        self._sweeping = trio.CancelScope()

    def fresh(self) -> Seats:
        """An empty ledger under the same policy."""
        return Seats(minimum=self.minimum, maximum=self.maximum, grace=self.grace)

    def __len__(self) -> int:
        return len(self._ledger)

    @property
    def free(self) -> int:
        """How many seats are free now."""
        return self.maximum - len(self)

    @property
    def enough(self) -> bool:
        """Whether the minimum is met."""
        return len(self) >= self.minimum

    @property
    def players(self) -> tuple[Player[Any, Any], ...]:
        """Everyone who holds a seat, connected or not, in the order in which they joined."""
        return tuple(self._ledger.values())

    def presence(self) -> tuple[Presence, ...]:
        """Who is here now, in the order in which they joined."""
        return tuple(Presence(player.number, player.name, player.connected) for player in self.players)

    def find(self, session: str) -> Player[Any, Any] | None:
        """The player of the session with this id, if there is one."""
        return self._ledger.get(session)

    async def wait_minimum(self) -> None:
        """Wait until enough players sit."""
        await trio.lowlevel.checkpoint()
        while not self.enough:
            await self.wait_change()

    async def wait_change(self) -> None:
        """Wait until somebody joins, leaves, is away or comes back.

        *Cancellation*: nothing is lost: `presence` tells what is true now.
        """
        await self._changed.wait()

    def changes(self) -> Changes:
        """``async for change in seats.changes()``: who is here, as if they joined now, then what changes."""
        watch = Watch()
        for player in self.players:
            watch.note(player)
        changes = Changes(watch)
        self._watches.append(watch)
        weakref.finalize(changes, self._watches.remove, watch).atexit = False
        return changes

    # --- for the room, and for whoever holds a seat

    def check_free(self) -> None:
        """Raise `Refused` unless somebody may sit down."""
        if self.locked:
            raise Refused("the room is locked", Code.LOCKED)
        if not self.free:
            raise Refused(f"all {self.maximum} seats are taken", Code.FULL)

    def take_number(self) -> int:
        """The lowest number that nobody has: its last player has ended, `finally` included."""
        return heapq.heappop(self._free_numbers) if self._free_numbers else next(self._numbers)

    def reserve(self, numbers: Iterable[int]) -> None:
        """Give these numbers to nobody else, before anybody has one."""
        taken = set(numbers)
        first = max(taken, default=-1) + 1
        self._numbers = itertools.count(first)
        self._free_numbers = [number for number in range(first) if number not in taken]

    def add(self, player: Player[Any, Any]) -> None:
        """Enter a player whom the room has admitted."""
        self._ledger[player.session.id] = player
        player.joined = next(self._order)
        self._people += not player.session.bot
        self._note_change(player)

    def seated(self, player: Player[Any, Any]) -> None:
        """A player's task begins."""
        if player.standing is Standing.JOINING:
            player.standing = Standing.HERE

    def remove(self, player: Player[Any, Any]) -> None:
        """Strike out a player who has left."""
        if self._ledger.get(player.session.id) is player:
            del self._ledger[player.session.id]
            if not player.session.bot:
                self._people -= 1
                self._empty_since = trio.current_time()
                self._sweeping.deadline = self._next_sweep()
            self._note_change(player)
            if player.room.keeper is not None:
                player.room.keeper.note_left(player)
            player.room.seats_changed()

    def ended(self, player: Player[Any, Any]) -> None:
        """A player who has left has ended: the number is free again."""
        heapq.heappush(self._free_numbers, player.number)

    def away(self, player: Player[Any, Any], code: Code, reason: str) -> None:
        """The player's connection is lost: the seat waits for it as long as grace allows."""
        if player.left:
            return
        if self.grace <= 0:
            player.leave(code, reason)
            return
        player.standing = Standing.AWAY
        player.away_until = trio.current_time() + self.grace
        if player.away_until < math.inf:  # what never runs out would never be taken off the heap
            heapq.heappush(self._graces, (player.away_until, next(self._order), player))
            self._sweeping.deadline = self._next_sweep()
        for turn in player.turns:
            turn.player_away()
        self._note_change(player)

    def back(self, player: Player[Any, Any]) -> None:
        """The player's connection is found."""
        if player.standing is Standing.AWAY:
            player.standing = Standing.HERE
            for turn in player.turns:
                turn.player_back()
            self._note_change(player)

    async def sweep(self, *, idle: float) -> None:
        """End the seats whose grace runs out; return when nobody but bots has sat here for `idle` seconds.

        One timer for all seats, and players end in the order in which they joined.
        """
        self._empty_since = trio.current_time()
        self._idle = idle
        while True:
            now = trio.current_time()
            for player in self._take_expired(now):
                player.leave(Code.EXPIRED, f"away for {self.grace:g} s")
            if not self._people and now >= self._empty_since + idle:
                return
            with trio.CancelScope(deadline=self._next_sweep()) as self._sweeping:
                await trio.sleep_forever()

    def _take_expired(self, now: float) -> list[Player[Any, Any]]:
        expired = []
        while self._graces and self._graces[0][0] + TIE <= now:
            until, _, player = heapq.heappop(self._graces)
            if player.standing is Standing.AWAY and player.away_until == until:
                expired.append(player)
        return sorted(expired, key=lambda player: player.joined)

    def _next_sweep(self) -> float:
        while self._graces and self._graces[0][2].standing is not Standing.AWAY:
            heapq.heappop(self._graces)
        grace = self._graces[0][0] + TIE if self._graces else math.inf
        return min(grace, math.inf if self._people else self._empty_since + self._idle)

    def _note_change(self, player: Player[Any, Any]) -> None:
        for watch in self._watches:
            watch.note(player)
        changed, self._changed = self._changed, trio.Event()
        changed.set()
