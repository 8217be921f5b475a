"""A bell: what wakes one task."""

from __future__ import annotations

import trio


class Bell:
    """Wakes the one task that waits for it. Lighter than an event: it is rung again and again, and forgets."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Wait until it is rung.

        Raises:
          trio.BusyResourceError: another task waits already.

        *Cancellation*: nothing is lost.
        """
        if self._task is not None:
            raise trio.BusyResourceError("another task is already waiting here")
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def ring(self) -> None:
        """Wake whoever waits, if anybody does."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
