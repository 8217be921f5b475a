"""A room: a nursery that owns its players. What an author subclasses."""

from __future__ import annotations

import inspect
import logging
import math
import operator
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast

import attrs
import trio

from ..codes import Code
from ..errors import Gone, Refused, SendOverflow
from ..protocol.events import Vocabulary
from ..protocol.field_types import check_key, check_type
from ..protocol.outgoing import outgoing_event
from .guard import guarded, log
from .keeping import Keeper
from .lease import Lease
from .listening import Listener, Listeners
from .player import LARGE_BYTES, FromPlayer, Player, ToPlayer
from .restarts import Restarts
from .rounds import Outcome, Round
from .seat import Applicant, Seat
from .seats import Seats
from .statistics import RoomStatistics
from .tally import Tally
from .ticks import Ticks
from .type_arguments import type_arguments, unresolved

E = TypeVar("E")

# How long all the `farewell` blocks of a leaving player, or of a closing room, may take together.
FAREWELL_SECONDS = 2.0

NOT_OPEN = "a room has its clock and its chance once it is open: in run, player, admit or greet, not in __init__"

NO_EVENTS = (
    "inherit from it with two unions of event classes, as in edge.Room[FromPlayer, ToPlayer]; None for no events"
)

# What a player is told whose `player` or `greet` raised: not what it was.
CRASHED = "an error in the room's code"


