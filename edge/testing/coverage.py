"""What a simulated test covered, and the limit of its search for a shorter script."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from .simulation import Simulated
from .steps import Ask, Send, Step

# Seconds, on the real clock, for which hypothesis may look for a shorter script after the first failure. The progress
# is shown once in each REPORT_SECONDS.
SHRINK_SECONDS, REPORT_SECONDS = 120.0, 10.0


class SimulationWarning(UserWarning):
    """The scripts of a simulated test did not do anything of interest, so that its success says little."""


@attrs.define
class Coverage:
    """The totals of the scripts of one simulated test that did not fail."""

    scripts: int = 0
    steps: int = 0
    seconds: float = 0.0
    rooms: int = 0
    joined: int = 0
    rounds: int = 0
    taken: int = 0
    """The events that the room's code took."""
    sent: Counter[str] = attrs.field(factory=Counter)
    """The events that the steps sent, by class."""
    refused: Counter[str] = attrs.field(factory=Counter)
    """The refused messages, by problem."""

    def add(self, script: Sequence[Step], done: Simulated) -> None:
        """Add a script that has passed."""
        self.scripts += 1
        self.steps += len(script)
        self.seconds += done.seconds
        self.rooms += done.rooms
        self.joined += done.joined
        self.rounds += done.rounds
        self.taken += done.taken
        self.refused.update(done.refused)
        self.sent.update(type(step.event).__name__ for step in script if isinstance(step, Send | Ask))

    @property
    def fault(self) -> str:
        """Why a success of the test says little; empty if there is no reason."""
        if self.scripts and self.sent.total() and not self.taken:
            return "the room's code took no event: pass `events` that it wants, or clients that `play`"
        return ""

    def __str__(self) -> str:
        sent = ", ".join(f"{count} {name}" for name, count in sorted(self.sent.items())) or "none"
        refused = ", ".join(f"{count} {problem}" for problem, count in sorted(self.refused.items())) or "none"
        return (
            f"{self.scripts} scripts with {self.steps} steps, {self.seconds / 3600:.1f} virtual hours; "
            f"{self.rooms} rooms, {self.joined} players, {self.rounds} rounds; events sent: {sent}; "
            f"taken: {self.taken}; messages refused: {refused}"
        )


class Search:
    """Limits the time for which hypothesis looks for a shorter script, and shows its progress.

    Args:
      run: runs one script with a seed. An exception is a failure.
      name: the name of the test.
    """

    def __init__(self, run: Callable[[list[Step], int], object], name: str) -> None:
        self._run = run
        self._name = name
        self._failed: dict[str, int] = {}
        """The scripts that failed, each with its number of steps."""
        self._first = self._reported = 0.0

    def try_script(self, script: list[Step], seed: int) -> None:
        """Run a script. Once the time is up, only scripts that have failed before run again; others count as passed."""
        key = repr((script, seed))
        now = time.monotonic()
        if self._failed:
            if now >= self._first + SHRINK_SECONDS and key not in self._failed:
                return
            if now >= self._reported + REPORT_SECONDS:
                self._report(now)
        try:
            self._run(script, seed)
        except Exception:
            if not self._failed:
                self._first = self._reported = time.monotonic()
            self._failed[key] = len(script)
            raise

    def _report(self, now: float) -> None:
        self._reported = now
        shortest, spent = min(self._failed.values()), now - self._first
        text = f"{self._name}: a script of {shortest} steps fails; looking for a shorter one for {spent:.0f} s"
        print(f"\n{text}, at most {SHRINK_SECONDS:.0f} s", file=sys.__stderr__, flush=True)


def coverage_of(test: Any) -> Coverage | None:
    """Return the coverage of a simulated test; None for other tests."""
    found: Coverage | None = getattr(test, "__edge_coverage__", None)
    return found
