"""A room: what an author subclasses."""

from __future__ import annotations

import math
import typing
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast

import trio

from ..aio.members import guard_members
from ..codes import Code
from ..requests.listening import Listener
from .kind import SETTINGS, RoomKind, decided
from .player import FromPlayer, Player, ToPlayer, member_of
from .restarts import Restarts
from .room_runtime import RoomRuntime
from .rounds import Round
from .rounds_runtime import RoundRuntime
from .seat import Applicant
from .seats import Seats, empty, ledger_of
from .ticks import Ticks

E = TypeVar("E")


class _SeatsMember:
    """`Room.seats`: of a class the policy, of a room its own seats."""

    def __init__(self, policy: Seats) -> None:
        self.policy = policy

    def __get__(self, room: Room[Any, Any] | None, cls: type[Any]) -> Seats:
        return self.policy if room is None else room._Room__edge_seats  # type: ignore[attr-defined]  # mangled

    def __set__(self, room: Room[Any, Any], value: object) -> None:
        raise AttributeError("seats is set in the class")  # if an author's class has a __setattr__ of its own


class Room(Generic[FromPlayer, ToPlayer]):
    """A place where players meet: subclass it as ``edge.Room[FromPlayer, ToPlayer]``, two unions of event classes.

    Override `run` (the room's life), `player` (one player's), `admit` (who may sit), and set `seats`. Attributes of
    your own may have any name that is not documented here.

    Blast radius: a bad message harms that message; a crash in `player` ends that seat with `Code.CRASHED`; a crash in
    `run` closes this room with `Code.ROOM_CRASHED`, and `restarts` says what follows. Each is logged, and the server
    goes on.

    *Backpressure*: none of the sending methods wait. A player whose connection can't keep up loses the connection, then
    the seat.
    """

    seats: Seats = Seats()
    """The policy of this kind of room; on an instance, its own seats."""

    restarts: ClassVar[Restarts] = Restarts()
    """Restarts after a crash of `run`: by default a fresh room, three times a minute."""

    when_cut_off: ClassVar[Literal["pause", "go on"]] = "pause"
    """Where several servers share the rooms: what becomes of this one when its server can't reach the broker for longer
    than a lease lasts. By default it ends here, and can go on elsewhere, or here when the broker is back; what is not
    kept is lost. If it goes on instead, another server may open one of the same name at the same time; this one ends
    when it learns of that."""

    facts: ClassVar[Any] = None
    """The union of event classes that `persist` takes."""

    __edge_kind: ClassVar[RoomKind]
    __edge_runtime: RoomRuntime
    __edge_seats: Seats

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "seats" in cls.__dict__:
            policy = cls.__dict__["seats"]
            if not isinstance(policy, Seats):
                raise TypeError(f"{cls.__name__}.seats is {policy!r:.60}: make it an edge.Seats(...)")
            cls.seats = cast("Seats", _SeatsMember(policy))
        cls.__edge_kind = RoomKind.of(cls, Room)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        cls.__edge_kind.check_complete()
        room = super().__new__(cls)  # all here, so that an author's __init__ need not remember to call ours
        seats = empty(cls.seats)
        object.__setattr__(room, "_Room__edge_seats", seats)
        runtime = RoomRuntime(room, cls.__edge_kind, ledger_of(seats), Player._create)
        object.__setattr__(room, "_Room__edge_runtime", runtime)
        return room

    def __repr__(self) -> str:
        return repr(self.__edge_runtime)

    async def run(self) -> None:
        """The room's life. Returning closes the room."""
        await trio.sleep_forever()

    async def player(self, player: Player[FromPlayer, ToPlayer]) -> None:
        """One player's life: cancelled when they leave, so `finally` is where leaving happens. Returning is leaving."""
        await trio.sleep_forever()

    def greet(self, player: Player[FromPlayer, ToPlayer]) -> None:
        """Send a client that knows nothing what it needs to know.

        Called in the very step in which the client gets its seat, so that this is the first that it hears; and again
        whenever the client starts from nothing while the player goes on: the page was reloaded, another tab took the
        seat, too much was missed for an exact resume. The newest ``latest`` events are sent again by themselves.

        `player` begins after it; and if this is the first player, so does `run`, also at another server after
        `restore`: what is needed here should be there since ``__init__``.
        """

    def admit(self, applicant: Applicant) -> None:
        """Decide whether somebody may sit. Synchronous, so that nothing happens between the check and the seat.

        Raises:
          Refused: with a sentence for them.
        """

    def publish(self, event: ToPlayer) -> None:
        """Take an event that somebody outside publishes into this room, over HTTP say: by default, all players get it.

        Raises:
          Refused: with a sentence for them.
        """
        self.broadcast(event)

    def snapshot(self) -> Any:
        """What the room would need to go on at another server: an attrs instance, if the method is annotated with its
        class, or plain data. A room that overrides this and `restore` survives its server, with its seats.

        Synchronous, like all that changes what it gives; called often, unless the room has `facts`.
        """
        raise NotImplementedError

    def restore(self, state: Any) -> None:
        """Be where a room was that gave this as its snapshot. Those who sat there sit here already, though away, and
        their `Player.restored` is true. Then `run` starts from the beginning, and `player` of each."""
        raise NotImplementedError

    def apply(self, fact: Any) -> None:
        """Let a fact change the room's state: in `persist`, and once more at another server, after `restore`."""

    @property
    def kind(self) -> str:
        """The kind of this room, as in ``/rooms/<kind>/<name>``; empty until the room is open."""
        return self.__edge_runtime.kind_name

    @property
    def name(self) -> str:
        """The name of this room, as in ``/rooms/<kind>/<name>``; empty until the room is open."""
        return self.__edge_runtime.name

    def persist(self, fact: Any) -> None:
        """Apply a fact, and keep it: then `snapshot` is asked for now and then only, and need not be quick.

        Raises:
          TypeError: not one of the room's `facts`.
        """
        if type(fact) not in self.__edge_runtime.kind.facts.by_class:
            raise TypeError(f"{type(fact).__name__} is not one of the facts of {type(self).__name__}")
        decided("apply()", self.apply(fact))  # type: ignore[func-returns-value]  # unless an author's is async
        if self.__edge_runtime.journal is not None:
            self.__edge_runtime.journal.note_fact(fact)

    def now(self) -> float:
        """The room's clock: seconds since it opened. Clients know it, too: ``room.now()`` in edge.js, `Client.now`.

        Raises:
          RuntimeError: the room is not open yet, as in `__init__`.
        """
        return self.__edge_runtime.now()

    @property
    def fence(self) -> int:
        """Higher than that of any server which had a room of this name before: hand it to whatever this room writes to,
        and have that refuse a lower one than it has seen. 0 where no servers share the rooms."""
        return self.__edge_runtime.lease.fence

    @property
    def random(self) -> Random:
        """The room's own source of chance. In a test it is seeded as the schedule is, so that a run repeats itself.

        Raises:
          RuntimeError: the room is not open yet, as in `__init__`.
        """
        return self.__edge_runtime.random

    @property
    def players(self) -> tuple[Player[FromPlayer, ToPlayer], ...]:
        """Everyone who holds a seat, connected or away, in the order in which they joined."""
        return self.seats.players

    @property
    def names(self) -> frozenset[str]:
        """The names that are taken."""
        return frozenset(player.name for player in self.players)

    def broadcast(
        self,
        event: ToPlayer,
        *,
        to: Iterable[Player[FromPlayer, ToPlayer]] | None = None,
        exclude: Player[FromPlayer, ToPlayer] | Iterable[Player[FromPlayer, ToPlayer]] = (),
    ) -> None:
        """Send an event to everyone who sits at this instant; all get it in the room's one order, encoded once.

        Args:
          to: only to these.
          exclude: not to this one, or these.

        Raises:
          TypeError: not one of the room's events to players, or a value in it is not of its field's type.
          ValueError: something in it can't travel: a NaN, a number too large, half a character; or all of it is larger
            than `Limits.sent_bytes`. Then nobody is sent it.
          SendOverflow: too much was sent in one step to some of them, who are not sent this. The others are.
        """
        members = self.__edge_runtime.ledger.members if to is None else tuple(map(member_of, to))
        if exclude != ():
            left_out = {exclude} if isinstance(exclude, Player) else set(exclude)
            members = tuple(member for member in members if member.facade not in left_out)
        self.__edge_runtime.broadcast(event, members)

    @typing.overload
    def listen(self, kind: type[E], /) -> Listener[tuple[Player[FromPlayer, ToPlayer], E]]: ...
    @typing.overload
    def listen(self, *kinds: type[E]) -> Listener[tuple[Player[FromPlayer, ToPlayer], E]]: ...
    def listen(self, *kinds: type[Any]) -> Listener[tuple[Player[FromPlayer, ToPlayer], Any]]:
        """``async for player, event in room.listen(Buzz)``: everyone's events of these kinds, as they arrived."""
        return self.__edge_runtime.listeners.listen(self.__edge_runtime.kind.check_receives(*kinds))

    @asynccontextmanager
    async def open_round(
        self,
        players: Iterable[Player[FromPlayer, ToPlayer]] | None = None,
        *,
        minimum: int | None = None,
        seconds: float = math.inf,
    ) -> AsyncIterator[Round[FromPlayer, ToPlayer]]:
        """``async with room.open_round() as round``: a scope that ends early on `reset`, or with too few players left.

        What the round opened is over when the block is left; `Round.outcome` says how it ended.

        Args:
          players: who plays; by default everyone who sits now. Those who join later watch.
          minimum: how many of them the round needs; by default `Seats.minimum`.
          seconds: how long it may take; then it ends as `Outcome.TIMEOUT`.

        Raises:
          RuntimeError: a round is open already.
          ExceptionGroup: of what the block, or a task of the round, raised.
        """
        if self.__edge_runtime.round is not None:
            raise RuntimeError("a round is open already")
        needed = self.seats.minimum if minimum is None else minimum
        members = tuple(member_of(player) for player in (self.players if players is None else players))
        try:
            async with trio.open_nursery() as nursery:
                runtime = self.__edge_runtime.round = RoundRuntime(members, needed, seconds, nursery)
                runtime.check_enough()
                yield cast("Round[FromPlayer, ToPlayer]", Round._create(runtime))
                runtime.finish()
        except BaseException as exc:
            runtime.note_end(exc)
            raise
        else:
            runtime.note_end(None)
        finally:
            self.__edge_runtime.round = None

    def reset(self, reason: str = "") -> bool:
        """Cancel the open round, and all that it opened. False if none is open."""
        return self.__edge_runtime.reset(reason)

    def ticks(self, *, hz: float, catch_up: int = 5) -> Ticks:
        """``async for step in room.ticks(hz=30)``: a fixed step on absolute deadlines. See `Ticks`.

        Args:
          catch_up: how many missed steps may be made up for at once: enough for a hiccup, too few for a spiral.
        """
        return Ticks(hz=hz, catch_up=catch_up, note=self.__edge_runtime.counters.note_tick)

    def shielded_cleanup(self) -> trio.CancelScope:
        """``with self.shielded_cleanup():`` in a `finally` of `run`: a shield under which it may still wait.

        Two seconds at most, and one deadline for all when the room closes, so that clean-ups can't hold up a shutdown.
        In `player`, use `Player.shielded_cleanup`.
        """
        return self.__edge_runtime.shielded_cleanup(trio.current_time())

    def lock(self) -> None:
        """Refuse applicants as ``locked``, until `unlock`."""
        self.__edge_runtime.ledger.locked = True

    def unlock(self) -> None:
        """Let applicants in again."""
        self.__edge_runtime.ledger.locked = False

    @property
    def has_round(self) -> bool:
        """True while a round is open."""
        return self.__edge_runtime.round is not None

    @property
    def closing(self) -> bool:
        """True once the room is closing or closed: nobody is admitted any more."""
        return self.__edge_runtime.closing

    def close(self, reason: str = "", *, code: Code = Code.ROOM_CLOSED) -> None:
        """Close the room: cancel its round and its `run`, and end every seat. Once, for the first reason given."""
        self.__edge_runtime.close(reason, code=code)

    async def wait_closed(self) -> None:
        """Wait until the last task of the room has ended.

        *Cancellation*: nothing is lost.
        """
        await self.__edge_runtime.closed.wait()


Room.seats = cast("Seats", _SeatsMember(Room.seats))
Room._Room__edge_kind = RoomKind.of(Room, Room)  # type: ignore[attr-defined]  # as `__init_subclass__` does for the others

guard_members(Room, settings=SETTINGS)


def runtime_of(room: Room[Any, Any]) -> RoomRuntime:
    """The run time of a room."""
    runtime: RoomRuntime = room._Room__edge_runtime  # type: ignore[attr-defined]  # out of the way of authors' names
    return runtime


def room_of(runtime: RoomRuntime) -> Room[Any, Any]:
    """The author's room of a run time."""
    assert isinstance(runtime.facade, Room)
    return runtime.facade


def kind_of(room: Room[Any, Any] | type[Room[Any, Any]]) -> RoomKind:
    """The declarations of a room class."""
    kind: RoomKind = room._Room__edge_kind  # type: ignore[union-attr]  # out of the way of authors' names
    return kind
