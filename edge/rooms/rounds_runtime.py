"""The run time of rounds and turns, which ends them and sets their outcomes. `Round` and `Turn` are their facades."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from types import TracebackType

import trio

from ..errors import Gone, RequestFailed
from .ledger import Member, OpenTurn
from .statistics import RoundStatistics, TurnStatistics


class Outcome(enum.StrEnum):
    """The outcome of a turn or a round."""

    DONE = "done"
    """The block ran to its end."""
    TIMEOUT = "timeout"
    """The time limit ended the block."""
    LEFT = "left"
    """The turn's player left."""
    ABSENT = "absent"
    """The turn's player had no connection for longer than the turn's `max_absence`."""
    REFUSED = "refused"
    """The client refused to reply to `Player.ask`."""
    RESET = "reset"
    """Code outside the block cancelled the block, for example because the round was reset or the room closed."""
    TOO_FEW = "too_few"
    """Fewer of the round's players were left than the round needs."""


class RoundRuntime:
    """An open round.

    Args:
      members: the players of the round.
      minimum: the number of players that the round needs.
      seconds: the time limit in seconds.
      nursery: the nursery of the round's tasks. The round ends when the nursery's cancel scope is cancelled.
    """

    def __init__(self, members: tuple[Member, ...], minimum: int, seconds: float, nursery: trio.Nursery) -> None:
        self.members = members
        self.nursery = nursery
        self.outcome: Outcome | None = None
        self.reason: str = ""
        self.deadline: float = trio.current_time() + seconds
        nursery.cancel_scope.deadline = self.deadline
        self._minimum = minimum

    def statistics(self) -> RoundStatistics:
        """Return the current statistics of the round."""
        playing = [member.number for member in self.members if not member.left]
        return RoundStatistics(playing, remaining(self.deadline))

    def check_enough(self) -> None:
        """End the round if too few of its players are left."""
        left = sum(not member.left for member in self.members)
        if left < self._minimum:
            self.cancel(Outcome.TOO_FEW, f"{left} of {self._minimum} players")

    def end_at(self, deadline: float) -> bool:
        """Move the deadline. Return false if the round has ended, or its time is up."""
        if self.outcome is not None or self.nursery.cancel_scope.cancel_called:
            return False
        before = self.deadline
        self.nursery.cancel_scope.deadline = deadline  # raises for NaN
        self.deadline = deadline
        for member in self.members:
            member.move_deadline(before, deadline)
        return True

    def cancel(self, outcome: Outcome, reason: str) -> None:
        """End the round early with this outcome, unless the round has an outcome already."""
        if self.outcome is None and self.nursery.cancel_scope.cancel_called:  # the deadline has already passed
            self.outcome = Outcome.TIMEOUT
        elif self.outcome is None:
            self.outcome, self.reason = outcome, reason
            self.nursery.cancel_scope.cancel(f"round: {outcome} {reason}")

    def finish(self) -> None:
        """Set the outcome after the block of the round ran to its end, and cancel the tasks of the round."""
        if self.outcome is None:
            self.outcome = Outcome.DONE
        self.nursery.cancel_scope.cancel("the round is over")

    def note_end(self, exc: BaseException | None) -> None:
        """Set the outcome, if the round has none, after the round's nursery has ended.

        Args:
          exc: the exception with which the nursery ended, or None.
        """
        if self.outcome is None and exc is None:
            self.outcome = Outcome.TIMEOUT  # only the deadline cancels the scope without setting an outcome
        elif self.outcome is None and any(isinstance(fault, trio.Cancelled) for fault in _leaves(exc)):
            self.outcome = Outcome.RESET


class TurnRuntime(OpenTurn):
    """A turn.

    Args:
      member: the player of the turn.
      seconds: the length of the turn.
      max_absence: the seconds in a row for which the player may be without a connection.
      pauses: True if the time of the turn stops while the player is without a connection.
    """

    def __init__(self, member: Member, seconds: float, max_absence: float, *, pauses: bool) -> None:
        self.member = member
        self.pauses: bool = pauses
        self.paused: float | None = None
        """The seconds that were left when the turn was paused; None while it runs."""
        self.seconds = seconds
        self.max_absence: float = max_absence
        self.outcome: Outcome | None = None
        self.deadline: float = math.inf
        self.open: bool = False
        self._before_pause = math.inf
        """The deadline before the pause, with which requests of the turn were asked."""
        self._absent_at = math.inf
        """While the player is away: the time at which the absence is too long, on Trio's clock."""
        self._scope = trio.CancelScope()

    def statistics(self) -> TurnStatistics:
        return TurnStatistics(self.member.number, self.paused if self.paused is not None else remaining(self.deadline))

    def end_at(self, deadline: float) -> bool:
        """Move the deadline; of a paused turn, the time that is left. Return false if the turn is not open."""
        if not self.open or self._scope.cancel_called:
            return False
        if self.paused is not None:
            self.paused = max(0.0, deadline - trio.current_time())
            return True
        before = self.deadline
        self._scope.deadline = min(deadline, self._absent_at)
        self.deadline = deadline
        self.member.move_deadline(before, deadline)
        return True

    def player_left(self) -> None:
        if self.outcome is None:
            self.outcome = Outcome.LEFT
            self._scope.cancel("the player left")

    def player_away(self) -> None:
        now = trio.current_time()
        self._absent_at = now + self.max_absence
        if self.pauses and self.paused is None and now < self.deadline:
            self._before_pause = self.deadline
            self.paused = self.deadline - now
            self.deadline = math.inf
        self._scope.deadline = min(self.deadline, self._absent_at)

    def player_back(self) -> None:
        now = trio.current_time()
        if now < self._scope.deadline and not self._scope.cancel_called:
            self._absent_at = math.inf
            if self.paused is not None:
                self.deadline = now + self.paused
                self.paused = None
                self.member.move_deadline(self._before_pause, self.deadline)
            self._scope.deadline = self.deadline

    def enter(self) -> None:
        """Begin the turn."""
        self.deadline = trio.current_time() + self.seconds
        self._scope.deadline = self.deadline
        self.open = True
        self.member.turns.append(self)
        if self.member.left:
            self.player_left()
        elif not self.member.connected:
            self.player_away()
        self._scope.__enter__()

    def exit(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> bool:
        """End the turn, after its block ended with this exception. Return True if the turn handles the exception."""
        self.open = False
        self.member.turns.remove(self)
        caught = bool(self._scope.__exit__(kind, exc, trace))
        faults = list(_leaves(exc))
        if exc is None:
            self.outcome = Outcome.DONE
        elif caught:
            self.outcome = self.outcome or (Outcome.ABSENT if self._scope.deadline < self.deadline else Outcome.TIMEOUT)
        elif any(isinstance(fault, trio.Cancelled) for fault in faults):
            self.outcome = self.outcome or Outcome.RESET
        elif self.member.left and all(isinstance(fault, Gone) for fault in faults):
            self.outcome, caught = Outcome.LEFT, True
        elif all(isinstance(fault, RequestFailed) for fault in faults):
            self.outcome, caught = Outcome.REFUSED, True
        return caught


def remaining(deadline: float) -> float | None:
    """Return the seconds until a deadline; None for an infinite deadline."""
    return None if math.isinf(deadline) else max(0.0, deadline - trio.current_time())


def _leaves(exc: BaseException | None) -> Iterator[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for each in exc.exceptions:
            yield from _leaves(each)
    elif exc is not None:
        yield exc
