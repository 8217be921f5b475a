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
    """`Room.seats`: the policy of a class, or the seats of a room."""

    def __init__(self, policy: Seats) -> None:
        self.policy = policy

    def __get__(self, room: Room[Any, Any] | None, cls: type[Any]) -> Seats:
        return self.policy if room is None else room._Room__edge_seats  # type: ignore[attr-defined]  # mangled

    def __set__(self, room: Room[Any, Any], value: object) -> None:
        raise AttributeError("seats is set in the class")  # if an author's class has a __setattr__ of its own


class Room(Generic[FromPlayer, ToPlayer]):
    """A room: subclass it as ``edge.Room[FromPlayer, ToPlayer]``, two unions of event classes.

    Override `run` (the life of the room), `player` (the life of one player) and `admit` (the admission), and set
    `seats`. Your own attributes may have any name that is not documented here.

    *Error handling*: an invalid message is refused, and nothing else happens. An exception in `player` ends that seat
    with `Code.CRASHED`. An exception in `run` closes the room with `Code.ROOM_CRASHED`; see `restarts`. Each is logged
    with its traceback, and the server continues.

    *Backpressure*: no method that sends ever waits. A player whose connection cannot keep up loses the connection, and
    later the seat.
    """

    seats: Seats = Seats()
    """The policy of this kind of room. On an instance: the seats of the room."""

    restarts: ClassVar[Restarts] = Restarts()
    """Restarts after a crash of `run`: by default a fresh room, three times a minute."""

    when_cut_off: ClassVar[Literal["pause", "go on"]] = "pause"
    """With several servers: what happens to the room if its server cannot reach the broker for longer than a lease.

    ``"pause"``: the room ends here. A persistent room is restored on another server, or here when the broker is back;
    the state of any other room is lost. ``"go on"``: the room continues. Another server may open a room of the same
    name meanwhile; this room ends when its server learns of that.
    """

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
        """The life of the room. Returning closes the room.

        *Cancellation*: when the room closes; see `shielded_cleanup`.
        """
        await trio.sleep_forever()

    async def player(self, player: Player[FromPlayer, ToPlayer]) -> None:
        """The life of one player. Returning lets the player leave.

        *Cancellation*: when the player leaves, so `finally` blocks run at every end; see `Player.shielded_cleanup`.
        """
        await trio.sleep_forever()

    def greet(self, player: Player[FromPlayer, ToPlayer]) -> None:
        """Send the current state to a client that has none. Synchronous.

        This is called in the step in which the client gets its seat, so that these events are the first that it
        receives. It is called again whenever the client starts fresh and the player stays: after a reload, when another
        tab takes the seat, or when the client missed too much to resume. The newest ``latest`` events are sent again
        automatically.

        `player` starts after it. So does `run`, if this is the first player, also on another server after `restore`:
        create the attributes that you need here in ``__init__``.
        """

    def admit(self, applicant: Applicant) -> None:
        """Admit an applicant, or refuse. Synchronous, so that nothing happens between the check and the seat.

        Raises:
          Refused: the applicant gets no seat, and is told this sentence.
        """

    def publish(self, event: ToPlayer) -> None:
        """Take an event that is published from outside, such as by the HTTP API. By default, broadcast it.

        Raises:
          Refused: the event is refused with this sentence.
        """
        self.broadcast(event)

    def snapshot(self) -> Any:
        """Return the state from which another server can restore the room. Synchronous.

        Override this and `restore` to make the room persistent: it then survives its server, with its seats. This is
        called often, unless the room has `facts`. Change the state in synchronous code only.

        Returns: an attrs instance, if the method is annotated with its class; else plain data.
        """
        raise NotImplementedError

    def restore(self, state: Any) -> None:
        """Restore the state that `snapshot` returned.

        The players are in `players` already, away, with `Player.restored` true. Afterwards `run` starts from the
        beginning, and so does `player` for each of them.
        """
        raise NotImplementedError

    def apply(self, fact: Any) -> None:
        """Change the state by a fact. Synchronous. Called by `persist`, and on another server again after `restore`."""

    @property
    def kind(self) -> str:
        """The kind of this room, as in ``/rooms/<kind>/<name>``; empty until the room is open."""
        return self.__edge_runtime.kind_name

    @property
    def name(self) -> str:
        """The name of this room, as in ``/rooms/<kind>/<name>``; empty until the room is open."""
        return self.__edge_runtime.name

    def persist(self, fact: Any) -> None:
        """Apply a fact, and write it to the journal. With facts, `snapshot` is called rarely, and may be slow.

        Raises:
          TypeError: `fact` is not one of the room's `facts`.
        """
        if type(fact) not in self.__edge_runtime.kind.facts.by_class:
            raise TypeError(f"{type(fact).__name__} is not one of the facts of {type(self).__name__}")
        decided("apply()", self.apply(fact))  # type: ignore[func-returns-value]  # unless an author's is async
        if self.__edge_runtime.journal is not None:
            self.__edge_runtime.journal.note_fact(fact)

    def now(self) -> float:
        """The room's clock: the seconds since it opened. Clients have it, too: ``room.now()`` in edge.js, `Client.now`.

        Raises:
          RuntimeError: the room is not open yet, as in `__init__`.
        """
        return self.__edge_runtime.now()

    @property
    def fence(self) -> int:
        """A number that is higher than for any earlier room of this name on other servers. 0 with one server.

        Send it with each write to an external store, and have the store reject lower numbers than it has seen.
        """
        return self.__edge_runtime.lease.fence

    @property
    def random(self) -> Random:
        """The room's own random numbers. In a test their seed is that of the schedule, so that a run can be repeated.

        Raises:
          RuntimeError: the room is not open yet, as in `__init__`.
        """
        return self.__edge_runtime.random

    @property
    def players(self) -> tuple[Player[FromPlayer, ToPlayer], ...]:
        """All players who hold a seat, connected or away, in the order in which they joined."""
        return self.seats.players

    @property
    def names(self) -> frozenset[str]:
        """The names of all players."""
        return frozenset(player.name for player in self.players)

    def broadcast(
        self,
        event: ToPlayer,
        *,
        to: Iterable[Player[FromPlayer, ToPlayer]] | None = None,
        exclude: Player[FromPlayer, ToPlayer] | Iterable[Player[FromPlayer, ToPlayer]] = (),
    ) -> None:
        """Send an event to all players who hold a seat now, in the room's one order. Never waits.

        Args:
          to: send it to these players only.
          exclude: do not send it to this player, or to these.

        Raises:
          TypeError: `event` is not one of the room's events, or a value has not the type of its field.
          ValueError: a value cannot be encoded (a NaN, a number too large, half a character), or the event is larger
            than `Limits.sent_bytes`. Then no player gets it.
          SendOverflow: some players were sent too much without a pause. They do not get the event; all others do.
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
        """``async for player, event in room.listen(Buzz)``: the events of these classes of all players, in order."""
        return self.__edge_runtime.listeners.listen(self.__edge_runtime.kind.check_receives(*kinds))

    @asynccontextmanager
    async def open_round(
        self,
        players: Iterable[Player[FromPlayer, ToPlayer]] | None = None,
        *,
        minimum: int | None = None,
        seconds: float = math.inf,
    ) -> AsyncIterator[Round[FromPlayer, ToPlayer]]:
        """``async with room.open_round() as round``: a scope that ends early on `reset`, or with too few players.

        When the block is left, all tasks and turns of the round have ended. `Round.outcome` says how it ended.

        Args:
          players: the players of the round; by default all who hold a seat now. Players who join later are not in it.
          minimum: the number of players that the round needs; by default `Seats.minimum`.
          seconds: the time limit; then the outcome is `Outcome.TIMEOUT`.

        Raises:
          RuntimeError: a round is open already.
          ExceptionGroup: the exceptions of the block and of the tasks of the round.

        *Cancellation* ends the round.
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
        """Cancel the open round with its tasks and turns. False if no round is open."""
        return self.__edge_runtime.reset(reason)

    def ticks(self, *, hz: float, catch_up: int = 5) -> Ticks:
        """``async for step in room.ticks(hz=30)``: steps of fixed length on absolute deadlines. See `Ticks`.

        Args:
          hz: steps per second.
          catch_up: the most late steps that run at once; further ones are skipped.
        """
        return Ticks(hz=hz, catch_up=catch_up, note=self.__edge_runtime.counters.note_tick)

    def shielded_cleanup(self) -> trio.CancelScope:
        """``with self.shielded_cleanup():`` in a `finally` block of `run`: a shielded scope in which you may await.

        It lasts two seconds at most. When the room closes, all clean-ups have one deadline, so that they cannot delay a
        shutdown. In `player`, use `Player.shielded_cleanup`.
        """
        return self.__edge_runtime.shielded_cleanup(trio.current_time())

    def lock(self) -> None:
        """Refuse applicants as ``locked``, until `unlock`."""
        self.__edge_runtime.ledger.locked = True

    def unlock(self) -> None:
        """End `lock`: admit applicants again."""
        self.__edge_runtime.ledger.locked = False

    @property
    def has_round(self) -> bool:
        """True while a round is open."""
        return self.__edge_runtime.round is not None

    @property
    def closing(self) -> bool:
        """True once the room is closing or closed: no applicant is admitted any more."""
        return self.__edge_runtime.closing

    def close(self, reason: str = "", *, code: Code = Code.ROOM_CLOSED) -> None:
        """Close the room: cancel its round and its `run`, and end all seats. Once, for the first reason given."""
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
