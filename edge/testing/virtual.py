"""Runs Trio in virtual time, with a seeded schedule. A deadlock raises an error instead of hanging."""

from __future__ import annotations

import math
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import trio
import trio.testing

from ..errors import EdgeError
from .schedule import seeded, spawn_order

T = TypeVar("T")

# The maximum number of times in a row that Trio may poll for I/O without running a task. Trio itself needs two: one to
# wake tasks in `wait_all_tasks_blocked`, one to jump the clock.
IDLE_PASSES = 3


class Deadlock(EdgeError, AssertionError):
    """A test waits for ever, or its virtual time is up. The message shows the line at which each task waits."""


class _Watchdog(trio.abc.Instrument):
    """Cancels the test in a deadlock, which would be a silent busy loop under a mock clock. Also cancels the test when
    its virtual time is up, for example because only heartbeats run."""

    def __init__(self, hours: float) -> None:
        self.scope = trio.CancelScope()
        self.verdict = ""
        self._seconds = hours * 3600
        self._passes = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._passes = 0

    def before_io_wait(self, timeout: float) -> None:
        self._passes += 1
        if self.verdict:
            return
        if trio.current_time() > self._seconds:
            self._bark(f"{self._seconds / 3600:g} virtual hours have passed (--edge-hours allows more)")
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

    Do not use sockets, threads or subprocesses: the clock would jump while they work.

    Args:
      seed: determines the schedule; the same seed gives the same run, in any process.
      hours: the maximum virtual time that may pass. Without this limit, the heartbeats of a room would keep a test that
        waits for ever running.
      clock: replaces the autojumping mock clock that starts at 0.

    Raises:
      Deadlock: every task waits, and no deadline is pending; or the virtual time is up.
    """
    watchdog = _Watchdog(hours)

    async def watched() -> T:
        with watchdog.scope:
            return await main(*args)
        raise Deadlock(watchdog.verdict)

    with seeded(seed):
        return trio.run(
            watched,
            clock=clock or trio.testing.MockClock(autojump_threshold=0),
            instruments=[watchdog, *instruments],
        )


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
    """Return the innermost waiting line of the author's code, or else of edge's code, but never of Trio's."""
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
