"""Timers: many points in time, for which one task waits."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from .wakeup import WakeUp

log: logging.Logger = logging.getLogger("edge.rooms")

T = TypeVar("T")

# Cancelled timers are removed from the heap when their number exceeds this value and half of all timers.
CANCELLED = 64


class Timer(Generic[T]):
    """A point in time, on Trio's clock, and the object that is passed to `Timers.fire` then."""

    __slots__ = ("at", "target")

    def __init__(self, at: float, target: T) -> None:
        self.at: float = at
        self.target: T | None = target
        """None once the timer has fired or was cancelled."""


class Timers(Generic[T]):
    """A heap of timers. One task, in `run`, waits for the earliest one.

    Args:
      fire: called with the target of each timer that is due, and with the current time. It must not raise an error.
      early: the seconds by which a timer may fire early, so that several timers share one wake-up of the task.
    """

    def __init__(self, fire: Callable[[T, float], object], *, early: float = 0.0) -> None:
        self._fire = fire
        self._early = early
        self._heap: list[tuple[float, int, Timer[T]]] = []
        self._cancelled = 0
        """The number of cancelled timers in the heap."""
        self._order = itertools.count()
        self._scope = trio.CancelScope()

    def set(self, at: float, target: T) -> Timer[T]:
        """Add a timer. Timers for the same time fire in the order in which they were added."""
        timer = Timer(at, target)
        heapq.heappush(self._heap, (at, next(self._order), timer))
        if at < self._scope.deadline:
            self._scope.deadline = at
        return timer

    def cancel(self, timer: Timer[T]) -> None:
        """Cancel a timer, and delete its reference to the target."""
        if timer.target is None:
            return
        timer.target = None
        self._cancelled += 1
        if self._cancelled > CANCELLED and 2 * self._cancelled > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].target is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def fire_all(self) -> None:
        """Fire all timers now, even if they are not due."""
        for target in self._due(math.inf):
            self._fire(target, trio.current_time())

    async def run(self) -> None:
        """Fire the timers that are due, until the task is cancelled."""
        while True:
            with trio.CancelScope(deadline=self._heap[0][0] if self._heap else math.inf) as self._scope:
                await trio.sleep_forever()
            now = trio.current_time()
            for target in self._due(now + self._early):
                self._fire(target, now)

    def _due(self, by: float) -> list[T]:
        due = []
        while self._heap and self._heap[0][0] <= by:
            timer = heapq.heappop(self._heap)[2]
            if timer.target is None:
                self._cancelled -= 1
            else:
                due.append(timer.target)
                timer.target = None
        return due


class SharedTasks:
    """Two tasks that do for many others what is expensive in Trio: they sleep, and they call functions soon."""

    def __init__(self) -> None:
        self._timers: Timers[WakeUp] = Timers(lambda sleeper, _: sleeper.wake())
        self._calls: list[Callable[[], object]] = []
        self._closed = False
        self._wake_up = WakeUp()
        self._scope = trio.CancelScope(shield=True)

    async def run(self) -> None:
        """Run until `close`, shielded, so that clean-ups during a cancellation may sleep."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._timers.run)
                while True:
                    if not self._calls:
                        await self._wake_up.wait()
                    await trio.lowlevel.cancel_shielded_checkpoint()  # because of a call that came in this same step
                    calls, self._calls = self._calls, []
                    for call in calls:
                        try:
                            call()
                        except Exception:  # a bug of edge must not stop the calls of others
                            log.exception("a bug in edge: a call raised an error")

    def close(self) -> None:
        """Stop both tasks. Sleeping tasks continue to sleep, and functions are not called any more."""
        self._closed = True
        self._timers.fire_all()
        self._scope.cancel("no task needs the shared tasks any more")

    async def sleep_until(self, at: float) -> None:
        """Sleep until a time on Trio's clock. The same as `trio.sleep_until`, without a cancel scope for each sleep.

        *Cancellation* ends the sleep.
        """
        if self._closed or at <= trio.current_time():
            await trio.sleep_until(at)
            return
        sleeper = WakeUp()
        timer = self._timers.set(at, sleeper)
        try:
            await sleeper.wait()
        finally:
            self._timers.cancel(timer)
        if self._closed:
            await trio.sleep_until(at)

    def call_soon(self, call: Callable[[], object]) -> None:
        """Call a function after all tasks that are ready together with the current task have run.

        The same as `trio.lowlevel.TrioToken.run_sync_soon`, without the system calls that wake Trio.
        """
        if not self._calls:
            self._wake_up.wake()
        self._calls.append(call)
