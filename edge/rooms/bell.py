"""A bell: what wakes one task."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import trio


class Bell:
    """Wakes the one task that waits for it. Lighter than an event: it is rung again and again, and forgets."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    def wait(self) -> Coroutine[Any, Any, Any]:
        """Wait until it is rung; to be awaited at once. A plain function: one coroutine less in every wait.

        Raises:
          trio.BusyResourceError: another task waits already.

        *Cancellation*: nothing is lost.
        """
        if self._task is not None:
            raise trio.BusyResourceError("another task is already waiting here")
        self._task = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105  # the caller awaits it

    def ring(self) -> None:
        """Wake whoever waits, if anybody does."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
