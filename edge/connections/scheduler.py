"""The write scheduler: writes for all connections of a server, and runs their timers.

The scheduler has two tasks for any number of connections. The first task flushes the connections that have messages to
write, after all tasks that are ready have run. So one write carries all messages that these tasks send to a connection,
and a broadcast can be a plain loop over the connections. The second task wakes when an ack, a ping or a deadline of a
connection is due. This task also runs the timers that are due soon after, so that thousands of connections wake the
task only a few dozen times per second.

A write that would block waits in a task of its own, and delays no other connection.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from ..aio.guard import guarded
from ..aio.timers import Timer, Timers
from ..aio.wakeup import WakeUp

log: logging.Logger = logging.getLogger("edge.transports")

# Seconds by which a timer may run early, so that several timers share one wake-up of the task.
EARLY_SECONDS = 0.02


class Sender(Protocol):
    """The methods of a connection that the write scheduler calls."""

    def flush(self, now: float) -> None:
        """Write the queued frames. This method never waits."""

    def on_timer(self, now: float, early: float) -> None:
        """Perform the actions that are due by now or within `early` seconds, and set a timer for the next action."""

    def fail(self) -> None:
        """End the connection, because `flush` or `on_timer` has raised an error."""


class WriteScheduler:
    """Writes and runs timers for the connections of one server, or of one client. Made by `open_write_scheduler`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._ready: list[Sender] = []
        self._wake_up = WakeUp()
        self._timers: Timers[Sender] = Timers(_run_timer, early=EARLY_SECONDS)
        self._scope = trio.CancelScope(shield=True)

    async def run(self) -> None:
        """Run until `close`, shielded, so that goodbyes are written while the server is being cancelled."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._timers.run)
                await self._write()

    def close(self) -> None:
        """Stop the scheduler. All its connections must have ended."""
        self._scope.cancel("every connection has ended")

    def schedule(self, sender: Sender) -> None:
        """Flush this connection after all tasks that are ready have run."""
        if not self._ready:
            self._wake_up.wake()
        self._ready.append(sender)

    def set_timer(self, sender: Sender, at: float) -> Timer[Sender]:
        """Call `on_timer` of this connection at the time `at`, on Trio's clock, or up to `EARLY_SECONDS` earlier."""
        return self._timers.set(at, sender)

    def cancel(self, timer: Timer[Sender]) -> None:
        """Cancel a timer, and delete its reference to the connection."""
        self._timers.cancel(timer)

    def start_soon(self, write: Callable[[], Awaitable[object]]) -> None:
        """Start a task for a write that waits until the peer reads."""
        self._nursery.start_soon(guarded, "a write", write)

    async def _write(self) -> None:
        while True:
            if self._ready:  # both branches wait until all tasks that are ready have run
                await trio.lowlevel.checkpoint()
            else:
                await self._wake_up.wait()
            ready, self._ready = self._ready, []
            now = trio.current_time()
            for sender in ready:
                try:
                    sender.flush(now)
                except Exception:  # a bug of edge must not stop the writes of all other connections
                    _note_fault(sender)


def _run_timer(sender: Sender, now: float) -> None:
    try:
        sender.on_timer(now, EARLY_SECONDS)
    except Exception:
        _note_fault(sender)


def _note_fault(sender: Sender) -> None:
    log.exception("a bug in edge: a connection could not be flushed, so the connection ends")
    sender.fail()


@asynccontextmanager
async def open_write_scheduler() -> AsyncIterator[WriteScheduler]:
    """Run a write scheduler while a block runs. All its connections must end within the block.

    Entering the block is not a checkpoint, so that a caller that is already cancelled can still send a goodbye.
    """
    async with trio.open_nursery() as nursery:
        scheduler = WriteScheduler(nursery)
        nursery.start_soon(scheduler.run)
        try:
            yield scheduler
        finally:
            scheduler.close()
