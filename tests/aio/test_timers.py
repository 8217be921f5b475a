"""Tests of the timers that share a task, and of the tasks that rooms share."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from edge.aio.timers import SharedTasks, Timers
from edge.testing import seeds


@seeds(20)
async def test_timers_fire_in_order(edge_seed: int) -> None:
    """Timers fire at their times, those for one time in the order in which they were set, and cancelled ones never."""
    fired: list[tuple[str, float]] = []
    timers: Timers[str] = Timers(lambda target, now: fired.append((target, now)))
    async with trio.open_nursery() as nursery:
        timers.set(2, "c")
        nursery.start_soon(timers.run)
        await wait_all_tasks_blocked()
        timers.set(1, "a")
        timers.cancel(timers.set(1, "cancelled"))
        timers.set(1, "b")
        late = timers.set(3, "late")
        await trio.sleep(2.5)
        timers.cancel(late)
        timers.cancel(late)
        timers.set(0, "past")
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert fired == [("a", 1), ("b", 1), ("c", 2), ("past", 2.5)]


async def test_early_timers_share_a_wake_up() -> None:
    """Timers that are due soon after another fire together with it."""
    fired: list[tuple[int, float]] = []
    timers: Timers[int] = Timers(lambda target, now: fired.append((target, now)), early=0.02)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        for number in range(3):
            timers.set(1 + number / 64, number)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert fired == [(0, 1), (1, 1), (2, 1 + 2 / 64)]


@seeds(20)
async def test_a_shared_sleep_is_a_sleep(edge_seed: int) -> None:
    """`SharedTasks.sleep_until` ends exactly at its time, also for many tasks, and can be cancelled."""
    shared, woken = SharedTasks(), []

    async def sleep(at: float) -> None:
        await shared.sleep_until(at)
        woken.append((at, trio.current_time()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.run)
        async with trio.open_nursery() as sleepers:
            for at in (3, 1, 2, 1, -1):
                sleepers.start_soon(sleep, at)
            with trio.move_on_after(0.5) as scope:
                await shared.sleep_until(1)
            assert scope.cancelled_caught
            assert trio.current_time() == 0.5
        shared.close()
    assert sorted(woken) == [(-1, 0), (1, 1), (1, 1), (2, 2), (3, 3)]


async def test_a_sleep_survives_the_cancellation_of_its_server() -> None:
    """Clean-ups of rooms may sleep while everything around the shared tasks is being cancelled."""
    shared = SharedTasks()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await shared.sleep_until(2)
        shared.close()
    assert trio.current_time() == 2


@seeds(50)
async def test_calls_come_after_ready_tasks(edge_seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """A function for `call_soon` is called after all tasks that are ready together with the caller have run. A function
    that fails stops no other."""
    shared, order = SharedTasks(), list[str]()

    async def ready(number: int) -> None:
        if number == 0:  # the shared task may run in the same step as the other tasks
            shared.call_soon(lambda: None)
        await trio.lowlevel.checkpoint()
        order.append("task")
        if number == 0:
            shared.call_soon(lambda: 1 / 0)
            shared.call_soon(lambda: order.append("call"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.run)
        await wait_all_tasks_blocked()
        for number in range(3):
            nursery.start_soon(ready, number)
        await wait_all_tasks_blocked()
        shared.call_soon(lambda: order.append("again"))
        await wait_all_tasks_blocked()
        shared.close()
    assert order == ["task"] * 3 + ["call", "again"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_no_call_is_lost() -> None:
    """A function is also called if it was passed before the shared tasks run, or by such a function."""
    shared, order = SharedTasks(), list[str]()
    shared.call_soon(lambda: order.append("first"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.run)
        await wait_all_tasks_blocked()
        shared.call_soon(lambda: shared.call_soon(lambda: order.append("inner")))
        await wait_all_tasks_blocked()
        shared.call_soon(lambda: order.append("last"))
        await wait_all_tasks_blocked()
        shared.close()
    assert order == ["first", "inner", "last"]


async def test_sleeps_continue_after_the_end_of_the_shared_tasks() -> None:
    """A task that sleeps, or begins to sleep, after the end of its server wakes at its time nevertheless."""
    shared, woken = SharedTasks(), list[float]()

    async def sleep() -> None:
        for at in (2, 3):
            await shared.sleep_until(at)
            woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.run)
        nursery.start_soon(sleep)
        await trio.sleep(1)
        shared.close()
    assert woken == [2, 3]
