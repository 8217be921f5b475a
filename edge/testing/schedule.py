"""Trio's scheduler, seeded. The only file that touches Trio's private names, watched by a canary among the tests.

Trio shuffles the tasks that are ready with a generator of its own, so a mock clock alone repeats nothing. Importing
hypothesis makes Trio sort them before it shuffles, which is Trio's public way to a reproducible schedule; but
hypothesis seeds the generator only inside its own tests, so the seed is set here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis  # noqa: F401  # its import runs Trio's plugin, which makes the schedule a function of the generator
import trio


def spawn_order(task: trio.lowlevel.Task) -> int:
    """When a task was spawned, compared with others of its run: sets of tasks have no order of their own."""
    return task._counter


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Every `trio.run` in this block schedules as the seed says, and what `random` gives in it is the seed's, too."""
    generator = trio._core._run._r  # the one source of chance in Trio's scheduler; pytest-trio names it too
    before, before_random = generator.getstate(), random.getstate()
    generator.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        generator.setstate(before)
        random.setstate(before_random)
