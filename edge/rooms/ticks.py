"""A fixed step: absolute deadlines, one constant `dt`, and an honest account of being late."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio


@attrs.frozen
class Step:
    """One tick."""

    number: int
    """Which step of the simulation this is, from 1: the simulation's time is ``number * dt``."""
    dt: float
    """The length of the step, in seconds: always the same."""
    late: float
    """The seconds between the deadline of the step and its begin."""
    skipped: int
    """The number of earlier steps that were skipped, because catching up would have taken too long."""


class Ticks:
    """``async for step in room.ticks(hz=30)``. A late step is followed at once by the next, until time is caught up.

    Args:
      hz: steps a second.
      catch_up: how many steps in a row may be made up for; what is beyond is skipped, and told.
      note: told of each step how late it was, and how many were skipped.
    """

    def __init__(
        self, *, hz: float, catch_up: int, note: Callable[[float, int], object] = lambda late, skipped: None
    ) -> None:
        if hz <= 0 or catch_up < 0:
            raise ValueError("ticks need hz > 0 and catch_up >= 0")
        self._note = note
        self._dt = 1 / hz
        self._catch_up = catch_up
        self._start = trio.current_time()
        self._slot = 0
        self._number = 0

    def __aiter__(self) -> Ticks:
        return self

    async def __anext__(self) -> Step:
        self._slot += 1
        self._number += 1
        behind = int((trio.current_time() - self._deadline) / self._dt)
        skipped = max(0, behind - self._catch_up)
        self._slot += skipped
        await trio.sleep_until(self._deadline)
        late = max(0.0, trio.current_time() - self._deadline)
        self._note(late, skipped)
        return Step(self._number, self._dt, late, skipped)

    @property
    def _deadline(self) -> float:
        return self._start + self._slot * self._dt
