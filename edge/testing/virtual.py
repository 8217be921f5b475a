"""Runs in virtual time: hours in milliseconds, from a seed, and a deadlock is an error instead of a hang."""

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

# How many times in a row Trio may look for I/O without running a task. Two are Trio's own: one to wake those who
# `wait_all_tasks_blocked`, one to jump the clock.
IDLE_PASSES = 3


class Deadlock(EdgeError, AssertionError):
    """The test waits for what will never happen. The text shows what each task awaits."""


class _Watchdog(trio.abc.Instrument):
    """Cancels a scope when nothing can happen any more, which under a mock clock would be a silent busy loop; or when
    only heartbeats and the like have happened for longer than any test plays."""

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
    """`trio.run` in virtual time: the clock jumps to the next deadline whenever every task waits.

    Not for sockets, threads or subprocesses: time would jump while they work.

    Args:
      seed: what the schedule is drawn from; the same seed gives the same run, in any process.
      hours: how much virtual time may pass; a room's heartbeats would let a test that waits in vain run on for ever.
      clock: instead of an autojumping mock clock that starts at 0.

    Raises:
      Deadlock: every task waits, and no deadline is pending; or time is up.
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
    """Every task below `root` (by default, of the run), with the line of code it is at."""
    root = root or trio.lowlevel.current_root_task()
    return "\n".join(_tree_lines(root, "")) if root is not None else ""


def _tree_lines(task: trio.lowlevel.Task, indent: str) -> Iterator[str]:
    yield f"{indent}{task.name}{_where(task)}"
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=spawn_order):
            yield from _tree_lines(child, indent + "  ")


def _where(task: trio.lowlevel.Task) -> str:
    """The innermost line of the task that is its author's, or else edge's: never Trio's."""
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
