"""The run time of rounds and turns: how they end, and with which outcome. `rounds` has what authors see of it."""

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
    """How a turn or a round ended."""

    DONE = "done"
    """Its block ran to the end."""
    TIMEOUT = "timeout"
    """Its time was up."""
    LEFT = "left"
    """The player whose turn it was left."""
    ABSENT = "absent"
    """The player whose turn it was had no connection for longer than the turn's max_absence."""
    REFUSED = "refused"
    """The player's client refused to answer an `ask`."""
    RESET = "reset"
    """It was cut from outside: the round was reset, the room closed, or a deadline around it passed."""
    TOO_FEW = "too_few"
    """Too few of the round's players were left."""


class RoundRuntime:
    """An open round.

    Args:
      members: who plays.
      minimum: how many of them it needs.
      seconds: how long it may take.
      nursery: what the round opens runs in it, and is cancelled with it.
    """

    def __init__(self, members: tuple[Member, ...], minimum: int, seconds: float, nursery: trio.Nursery) -> None:
        self.members = members
        self.nursery = nursery
        self.outcome: Outcome | None = None
        self.reason = ""
        self.deadline = nursery.cancel_scope.deadline = trio.current_time() + seconds
        self._minimum = minimum

    def statistics(self) -> RoundStatistics:
        """A snapshot of the round."""
        playing = [member.number for member in self.members if not member.left]
        return RoundStatistics(playing, remaining(self.deadline))

    def check_enough(self) -> None:
        """End the round if too few of its players are left."""
        left = sum(not member.left for member in self.members)
        if left < self._minimum:
            self.cancel(Outcome.TOO_FEW, f"{left} of {self._minimum} players")

    def cancel(self, outcome: Outcome, reason: str) -> None:
        """End the round from outside, once."""
        if self.outcome is None and self.nursery.cancel_scope.cancel_called:  # its deadline came first
            self.outcome = Outcome.TIMEOUT
        elif self.outcome is None:
            self.outcome, self.reason = outcome, reason
            self.nursery.cancel_scope.cancel(f"round: {outcome} {reason}")

    def finish(self) -> None:
        """The block of the round ran to its end."""
        if self.outcome is None:
            self.outcome = Outcome.DONE
        self.nursery.cancel_scope.cancel("the round is over")

    def note_end(self, exc: BaseException | None) -> None:
        """The nursery of the round has ended, and raises this."""
        if self.outcome is None and exc is None:
            self.outcome = Outcome.TIMEOUT  # cancelled, and by nobody
        elif self.outcome is None and any(isinstance(fault, trio.Cancelled) for fault in _leaves(exc)):
            self.outcome = Outcome.RESET


class TurnRuntime(OpenTurn):
    """A turn.

    Args:
      member: whose turn it is.
      seconds: how long it may take.
      max_absence: how long the player may be without a connection.
    """

    def __init__(self, member: Member, seconds: float, max_absence: float) -> None:
        self.member = member
        self.seconds = seconds
        self.max_absence = max_absence
        self.outcome: Outcome | None = None
        self.deadline = math.inf
        self._scope = trio.CancelScope()

    def statistics(self) -> TurnStatistics:
        return TurnStatistics(self.member.number, remaining(self.deadline))

    def player_left(self) -> None:
        if self.outcome is None:
            self.outcome = Outcome.LEFT
            self._scope.cancel("the player left")

    def player_away(self) -> None:
        self._scope.deadline = min(self.deadline, trio.current_time() + self.max_absence)

    def player_back(self) -> None:
        if trio.current_time() < self._scope.deadline and not self._scope.cancel_called:
            self._scope.deadline = self.deadline

    def enter(self) -> None:
        """Begin the turn."""
        self._scope.deadline = self.deadline = trio.current_time() + self.seconds
        self.member.turns.append(self)
        if self.member.left:
            self.player_left()
        elif not self.member.connected:
            self.player_away()
        self._scope.__enter__()

    def exit(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> bool:
        """End the turn, whose block ended with this exception. True if the exception was the turn's own."""
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
    """Seconds until a deadline; None if there is none."""
    return None if math.isinf(deadline) else max(0.0, deadline - trio.current_time())


def _leaves(exc: BaseException | None) -> Iterator[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for each in exc.exceptions:
            yield from _leaves(each)
    elif exc is not None:
        yield exc
