"""`Room`, the base class of authors' rooms."""

from __future__ import annotations

import math
import typing
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from datetime import time, tzinfo
from random import Random
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast

import trio

from ..aio.members import guard_members
from ..codes import Code
from ..requests.listening import Listener
from .documents import SharedDocument, SharedDocuments
from .kind import SETTINGS, RoomKind, decided
from .player import FromPlayer, Player, ToPlayer, member_of
from .restarts import Restarts
from .room_runtime import RoomRuntime
from .rounds import Round
from .rounds_runtime import RoundRuntime
from .seat import Applicant
from .seats import Seats, empty, ledger_of
from .ticks import Ticks
from .wall_clock import WallClockTimes, at, every

E = TypeVar("E")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
E4 = TypeVar("E4")
E5 = TypeVar("E5")
E6 = TypeVar("E6")


class _SeatsMember:
    """The descriptor of `Room.seats`. On a class, the value is the policy; on an instance, the seats of the room."""

    def __init__(self, policy: Seats) -> None:
        self.policy = policy

    def __get__(self, room: Room[Any, Any] | None, cls: type[Any]) -> Seats:
        return self.policy if room is None else room._Room__edge_seats  # type: ignore[attr-defined]  # mangled

    def __set__(self, room: Room[Any, Any], value: object) -> None:
        # `guard_members` prevents the assignment earlier, unless an author's class overrides __setattr__
        raise AttributeError("set seats in the class, not on a room")


