"""A wake-up: what one task waits for, again and again."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import trio


class WakeUp:
    """Wakes the one task that waits for it.

    It is lighter than a `trio.Event` and can be used again. It has no memory: a `wake` that finds no task waiting is
    forgotten, so look at what you wait for before you wait.
    """

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    def wait(self) -> Coroutine[Any, Any, Any]:
        """Wait until `wake` is called. Await the result at once; a plain function saves a coroutine in every wait.

        Raises:
          trio.BusyResourceError: another task waits already.

        *Cancellation*: nothing is lost.
        """
        if self._task is not None:
            raise trio.BusyResourceError("another task is already waiting here")
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
