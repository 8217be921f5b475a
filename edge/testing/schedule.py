"""Seeds Trio's scheduler. No other file uses Trio's private names; a test checks that these names exist.

Trio shuffles the ready tasks with its own random generator, so a mock clock alone does not make a run repeatable.
Importing hypothesis makes Trio sort the tasks before it shuffles them. This import is Trio's public way to get a
reproducible schedule. hypothesis seeds the generator only inside its own tests, so this file sets the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis  # noqa: F401  # the import runs Trio's plugin, which makes Trio sort ready tasks
import trio


def spawn_order(task: trio.lowlevel.Task) -> int:
    """Return a key that sorts tasks of one run by the time at which they were spawned."""
    return task._counter


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Trio's scheduler and the `random` module for all code in this block."""
    generator = trio._core._run._r  # the only source of randomness in Trio's scheduler; pytest-trio uses it, too
    before, before_random = generator.getstate(), random.getstate()
    generator.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        generator.setstate(before)
        random.setstate(before_random)
