"""Tests of `WakeUp`, which wakes one waiting task."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from edge.aio.wakeup import WakeUp
from edge.testing import seeds


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


@seeds(50)
async def test_a_wake_up_and_a_cancellation_at_once(edge_seed: int) -> None:
    """A task that is cancelled and woken in one step, in either order, goes on once. Then another task may wait."""
    wake_up, ends = WakeUp(), []

    async def wait(scope: trio.CancelScope) -> None:
        with scope:
            await wake_up.wait()
        ends.append(scope.cancelled_caught)

    async with trio.open_nursery() as nursery:
        for cancels_first in (True, False):
            scope = trio.CancelScope()
            nursery.start_soon(wait, scope)
            await wait_all_tasks_blocked()
            for cancels in (cancels_first, not cancels_first):
                if cancels:
                    scope.cancel()
                else:
                    wake_up.wake()
            await wait_all_tasks_blocked()
    assert ends == [True, False]


async def test_a_cancelled_task_that_waits_elsewhere_is_not_woken() -> None:
    """`wake` does not touch a task that was cancelled in `wait` and now waits for another wake-up."""
    first, second, woken = WakeUp(), WakeUp(), []

    async def wait() -> None:
        with trio.move_on_after(1):
            await first.wait()
        await second.wait()
        woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(2)
        first.wake()
        await wait_all_tasks_blocked()
        assert woken == []
        second.wake()
    assert woken == [2]
