"""`Round` and `Turn`, the objects through which an author's room uses rounds and turns."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Literal

import trio

from ..aio.members import guard_members
from ..aio.no_public_constructor import NoPublicConstructor
from .player import FromPlayer, Player, ToPlayer, member_of
from .rounds_runtime import Outcome, RoundRuntime, TurnRuntime

MOVED = {"deadline": "move it with extend(seconds=...) or end_at(...)"}


@guard_members(hints=MOVED)
class Round(Generic[FromPlayer, ToPlayer], metaclass=NoPublicConstructor):
    """A cancel scope in which one game is played. `Room.open_round` opens a round.

    When the round ends, its tasks and turns end, too.
    """

    def __init__(self, runtime: RoundRuntime) -> None:
        self._runtime = runtime

    @property
    def players(self) -> tuple[Player[FromPlayer, ToPlayer], ...]:
        """The players with whom the round was opened. Some of them may have left since."""
        return tuple(member.facade for member in self._runtime.members)

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of the round; None until the round ends, and if its block or one of its tasks raised an error."""
        return self._runtime.outcome

    @property
    def reason(self) -> str:
        """The reason for an early end, such as the argument of `Room.reset`; otherwise empty."""
        return self._runtime.reason

    @property
    def deadline(self) -> float:
        """The deadline of the round, on Trio's clock; infinite if the round has no time limit."""
        return self._runtime.deadline

    @property
    def remaining(self) -> float:
        """The seconds until the deadline; infinite if the round has no time limit."""
        return max(0.0, self.deadline - trio.current_time())

    def extend(self, *, seconds: float) -> bool:
        """Move the deadline by some seconds; by a negative number, to an earlier time. See `end_at`."""
        return self._runtime.end_at(self.deadline + seconds)

    def end_at(self, deadline: float) -> bool:
        """Move the deadline to a time on Trio's clock. Requests that end with the round are told of the new time.

        Returns: False, without effect, if the round has ended, or its time is up.
        """
        return self._runtime.end_at(deadline)

    def turn(
        self,
        player: Player[FromPlayer, ToPlayer],
        *,
        seconds: float,
        max_absence: float = math.inf,
        while_away: Literal["run", "pause"] = "run",
    ) -> Turn:
        """Make a turn of one player: ``with round.turn(player, seconds=60) as turn:``. `Turn.outcome` has the result.

        Args:
          seconds: the length of the turn. The turn begins when the block is entered.
          max_absence: the turn ends if the player is without a connection for this many seconds in a row. By default,
            the turn continues while the player is away.
          while_away: ``"pause"`` stops the time of the turn while the player is without a connection, for `max_absence`
            at most. By default the time runs.
        """
        if while_away not in ("run", "pause"):
            raise ValueError(f'while_away is "run" or "pause", not {while_away!r}')
        return Turn._create(TurnRuntime(member_of(player), seconds, max_absence, pauses=while_away == "pause"))

    def start_soon(self, run: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Start a task that is cancelled when the round ends. An exception in the task ends the round."""
        self._runtime.nursery.start_soon(run, *args)


@guard_members(hints=MOVED)
class Turn(metaclass=NoPublicConstructor):
    """A deadline for one player. The block ends when the time is up or when the player leaves; see `outcome`.

    An event that arrives at the instant of the deadline is either given to a waiting `receive` or refused as
    ``not_now``.
    """

    def __init__(self, runtime: TurnRuntime) -> None:
        self._runtime = runtime

    @property
    def player(self) -> Player[Any, Any]:
        """The player of the turn."""
        player: Player[Any, Any] = self._runtime.member.facade
        return player

    @property
    def seconds(self) -> float:
        """The length of the turn, in seconds."""
        return self._runtime.seconds

    @property
    def max_absence(self) -> float:
        """The seconds in a row for which the player may be without a connection."""
        return self._runtime.max_absence

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of the turn; None until the turn ends, and if its block raised an error."""
        return self._runtime.outcome

    @property
    def deadline(self) -> float:
        """The deadline of the turn, on Trio's clock; infinite until the block is entered."""
        return self._runtime.deadline

    @property
    def remaining(self) -> float:
        """The seconds until the deadline; infinite until the block is entered."""
        paused = self._runtime.paused
        return max(0.0, self.deadline - trio.current_time()) if paused is None else paused

    @property
    def paused(self) -> bool:
        """True while the time of the turn is stopped, because its player is away: see `Round.turn`."""
        return self._runtime.paused is not None

    def extend(self, *, seconds: float) -> bool:
        """Move the deadline by some seconds; by a negative number, to an earlier time. See `end_at`."""
        paused = self._runtime.paused
        deadline = self.deadline if paused is None else trio.current_time() + paused
        return self._runtime.end_at(deadline + seconds)

    def end_at(self, deadline: float) -> bool:
        """Move the deadline to a time on Trio's clock. Requests that end with the turn are told of the new time.

        Returns: False, without effect, if the turn is not open, or its time is up.
        """
        return self._runtime.end_at(deadline)

    def __enter__(self) -> Turn:
        self._runtime.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self._runtime.exit(kind, exc, trace)
