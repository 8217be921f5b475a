"""Soak tests. A soak test simulates random scripts, each with new rooms of one class. The test ends when the virtual
times of the scripts add up to a limit, or when a simulation fails."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import attrs

from ..rooms.room import Room
from .scripts import SECONDS, try_scripts
from .simulation import simulate
from .steps import Step
from .town import Play

# BATCH is the number of scripts that are drawn from one seed of hypothesis. STEPS is the maximum number of steps of a
# script after the joins. WAITS are the seconds that steps wait.
BATCH = 200
STEPS = 60
WAITS = (*SECONDS, 300.0, 600.0)


@attrs.define
class Soaked:
    """The totals of a soak test. `hours` are virtual hours."""

    scripts: int = 0
    steps: int = 0
    events: int = 0
    hours: float = 0.0


def soak(
    make: Callable[[], Room[Any, Any]],
    *,
    hours: float,
    seed: int = 0,
    play: Play | None = None,
    tell: Callable[[Soaked], object] = lambda soaked: None,
) -> Soaked:
    """Simulate rooms with generated scripts for `hours` of virtual time.

    Args:
      make: the class of the rooms, or any callable that returns a new room.
      hours: the virtual time of all scripts together.
      seed: determines the scripts.
      play: the code of each client, which runs while the steps run: see `simulate`.
      tell: called after each script with the totals so far.

    Raises:
      InvariantBroken, Crashed, Leaked, Deadlock: see `simulate`. A note contains the shortest failing script as a test.
    """
    soaked = Soaked()
    failed = False

    def run(script: list[Step], seed: int) -> None:
        nonlocal failed
        if soaked.hours >= hours and not failed:
            return
        try:
            done = simulate(make, script, seed=seed, play=play)
        except Exception:
            failed = True
            raise
        if failed:
            return  # hypothesis is shrinking the failed script
        soaked.scripts += 1
        soaked.steps += len(script)
        soaked.events += done.events
        soaked.hours += done.seconds / 3600
        tell(soaked)

    for number in itertools.count():
        if soaked.hours >= hours:
            break
        try_scripts(run, make, steps=STEPS, examples=BATCH, seed=(seed << 32) + number, seconds=WAITS)
    return soaked
