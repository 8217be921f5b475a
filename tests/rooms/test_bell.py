"""What wakes one task."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from edge.rooms.bell import Bell


async def test_it_wakes_who_waits_and_forgets() -> None:
    """A ring that nobody heard is not kept for the next."""
    bell, woken = Bell(), []

    async def wait() -> None:
        await bell.wait()
        woken.append(True)

    bell.ring()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert not woken
        bell.ring()
        bell.ring()
    assert woken == [True]


async def test_one_task_at_a_time() -> None:
    """A second one is told, and the first waits on; one that was cancelled has left."""
    bell = Bell()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bell.wait)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await bell.wait()
        nursery.cancel_scope.cancel()
    with trio.move_on_after(1) as scope:
        await bell.wait()
    assert scope.cancelled_caught
