"""A wake-up: a reusable event for one waiting task."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import trio


class WakeUp:
    """A reusable event for one waiting task, with less overhead than a `trio.Event`.

    `wake` has no effect if no task waits. So check before each `wait` that the awaited condition is not already true.
    """

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    def wait(self) -> Coroutine[Any, Any, Any]:
        """Wait until `wake` is called. Await the result of this method at once.

        This method is not async, which saves one coroutine for each wait.

        Raises:
          trio.BusyResourceError: another task waits already.

        *Cancellation*: the task stops waiting, and no other state changes.
        """
        if self._task is not None:
            raise trio.BusyResourceError("another task already waits for these events: use one listener for each task")
        self._task = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105  # the caller awaits it

    def wake(self) -> None:
        """Wake the waiting task, if there is one."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
