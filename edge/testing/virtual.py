"""Runs Trio in virtual time, with a seeded schedule. A deadlock raises an error instead of hanging."""

from __future__ import annotations

import math
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import trio
import trio.testing

from ..errors import EdgeError
from .schedule import seeded, spawn_order, threads_hold

T = TypeVar("T")

# The maximum number of times in a row that Trio may poll for I/O without running a task. Trio itself needs two polls:
# one to wake tasks in `wait_all_tasks_blocked`, and one to let the clock jump.
IDLE_PASSES = 3
# The maximum number of times in a row that Trio may run tasks at the same virtual time: half a minute of real time.
BUSY_PASSES = 1_000_000


class Deadlock(EdgeError, AssertionError):
    """A test waits or runs for ever, or exceeds its virtual time. The message shows the line at which each task
    waits."""


class _Watchdog(trio.abc.Instrument):
    """Cancels a test in a deadlock, which would be a silent busy loop under a mock clock. Also cancels a test whose
    tasks run without end at one time, and a test that exceeds its virtual time, for example because only heartbeats
    run."""

    def __init__(self, hours: float) -> None:
        self.scope = trio.CancelScope()
        self.verdict = ""
        self._seconds = hours * 3600
        self._passes = 0
        self._now, self._busy = -1.0, 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._passes = 0

    def before_io_wait(self, timeout: float) -> None:
        self._passes += 1
        if self.verdict:
            return
        now, self._busy = trio.current_time(), self._busy + 1
        if now != self._now:
            self._now, self._busy = now, 0
        if now > self._seconds:
            self._bark(f"{self._seconds / 3600:g} virtual hours have passed (--edge-hours allows more)")
        elif self._busy > BUSY_PASSES:
            self._bark("tasks run without end, and no virtual time passes")
        elif self._passes > IDLE_PASSES:
            statistics = trio.lowlevel.current_statistics()
            if statistics.tasks_runnable == 0 and statistics.seconds_to_next_deadline == math.inf:
                self._bark("every task waits, and no deadline is pending")

    def _bark(self, verdict: str) -> None:
        self.verdict = f"{verdict}:\n{task_tree()}"
        self.scope.cancel(verdict)


def run_virtual(
    main: Callable[..., Awaitable[T]],
    *args: Any,
    seed: int = 0,
    hours: float = 3,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> T:
    """Run `trio.run` in virtual time: the clock jumps to the next deadline whenever every task waits.

    While a thread works for Trio (`trio.to_thread`), the clock stands still. Do not use sockets or subprocesses: the
    clock would jump while they work.

    Args:
      main: the async function to run, with the arguments `args`.
      seed: determines the schedule. The same seed gives the same run, in any process.
      hours: the maximum virtual time, in hours. Without this limit, a test that waits for ever would never end while
        the heartbeats of a room run.
      clock: replaces the default clock, which is an autojumping mock clock that starts at 0.
      instruments: further instruments for `trio.run`.

    Raises:
      Deadlock: every task waits, and no deadline is pending; tasks run without end while no virtual time passes; or the
        virtual time exceeds `hours`.
    """
    watchdog = _Watchdog(hours)

    async def watched() -> T:
        with watchdog.scope:
            return await main(*args)
        raise Deadlock(watchdog.verdict)

    mock = clock or trio.testing.MockClock(autojump_threshold=0)
    with seeded(seed), threads_hold(mock):
        return trio.run(watched, clock=mock, instruments=[watchdog, *instruments])


def task_tree(root: trio.lowlevel.Task | None = None) -> str:
    """Return the tree of tasks below `root`, by default of the whole run, with the line at which each task waits."""
    root = root or trio.lowlevel.current_root_task()
    return "\n".join(_tree_lines(root, "")) if root is not None else ""


def _tree_lines(task: trio.lowlevel.Task, indent: str) -> Iterator[str]:
    yield f"{indent}{task.name}{_where(task)}"
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=spawn_order):
            yield from _tree_lines(child, indent + "  ")


def _where(task: trio.lowlevel.Task) -> str:
    """Return the innermost waiting line in the author's code, or else in edge's code. Lines of Trio do not count."""
    ours = theirs = None
    for frame, line in task.iter_await_frames():
        module = frame.f_globals.get("__name__", "")
        if module.startswith("edge."):
            ours = (frame, line)
        elif not module.startswith(("trio.", "pytest_trio", "contextlib")):
            theirs = (frame, line)
    if (found := theirs or ours) is None:
        return ""
    code = found[0].f_code
    summary = traceback.FrameSummary(code.co_filename, found[1], code.co_name)
    return f"  waits in {summary.name}() {summary.filename}:{summary.lineno}: {summary.line}"
