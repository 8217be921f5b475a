"""The decorator that runs a test under many schedules."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import TypeVar

import pytest

F = TypeVar("F", bound=Callable[..., object])


def seeds(count: int, *, start: int = 0) -> Callable[[F], F]:
    """Run an async test once under each of `count` schedules: ``@edge.testing.seeds(200)``.

    All seeds are one test, which ends at the first failure. The report names the seed, and ``--edge-seed`` repeats it.
    ``--edge-max-seeds`` limits the seeds of each test.

    Raises:
      ValueError: `count` is not a number of seeds, 1 or more.
    """

    if type(count) is not int or count < 1 or type(start) is not int:
        raise ValueError(f"seeds({count!r}): write how many seeds, such as @edge.testing.seeds(200)")

    def mark(test: F) -> F:
        if not iscoroutinefunction(test):
            raise TypeError(f"{test.__name__} is not async and has no schedule: make it an async def, or remove seeds")
        marked: F = pytest.mark.edge_seeds(range(start, start + count))(test)
        return marked

    return mark
