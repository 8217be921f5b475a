"""Rooms and their clients in one process, over memory: the whole of edge but the sockets."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

import attrs
import trio

from ..client.client import Client, State
from ..client.connector import Connector
from ..client.join import open_client
from ..codes import Code
from ..connections.driver import close_transport
from ..connections.scheduler import WriteScheduler, open_write_scheduler
from ..errors import EdgeError, Refused
from ..protocol import messages
from ..protocol.codec import JSON, Codec
from ..protocol.limits import Limits
from ..rooms.directory import Directory
from ..rooms.room import Room, kind_of, runtime_of
from ..rooms.room_runtime import RoomRuntime
from ..rooms.session import Session
from ..seats.serve_seat import serve_seat
from ..sessions.keys import Keys
from ..transports.memory import MemoryTransport, open_memory_transports
from ..transports.transport import Transport
from .virtual import task_tree

log = logging.getLogger("edge.testing")

# How long rooms and clients may take to close: far more than every deadline of a clean close together.
CLOSING_SECONDS = 60.0

R = TypeVar("R", bound=Room[Any, Any])


class Leaked(EdgeError, AssertionError):
    """Something outlived the rooms of a test; the text says what."""


class Crashed(EdgeError, AssertionError):
    """Code of a room raised, which nobody expected; the text is what was logged. See `RoomUnderTest.expect_crash`."""


class CrashWatch(logging.Handler):
    """Notes what the guard logs."""

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
    """What the `edge_room` fixture is: ``under_test = await edge_room(MyRoom)``."""

    async def __call__(self, make: Callable[[], R]) -> RoomUnderTest[R]: ...


@attrs.frozen
class _MemoryConnector(Connector):
    open: Callable[[], AbstractAsyncContextManager[Transport]]
    limits: Limits

    @property
    def welcome_seconds(self) -> float:
        return self.limits.hello_seconds

    def dial(self) -> AbstractAsyncContextManager[Transport]:
        return self.open()


class MemoryClient(Client[Any, Any]):
    """A client without a socket, whose connection the test cuts and restores. Made by `RoomUnderTest.join`."""

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
    ) -> None:
        self.name = name
        self._session = session
        self._under_test = under_test
        self._buffer = buffer
        self._transport: MemoryTransport | None = None
        self._held_back = trio.Event()
        super().__init__(
            _MemoryConnector(self._open, limits),
            sends=kind_of(under_test.room).receives if sends is None else sends,
            receives=kind_of(under_test.room).sends if receives is None else receives,
            name=name,
            codec=codec,
            limits=limits,
            wait_before=self._wait_resume,
            inbox=math.inf,
            client=f"client-in-memory-{len(under_test.clients)}",
            key=None,
        )

    def drop(self) -> None:
        """Cut the connection, as a network does: neither side is told, both find out. It stays cut until `resume`."""
        assert self._transport is not None
        self._held_back = trio.Event()
        self._transport.drop()

    async def resume(self) -> None:
        """Connect again, and wait until that has been answered.

        Raises:
          Disconnected: it was refused.
        """
        self._held_back.set()
        await self.wait_state(State.AWAY, State.CONNECTING, State.CLOSED)
        await self.wait_state(State.OPEN)

    def deliver(self, message: messages.Message) -> None:
        if isinstance(message, messages.Error) and message.id is None:  # a test that waits in vain should show why
            log.warning("client %r was refused %s: %s: %s", self.name, message.about, message.problem, message.message)
        super().deliver(message)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Transport]:
        self._transport, server_end = open_memory_transports(buffer=self._buffer)
        self._under_test.serve_seat(server_end, self._codec, self._limits, self._session)
        try:
            yield self._transport
        finally:
            await close_transport(self._transport, 1000, "")

    async def _wait_resume(self, attempt: int) -> None:
        if self.welcome is None and self.lost is not None:
            self._close(self.lost)  # a test that joins wants to know
        await self._held_back.wait()


class RoomUnderTest(Generic[R]):
    """A room and whoever joins it. Made by the `edge_room` fixture, or by `open_rooms`."""

    def __init__(
        self, room: R, directory: Directory, nursery: trio.Nursery, scheduler: WriteScheduler, expected: list[str]
    ) -> None:
        self._expected = expected
        self.room = room
        """The room itself, to look into."""
        self.clients: list[MemoryClient] = []
        self.keys = Keys("the secret of a room under test")
        """Whose keys are honoured in a hello."""
        self._directory = directory
        self._nursery = nursery
        self._scheduler = scheduler

    def expect_crash(self, text: str) -> None:
        """Let a crash pass whose log, traceback included, contains this; any other fails the test."""
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
    ) -> list[MemoryClient]:
        """Clients of these names, seated in this order.

        Args:
          buffer: how many frames may be under way each way: a small one makes a client that does not read a slow one.
          session: whose clients they are, as a key would say, and one client of its name if no names are given; by
            default each is a guest. Two clients of one session are two tabs of it.
          sends: the union of events that they send, for clients older or newer than the room; by default, the room's.
          receives: the union of events that they are sent, likewise.

        Raises:
          Disconnected: one was refused; `code` says why.
        """
        clients = []
        for name in names or ([session.name] if session is not None else []):
            client = MemoryClient(self, name, codec, limits or Limits(), buffer, session, sends, receives)
            clients.append(client)
            self.clients.append(client)
            await self._nursery.start(self._run, client)
            await client.wait_state(State.OPEN)
        return clients

    def serve_seat(
        self,
        transport: Transport,
        codec: Codec = JSON,
        limits: Limits | None = None,
        session: Session | None = None,
    ) -> None:
        """Serve the other end of a transport to this room, as the server would: for clients that are not polite."""

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

    async def find(self) -> RoomRuntime:
        """The run time of the room, opened if need be, as `serve_seat` wants to be given it."""
        return self._directory.open_runtime(self.runtime.kind_name, self.runtime.name)

    async def _run(self, client: MemoryClient, *, task_status: trio.TaskStatus[None]) -> None:
        async with open_client(client):
            task_status.started()
            await client.wait_state(State.CLOSED)


@asynccontextmanager
async def open_rooms(*, seed: int = 0) -> AsyncIterator[EdgeRoom]:
    """``async with open_rooms() as open_room: under_test = await open_room(MyRoom)``: rooms until the block ends.

    Args:
      seed: what `Room.random` is drawn from, in each of them another way.

    Raises:
      Crashed: a room's code raised, which the test did not expect.
      Leaked: a task or a deadline outlived the rooms and their clients.
    """
    watch = CrashWatch()
    logging.getLogger("edge.rooms").addHandler(watch)
    try:
        async with _closing_rooms(watch.expected, seed) as open_room:
            yield open_room
    finally:
        logging.getLogger("edge.rooms").removeHandler(watch)
    if watch.unexpected:
        raise Crashed("\n".join(watch.unexpected))


@asynccontextmanager
async def _closing_rooms(expected: list[str], seed: int) -> AsyncIterator[EdgeRoom]:
    before = current_tasks()
    opened: list[tuple[Directory, RoomUnderTest[Any]]] = []
    async with open_write_scheduler() as scheduler, trio.open_nursery() as nursery:

        async def open_room(make: Callable[[], R]) -> RoomUnderTest[R]:
            room = make()  # here, so that what it raises is the test's own error

            def only_once() -> R:
                if room.closing:
                    raise Refused("the room under test has closed", Code.ROOM_CLOSED)
                return room

            number = len(opened)
            directory = Directory({"room": only_once}, idle=math.inf, seeds=lambda: (seed << 32) + number)
            await nursery.start(directory.run)
            directory.open("room", str(number))
            under_test = RoomUnderTest(room, directory, nursery, scheduler, expected)
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
    """Look for what should have ended by now.

    Args:
      before: the tasks that there were before it began.

    Raises:
      Leaked: a task is left, or a deadline.
    """
    if left := [task for task in current_tasks() if task not in before]:
        raise Leaked("outlived its room:\n" + "\n".join(task_tree(task) for task in left))
    if trio.lowlevel.current_statistics().seconds_to_next_deadline != math.inf:
        raise Leaked("a deadline is still pending after the last room has closed")


def current_tasks() -> list[trio.lowlevel.Task]:
    """Every task of the run."""
    found: list[trio.lowlevel.Task] = []
    root = trio.lowlevel.current_root_task()
    waiting = [root] if root is not None else []
    while waiting:
        task = waiting.pop()
        found.append(task)
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found
