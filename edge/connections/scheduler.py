"""The post: what writes for all connections, and knows when something is due on one.

Two tasks, however many connections. One empties the outboxes that have something in them, once everybody who runs in
the same step of Trio has put in what they had to say: so what one step of a room sends leaves each connection in one
write, and a broadcast is a loop. The other wakes when an ack, a ping or the end of somebody's patience is due, and
takes along what is due soon after, so that thousands of connections wake it a few dozen times a second.

A write that would block waits in a task of its own, and holds up nobody.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from ..aio.guard import guarded
from ..aio.wakeup import WakeUp

log = logging.getLogger("edge.transports")

# How much earlier than it must be an ack or a ping may be sent, to share a wake-up with others.
EARLY_SECONDS = 0.02

# So many cancelled alarms are kept until they are due; more, as long as others outnumber them.
CANCELLED = 64


class Sender(Protocol):
    """A connection, as the post sees it."""

    def flush(self, now: float) -> None:
        """Write what waits. Never waits."""

    def sweep(self, now: float, early: float) -> None:
        """Do what is due by now, or within so many seconds, and expect what is due next."""

    def fail(self) -> None:
        """One of these has raised: the connection is over."""


class Alarm:
    """When the post will sweep a connection."""

    __slots__ = ("at", "sender")

    def __init__(self, at: float, sender: Sender) -> None:
        self.at = at
        self.sender: Sender | None = sender
        """None once it has gone off, or was cancelled."""


class Post:
    """Writes and wakes for the connections of one server, or of one client. Made by `open_post`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._ready: list[Sender] = []
        self._wake_up = WakeUp()
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._cancelled = 0
        """How many of them are."""
        self._order = itertools.count()
        self._sweeping = trio.CancelScope()
        self._scope = trio.CancelScope(shield=True)

    async def run(self) -> None:
        """Work until `close`. Shielded: goodbyes are written while everything around is being cancelled."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                await self._write()

    def close(self) -> None:
        """No connection is open any more."""
        self._scope.cancel("every connection has ended")

    def note(self, sender: Sender) -> None:
        """It has something to write."""
        if not self._ready:
            self._wake_up.wake()
        self._ready.append(sender)

    def expect(self, sender: Sender, at: float) -> Alarm:
        """It has something to do then, at the latest."""
        alarm = Alarm(at, sender)
        heapq.heappush(self._alarms, (at, next(self._order), alarm))
        if at < self._sweeping.deadline:
            self._sweeping.deadline = at
        return alarm

    def cancel(self, alarm: Alarm) -> None:
        """Forget an alarm, and the connection with it."""
        if alarm.sender is None:
            return
        alarm.sender = None
        self._cancelled += 1
        if self._cancelled > CANCELLED and 2 * self._cancelled > len(self._alarms):
            self._alarms = [entry for entry in self._alarms if entry[2].sender is not None]
            heapq.heapify(self._alarms)
            self._cancelled = 0

    def start_soon(self, write: Callable[[], Awaitable[object]]) -> None:
        """Run a write that has to wait for its peer."""
        self._nursery.start_soon(guarded, "a write", write)

    async def _write(self) -> None:
        while True:
            if self._ready:
                await trio.lowlevel.checkpoint()
            else:
                await self._wake_up.wait()
            ready, self._ready = self._ready, []
            now = trio.current_time()
            for sender in ready:
                try:
                    sender.flush(now)
                except Exception:  # a fault of ours, which must not cost all the others their post
                    _note_fault(sender)

    async def _sweep(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._alarms[0][0] if self._alarms else math.inf) as self._sweeping:
                await trio.sleep_forever()
            now = trio.current_time()
            for sender in self._due(now + EARLY_SECONDS):
                try:
                    sender.sweep(now, EARLY_SECONDS)
                except Exception:
                    _note_fault(sender)

    def _due(self, by: float) -> list[Sender]:
        due = []
        while self._alarms and self._alarms[0][0] <= by:
            alarm = heapq.heappop(self._alarms)[2]
            if alarm.sender is None:
                self._cancelled -= 1
            else:
                due.append(alarm.sender)
                alarm.sender = None
        return due


def _note_fault(sender: Sender) -> None:
    log.exception("what was due on a connection could not be done")
    sender.fail()


@asynccontextmanager
async def open_post() -> AsyncIterator[Post]:
    """A post while a block runs, in which every connection of it ends. Entering it is no checkpoint, so that whoever
    is cancelled already can still say goodbye."""
    async with trio.open_nursery() as nursery:
        post = Post(nursery)
        nursery.start_soon(post.run)
        try:
            yield post
        finally:
            post.close()
