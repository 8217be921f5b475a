"""The decorator that runs a test under many schedules."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import TypeVar

import pytest

F = TypeVar("F", bound=Callable[..., object])


def seeds(count: int, *, start: int = 0) -> Callable[[F], F]:
    """Run an async test once under each of `count` schedules: ``@edge.testing.seeds(200)``.

    pytest reports all runs as one test, which ends at the first failure. The report has the failing seed, and the
    option ``--edge-seed`` repeats the run with this seed. ``--edge-max-seeds`` limits the number of seeds of each test.

    Args:
      count: the number of seeds.
      start: the first seed.

    Raises:
      ValueError: `count` is not an int of 1 or more, or `start` is not an int.
      TypeError: the test is not async.
    """

    if type(count) is not int or count < 1 or type(start) is not int:
        raise ValueError(f"seeds({count!r}): write how many seeds, such as @edge.testing.seeds(200)")

    def mark(test: F) -> F:
        if not iscoroutinefunction(test):
            raise TypeError(f"{test.__name__} is not async and has no schedule: make it an async def, or remove seeds")
        marked: F = pytest.mark.edge_seeds(range(start, start + count))(test)
        return marked

    return mark
