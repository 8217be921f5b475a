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
from ..codes import Code
from ..errors import Refused
from .counters import Counters
from .lease import Lease
from .restarts import Crashes
from .room import Room, room_of, runtime_of
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
        `Refused`.
      max_rooms: the maximum number of open rooms; further rooms are refused as ``full``. Each open room needs some
        kilobytes of memory and a few tasks.
      max_rooms_each: the maximum number of open rooms that one opener has opened; see `open`.
      idle: a room is closed when it has had no players, or only bots, for this many seconds.
      seeds: called for each new room; returns the seed of `Room.random`.
    """

    def __init__(
        self,
        kinds: Mapping[str, Callable[[], Room[Any, Any]]],
        *,
        max_rooms: int = 10_000,
        max_rooms_each: int = 200,
        idle: float = 60,
        seeds: Callable[[], int] = lambda: secrets.randbits(64),
    ) -> None:
        self._kinds: dict[str, Callable[[], Room[Any, Any]]] = {}
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
        self.reopen: Callable[[str, str, str], object] = self._reopen
        """Opens a new room after a crash. Called with the kind, the name and the opener of the crashed room."""

    def __len__(self) -> int:
        return len(self._rooms)

    @property
    def kinds(self) -> Mapping[str, Callable[[], Room[Any, Any]]]:
        """The factories of rooms, by kind."""
        return self._kinds

    def add_kinds(self, kinds: Mapping[str, Callable[[], Room[Any, Any]]]) -> None:
        """Add kinds of rooms.

        Raises:
          ValueError: the name of a kind is invalid or already in use. In this case no kind is added.
        """
        for kind in kinds:
            if not ROOM_NAME.fullmatch(kind):
                raise ValueError(f"{kind!r} can't name a kind of room: the name is {NAME_RULE}")
            if kind in self._kinds:
                raise ValueError(f"there is a kind of room {kind!r} already")
        self._kinds.update(kinds)

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
    ) -> Room[Any, Any]:
        """Return the room of this kind and name; open the room if necessary.

        The method is synchronous, so that the caller can take a seat before another task runs.

        Args:
          opener: the client for which the room is opened, such as an address; empty for the server itself.

        Raises:
          Refused: the kind is unknown or the name is invalid (`Code.NO_ROOM`); too many rooms are open (`Code.FULL`);
            the server is shutting down (`Code.DRAINING`); the factory raised an exception, which is logged, or the
            room has crashed too often (`Code.ROOM_CRASHED`; see `Room.restarts`).
        """
        return room_of(self.open_runtime(kind, name, opener=opener))

    def open_runtime(
        self,
        kind: str,
        name: str,
        *,
        opener: str = "",
        lease: Lease | None = None,
        prepare: Callable[[RoomRuntime], object] = lambda room: None,
    ) -> RoomRuntime:
        """Return the run time of the room of this kind and name; open the room if necessary.

        Args:
          opener: see `open`.
          lease: the lease of a new room; by default, a lease that never ends.
          prepare: called with a new room before the room is added to the directory. If `prepare` raises an exception,
            the room is not opened.

        Raises:
          Refused: see `open`.
        """
        found = self.find_runtime(kind, name)
        if found is not None:
            return found
        self.check(kind, name, opener=opener)
        assert self._nursery is not None
        try:
            room = runtime_of(self._kinds[kind]())
            room.counters, room.lease = self.counters, lease or Lease()
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
        self._opened[opener] += 1
        self._nursery.start_soon(self._live, kind, name, room, opener, name=f"room {room.path}")
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
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await self._closing.wait()

    async def _live(self, kind: str, name: str, room: RoomRuntime, opener: str) -> None:
        try:
            with room.lease.enter():
                await guarded(f"room {room.path}", lambda: room.live(idle=self._idle), log_context=room.log_context)
        finally:
            log.debug("room %s is closed", room.path, extra=room.log_context)
            del self._rooms[kind, name]
            self._opened[opener] -= 1
            if not self._opened[opener]:
                del self._opened[opener]
            room.lease.end()
        if room.crashed_on is not None:
            self._follow(kind, name, room, opener)

    def _follow(self, kind: str, name: str, room: RoomRuntime, opener: str) -> None:
        """Open a new room after a crash, if the crashed room had players and `Room.restarts` allows it."""
        now = trio.current_time()
        self._crashes = {where: crashes for where, crashes in self._crashes.items() if crashes.over_at > now}
        crashes = self._crashes.setdefault((kind, name), Crashes(room.kind.restarts))
        if crashes.note(now):
            if room.crashed_on:
                self.reopen(kind, name, opener)
        else:
            log.error(
                "room %s has crashed too often: it stays closed for %g s",
                room.path,
                room.kind.restarts.seconds,
                extra=room.log_context,
            )

    def _reopen(self, kind: str, name: str, opener: str) -> None:
        with contextlib.suppress(Refused):
            self.open(kind, name, opener=opener)
