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
        """Read from the socket, which is ready. Never waits."""

    def fail(self, fault: Exception) -> None:
        """End the connection, because `read` has raised an error."""


class SocketReader:
    """Reads the plain sockets of one server. Made by `open_socket_reader`.

    One task waits for the file descriptor of a selector that contains all sockets. One wake-up costs one task switch,
    however many sockets are ready. Each ready socket is then read once, 64 KiB at most.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._selector = selectors.DefaultSelector()
        self.can_read: bool = hasattr(self._selector, "fileno")
        """True if selectors have a descriptor, as epoll and kqueue do. If not, a task of its own reads each socket."""
        self.frame_cache: FrameCache = FrameCache()
        """Converts the messages to all these connections into WebSocket frames."""
        self._scope = trio.CancelScope(shield=True)

    async def run(self) -> None:
        """Read until `close` is called. Shielded, so that goodbyes are read while the server is being cancelled."""
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
        """Stop reading. Call this when no connection is open any more."""
        self._scope.cancel("every connection has ended")

    def start_soon(self, run: Callable[[], Awaitable[object]]) -> None:
        """Start a task of one connection. The task has to end with the connection."""
        self._nursery.start_soon(guarded, "a connection", run)

    def add(self, fd: int, fast_path: Readable) -> None:
        """Read this socket from now on."""
        self._selector.register(fd, selectors.EVENT_READ, fast_path)

    def remove(self, fd: int) -> None:
        """Stop reading this socket."""
        self._selector.unregister(fd)


@asynccontextmanager
async def open_socket_reader() -> AsyncIterator[SocketReader]:
    """Run a socket reader while the block runs."""
    async with trio.open_nursery() as nursery:
        socket_reader = SocketReader(nursery)
        nursery.start_soon(socket_reader.run)
        try:
            yield socket_reader
        finally:
            socket_reader.close()
