"""Simulated hours: script after script against one room, until so much virtual time has passed or something breaks."""

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

# How many scripts are drawn from one of hypothesis's seeds, how many steps one has at most, and how long they wait.
BATCH = 200
STEPS = 60
WAITS = (*SECONDS, 300.0, 600.0)


@attrs.define
class Soaked:
    """What has been simulated."""

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
    """Simulate a room for so many hours of virtual time, by scripts drawn from a seed. See `simulated`.

    Args:
      seed: the same seed draws the same scripts.
      play: how each client plays, beside the steps.
      tell: called after each script with what has been simulated so far.

    Raises:
      InvariantBroken, Crashed, Leaked, Deadlock: see `simulate`. A note on it is the shortest script found, as a test.
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
            return  # a script that was tried because it is shorter
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