class Room(Generic[FromPlayer, ToPlayer]):
    """The base class of rooms. Subclass ``edge.Room[FromPlayer, ToPlayer]`` with two unions of event classes.

    Override `run` (the task of the room), `player` (the task of each player) and `admit` (the check of applicants), and
    set `seats`. Your own attributes may have any name that is not documented here.

    *Error handling*: an invalid message is refused and has no other effect. An exception in `player` ends that seat
    with `Code.CRASHED`. An exception in `run` closes the room with `Code.ROOM_CRASHED`; see `restarts`. Each exception
    is logged with its traceback, and the server continues.

    *Backpressure*: sending never waits. A player whose connection cannot keep up loses the connection. If the player
    does not reconnect within the grace, the player loses the seat, too.
    """

    seats: Seats = Seats()
    """On the class, the policy for the seats of each room; on an instance, the seats of this room."""

    restarts: ClassVar[Restarts] = Restarts()
    """The restart policy after a crash of `run`. By default, edge opens up to three new rooms a minute."""

    when_cut_off: ClassVar[Literal["pause", "continue"]] = "pause"
    """In a cluster, the policy for a room whose server cannot reach the broker for longer than a lease.

    With ``"pause"``, the room ends. A persistent room is restored on another server, or on this server when it can
    reach the broker again. The state of any other room is lost. With ``"continue"``, the room continues. Meanwhile,
    another server may open a room of the same name. This room ends when its server learns of the other room.
    """

    rename: ClassVar[Literal["", "camel"]] = ""
    """``"camel"`` sends the fields of events and join options under names in camel case: a field ``drawn_by`` is
    ``drawnBy`` on the wire. For all rooms of an app, set it in their common base class. Python clients need the same
    setting: ``edge.join(url, rename="camel", ...)``. See `event` for the names of a single class.
    """

    join_options: ClassVar[type[Any] | None] = None
    """An attrs class of options that clients may give when they join: ``edge.join(url, options=...)``, and in edge.js
    ``join(url, { options: {...} })``.

    `authorize` and `admit` get them as `Applicant.options`. A function in the `rooms` of an `App` gets the options of
    the client that opens the room: ``def make(name: str, options: Table) -> Poker``. A client without options gets the
    defaults of the class. Options that do not fit are refused as ``bad_options``.
    """

    persistent: ClassVar[bool] = False
    """True if the shared documents are the whole state of the room. In a cluster, another server can then restore the
    room with its seats and documents, without `snapshot` and `restore`. A room with `snapshot` is always persistent;
    this setting then adds its documents.
    """

    patch_seconds: ClassVar[float] = 0
    """The seconds between two patches of the shared documents.

    By default, changes are sent after each step of the room's code, and before each event that the room sends later.
    With another number, such as 0.05, changes are collected for this time, which costs less if a room has many inputs.
    Then an event may come before an earlier change. `share` sends the changes at once.
    """

    setup_seconds: ClassVar[float] = 10
    """The seconds within which `setup` must return. Clients wait meanwhile, so keep this short."""

    authorize_seconds: ClassVar[float] = 5
    """The seconds within which `authorize` must return: enough for a slow database."""

    cleanup_seconds: ClassVar[float] = 2
    """The seconds for all `shielded_cleanup` blocks of a leaving player or of a closing room together.

    A block that takes longer is cancelled, and logged at WARNING. Until a closing room has ended, no room of the same
    name is opened: clients are refused as ``closing``, and try again.
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
        # the room is set up here, so that an author's __init__ need not call super().__init__
        room = super().__new__(cls)
        seats = empty(cls.seats)
        object.__setattr__(room, "_Room__edge_seats", seats)
        runtime = RoomRuntime(room, cls.__edge_kind, ledger_of(seats), Player._create)
        object.__setattr__(room, "_Room__edge_runtime", runtime)
        return room

    def __repr__(self) -> str:
        return repr(self.__edge_runtime)

    async def setup(self) -> None:
        """Prepare the room: load what it needs. Override this. Clients that join wait until it returns.

        `setup` runs once for each room, before anybody is admitted. On another server it runs before `restore`, so the
        restored state replaces the state that `setup` loads. Do not call `persist` here.

        Raises:
          Refused: the room is closed, and its clients are refused with the code and message of this error.

        Any other exception closes the room with `Code.ROOM_CRASHED`; see `restarts`. So does a call that takes longer
        than `setup_seconds`.

        *Cancellation*: this is cancelled when the room closes.
        """

    async def authorize(self, applicant: Applicant) -> None:
        """Raise `Refused` to refuse an applicant. Override this to wait for a database or another service.

        A client gets no seat, event or state before `authorize` has returned. Then `admit` decides, in the same step in
        which the client gets its seat. A client that holds a seat, such as after a reload, is not authorized again.

        Raises:
          Refused: the applicant gets no seat; its client receives the message of this error.

        *Cancellation*: this is cancelled after `authorize_seconds`, and when the room closes.
        """

    async def run(self) -> None:
        """Run the room. Override this method. When it returns, the room closes.

        *Cancellation*: the method is cancelled when the room closes; see `shielded_cleanup`.
        """
        await trio.sleep_forever()

    async def player(self, player: Player[FromPlayer, ToPlayer]) -> None:
        """Run one player. Override this method. When it returns, the player leaves.

        *Cancellation*: the method is cancelled when the player leaves, so that its `finally` blocks always run; see
        `Player.shielded_cleanup`.
        """
        await trio.sleep_forever()

    def greet(self, player: Player[FromPlayer, ToPlayer]) -> None:
        """Send the current state to a client that does not have it. Override this method; it is synchronous.

        edge calls this method at once when the client gets its seat, so that these events arrive first. edge calls the
        method again whenever the client starts fresh and the player stays: after a reload, when another tab takes the
        seat, or when the client missed too many messages to resume. edge sends the newest ``latest`` events again by
        itself.

        `player` starts after `greet`. `run` may also start after the first `greet` of a room, even after `restore` on
        another server. So create the attributes that `greet` needs in ``__init__`` or `setup`.
        """

    def admit(self, applicant: Applicant) -> None:
        """Decide whether an applicant gets a seat. Override this method, and raise `Refused` to refuse the applicant.

        The method is synchronous, so that no other task runs before the applicant has the seat.

        Raises:
          Refused: the applicant gets no seat. The client receives the message of this error.
        """

    def publish(self, event: ToPlayer) -> None:
        """Handle an event that the HTTP API or other code outside the room publishes. By default, broadcast the event.

        Raises:
          Refused: the event is refused with the message of this error.
        """
        self.broadcast(event)

    def snapshot(self) -> Any:
        """Return the state from which another server can restore the room.

        Override this method and `restore` to make the room persistent. Another server can then restore the room with
        its seats. Both methods are synchronous. edge calls `snapshot` often, unless the room has `facts`. Make each
        change of the state in synchronous code, because edge may call `snapshot` whenever a task of the room waits.

        Returns: an attrs instance if the method is annotated with the class of the instance; otherwise plain data.
        """
        raise NotImplementedError

    def restore(self, state: Any) -> None:
        """Restore the state that `snapshot` returned.

        When edge calls this method, `players` contains the restored players. They are away, and their `Player.restored`
        is true. Afterwards, `run` starts from the beginning, and so does `player` for each player.
        """
        raise NotImplementedError

    def apply(self, fact: Any) -> None:
        """Apply a fact to the state. Override this method; it is synchronous.

        `persist` calls this method. A server that restores the room calls the method again, after `restore`.
        """

    @property
    def kind(self) -> str:
        """The kind of this room, as in ``/rooms/<kind>/<name>``; empty until the room is open."""
        return self.__edge_runtime.kind_name

    @property
    def name(self) -> str:
        """The name of this room, as in ``/rooms/<kind>/<name>``; empty until the room is open."""
        return self.__edge_runtime.name

    def persist(self, fact: Any) -> None:
        """Apply a fact to the state, and write the fact to the journal.

        If a room has `facts`, edge calls `snapshot` rarely, so that `snapshot` may be slow.

        Raises:
          TypeError: `fact` is not one of the room's `facts`.
          RuntimeError: the room is not set up yet.
        """
        if not self.__edge_runtime.set_up.is_set():
            raise RuntimeError(
                "persist() in setup(): change the state directly, because the journal begins after setup"
            )
        if type(fact) not in self.__edge_runtime.kind.facts.by_class:
            raise TypeError(f"{type(fact).__name__} is not one of the facts of {type(self).__name__}")
        decided("apply()", self.apply(fact))  # type: ignore[func-returns-value]  # unless an author's is async
        if self.__edge_runtime.journal is not None:
            self.__edge_runtime.journal.note_fact(fact)

    def now(self) -> float:
        """Return the room's clock, in seconds since the room opened.

        Clients read the same clock with ``room.now()`` in edge.js and with `Client.now`.

        Raises:
          RuntimeError: the room is not open yet, for example in `__init__`.
        """
        return self.__edge_runtime.now()

    @property
    def fence(self) -> int:
        """The fencing number: higher than the number of each earlier room of this name; 0 without a cluster.

        Send this number with each write to an external store. The store has to reject a write with a number lower than
        the highest number that the store has received.
        """
        return self.__edge_runtime.lease.fence

    @property
    def random(self) -> Random:
        """The room's random number generator. In a test, edge derives its seed from the seed of the test's schedule.

        Raises:
          RuntimeError: the room is not open yet, for example in `__init__`.
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
        """Send an event to all players who hold a seat now. This method never waits.

        All players receive broadcast events in the same order.

        Args:
          to: send the event to these players only.
          exclude: do not send the event to this player, or to these players.

        Raises:
          TypeError: `event` is not one of the room's events, or a value does not have the type of its field.
          ValueError: a value cannot be encoded (a NaN, a number too large, half a character), or the event is larger
            than `Limits.sent_bytes`. In this case no player gets the event.
          SendOverflow: the room sent some players too much without letting other tasks run. These players do not get
            the event; all other players get it.
        """
        members = self.__edge_runtime.ledger.members if to is None else tuple(map(member_of, to))
        if exclude != ():
            left_out = {exclude} if isinstance(exclude, Player) else set(exclude)
            members = tuple(member for member in members if member.facade not in left_out)
        self.__edge_runtime.broadcast(event, members)

    @typing.overload
    def listen(self, kind: type[E], /, *, share: bool = False) -> Listener[tuple[Player[FromPlayer, ToPlayer], E]]: ...
    @typing.overload
    def listen(
        self, kind: type[E], other: type[E2], /, *, share: bool = False
    ) -> Listener[tuple[Player[FromPlayer, ToPlayer], E | E2]]: ...
    @typing.overload
    def listen(
        self, kind: type[E], other: type[E2], third: type[E3], /, *, share: bool = False
    ) -> Listener[tuple[Player[FromPlayer, ToPlayer], E | E2 | E3]]: ...
    @typing.overload
    def listen(
        self, kind: type[E], other: type[E2], third: type[E3], fourth: type[E4], /, *, share: bool = False
    ) -> Listener[tuple[Player[FromPlayer, ToPlayer], E | E2 | E3 | E4]]: ...
    @typing.overload
    def listen(
        self,
        kind: type[E],
        other: type[E2],
        third: type[E3],
        fourth: type[E4],
        fifth: type[E5],
        /,
        *,
        share: bool = False,
    ) -> Listener[tuple[Player[FromPlayer, ToPlayer], E | E2 | E3 | E4 | E5]]: ...
    @typing.overload
    def listen(
        self,
        kind: type[E],
        other: type[E2],
        third: type[E3],
        fourth: type[E4],
        fifth: type[E5],
        sixth: type[E6],
        /,
        *,
        share: bool = False,
    ) -> Listener[tuple[Player[FromPlayer, ToPlayer], E | E2 | E3 | E4 | E5 | E6]]: ...
    def listen(self, *kinds: type[Any], share: bool = False) -> Listener[tuple[Player[FromPlayer, ToPlayer], Any]]:
        """Listen for events of all players, in order: ``async for player, event in room.listen(Buzz)``.

        Code that waits for an event of one player, such as `Player.listen`, gets the event instead.

        Args:
          share: True if another loop of the room may listen for the same classes. Then each of the loops gets each
            event.

        Raises:
          TypeError: no class is given, or players may not send a class.
          RuntimeError: another loop of the room listens for one of these classes, and `share` is false.
        """
        runtime = self.__edge_runtime
        return runtime.listeners.listen(runtime.kind.check_receives(*kinds), share=share)

    @asynccontextmanager
    async def open_round(
        self,
        players: Iterable[Player[FromPlayer, ToPlayer]] | None = None,
        *,
        minimum: int | None = None,
        seconds: float = math.inf,
    ) -> AsyncIterator[Round[FromPlayer, ToPlayer]]:
        """Open a round: ``async with room.open_round() as round``. `reset` or too few players end the block early.

        When the block is left, all tasks and turns of the round have ended. `Round.outcome` has the outcome.

        Args:
          players: the players of the round; by default all players who hold a seat now. Players who join later do not
            belong to the round.
          minimum: the number of players that the round needs; by default `Seats.minimum`.
          seconds: the time limit in seconds. At the limit, the round ends with `Outcome.TIMEOUT`.

        Raises:
          RuntimeError: a round is open already.
          ExceptionGroup: the block or tasks of the round raised exceptions, which the group contains.

        *Cancellation* ends the round.
        """
        if self.__edge_runtime.round is not None:
            raise RuntimeError("a round is open already")
        needed = self.seats.minimum if minimum is None else minimum
        members = tuple(member_of(player) for player in (self.players if players is None else players))
        try:
            async with trio.open_nursery() as nursery:
                runtime = self.__edge_runtime.round = RoundRuntime(members, needed, seconds, nursery)
                self.__edge_runtime.counters.rounds += 1
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
        """Cancel the open round, its tasks and its turns. Return False if no round is open.

        Args:
          reason: a text for `Round.reason`.
        """
        return self.__edge_runtime.reset(reason)

    def ticks(self, *, hz: float, catch_up: int = 5) -> Ticks:
        """Return an iterator over steps of a fixed length: ``async for step in room.ticks(hz=30)``. See `Ticks`.

        Args:
          hz: the number of steps per second.
          catch_up: the number of whole steps by which the loop may be late. If it is later, steps are skipped.
        """
        runtime = self.__edge_runtime
        return Ticks(hz=hz, catch_up=catch_up, note=runtime.counters.note_tick, sleep_until=runtime.sleep_until)

    def every(self, seconds: float) -> WallClockTimes:
        """Run a loop by the wall clock: ``async for due in room.every(3600)`` runs at each full hour.

        The times are the multiples of `seconds` since 1970 in UTC, so they stay the same if another server restores the
        room. Times that pass while the body of the loop runs are skipped, except the newest. For a game loop, use
        `ticks`.

        Raises:
          ValueError: `seconds` is not a finite number above 0.
        """
        return every(seconds)

    def at(self, time_of_day: time, tz: tzinfo) -> WallClockTimes:
        """Run a loop each day: ``async for due in room.at(time(4), ZoneInfo("Europe/Berlin"))`` runs at 4 o'clock.

        A time that does not exist, because clocks are put forward, is later by the difference. A time that exists twice
        counts once.

        Raises:
          ValueError: `time_of_day` has a time zone of its own.
        """
        return at(time_of_day, tz)

    def shielded_cleanup(self) -> AbstractContextManager[trio.CancelScope]:
        """Return a shielded scope for awaiting in a `finally` block of `run`: ``with self.shielded_cleanup():``.

        The scope lasts `cleanup_seconds` at most. When the room closes, all clean-ups have the same deadline, so that
        they delay a shutdown by `cleanup_seconds` at most. In `player`, use `Player.shielded_cleanup`.
        """
        runtime = self.__edge_runtime
        return runtime.shielded_cleanup(trio.current_time(), f"room {runtime.path}: run()", runtime.log_context)

    def share(self) -> None:
        """Send the changes of the shared documents now. Call this if code outside of the room's tasks has made them.

        Code in `run`, `player` and other tasks of the room need not call this: edge sends their changes at the latest
        at their next checkpoint.

        Raises:
          RuntimeError: this is another thread: use ``trio.from_thread.run_sync(room.share)``.
        """
        if not trio.lowlevel.in_trio_run():
            raise RuntimeError("share() was called in another thread: use trio.from_thread.run_sync(room.share)")
        if self.__edge_runtime.sharing is not None:
            self.__edge_runtime.sharing.flush()

    def changing(self) -> AbstractContextManager[None]:
        """Hold back the changes of the shared documents while a block runs: ``with self.changing():``.

        Use it if a change takes more than one step, so that clients do not see half of it. All changes are sent
        together at the end of the block.
        """
        return nullcontext() if self.__edge_runtime.sharing is None else self.__edge_runtime.sharing.hold()

    def lock(self) -> None:
        """Refuse applicants as ``locked``, until `unlock` is called."""
        self.__edge_runtime.ledger.locked = True

    def unlock(self) -> None:
        """Admit applicants again after `lock`."""
        self.__edge_runtime.ledger.locked = False

    @property
    def has_round(self) -> bool:
        """True while a round is open."""
        return self.__edge_runtime.round is not None

    @property
    def closing(self) -> bool:
        """True once the room is closing or closed, and admits no more applicants."""
        return self.__edge_runtime.closing

    def close(self, reason: str = "", *, code: Code = Code.ROOM_CLOSED) -> None:
        """Close the room: cancel its round and its `run`, and end all seats. Later calls have no effect.

        Args:
          reason: a text that clients receive.
          code: the code with which the players' connections end.
        """
        self.__edge_runtime.close(reason, code=code)

    async def wait_closed(self) -> None:
        """Wait until the last task of the room has ended.

        *Cancellation*: nothing is lost.
        """
        await self.__edge_runtime.closed.wait()


Room.seats = cast("Seats", _SeatsMember(Room.seats))
Room._Room__edge_kind = RoomKind.of(Room, Room)  # type: ignore[attr-defined]  # as `__init_subclass__` does

guard_members(settings=SETTINGS, declarations=(SharedDocument, SharedDocuments))(Room)


def runtime_of(room: Room[Any, Any]) -> RoomRuntime:
    """Return the run time of a room."""
    runtime: RoomRuntime = room._Room__edge_runtime  # type: ignore[attr-defined]  # a private name
    return runtime


def room_of(runtime: RoomRuntime) -> Room[Any, Any]:
    """Return the author's `Room` object that belongs to a run time."""
    assert isinstance(runtime.facade, Room)
    return runtime.facade


def kind_of(room: Room[Any, Any] | type[Room[Any, Any]]) -> RoomKind:
    """Return the declarations of a room class, or of the class of a room."""
    kind: RoomKind = room._Room__edge_kind  # type: ignore[union-attr]  # a private name
    return kind
