"""Runs rooms and their clients in one process, which memory transports connect. There is no server and no socket."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

import attrs
import trio

from ..client.client import Status
from ..client.connector import Connector
from ..client.join import open_client
from ..codes import Code
from ..connections.driver import close_transport
from ..connections.scheduler import WriteScheduler, open_write_scheduler
from ..errors import EdgeError, Refused
from ..protocol import messages
from ..protocol.codec import JSON, Codec
from ..protocol.limits import Limits
from ..protocol.messages import Create
from ..rooms.directory import Directory, options_of
from ..rooms.opening import Factory, Opening
from ..rooms.room import Room, kind_of, runtime_of
from ..rooms.room_runtime import RoomRuntime
from ..rooms.session import Session
from ..seats.serve_seat import serve_seat
from ..sessions.keys import Keys
from ..transports.memory import MemoryTransport, open_memory_transports
from ..transports.transport import Transport
from .clients import ClientUnderTest
from .virtual import task_tree

log: logging.Logger = logging.getLogger("edge.testing")

# The seconds within which all rooms and clients must close: far more than the sum of all deadlines of an orderly close.
CLOSING_SECONDS = 60.0

R = TypeVar("R", bound=Room[Any, Any])


class Leaked(EdgeError, AssertionError):
    """A task, a seat or a deadline of a test outlived the rooms of the test. The message describes the leak."""


class Crashed(EdgeError, AssertionError):
    """The log had an error without `RoomUnderTest.expect_crash`: code of the room or the app raised an exception, or a
    clean-up was cut short. The message is the log record."""


class CrashWatch(logging.Handler):
    """Collects log records of level ERROR, such as the crashes that `guarded` logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.crashes: list[str] = []
        self.expected: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.crashes.append(self.format(record))

    @property
    def unexpected(self) -> list[str]:
        return [crash for crash in self.crashes if not any(text in crash for text in self.expected)]


class EdgeRoom(Protocol):
    """The type of the `edge_room` fixture: ``under_test = await edge_room(MyRoom)``.

    Args:
      make: a room class, or a function that makes a room, as in the `rooms` of an `App`.
      name: the name of the room; by default a number.
      options: the join options for the function that makes the room.
    """

    async def __call__(self, make: Callable[..., R], *, name: str = "", options: object = None) -> RoomUnderTest[R]: ...


@attrs.frozen
class _MemoryConnector(Connector):
    open: Callable[[], AbstractAsyncContextManager[Transport]]
    limits: Limits

    @property
    def welcome_seconds(self) -> float:
        return self.limits.hello_seconds

    def dial(self) -> AbstractAsyncContextManager[Transport]:
        return self.open()


class MemoryClient(ClientUnderTest):
    """A client over a memory transport. A test can cut and restore the connection. `RoomUnderTest.join` makes
    clients."""

    def __init__(
        self,
        under_test: RoomUnderTest[Any],
        name: str,
        codec: Codec,
        limits: Limits,
        buffer: float,
        session: Session | None,
        sends: object,
        receives: object,
        options: object = None,
        create: Create = "if needed",
    ) -> None:
        self._session = session
        self._under_test = under_test
        self._buffer = buffer
        self._transport: MemoryTransport | None = None
        super().__init__(
            name,
            _MemoryConnector(self._open, limits),
            sends=kind_of(under_test.room).receives if sends is None else sends,
            documents=kind_of(under_test.room).mirrored,
            receives=kind_of(under_test.room).sends if receives is None else receives,
            codec=codec,
            limits=limits,
            inbox=math.inf,
            client=f"client-in-memory-{len(under_test.clients)}",
            key=None,
            options=options,
            create=create,
        )

    def cut(self) -> None:
        assert self._transport is not None
        self._transport.drop()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Transport]:
        self._transport, server_end = open_memory_transports(buffer=self._buffer)
        self._under_test.serve_seat(server_end, self._codec, self._limits, self._session)
        try:
            yield self._transport
        finally:
            await close_transport(self._transport, 1000, "")