class Room(Generic[FromPlayer, ToPlayer]):
    """A place where players meet: subclass it as ``edge.Room[FromPlayer, ToPlayer]``, two unions of event classes.

    Override `run` (the room's life), `player` (one player's), `admit` (who may sit), and set `seats`.

    Blast radius: a bad message harms that message; a crash in `player` ends that seat with `Code.CRASHED`; a crash in
    `run` closes this room with `Code.ROOM_CRASHED`, and `restarts` says what follows. Each is logged, and the server
    goes on.

    *Backpressure*: none of the sending methods wait. A player whose connection can't keep up loses the connection, then
    the seat.
    """

    seats: Seats = Seats()
    """The policy of this kind of room; on an instance, its own ledger."""

    restarts: ClassVar[Restarts] = Restarts()
    """What follows when `run` crashes: by default a fresh room, three times a minute."""

    when_cut_off: ClassVar[Literal["pause", "go on"]] = "pause"
    """Where several servers share the rooms: what becomes of this one when its server can't reach the broker for longer
    than a lease lasts. By default it ends here, and can go on elsewhere, or here when the broker is back; what is not
    kept is lost. If it goes on instead, another server may open one of the same name at the same time; this one ends
    when it learns of that."""

    facts: ClassVar[Any] = Vocabulary.of(None)
    """The union of event classes that `persist` takes; once the class is made, as a `Vocabulary`."""

    state_class: ClassVar[type[Any] | None] = None
    """The attrs class that `snapshot` gives, read from its annotation; None for plain data."""

    from_player: ClassVar[Vocabulary] = Vocabulary.of(None)
    """What players may send, read from the class's own type arguments."""
    to_player: ClassVar[Vocabulary] = Vocabulary.of(None)
    """What players may be sent."""
    _is_generic: ClassVar[bool] = False
    """Whether a class that inherits from it has yet to say which events there are."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("admit", "greet", "publish", "snapshot", "restore", "apply"):
            if inspect.iscoroutinefunction(getattr(cls, name)):
                raise TypeError(f"{cls.__name__}.{name} is async: it has to decide at once, so make it a plain def")
        cls.facts = _checked(cls.facts)
        if "snapshot" in cls.__dict__:
            returned = typing.get_type_hints(cls.snapshot).get("return")
            cls.state_class = returned if isinstance(returned, type) and attrs.has(returned) else None
            if cls.state_class is not None:
                check_type(cls.state_class)
        from_player, to_player = type_arguments(cls, Room)
        cls._is_generic = unresolved(from_player) or unresolved(to_player)
        if not cls._is_generic:
            cls.from_player, cls.to_player = _checked(from_player), _checked(to_player)
        elif not getattr(cls, "__parameters__", ()):
            raise TypeError(f"{cls.__name__} does not say which events it has: {NO_EVENTS}")

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        check_kind(cls)
        room = super().__new__(cls)
        room._furnish()  # here, so that an author's __init__ need not remember to call ours
        return room

    def _furnish(self) -> None:
        self.name = ""
        """``<kind>/<name>``, once a `Directory` has opened it."""
        self.seats = self.seats.fresh()
        self.directory_tally = Tally()
        """Where what happens is counted: one for all the rooms of a directory."""
        self.lease = Lease()
        """What it is open under."""
        self.lost = False
        """Whether another server had a room of this name, and died with it: this one is fresh."""
        self.keeper: Keeper | None = None
        """Keeps its log, if it has one."""
        self.crashed_on: int | None = None
        """Once `run` has raised: how many sat here then."""
        self._opened_at: float | None = None
        self._random: Random | None = None
        self.listeners = Listeners(operator.attrgetter("player", "event"))
        self._strained: set[Player[FromPlayer, ToPlayer]] = set()
        """Connected players with more than half of a window unacknowledged. Players who send much wait for them."""
        self._round: Round[FromPlayer, ToPlayer] | None = None
        self._nursery: trio.Nursery | None = None
        self._admitted_early: list[Player[FromPlayer, ToPlayer]] = []
        self._run_scope = trio.CancelScope()
        self._sweep_scope = trio.CancelScope()
        self._ending: tuple[Code, str] | None = None
        self._farewell_until = math.inf
        self._closed = trio.Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {len(self.seats)} seated>"

    # --- what an author overrides

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

    # --- what an author calls

    def persist(self, fact: Any) -> None:
        """Apply a fact, and keep it: then `snapshot` is asked for now and then only, and need not be quick.

        Raises:
          TypeError: not one of the room's `facts`.
        """
        if type(fact) not in self.facts.classes:
            raise TypeError(f"{type(fact).__name__} is not one of the facts of {type(self).__name__}")
        self.apply(fact)
        if self.keeper is not None:
            self.keeper.note_fact(fact)

    @classmethod
    def can_be_kept(cls) -> bool:
        """Whether it can go on at another server."""
        return cls.snapshot is not Room.snapshot

    def now(self) -> float:
        """The room's clock: seconds since it opened. Clients know it, too: ``room.now()`` in edge.js, `Client.now`.

        Raises:
          RuntimeError: the room is not open yet, as in `__init__`.
        """
        if self._opened_at is None:
            raise RuntimeError(NOT_OPEN)
        return trio.current_time() - self._opened_at

    @property
    def fence(self) -> int:
        """Higher than that of any server which had a room of this name before: hand it to whatever this room writes to,
        and have that refuse a lower one than it has seen. 0 where no servers share the rooms."""
        return self.lease.fence

    @property
    def random(self) -> Random:
        """The room's own source of chance. In a test it is seeded as the schedule is, so that a run repeats itself.

        Raises:
          RuntimeError: the room is not open yet, as in `__init__`.
        """
        if self._random is None:
            raise RuntimeError(NOT_OPEN)
        return self._random

    @property
    def players(self) -> tuple[Player[FromPlayer, ToPlayer], ...]:
        """Everyone who holds a seat, connected or away, in the order in which they joined."""
        return cast("tuple[Player[FromPlayer, ToPlayer], ...]", self.seats.players)

    @property
    def names(self) -> frozenset[str]:
        """The names that are taken."""
        return frozenset(player.name for player in self.players)

    def broadcast(
        self,
        event: ToPlayer,
        *,
        to: Iterable[Player[FromPlayer, ToPlayer]] | None = None,
        besides: Player[FromPlayer, ToPlayer] | Iterable[Player[FromPlayer, ToPlayer]] = (),
    ) -> None:
        """Send an event to everyone who sits at this instant; all get it in the room's one order, encoded once.

        Args:
          to: only to these.
          besides: not to this one, or these.

        Raises:
          TypeError: not one of the room's events to players, or a value in it is not of its field's type.
          ValueError: something in it can't travel: a NaN, a number too large, half a character; or all of it is larger
            than `Limits.sent_bytes`. Then nobody is sent it.
          SendOverflow: too much was sent in one step to some of them, who are not sent this. The others are.
        """
        message = outgoing_event(self.check_outgoing(event))
        if self.lease.over:
            return
        players: Iterable[Player[FromPlayer, ToPlayer]] = self.players if to is None else to
        if besides != ():
            left_out = {besides} if isinstance(besides, Player) else set(besides)
            players = [player for player in players if player not in left_out]
        if message.size > LARGE_BYTES:
            players = [*players]
            for player in players:
                player.seat.check(message)
        sent, overflow = 0, None
        for player in players:
            if player.ending is None:
                if player.seat.crowded:
                    try:
                        player.seat.check(message)
                    except SendOverflow as exc:
                        overflow = exc
                        continue
                sent += 1
                player.seat.send(message)
        self.directory_tally.sent += sent
        if overflow is not None:
            raise overflow

    @typing.overload
    def listen(self, kind: type[E], /) -> Listener[tuple[Player[FromPlayer, ToPlayer], E]]: ...
    @typing.overload
    def listen(self, *kinds: type[E]) -> Listener[tuple[Player[FromPlayer, ToPlayer], E]]: ...
    def listen(self, *kinds: type[Any]) -> Listener[tuple[Player[FromPlayer, ToPlayer], Any]]:
        """``async for player, event in room.listen(Buzz)``: everyone's events of these kinds, as they arrived."""
        return self.listeners.listen(self.check_incoming(*kinds))

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
        if self._round is not None:
            raise RuntimeError("a round is open already")
        needed = self.seats.minimum if minimum is None else minimum
        who = tuple(self.players if players is None else players)
        try:
            async with trio.open_nursery() as nursery:
                round = self._round = Round(who, needed, seconds, nursery)
                round.check_enough()
                yield round
                if round.outcome is None:
                    round.outcome = Outcome.DONE
                nursery.cancel_scope.cancel("the round is over")
        except BaseException as exc:
            round.note_end(exc)
            raise
        else:
            round.note_end(None)
        finally:
            self._round = None

    def reset(self, reason: str = "") -> bool:
        """Cancel the open round, and all that it opened. False if none is open."""
        if self._round is None:
            return False
        self._round.cancel(Outcome.RESET, reason)
        return True

    def ticks(self, *, hz: float, catch_up: int = 5) -> Ticks:
        """``async for step in room.ticks(hz=30)``: a fixed step on absolute deadlines. See `Ticks`.

        Args:
          catch_up: how many missed steps may be made up for at once: enough for a hiccup, too few for a spiral.
        """
        return Ticks(hz=hz, catch_up=catch_up, note=self.directory_tally.note_tick)

    def farewell(self) -> trio.CancelScope:
        """``with self.farewell():`` in a `finally` of `run`: a shield under which it may still wait.

        Two seconds at most, and one deadline for all when the room closes, so that farewells can't hold up a shutdown.
        In `player`, use `Player.farewell`.
        """
        return trio.CancelScope(shield=True, deadline=self.farewell_until(trio.current_time()))

    def lock(self) -> None:
        """Refuse applicants as ``locked``, until `unlock`."""
        self.seats.locked = True

    def unlock(self) -> None:
        """Let applicants in again."""
        self.seats.locked = False

    @property
    def has_round(self) -> bool:
        """Whether a round is open."""
        return self._round is not None

    @property
    def closing(self) -> bool:
        """Whether the room is closing or closed: nobody is admitted any more."""
        return self._ending is not None

    @property
    def about(self) -> dict[str, object]:
        """What a record of the log says it is about."""
        return {"room": self.name}

    def close(self, reason: str = "", *, code: Code = Code.ROOM_CLOSED) -> None:
        """Close the room: cancel its round and its `run`, and end every seat. Once, for the first reason given."""
        if self.closing:
            return
        self._ending = (code, reason)
        if not self.lease.over:
            (self.lease if self.keeper is None else self.keeper).conclude()
        self._farewell_until = trio.current_time() + (0 if self.lease.over else FAREWELL_SECONDS)
        self.reset("the room is closing")
        self._run_scope.cancel("the room is closing")
        self._sweep_scope.cancel("the room is closing")
        for player in self.players:
            player.leave(code, reason)
        self.listeners.close(lambda: Gone(self.name))

    async def wait_closed(self) -> None:
        """Wait until the last task of the room has ended."""
        await self._closed.wait()

    # --- what the framework calls

    def enter_directory(self, name: str, *, seed: int, tally: Tally, lease: Lease) -> None:
        """Take a name, a clock that begins now, a source of chance, a place to count, and the right to be open. Once,
        by the directory."""
        self.name, self.directory_tally, self.lease = name, tally, lease
        self._opened_at, self._random = trio.current_time(), Random(seed)  # noqa: S311  # play, not secrets

    def go_on(self, age: float) -> None:
        """Let its clock show this now."""
        self._opened_at = trio.current_time() - age

    def seat_again(self, seat: Seat, number: int) -> Player[FromPlayer, ToPlayer]:
        """Seat somebody who sat here at another server; their connection is away."""
        player = Player(self, seat, number)
        self.seats.add(player)
        self._admitted_early.append(player)
        return player

    def statistics(self) -> RoomStatistics:
        """What it looks like now."""
        return RoomStatistics(
            name=self.name,
            age=self.now(),
            maximum=self.seats.maximum,
            locked=self.seats.locked,
            round=self._round.statistics() if self._round is not None else None,
            turns=[turn.statistics() for player in self.players for turn in player.turns],
            players=[player.statistics() for player in self.players],
        )

    async def live(self, *, idle: float) -> None:
        """Be the room: run its author's code until it closes.

        Args:
          idle: close when nobody has sat here for this many seconds.

        *Cancellation* closes the room with `Code.DRAINING`; farewells still have their time.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for player in self._admitted_early:
                    nursery.start_soon(self._play, player)
                self._admitted_early.clear()
                nursery.start_soon(self._close_when_idle, idle)
                try:
                    with self._run_scope:
                        returned = await self._guarded("run()", self.run, self.about)
                        if not returned:
                            self.crashed_on = len(self.seats)
                        self.close(code=Code.ROOM_CLOSED if returned else Code.ROOM_CRASHED)
                finally:
                    if not self.closing:
                        code, reason = self._why_cancelled()
                        self.close(reason, code=code)
        finally:
            if self.keeper is not None:
                await self.keeper.close()
            self._closed.set()

    def take_seat(self, seat: Seat) -> Player[FromPlayer, ToPlayer]:
        """Admit somebody, in one synchronous step: when this returns they are in the ledger, and their task will start.

        Raises:
          Refused: they may not sit; `code` says why.
        """
        if self.lease.over:
            raise Refused("the room is not this server's any more", Code.MOVED)
        if self.closing:
            raise Refused("the room is closing", Code.CLOSING)
        self._check_admission(seat)
        player = Player(self, seat, self.seats.take_number())
        if self._nursery is None:
            self._admitted_early.append(player)
        else:
            self._nursery.start_soon(self._play, player)
        self.seats.add(player)  # after all that may fail
        self.directory_tally.admitted += 1
        if self.keeper is not None:
            self.keeper.touch(player)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("room %s: seat %d (%r) is taken", self.name, player.number, player.name, extra=player.about)
        return player

    def greet_player(self, player: Player[FromPlayer, ToPlayer]) -> None:
        """Call the author's `greet`; a crash there is one of `player`."""
        try:
            self.greet(player)
        except Exception:
            self.directory_tally.crashes += 1
            what = "room %s: greet() of seat %d (%r) raised"
            log.exception(what, self.name, player.number, player.name, extra=player.about)
            player.leave(Code.CRASHED, CRASHED)

    def seats_changed(self) -> None:
        """Somebody left: end a round that has too few players now."""
        if self._round is not None:
            self._round.check_enough()

    def note_strain(self, player: Player[FromPlayer, ToPlayer], *, strained: bool) -> None:
        """Note whether a connected player has much to acknowledge."""
        if strained:
            self._strained.add(player)
        elif player in self._strained:
            self._strained.remove(player)
            for each in self.players:
                each.read_on()

    def strained_besides(self, player: Player[FromPlayer, ToPlayer]) -> bool:
        """True if another player has much to acknowledge."""
        return len(self._strained) > (player in self._strained)

    def farewell_until(self, since: float) -> float:
        """Until when the farewells of somebody who began to leave then may wait."""
        return since if self.lease.over else min(since + FAREWELL_SECONDS, self._farewell_until)

    def check_outgoing(self, event: Any) -> Any:
        """Raise `TypeError` unless this is one of the room's events to players."""
        if type(event) not in self.to_player.classes:
            if isinstance(event, type):
                raise TypeError(f"{event.__name__} is a class: send an instance of it, {event.__name__}(...)")
            raise TypeError(
                f"{type(event).__name__} is not one of the events that {type(self).__name__} sends to players"
            )
        return event

    def check_incoming(self, *kinds: type[Any]) -> frozenset[type[Any]]:
        """The kinds as a set; raise `TypeError` unless they are all events that players may send."""
        for kind in kinds or (None,):
            if kind not in self.from_player:
                name = getattr(kind, "__name__", kind)
                raise TypeError(f"{name} is not one of the events that {type(self).__name__} hears from players")
        return frozenset(kinds)

    def _check_admission(self, seat: Seat) -> None:
        self.seats.check_free()
        try:
            self.admit(Applicant(seat.name, seat.session))
        except Refused:
            raise
        except Exception:
            self.directory_tally.crashes += 1
            log.exception("room %s: admit() raised", self.name, extra=self.about)
            raise Refused("the room could not decide") from None

    async def _play(self, player: Player[FromPlayer, ToPlayer]) -> None:
        """The player's task: from their first step to their goodbye."""
        try:
            with player.scope:
                if not player.left:
                    player.start()
                    what = f"player() of seat {player.number} ({player.name!r})"
                    returned = await self._guarded(what, lambda: self.player(player), player.about)
                    if not returned:
                        player.leave(Code.CRASHED, CRASHED)
                    player.leave(Code.LEFT)
        finally:
            if not player.left:
                player.leave(*self._why_cancelled())
            assert player.ending is not None
            self.directory_tally.ended[player.ending.code] += 1
            if log.isEnabledFor(logging.DEBUG):
                code = player.ending.code.name.lower()
                log.debug(
                    "room %s: seat %d (%r) left: %s", self.name, player.number, player.name, code, extra=player.about
                )
            self.seats.ended(player)
            player.end()

    def _why_cancelled(self) -> tuple[Code, str]:
        """What those who sit here are told when all is cancelled from outside; then a room that is kept is not over,
        but for somebody else to go on with."""
        if self.keeper is not None and not self.closing:
            self.lease.lose()
        if self.lease.over:
            return Code.MOVED, "the room is not this server's any more"
        return Code.DRAINING, "the server is shutting down"

    async def _guarded(self, what: str, run: Callable[[], Awaitable[object]], about: dict[str, object]) -> bool:
        returned = await guarded(f"room {self.name}: {what}", run, about=about)
        self.directory_tally.crashes += not returned
        return returned

    async def _close_when_idle(self, idle: float) -> None:
        with self._sweep_scope:
            await self.seats.sweep(idle=idle)
            self.close("nobody is here")


def check_kind(cls: type[Room[Any, Any]]) -> None:
    """Check that a class can make rooms.

    Raises:
      TypeError: it is a generic base, which has yet to say which events there are; or it could not be kept as it says.
      ValueError: no such `when_cut_off`.
    """
    if cls._is_generic:
        raise TypeError(f"{cls.__name__} is a generic base, and no room: {NO_EVENTS}")
    if (cls.snapshot is Room.snapshot) != (cls.restore is Room.restore):
        raise TypeError(f"{cls.__name__} has one of snapshot and restore: a room that is to go on elsewhere needs both")
    if cls.facts.classes and cls.apply is Room.apply:
        raise TypeError(f"{cls.__name__} has facts, and no apply, which lets them change its state")
    if cls.when_cut_off not in ("pause", "go on"):
        raise ValueError(f'{cls.__name__}.when_cut_off is "pause" or "go on", not {cls.when_cut_off!r}')


def _checked(events: object) -> Vocabulary:
    """A vocabulary whose events can travel."""
    vocabulary = Vocabulary.of(events)
    for kind in vocabulary.by_name.values():
        check_type(kind.cls)
        if kind.key:
            check_key(kind.cls, kind.key)
    return vocabulary
