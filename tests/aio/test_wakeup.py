"""Tests of `WakeUp`, which wakes one waiting task."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from edge.aio.wakeup import WakeUp


async def test_it_wakes_who_waits_and_forgets() -> None:
    """`wake` wakes the waiting task. If no task waits, `wake` has no effect on a later `wait`."""
    wake_up, woken = WakeUp(), []

    async def wait() -> None:
        await wake_up.wait()
        woken.append(True)

    wake_up.wake()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert not woken
        wake_up.wake()
        wake_up.wake()
    assert woken == [True]


async def test_one_task_at_a_time() -> None:
    """A second task that waits gets BusyResourceError. After a `wait` was cancelled, another task may wait."""
    wake_up = WakeUp()

    async def wait() -> None:
        await wake_up.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await wake_up.wait()
        nursery.cancel_scope.cancel()
    with trio.move_on_after(1) as scope:
        await wake_up.wait()
    assert scope.cancelled_caught