class RoomUnderTest(Generic[R]):
    """A room and its clients. Get one from the `edge_room` fixture or from `open_rooms`."""

    def __init__(
        self,
        room: R,
        directory: Directory,
        nursery: trio.Nursery,
        scheduler: WriteScheduler,
        expected: list[str],
        clients: list[ClientUnderTest],
    ) -> None:
        self._expected = expected
        self._all_clients = clients
        self.room = room
        """The author's room."""
        self.clients: list[MemoryClient] = []
        self.keys: Keys = Keys("the secret of a room under test")
        """The keys that the room accepts in a hello."""
        self._directory = directory
        self._nursery = nursery
        self._scheduler = scheduler

    def expect_crash(self, text: str) -> None:
        """Accept crashes whose log record, with its traceback, contains this text. Other crashes fail the test."""
        self._expected.append(text)

    async def join(
        self,
        *names: str,
        codec: Codec = JSON,
        limits: Limits | None = None,
        buffer: float = math.inf,
        session: Session | None = None,
        sends: object = None,
        receives: object = None,
        options: object = None,
        create: Create = "if needed",
    ) -> list[MemoryClient]:
        """Connect clients with these names, one after the other, and return them once they have their seats.

        Args:
          codec: the encoding of messages.
          limits: the limits of the clients and of their connections.
          buffer: the maximum number of frames that are under way in each direction. With a small buffer, a client that
            does not read slows down the server's writes.
          session: the session of the clients; without names, one client with the name of the session joins. By default
            each client is a guest. Two clients of one session are like two tabs.
          sends: the union of events that the clients send, for clients older or newer than the room; by default, the
            events that the room receives.
          receives: the union of events that the clients receive; by default, the events that the room sends.
          options: the join options, an instance of `Room.join_options`.
          create: see `edge.join`. The room under test is open already.

        Raises:
          Disconnected: the room refused a client. The error's `code` is the reason.

        *Cancellation*: clients that have begun to join continue to connect.
        """
        clients = []
        for name in names or ([session.name] if session is not None else []):
            client = MemoryClient(
                self, name, codec, limits or Limits(), buffer, session, sends, receives, options, create
            )
            clients.append(client)
            self.clients.append(client)
            self._all_clients.append(client)
            await self._nursery.start(self._run, client)
            await client.wait_status(Status.OPEN)
        return clients

    def serve_seat(
        self,
        transport: Transport,
        codec: Codec = JSON,
        limits: Limits | None = None,
        session: Session | None = None,
    ) -> None:
        """Serve the server's end of a transport in this room, for tests of clients that break the protocol."""

        async def serve() -> None:
            await serve_seat(
                transport,
                codec,
                self.find,
                where=self.runtime.path,
                counters=self.runtime.counters,
                limits=limits or Limits(),
                keys=self.keys,
                session=session,
                scheduler=self._scheduler,
            )

        self._nursery.start_soon(serve, name=f"connection to {self.runtime.path}")

    @property
    def runtime(self) -> RoomRuntime:
        """The run time of the room, for tests of edge itself."""
        return runtime_of(self.room)

    async def find(self, hello: messages.Hello) -> RoomRuntime:
        """Return the run time of the room. `serve_seat` takes this method as an argument.

        *Cancellation* has no effect, because this method does not wait.
        """
        opening = Opening(options=hello.options, create=hello.create, client=hello.client)
        return self._directory.open_runtime(self.runtime.kind_name, self.runtime.name, opening)

    async def _run(self, client: MemoryClient, *, task_status: trio.TaskStatus[None]) -> None:
        async with open_client(client):
            task_status.started()
            await client.wait_status(Status.CLOSED)


@asynccontextmanager
async def open_rooms(*, seed: int = 0, clients: list[ClientUnderTest] | None = None) -> AsyncIterator[EdgeRoom]:
    """Open rooms until the block ends: ``async with open_rooms() as open_room: await open_room(MyRoom)``.

    Args:
      seed: determines `Room.random`. Each room gets a different sequence of random numbers.

    Raises:
      Crashed: the code of a room raised an unexpected exception.
      Leaked: a task, a seat or a deadline outlived the rooms and their clients.

    *Cancellation* ends the rooms and the clients.
    """
    watch = CrashWatch()
    logging.getLogger("edge.rooms").addHandler(watch)
    try:
        async with _closing_rooms(watch.expected, seed, [] if clients is None else clients) as open_room:
            yield open_room
    finally:
        logging.getLogger("edge.rooms").removeHandler(watch)
    if watch.unexpected:
        raise Crashed("\n".join(watch.unexpected))


@asynccontextmanager
async def _closing_rooms(expected: list[str], seed: int, clients: list[ClientUnderTest]) -> AsyncIterator[EdgeRoom]:
    before = current_tasks()
    opened: list[tuple[Directory, RoomUnderTest[Any]]] = []
    async with open_write_scheduler() as scheduler, trio.open_nursery() as nursery:

        async def open_room(make: Callable[..., R], *, name: str = "", options: object = None) -> RoomUnderTest[R]:
            number = len(opened)
            name = name or str(number)
            factory = Factory("room", make, options_of)
            plain = factory.to_plain(options)
            # made here, because `Directory.open` would turn an exception of `make` into a refusal
            room: R = factory(name, plain)

            def only_once() -> R:
                if room.closing:
                    raise Refused("the room under test has closed", Code.ROOM_CLOSED)
                return room

            directory = Directory({"room": only_once}, idle=math.inf, seeds=lambda: (seed << 32) + number)
            await nursery.start(directory.run)
            directory.open("room", name, options=options)
            under_test = RoomUnderTest(room, directory, nursery, scheduler, expected, clients)
            opened.append((directory, under_test))
            return under_test

        yield open_room
        for directory, under_test in opened:
            directory.close()
            for client in under_test.clients:
                client.leave()
        closed_at = trio.current_time()
        nursery.cancel_scope.deadline = closed_at + CLOSING_SECONDS
    if trio.current_time() >= closed_at + CLOSING_SECONDS:
        raise Leaked(f"a room or a client had not ended {CLOSING_SECONDS:g} s after being closed")
    if seated := [under_test.room for _, under_test in opened if len(under_test.room.seats)]:
        raise Leaked(f"seats outlived their rooms: {seated}")
    check_left(before)


def check_left(before: Collection[trio.lowlevel.Task]) -> None:
    """Check that no task and no deadline of a test remains.

    Args:
      before: the tasks that existed before the test.

    Raises:
      Leaked: a task or a deadline remains.
    """
    if left := [task for task in current_tasks() if task not in before]:
        raise Leaked("tasks outlived the room:\n" + "\n".join(task_tree(task) for task in left))
    if trio.lowlevel.current_statistics().seconds_to_next_deadline != math.inf:
        raise Leaked("a deadline is still pending after the last room has closed")


def current_tasks() -> list[trio.lowlevel.Task]:
    """Return all tasks of the current Trio run."""
    found: list[trio.lowlevel.Task] = []
    root = trio.lowlevel.current_root_task()
    waiting = [root] if root is not None else []
    while waiting:
        task = waiting.pop()
        found.append(task)
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found
