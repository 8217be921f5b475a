"""The seats of a room: its policy, and the one ledger of who joins, sits and is away."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable
from typing import Any

import attrs
import trio

from ..codes import Code
from ..errors import Refused
from .player import Player, Standing

# A seat whose grace has run out ends this much later, so that a reconnect at the very instant of the deadline wins.
TIE = 0.001


@attrs.frozen
class Presence:
    """One line of who is here."""

    number: int
    name: str
    connected: bool


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
        self._ledger: dict[Hashable, Player[Any, Any]] = {}
        self._leaving: set[int] = set()
        self._changed = trio.Event()
        self._empty_since = 0.0

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

    def find(self, who: Hashable) -> Player[Any, Any] | None:
        """The player of this seat's owner, if they have one."""
        return self._ledger.get(who)

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

    # --- for the room, and for whoever holds a seat

    def check_free(self) -> None:
        """Raise `Refused` unless somebody may sit down."""
        if self.locked:
            raise Refused("the room is locked", Code.LOCKED)
        if not self.free:
            raise Refused(f"all {self.maximum} seats are taken", Code.FULL)

    def lowest_number(self) -> int:
        """The number that the next player gets: one whose last player has ended, `finally` included."""
        taken = {player.number for player in self.players} | self._leaving
        return next(number for number in itertools.count() if number not in taken)

    def add(self, player: Player[Any, Any]) -> None:
        """Enter a player whom the room has admitted."""
        self._ledger[player.seat.who] = player
        self._note_change()

    def remove(self, player: Player[Any, Any]) -> None:
        """Strike out a player who has left."""
        if self._ledger.get(player.seat.who) is player:
            del self._ledger[player.seat.who]
            self._leaving.add(player.number)
            self._empty_since = trio.current_time()
            self._note_change()
            player.room.seats_changed()

    def ended(self, player: Player[Any, Any]) -> None:
        """A player who has left has ended: the number is free again."""
        self._leaving.discard(player.number)

    def away(self, player: Player[Any, Any], code: Code, reason: str) -> None:
        """The player's connection is lost: the seat waits for it as long as grace allows."""
        if player.left:
            return
        if self.grace <= 0:
            player.leave(code, reason)
            return
        player.standing = Standing.AWAY
        player.away_until = trio.current_time() + self.grace
        self._note_change()

    def back(self, player: Player[Any, Any]) -> None:
        """The player's connection is found."""
        if player.standing is Standing.AWAY:
            player.standing = Standing.HERE
            self._note_change()

    async def sweep(self, *, idle: float) -> None:
        """End the seats whose grace runs out; return when nobody has sat here for `idle` seconds.

        One timer for all seats, and players end in the order in which they joined.
        """
        self._empty_since = trio.current_time()
        while True:
            now = trio.current_time()
            for player in self.players:
                if player.standing is Standing.AWAY and player.away_until + TIE <= now:
                    player.leave(Code.EXPIRED, f"away for {self.grace:g} s")
            if not self._ledger and now >= self._empty_since + idle:
                return
            with trio.move_on_at(self._next_deadline(self._empty_since + idle)):
                await self.wait_change()

    def _next_deadline(self, idle_at: float) -> float:
        away = [player.away_until + TIE for player in self.players if player.standing is Standing.AWAY]
        return min(away, default=math.inf if self._ledger else idle_at)

    def _note_change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()
