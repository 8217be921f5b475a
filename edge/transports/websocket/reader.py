"""The socket reader: one task reads all plain sockets of a server."""

from __future__ import annotations

import contextlib
import logging
import select
import selectors
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Protocol

import trio

from ...aio.guard import guarded
from .framing import FrameCache

log: logging.Logger = logging.getLogger("edge.transports")


# If at least this many sockets were ready at once, more are probably ready after the next checkpoint. The reader then
# does not ask Trio to wait for them: that costs three times as much as a checkpoint.
BUSY = 4
# The maximum number of connections that end in one round of reading. If thousands of connections break at once, their
# tasks all run before the next round, and would delay the messages of all other connections.
ENDING = 16
# The epoll flags of a socket that has received its last byte.
ENDED = getattr(select, "EPOLLRDHUP", 0) | getattr(select, "EPOLLHUP", 0) | getattr(select, "EPOLLERR", 0)


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
        self._poll: _Epoll | _Selector = _Epoll() if hasattr(select, "epoll") else _Selector()
        self.can_read: bool = hasattr(self._poll, "fileno")
        """True if selectors have a descriptor, as epoll and kqueue do. Otherwise, each socket has a reading task."""
        self.frame_cache: FrameCache = FrameCache()
        """Converts the messages to all connections of the server into WebSocket frames."""
        self._scope = trio.CancelScope(shield=True)

    async def run(self) -> None:
        """Read until `close` is called, shielded, so that goodbyes are read while the server is being cancelled."""
        poll, busy = self._poll, False
        with self._scope, contextlib.closing(poll):
            while self.can_read:
                if busy:
                    await trio.lowlevel.checkpoint()
                else:
                    await trio.lowlevel.wait_readable(poll)
                now = trio.current_time()
                ready = poll.ready()
                for connection in ready:
                    try:
                        connection.read(now)
                    except Exception as exc:  # a bug of edge must not stop the reader of all other connections
                        log.exception("data of a connection could not be read")
                        connection.fail(exc)
                busy = len(ready) >= BUSY or (bool(poll.ending) and poll.forget_ended())

    def close(self) -> None:
        """Stop reading. All connections must have ended."""
        self._scope.cancel("every connection has ended")

    def start_soon(self, run: Callable[[], Awaitable[object]]) -> None:
        """Start a task of one connection. The task has to end with the connection."""
        self._nursery.start_soon(guarded, "a connection", run)

    def add(self, fd: int, fast_path: Readable) -> None:
        """Start to read the socket with this file descriptor."""
        self._poll.add(fd, fast_path)

    def remove(self, fd: int) -> None:
        """Stop reading the socket with this file descriptor."""
        self._poll.remove(fd)


class _Epoll:
    """The sockets of a server, in an epoll. It makes no object for each event, unlike `selectors`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._connections: dict[int, Readable] = {}
        self.ending: deque[tuple[int, Readable]] = deque()
        """The connections that have received their last byte. They are no longer in the epoll."""
        self.fileno = self._epoll.fileno
        self.close = self._epoll.close

    def add(self, fd: int, connection: Readable) -> None:
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP)
        self._connections[fd] = connection

    def remove(self, fd: int) -> None:
        del self._connections[fd]
        with contextlib.suppress(OSError):  # the socket is closed, or in `ending`
            self._epoll.unregister(fd)

    def ready(self) -> list[Readable]:
        """Return the connections whose sockets are ready, among them at most `ENDING` of those that end."""
        connections, events = self._connections, self._epoll.poll(0, len(self._connections) or 1)
        ready = [connections[fd] for fd, event in events if not event & ENDED and fd in connections]
        if len(ready) < len(events):
            for fd, event in events:
                if event & ENDED and fd in connections:
                    self._epoll.unregister(fd)
                    self.ending.append((fd, connections[fd]))
        if self.ending:
            ready += [each for fd, each in islice(self.ending, ENDING) if connections.get(fd) is each]
        return ready

    def forget_ended(self) -> bool:
        """Remove those of the connections from the last call of `ready` that have ended. Return true if any remain."""
        for _ in range(min(len(self.ending), ENDING)):
            fd, connection = self.ending.popleft()
            if self._connections.get(fd) is connection:  # more bytes of it must be read
                self.ending.append((fd, connection))
        return bool(self.ending)


class _Selector:
    """The sockets of a server, on systems without epoll. There is a method `fileno` only with kqueue."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.ending: tuple[()] = ()
        self.close = self._selector.close
        if hasattr(self._selector, "fileno"):
            self.fileno = self._selector.fileno

    def add(self, fd: int, connection: Readable) -> None:
        self._selector.register(fd, selectors.EVENT_READ, connection)

    def remove(self, fd: int) -> None:
        self._selector.unregister(fd)

    def ready(self) -> list[Readable]:
        """Return the connections whose sockets are ready."""
        return [key.data for key, _ in self._selector.select(0)]

    def forget_ended(self) -> bool:
        """Return false, because there are none."""
        return False


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
