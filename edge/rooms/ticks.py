"""Steps of a fixed length, with absolute deadlines and a measured lateness, for games and simulations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio


@attrs.frozen
class Step:
    """One step of `Ticks`."""

    number: int
    """The number of the step, from 1. Skipped steps get no number, so the simulated time is ``number * dt``."""
    dt: float
    """The length of a step, in seconds. All steps have the same length."""
    late: float
    """The seconds from the deadline of the step to its start."""
    skipped: int
    """The number of steps that were skipped directly before this step, because too many steps were late."""


class Ticks:
    """An iterator over steps of a fixed length: ``async for step in room.ticks(hz=30)``.

    The deadlines are absolute, so a late step does not move later deadlines. A step whose deadline has passed starts at
    once.

    Args:
      hz: the number of steps per second.
      catch_up: the number of whole steps by which the loop may be late. If it is later, steps are skipped and counted.
      note: called for each step, with the lateness of the step in seconds and the number of steps skipped before it.
      sleep_until: sleeps until the deadline of a step, on Trio's clock.
    """

    def __init__(
        self,
        *,
        hz: float,
        catch_up: int,
        note: Callable[[float, int], object] = lambda late, skipped: None,
        sleep_until: Callable[[float], Awaitable[object]] = trio.sleep_until,
    ) -> None:
        if hz <= 0 or catch_up < 0:
            raise ValueError("ticks need hz > 0 and catch_up >= 0")
        self._note = note
        self._dt = 1 / hz
        self._catch_up = catch_up
        self._start = trio.current_time()
        self._slot = 0
        self._number = 0
        self._sleep_until = sleep_until

    def __aiter__(self) -> Ticks:
        return self

    async def __anext__(self) -> Step:
        self._slot += 1
        self._number += 1
        behind = int((trio.current_time() - self._deadline) / self._dt)
        skipped = max(0, behind - self._catch_up)
        self._slot += skipped
        deadline = self._deadline
        await self._sleep_until(deadline)
        late = max(0.0, trio.current_time() - deadline)
        self._note(late, skipped)
        return Step(self._number, self._dt, late, skipped)

    @property
    def _deadline(self) -> float:
        return self._start + self._slot * self._dt
