"""Seeds Trio's scheduler. No other file uses Trio's private names; a test checks that these names exist.

Trio shuffles the ready tasks with its own random generator, so a mock clock alone does not make a run repeatable.
Importing hypothesis makes Trio sort the tasks before it shuffles them. This import is Trio's public way to get a
reproducible schedule. hypothesis seeds the generator only inside its own tests, so this file sets the seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import hypothesis  # noqa: F401  # the import runs Trio's plugin, which makes Trio sort ready tasks
import outcome
import trio
import trio.testing

T = TypeVar("T")


def spawn_order(task: trio.lowlevel.Task) -> int:
    """Return a key that sorts tasks of one run by the time at which they were spawned."""
    return task._counter


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Trio's scheduler and the `random` module for all code in this block."""
    generator = trio._core._run._r  # the only source of randomness in Trio's scheduler; pytest-trio uses it, too
    before, before_random = generator.getstate(), random.getstate()
    generator.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        generator.setstate(before)
        random.setstate(before_random)


@contextmanager
def threads_hold(clock: trio.abc.Clock) -> Iterator[None]:
    """Hold an autojumping clock while a thread works for Trio, so that no virtual time passes in the meantime."""
    if not isinstance(clock, trio.testing.MockClock):
        yield
        return
    threads: Any = trio._threads
    start, send = threads.start_thread_soon, threads._send_message_to_trio
    working, threshold = 0, clock.autojump_threshold

    def start_and_hold(run: Callable[[], T], deliver: Callable[[outcome.Outcome[T]], object], *args: Any) -> None:
        def deliver_and_release(result: outcome.Outcome[T]) -> None:  # called in the thread
            deliver(result)
            token.run_sync_soon(release)  # after the task is woken, so that the clock cannot jump in between

        token = trio.lowlevel.current_trio_token()
        hold()
        start(run, deliver_and_release, *args)

    def hold() -> None:
        nonlocal working
        working += 1
        clock.autojump_threshold = math.inf

    def release() -> None:
        nonlocal working
        working -= 1
        if not working:
            clock.autojump_threshold = threshold

    async def call_and_release(call: Callable[..., Awaitable[T]], *args: Any) -> T:
        release()
        try:
            return await call(*args)
        finally:
            hold()

    def send_and_release(token: trio.lowlevel.TrioToken | None, message: Any) -> Any:  # called in the thread
        if token is None and isinstance(message, threads.Run):  # the thread waits for Trio
            message = threads.Run(partial(call_and_release, message.afn), message.args)
        return send(token, message)

    threads.start_thread_soon, threads._send_message_to_trio = start_and_hold, send_and_release
    try:
        yield
    finally:
        threads.start_thread_soon, threads._send_message_to_trio = start, send
