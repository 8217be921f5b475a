"""The socket reader: one task reads all plain sockets of a server."""

from __future__ import annotations

import logging
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from ...aio.guard import guarded
from .framing import FrameCache

log: logging.Logger = logging.getLogger("edge.transports")


class Readable(Protocol):
    """A connection whose socket a `SocketReader` reads."""

    def read(self, now: float) -> None:
        """Read from the socket, which is ready. This method never waits."""

    def fail(self, fault: Exception) -> None:
        """End the connection, because `read` has raised an error."""


class SocketReader:
    """Reads the plain sockets of one server. Made by `open_socket_reader`.

    One task waits for the file descriptor of a selector that contains all sockets. A wake-up costs one task switch for
    any number of ready sockets. The task then reads each ready socket once, at most 64 KiB.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._selector = selectors.DefaultSelector()
        self.can_read: bool = hasattr(self._selector, "fileno")
        """True if selectors have a descriptor, as epoll and kqueue do. Otherwise, each socket has a reading task."""
        self.frame_cache: FrameCache = FrameCache()
        """Converts the messages to all connections of the server into WebSocket frames."""
        self._scope = trio.CancelScope(shield=True)

    async def run(self) -> None:
        """Read until `close` is called, shielded, so that goodbyes are read while the server is being cancelled."""
        with self._scope, self._selector as selector:
            while self.can_read:
                await trio.lowlevel.wait_readable(selector)
                now = trio.current_time()
                for key, _ in selector.select(0):
                    try:
                        key.data.read(now)
                    except Exception as exc:  # a bug of edge must not stop the reader of all other connections
                        log.exception("data of a connection could not be read")
                        key.data.fail(exc)

    def close(self) -> None:
        """Stop reading. All connections must have ended."""
        self._scope.cancel("every connection has ended")

    def start_soon(self, run: Callable[[], Awaitable[object]]) -> None:
        """Start a task of one connection. The task has to end with the connection."""
        self._nursery.start_soon(guarded, "a connection", run)

    def add(self, fd: int, fast_path: Readable) -> None:
        """Start to read the socket with this file descriptor."""
        self._selector.register(fd, selectors.EVENT_READ, fast_path)

    def remove(self, fd: int) -> None:
        """Stop reading the socket with this file descriptor."""
        self._selector.unregister(fd)


@asynccontextmanager
async def open_socket_reader() -> AsyncIterator[SocketReader]:
    """Run a socket reader while a block runs."""
    async with trio.open_nursery() as nursery:
        socket_reader = SocketReader(nursery)
        nursery.start_soon(socket_reader.run)
        try:
            yield socket_reader
        finally:
            socket_reader.close()
