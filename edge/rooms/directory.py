"""The directory of a server's open rooms, by kind and name. It opens rooms on demand and closes idle rooms."""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from ..aio.guard import guarded
from ..aio.timers import SharedTasks
from ..codes import Code
from ..errors import Refused
from ..protocol.field_kinds import Rename
from .counters import Counters
from .lease import Lease
from .opening import BY_SERVER, Factory, Opening, read_options
from .restarts import Crashes
from .room import Room, kind_of, room_of, runtime_of
from .room_runtime import RoomRuntime

log: logging.Logger = logging.getLogger("edge.rooms")

# The allowed names of rooms and of kinds. Such a name is safe in a URL, in a log line and in a file name.
ROOM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
NAME_RULE = "1 to 64 letters, digits, _ or -, and begins with a letter or a digit"


@attrs.frozen
class Listing:
    """One open room in the result of `Directory.list`."""

    kind: str
    name: str
    seated: int
    maximum: int
    locked: bool
    server: str = ""
    """The other server that has the room; empty if this server has the room."""


class Directory:
    """The open rooms of a server, by kind and name. They run in the nursery that `run` opens.

    Args:
      kinds: the factory of each kind of room: a `Room` subclass, or any callable that returns a new room or raises
        `Refused`. Its parameters may be `name` and `options`: see `Room.join_options`.
      max_rooms: the maximum number of open rooms; further rooms are refused as ``full``. Each open room needs some
        kilobytes of memory and a few tasks.
      max_rooms_each: the maximum number of open rooms that one opener has opened; see `open`.
      idle: a room is closed when it has had no players, or only bots, for this many seconds.
      seeds: returns the seed for `Room.random` of a new room.
    """

    def __init__(
        self,
        kinds: Mapping[str, Callable[..., Room[Any, Any]]],
        *,
        max_rooms: int = 10_000,
        max_rooms_each: int = 200,
        idle: float = 60,
        seeds: Callable[[], int] = lambda: secrets.randbits(64),
    ) -> None:
        self._kinds: dict[str, Callable[..., Room[Any, Any]]] = {}
        self._factories: dict[str, Factory] = {}
        self.add_kinds(kinds)
        self.counters: Counters = Counters()
        """Counters of all rooms of this directory."""
        self._seeds = seeds
        self._max_rooms, self._max_rooms_each = max_rooms, max_rooms_each
        self._opened = Counter[str]()
        """The number of open rooms of each opener."""
        self._idle = idle
        self._rooms: dict[tuple[str, str], RoomRuntime] = {}
        self._crashes: dict[tuple[str, str], Crashes] = {}
        self._nursery: trio.Nursery | None = None
        self._closing = trio.Event()
        self._shared_tasks = SharedTasks()
        self.reopen: Callable[[str, str, Opening], object] = self._reopen
        """Opens a new room after a crash. Called with the kind, the name and the opening of the crashed room."""

    def __len__(self) -> int:
        return len(self._rooms)

    @property
    def kinds(self) -> Mapping[str, Callable[..., Room[Any, Any]]]:
        """The factories of rooms, by kind."""
        return self._kinds

    def add_kinds(self, kinds: Mapping[str, Callable[..., Room[Any, Any]]]) -> None:
        """Add kinds of rooms.

        Raises:
          ValueError: the name of a kind is invalid or already in use.
          TypeError: a factory has parameters that edge does not know. After an error, no kind is added.
        """
        factories = {kind: Factory(kind, make, options_of) for kind, make in kinds.items()}
        for kind in kinds:
            if not ROOM_NAME.fullmatch(kind):
                raise ValueError(f"{kind!r} can't name a kind of room: the name is {NAME_RULE}")
            if kind in self._kinds:
                raise ValueError(f"there is a kind of room {kind!r} already")
        self._kinds.update(kinds)
        self._factories.update(factories)

    @property
    def rooms(self) -> tuple[Room[Any, Any], ...]:
        """The open rooms, in the order in which they were opened."""
        return tuple(room_of(runtime) for runtime in self._rooms.values())

    @property
    def runtimes(self) -> tuple[RoomRuntime, ...]:
        """The run times of the open rooms."""
        return tuple(self._rooms.values())

    def find(self, kind: str, name: str) -> Room[Any, Any] | None:
        """Return the open room of this kind and name, or None."""
        runtime = self.find_runtime(kind, name)
        return None if runtime is None else room_of(runtime)

    def find_runtime(self, kind: str, name: str) -> RoomRuntime | None:
        """Return the run time of the open room of this kind and name, or None."""
        return self._rooms.get((kind, name))

    @property
    def full(self) -> bool:
        """True if `max_rooms` rooms are open."""
        return len(self) >= self._max_rooms

    def check(self, kind: str, name: str, *, opener: str = "") -> None:
        """Raise `Refused` if `open` could not open a new room of this kind and name."""
        if self._closing.is_set() or self._nursery is None:
            raise Refused("the server is shutting down", Code.DRAINING)
        if kind not in self._kinds:
            raise Refused("this server has no such kind of room", Code.NO_ROOM)
        if not ROOM_NAME.fullmatch(name):
            raise Refused(
                f"the name of a room is {NAME_RULE}",
                Code.NO_ROOM,
            )
        crashes = self._crashes.get((kind, name))
        if crashes is not None and crashes.shut(trio.current_time()):
            raise Refused("this room has crashed too often", Code.ROOM_CRASHED)
        if self.full:
            raise Refused(f"all {self._max_rooms} rooms are open", Code.FULL)
        if opener and self._opened[opener] >= self._max_rooms_each:
            most = f"{self._max_rooms_each} rooms that {opener} has opened are still open"
            raise Refused(f"{most}, which is the maximum for one address", Code.FULL)

    def open(
        self,
        kind: str,
        name: str,
        *,
        opener: str = "",
        options: object = None,
    ) -> Room[Any, Any]:
        """Return the room of this kind and name; open it if necessary. Synchronous: `Room.setup` runs afterwards.

        Args:
          opener: the client on whose behalf the room is opened, such as an address; empty for the server itself.
          options: the join options for the function that makes the room, an instance of their class.

        Raises:
          Refused: unknown kind or invalid name (`Code.NO_ROOM`); too many rooms (`Code.FULL`); the server is shutting
            down (`Code.DRAINING`); the room could not be made, which is logged, or has crashed too often
            (`Code.ROOM_CRASHED`): see `Room.restarts`; the options do not fit (`Code.BAD_OPTIONS`).
        """
        factory = self._factories.get(kind)
        plain = None if factory is None else factory.to_plain(options)
        return room_of(self.open_runtime(kind, name, Opening(opener, plain)))

    def open_runtime(
        self,
        kind: str,
        name: str,
        opening: Opening = BY_SERVER,
        *,
        lease: Lease | None = None,
        prepare: Callable[[RoomRuntime], object] = lambda room: None,
    ) -> RoomRuntime:
        """Return the run time of the room of this kind and name; open the room if necessary.

        Args:
          opening: by whom and how the room is opened.
          lease: the lease of a new room; by default, a lease that never ends.
          prepare: called with a new room before the room is added to the directory. If `prepare` raises an exception,
            the room is not opened.

        Raises:
          Refused: see `open`; or the room is not open, and may not be opened (`Code.NO_ROOM`).
        """
        found = self.find_runtime(kind, name)
        if found is not None:
            return found
        self.check(kind, name, opener=opening.opener)
        if opening.create == "never":
            raise Refused("this room is not open", Code.NO_ROOM)
        assert self._nursery is not None
        try:
            room = runtime_of(self._factories[kind](name, opening.options))
            if opening.client:
                # raises for bad options, so that they open no room
                read_options(opening.options, room.kind.join_options, room.kind.rename)
            room.counters, room.lease, room.opening = self.counters, lease or Lease(), opening
            room.sleep_until, room.call_soon = self._shared_tasks.sleep_until, self._shared_tasks.call_soon
            room.open(kind, name, seed=self._seeds())
            prepare(room)
        except Refused:
            raise
        except Exception:
            self.counters.crashes += 1
            log.exception("room %s/%s could not be made", kind, name, extra={"room": f"{kind}/{name}"})
            raise Refused("the room could not be opened", Code.ROOM_CRASHED) from None
        self.counters.opened += 1
        log.debug("room %s is open", room.path, extra=room.log_context)
        self._rooms[kind, name] = room
        self._opened[opening.opener] += 1
        self._nursery.start_soon(self._live, kind, name, room, opening, name=f"room {room.path}")
        return room

    def list(self, kind: str | None = None) -> tuple[Listing, ...]:
        """Return the open rooms, of one kind or of all kinds, in the order in which they were opened."""
        return tuple(
            Listing(of_kind, name, len(room.ledger), room.ledger.maximum, room.ledger.locked)
            for (of_kind, name), room in self._rooms.items()
            if kind in (None, of_kind) and not room.closing
        )

    @property
    def closing(self) -> bool:
        """True if `close` has been called."""
        return self._closing.is_set()

    def close(self) -> None:
        """Refuse to open further rooms, and close the open rooms with `Code.DRAINING`.

        Persistent rooms stay open: the caller has to hand them over to another server.
        """
        self._closing.set()
        for room in tuple(self._rooms.values()):
            if room.journal is None:
                room.close("the server is shutting down", code=Code.DRAINING)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the rooms until `close` is called and the last room has ended.

        *Cancellation* closes every room.
        """
        async with trio.open_nursery() as background:
            background.start_soon(self._shared_tasks.run)
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    task_status.started()
                    await self._closing.wait()
            finally:
                self._shared_tasks.close()

    async def _live(self, kind: str, name: str, room: RoomRuntime, opening: Opening) -> None:
        try:
            with room.lease.enter():
                await guarded(f"room {room.path}", lambda: room.live(idle=self._idle), log_context=room.log_context)
        finally:
            log.debug("room %s is closed", room.path, extra=room.log_context)
            del self._rooms[kind, name]
            self._opened[opening.opener] -= 1
            if not self._opened[opening.opener]:
                del self._opened[opening.opener]
            room.lease.end()
        if room.crashed_on is not None:
            self._follow(kind, name, room, opening)

    def _follow(self, kind: str, name: str, room: RoomRuntime, opening: Opening) -> None:
        """Open a new room after a crash, if the crashed room had players and `Room.restarts` allows it."""
        now = trio.current_time()
        self._crashes = {where: crashes for where, crashes in self._crashes.items() if crashes.over_at > now}
        crashes = self._crashes.setdefault((kind, name), Crashes(room.kind.restarts))
        if crashes.note(now):
            if room.crashed_on:
                self.reopen(kind, name, attrs.evolve(opening, create="if needed"))
        else:
            log.error(
                "room %s has crashed too often: it stays closed for %g s",
                room.path,
                room.kind.restarts.seconds,
                extra=room.log_context,
            )

    def _reopen(self, kind: str, name: str, opening: Opening) -> None:
        with contextlib.suppress(Refused):
            self.open_runtime(kind, name, opening)


def options_of(cls: type[Any]) -> tuple[type[Any] | None, Rename]:
    """Return the `join_options` and the `rename` of a room class; None and an empty text for other classes."""
    if not issubclass(cls, Room):
        return None, ""
    return kind_of(cls).join_options, kind_of(cls).rename
