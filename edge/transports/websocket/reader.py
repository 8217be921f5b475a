"""All the lanes of a server: one task reads every plain socket, and a broadcast is framed once for all of them."""

from __future__ import annotations

import logging
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from ...aio.guard import guarded
from .framing import FrameCache

log = logging.getLogger("edge.transports")


class Readable(Protocol):
    """What the reader reads."""

    def read(self, now: float) -> None:
        """There is something to read. Never waits."""

    def fail(self, fault: Exception) -> None:
        """`read` has raised: the connection is over."""


class Lanes:
    """The plain sockets of one server. Made by `open_lanes`.

    One task waits until any of them has something to say: for the descriptor of a selector that holds them all, so that
    a wake-up costs one task switch however many are ready. Each is then read once, 64 KiB at most.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._selector = selectors.DefaultSelector()
        self.can_read = hasattr(self._selector, "fileno")
        """Whether there is such a reader: where a selector can be waited for, as epoll and kqueue can."""
        self.frame_cache = FrameCache()
        """Frames what is sent on any of them."""
        self._scope = trio.CancelScope(shield=True)

    async def run(self) -> None:
        """Read until `close`. Shielded: goodbyes are heard while everything around is being cancelled."""
        with self._scope, self._selector as selector:
            while self.can_read:
                await trio.lowlevel.wait_readable(selector)
                now = trio.current_time()
                for key, _ in selector.select(0):
                    try:
                        key.data.read(now)
                    except Exception as exc:  # a fault of ours, which must not cost all the others their reader
                        log.exception("what came on a connection could not be taken in")
                        key.data.fail(exc)

    def close(self) -> None:
        """No lane is open any more."""
        self._scope.cancel("every connection has ended")

    def start_soon(self, run: Callable[[], Awaitable[object]]) -> None:
        """Run what one connection needs beside the reader; it ends with the connection."""
        self._nursery.start_soon(guarded, "a connection", run)

    def add(self, fd: int, lane: Readable) -> None:
        """Read this one from now on."""
        self._selector.register(fd, selectors.EVENT_READ, lane)

    def remove(self, fd: int) -> None:
        """Read it no more."""
        self._selector.unregister(fd)


@asynccontextmanager
async def open_lanes() -> AsyncIterator[Lanes]:
    """A reader for all, while a block runs."""
    async with trio.open_nursery() as nursery:
        lanes = Lanes(nursery)
        nursery.start_soon(lanes.run)
        try:
            yield lanes
        finally:
            lanes.close()
