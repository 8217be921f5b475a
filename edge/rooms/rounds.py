"""Rounds and turns: scopes in which a game is played, whose ends are values."""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Generic

import trio

from ..errors import Gone, RequestFailed
from .player import FromPlayer, Player, ToPlayer
from .statistics import RoundStatistics, TurnStatistics


class Outcome(enum.StrEnum):
    """How a turn or a round ended."""

    DONE = "done"
    """Its block ran to the end."""
    TIMEOUT = "timeout"
    """Its time was up."""
    LEFT = "left"
    """The player whose turn it was left."""
    ABSENT = "absent"
    """The player whose turn it was had no connection for longer than the turn's patience."""
    REFUSED = "refused"
    """The player's client refused to answer an `ask`."""
    RESET = "reset"
    """It was cut from outside: the round was reset, the room closed, or a deadline around it passed."""
    TOO_FEW = "too_few"
    """Too few of the round's players were left."""


class Round(Generic[FromPlayer, ToPlayer]):
    """A scope in which a game is played: what it opened ends with it. Open one with `Room.open_round`."""

    def __init__(
        self,
        players: tuple[Player[FromPlayer, ToPlayer], ...],
        minimum: int,
        seconds: float,
        nursery: trio.Nursery,
    ) -> None:
        self.players = players
        """Who plays: those who sat when it was opened. Some may have left since."""
        self.outcome: Outcome | None = None
        """How it ended; None while it is open, and when its block raised."""
        self.reason = ""
        """What `Room.reset` was told."""
        self.deadline = nursery.cancel_scope.deadline = trio.current_time() + seconds
        """When it ends, on Trio's clock."""
        self._minimum = minimum
        self._nursery = nursery

    @property
    def remaining(self) -> float:
        """How many seconds are left."""
        return max(0.0, self.deadline - trio.current_time())

    def statistics(self) -> RoundStatistics:
        """What it looks like now."""
        left = None if math.isinf(self.deadline) else self.remaining
        return RoundStatistics([player.number for player in self.players if not player.left], left)

    def turn(self, player: Player[FromPlayer, ToPlayer], *, seconds: float, patience: float = math.inf) -> Turn:
        """One player's turn: ``with round.turn(player, seconds=60) as turn:``, and afterwards `Turn.outcome`.

        Args:
          seconds: how long the turn may take, from when the block is entered.
          patience: how many seconds the player may be without a connection, at a stretch: by default the whole turn
            waits for them.
        """
        return Turn(player, seconds, patience)

    def start_soon(self, run: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Start a task that ends with the round at the latest. If it raises, the round and the room's `run` do."""
        self._nursery.start_soon(run, *args)

    def note_end(self, exc: BaseException | None) -> None:
        """It is over, and this is what comes out of it."""
        if self.outcome is None and exc is None:
            self.outcome = Outcome.TIMEOUT  # cancelled, and by nobody
        elif self.outcome is None and any(isinstance(fault, trio.Cancelled) for fault in _leaves(exc)):
            self.outcome = Outcome.RESET

    def check_enough(self) -> None:
        """End it if too few of its players are left."""
        left = sum(not player.left for player in self.players)
        if left < self._minimum:
            self.cancel(Outcome.TOO_FEW, f"{left} of {self._minimum} players")

    def cancel(self, outcome: Outcome, reason: str) -> None:
        """End it from outside, once."""
        if self.outcome is None and self._nursery.cancel_scope.cancel_called:  # its deadline came first
            self.outcome = Outcome.TIMEOUT
        elif self.outcome is None:
            self.outcome, self.reason = outcome, reason
            self._nursery.cancel_scope.cancel(f"round: {outcome} {reason}")


class Turn:
    """A deadline that one player owns. The block ends when the time is up, or when they leave; `outcome` says which.

    An answer and a deadline at one instant can't both count: an event is either given to a waiting `receive` or refused
    with ``not_now``, and that one step decides the turn as well.
    """

    def __init__(self, player: Player[Any, Any], seconds: float, patience: float = math.inf) -> None:
        self.player = player
        self.seconds = seconds
        """How long it may take in all."""
        self.patience = patience
        """How long the player may be without a connection."""
        self.outcome: Outcome | None = None
        """How it ended; None while it is open, and when its block raised."""
        self.deadline = math.inf
        """When it ends, on Trio's clock."""
        self._scope = trio.CancelScope()

    @property
    def remaining(self) -> float:
        """How many seconds are left."""
        return max(0.0, self.deadline - trio.current_time())

    def statistics(self) -> TurnStatistics:
        """What it looks like now."""
        return TurnStatistics(self.player.number, None if math.isinf(self.deadline) else self.remaining)

    def player_left(self) -> None:
        """End it because the player left."""
        if self.outcome is None:
            self.outcome = Outcome.LEFT
            self._scope.cancel("the player left")

    def player_away(self) -> None:
        """The player's connection is lost: wait for it as long as patience allows."""
        self._scope.deadline = min(self.deadline, trio.current_time() + self.patience)

    def player_back(self) -> None:
        """The player's connection is found, if it is not too late."""
        if trio.current_time() < self._scope.deadline and not self._scope.cancel_called:
            self._scope.deadline = self.deadline

    def __enter__(self) -> Turn:
        self._scope.deadline = self.deadline = trio.current_time() + self.seconds
        self.player.turns.append(self)
        if self.player.left:
            self.player_left()
        elif not self.player.connected:
            self.player_away()
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.player.turns.remove(self)
        caught = bool(self._scope.__exit__(kind, exc, trace))
        faults = list(_leaves(exc))
        if exc is None:
            self.outcome = Outcome.DONE
        elif caught:
            self.outcome = self.outcome or (Outcome.ABSENT if self._scope.deadline < self.deadline else Outcome.TIMEOUT)
        elif any(isinstance(fault, trio.Cancelled) for fault in faults):
            self.outcome = self.outcome or Outcome.RESET
        elif self.player.left and all(isinstance(fault, Gone) for fault in faults):
            self.outcome, caught = Outcome.LEFT, True
        elif all(isinstance(fault, RequestFailed) for fault in faults):
            self.outcome, caught = Outcome.REFUSED, True
        return caught


def _leaves(exc: BaseException | None) -> Iterator[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for each in exc.exceptions:
            yield from _leaves(each)
    elif exc is not None:
        yield exc
