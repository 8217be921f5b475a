"""A player: a seat as room code sees it."""

from __future__ import annotations

import enum
import math
import operator
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import attrs
import trio

from ..codes import Code
from ..errors import Gone, InvalidEvent, MessageProblem
from ..protocol import messages
from ..protocol.codec import JSON
from ..protocol.events import event_type
from ..protocol.outgoing import Outgoing, outgoing_event
from .answering import Answering
from .dialogue import Dialogue
from .guard import log
from .keeping import SeatRecord
from .listening import Arrival, Listener, Listeners
from .seat import Seat
from .statistics import PlayerStatistics

if TYPE_CHECKING:  # the room makes its players; a player only names its room
    from .room import Room
    from .rounds import Turn

FromPlayer = TypeVar("FromPlayer")
ToPlayer = TypeVar("ToPlayer")
E = TypeVar("E")
E2 = TypeVar("E2")
E3 = TypeVar("E3")


# How many latest values of one player are kept: their keys are the client's to choose. Their bytes are bounded by
# `Seat.inbox_bytes`.
MAX_LATEST = 256

# Messages of authors beyond this are checked against what a seat may be sent.
LARGE_BYTES = 64 * 1024
TOO_FAST = "more came than is heard of one connection"


class Standing(enum.StrEnum):
    """Where a player stands in the ledger."""

    JOINING = "joining"
    """The seat is given; `player()` has not begun."""
    HERE = "here"
    """Connected."""
    AWAY = "away"
    """The connection is lost, and the seat waits for it."""
    LEFT = "left"
    """Gone, for the reason in `Player.ending`."""


@attrs.frozen
class Ending:
    """Why a player left."""

    code: Code
    reason: str


class Player(Generic[FromPlayer, ToPlayer]):
    """One player of a room. Made by the room; never by its author.

    ``async for event in player`` gives every event that no narrower `receive` or `Room.listen` has claimed.
    """

    def __init__(
        self,
        room: Room[FromPlayer, ToPlayer],
        seat: Seat,
        number: int,
    ) -> None:
        self.room = room
        self.number = number
        """The seat's number: the lowest that was free, from 0."""
        self.name = seat.name
        """What they are called, as `Room.admit` let it pass."""
        self.session = seat.session
        """Who they are in every room and tab, and what the issuer of their key says of them."""
        self.standing = Standing.JOINING
        """Where they stand: change it only through the ledger."""
        self.ending: Ending | None = None
        """Why they left; None while they have not."""
        self.seat = seat
        self.scope = trio.CancelScope()
        self.joined = 0
        """Grows from one player of the room to the next."""
        self.away_until = 0.0
        self.listeners = Listeners(operator.attrgetter("event"))
        self.turns: list[Turn] = []
        self._latest: dict[Hashable, _Kept] = {}
        """Oldest first."""
        self._latest_bytes = 0
        self._latest_dropped = False
        """Whether the client was told that a latest value was dropped."""
        self._waiting: dict[_Arrived, None] = {}
        """What has come, and is not taken yet."""
        self._waiting_bytes = 0
        self.restored: bool = False
        """Whether the seat was taken at another server, which the room has left: then `player` runs once more."""
        self._to_deliver: list[messages.Message] = []
        """What had come there, and was not taken yet."""
        self._too_fast = False
        """Whether the last event came too fast to be heard."""
        self._left_at: float | None = None
        self._space: trio.Event | None = None
        """Set when there may be space again, for whoever waits for it."""
        self._started = trio.Event()
        self._dialogue = Dialogue(
            self._tell,
            room.from_player,
            wait_relief=seat.wait_relief,
            check_size=self._check_size,
            on_refusal=self._note_refusal,
            max_request_bytes=seat.inbox_bytes,
        )

    def __repr__(self) -> str:
        return f"<player {self.number} {self.name!r} {self.standing}>"

    def __aiter__(self) -> Listener[FromPlayer]:
        return self.listeners.listen(None)

    # --- for authors

    @property
    def connected(self) -> bool:
        """Whether a connection holds the seat now."""
        return self.standing in (Standing.JOINING, Standing.HERE)

    @property
    def about(self) -> dict[str, object]:
        """What a record of the log says it is about."""
        return {**self.room.about, "seat": self.number, "session": self.session.id}

    @property
    def left(self) -> bool:
        """Whether they have left: then nothing more is sent to them."""
        return self.ending is not None

    def send(self, event: ToPlayer) -> None:
        """Send this player an event. Never waits; nothing happens if they have gone for good.

        Raises:
          TypeError: not one of the room's events to players, or a value in it is not of its field's type.
          ValueError: something in it can't travel: a NaN, a number too large, half a character; or all of it is larger
            than `Limits.sent_bytes`.
          SendOverflow: too much is sent to them in one step.
        """
        message = outgoing_event(self.room.check_outgoing(event))
        if message.size > LARGE_BYTES or self.seat.crowded:
            self.seat.check(message)
        self._tell(message)

    @overload
    async def receive(self, kind: type[E], /) -> E: ...
    @overload
    async def receive(self, kind: type[E], other: type[E2], /) -> E | E2: ...
    @overload
    async def receive(self, kind: type[E], other: type[E2], another: type[E3], /) -> E | E2 | E3: ...
    async def receive(self, *kinds: type[Any]) -> Any:
        """Wait for this player's next event of these kinds. Only what arrives during the wait counts.

        Raises:
          Gone: the player has left, or leaves.

        *Cancellation*: nothing is lost: an event that comes later is refused with ``not_now``.
        """
        if self.left:
            raise Gone(self.name)
        return await self.listeners.receive(self.room.check_incoming(*kinds))

    def latest(self, kind: type[E], key: Hashable = None) -> E | None:
        """The newest event of this kind that has come, whose delivery is ``latest``: what its client wants now.

        Such an event is a value that is kept, whether or not anybody is listening for it, until a newer one comes or
        the client starts afresh: on a reload, say. Of keys, the 256 newest are kept, and no more bytes than
        `Limits.inbox_bytes`: the client is told when it has more.

        Args:
          key: of which key, where the class has one.

        Returns: None if there is none.

        Raises:
          TypeError: not an event that players send, or not a ``latest`` one.
        """
        self.room.check_incoming(kind)
        if (known := event_type(kind)).delivery != "latest":
            raise TypeError(f"{kind.__name__} is {known.delivery}: only latest events are kept")
        kept = self._latest.get((known.name, key))
        return cast("E", kept.event) if kept is not None else None

    @overload
    def listen(self, kind: type[E], /) -> Listener[E]: ...
    @overload
    def listen(self, kind: type[E], other: type[E2], /) -> Listener[E | E2]: ...
    @overload
    def listen(self, kind: type[E], other: type[E2], another: type[E3], /) -> Listener[E | E2 | E3]: ...
    def listen(self, *kinds: type[Any]) -> Listener[Any]:
        """``async for event in player.listen(Drew, Undid)``: this player's events of these kinds, none missed between.

        Where `receive` is called in a loop, an event that comes while the loop's body runs is refused; here it waits.
        """
        return self.listeners.listen(self.room.check_incoming(*kinds))

    async def ask(self, question: ToPlayer, answer: type[E]) -> E:
        """Send an event and wait for the player's typed answer to it. Best inside a turn, which bounds the wait.

        An answer that does not fit is refused, and the wait goes on.

        Raises:
          Gone: the player has left, or leaves before answering. A turn of theirs turns it into its outcome.
          RequestFailed: the client refuses to answer. A turn of the player turns it into its outcome, too; outside of
            one, catch it.

        *Cancellation* is told to the client, and so is the deadline of the scopes around. A client that starts afresh,
        on a reload say, is asked again.
        """
        if self.left:
            raise Gone(self.name)
        self.room.check_incoming(answer)
        self.read_on()
        return await self._dialogue.ask(self.room.check_outgoing(question), answer)

    def reply(self, request: FromPlayer, answer: ToPlayer) -> bool:
        """Answer an event that the client sent as a request.

        Args:
          request: the very object that was received.

        Returns: whether an answer was waited for: in vain if it was no request, is answered already, or given up.
        """
        return self._dialogue.reply(request, self.room.check_outgoing(answer))

    def answering(self, request: FromPlayer) -> Answering[ToPlayer]:
        """``with player.answering(request) as answering:``: a block that ends when nobody waits for the answer.

        `Answering.reply` gives the one answer; ``await answering.send(...)`` gives one of several.

        An event that was sent without asking for an answer may be answered, too, in vain.

        Args:
          request: the very object that was received.
        """
        return self._dialogue.answering(request, self.room.check_outgoing)

    def kick(self, reason: str = "") -> None:
        """Put the player out of the room. Their `player()` is cancelled; they are told `Code.KICKED`."""
        self.leave(Code.KICKED, reason)

    def farewell(self) -> trio.CancelScope:
        """``with player.farewell():`` in a `finally` of `player()`: a shield under which it may still wait.

        Two seconds at most for all the farewells of one player, and one deadline for everybody when the room closes.
        """
        since = trio.current_time() if self._left_at is None else self._left_at
        return trio.CancelScope(shield=True, deadline=self.room.farewell_until(since))

    # --- for the room and for whoever holds the seat

    def end(self) -> None:
        """`player()` has ended: say goodbye on the seat."""
        assert self.ending is not None
        self.seat.end(self.ending.code, self.ending.reason)

    async def wait_started(self) -> None:
        """Wait until `player()` has begun, or the player has left: before that, nothing may be delivered."""
        await self._started.wait()

    def start(self) -> None:
        """`player()` begins in this very step."""
        self.room.seats.seated(self)
        self._started.set()

    def restart(self) -> None:
        """The client knows nothing, or nothing any more: greet it, and repeat what it is asked."""
        self._latest.clear()
        self._latest_bytes, self._latest_dropped = 0, False
        if not self.left:
            self.room.greet_player(self)
            self._dialogue.ask_again()

    def record(self, held: dict[str, Any]) -> SeatRecord:
        """What another server needs to know of them, besides what their seat keeps."""
        waiting = [arrival.message for arrival in self._waiting if messages.is_counted(arrival.message)]
        pending = [*self._to_deliver, *waiting]
        numbers = {message.id for message in pending if isinstance(message, messages.Request)}
        return SeatRecord(
            session=self.session.id,
            session_name=self.session.name,
            claims=dict(self.session.claims),
            guest=self.session.guest,
            name=self.name,
            number=self.number,
            asked=self._dialogue.asked,
            unanswered=sorted(self._dialogue.unsettled - numbers),
            pending=[messages.to_plain(message) for message in pending],
            held=held,
        )

    def go_on(self, record: SeatRecord) -> None:
        """Be who they were at another server."""
        self.restored = True
        self._dialogue.go_on(record.asked)
        self._to_deliver = [messages.from_plain(plain, len(JSON.encode(plain))) for plain in record.pending]
        for number in record.unanswered:
            self._dialogue.refuse("crashed", "the server that was asked is gone", "", number)

    def deliver_restored(self) -> None:
        """Take what had come before, and was not taken."""
        to_deliver, self._to_deliver = self._to_deliver, []
        for message in to_deliver:
            self.deliver(message)

    def statistics(self) -> PlayerStatistics:
        """What they look like now."""
        away = self.standing is Standing.AWAY and self.away_until < math.inf
        left = max(0.0, self.away_until - trio.current_time()) if away else None
        return PlayerStatistics(
            self.number,
            self.name,
            self.session.id,
            self.session.guest,
            self.standing.value,
            left,
            len(self._waiting),
            self.seat.statistics(),
        )

    @property
    def has_space(self) -> bool:
        """Whether to read on: one more event fits, and others are not slowed by what comes; or an answer that is waited
        for, or acks that are needed, may be behind those that do not, which are then refused as busy."""
        slowed = self.room._strained and self._slowed  # asked for each frame: nearly always nobody is
        return not (self._full or slowed) or self._dialogue.asking or self.seat.pressed

    @property
    def _slowed(self) -> bool:
        """True if this player has sent much lately, and others have yet to acknowledge much."""
        return self.room.strained_besides(self) and self.seat.light_at > trio.current_time()

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= self.seat.inbox or self._waiting_bytes >= self.seat.inbox_bytes

    async def wait_space(self) -> None:
        """Wait until half of the inbox is free, or whatever else makes `has_space` true, or the player has left."""
        await trio.lowlevel.checkpoint()
        while not self.has_space and not self.left:
            if self._space is None:
                self._space = trio.Event()
            with trio.move_on_at(self.seat.light_at if self._slowed and not self._full else math.inf):
                await self._space.wait()

    def read_on(self) -> None:
        """Let whoever is in `wait_space` look again."""
        if self._space is not None:
            self._space.set()
            self._space = None

    def deliver(self, message: messages.Message) -> None:
        """Take a message of theirs: to whoever listens for it, or back with a typed refusal. Never waits."""
        if self.ending is not None:
            return
        if self.room.keeper is not None:
            self.room.keeper.touch(self)
        match message:
            case messages.Event() | messages.Request():
                event = self._dialogue.heard(message)
                if event is not None:
                    self._route(event, message)
            case messages.Error(id=None):
                self._note_unusable(message)
            case messages.Reply() | messages.Part() | messages.Error():
                self._dialogue.answered(message)
            case messages.Cancel():
                self._dialogue.cancelled(message)

    def _note_unusable(self, error: messages.Error) -> None:
        """The client could not use an event: count it, and tell the first of each event of each kind of room."""
        tally, room = self.room.directory_tally, self.room
        tally.unusable += 1
        event = error.about if error.about in room.to_player.by_name else "a message"
        if tally.is_first("unusable", type(room), event):
            text = "the client of %r could not use %s of %s: %s: %.300r"
            why = (error.problem[:20], error.message)
            log.warning(text, self.name, event, type(room).__name__, *why, extra=self.about)

    def refuse(self, fault: InvalidEvent) -> None:
        """Tell the client that what it sent is no message."""
        if not self.left:
            self._dialogue.refuse(fault.problem, str(fault), fault.about, fault.request)

    def leave(self, code: Code, reason: str = "") -> bool:
        """Begin leaving: once, for the first reason given. True if this call was the first.

        Synchronous: when it returns, the seat is free, their turns and waits are over, and `player()` is cancelled.
        """
        if self.left:
            return False
        self.ending = Ending(code, reason)
        self._left_at = trio.current_time()
        self.standing = Standing.LEFT
        for turn in self.turns[:]:
            turn.player_left()
        self.scope.cancel(f"left: {code.name.lower()}")
        self.room.note_strain(self, strained=False)
        self.listeners.close(lambda: Gone(self.name))
        self._dialogue.close(lambda: Gone(self.name))
        self.read_on()
        self._started.set()
        self.room.seats.remove(self)
        return True

    def _route(self, event: Any, message: messages.Event | messages.Request) -> None:
        """Give an event to whoever listens for it most narrowly; without anybody, turn it away, unless it is kept."""
        kind = event_type(type(event))
        kept = kind.delivery == "latest" and isinstance(message, messages.Event)
        if kept:
            self._keep(kind.key_of(event), _Kept(event, message.size))
            self.room.directory_tally.received += 1
        arrival = _Arrived(self, event, message, kept)
        if message.too_fast:
            if self._too_fast:  # the first of a row is answered: answers to all would be a flood, too
                self._note_refusal("too_fast", TOO_FAST, message.name)
            else:
                arrival.refuse("too_fast", TOO_FAST)
            self._too_fast = True
            return
        self._too_fast = False
        if self._full:
            arrival.refuse("busy", f"{len(self._waiting)} events are waiting")
            return
        self._waiting[arrival] = None
        self._waiting_bytes += message.size
        if not (self.listeners.give(arrival) or self.room.listeners.give(arrival) or self.listeners.give_any(arrival)):
            arrival.turn_away()

    def _tell(self, message: Outgoing) -> None:
        if self.room.lease.over:
            return
        self.room.directory_tally.sent += 1
        self.seat.send(message)

    def _check_size(self, message: Outgoing) -> None:
        if message.size > LARGE_BYTES or self.seat.crowded:
            self.seat.check(message)

    def _note_refusal(self, problem: MessageProblem, text: str, about: str) -> None:
        if problem == "cancelled":  # by its sender: that is no fault
            return
        tally, name = self.room.directory_tally, about[:64]
        tally.turned_away[problem] += 1
        tally.refusals.note(
            (self.room.name, self.number, problem, name, text[:300]),
            "%r of %r is refused in the room %r: %s: %s",
            name,
            self.name,
            self.room.name,
            problem,
            text[:300],
            about=self.about,
        )

    def _keep(self, key: tuple[str, object], kept: _Kept) -> None:
        if (before := self._latest.pop(key, None)) is not None:
            self._latest_bytes -= before.size
        self._latest[key] = kept
        self._latest_bytes += kept.size
        while len(self._latest) > MAX_LATEST or (self._latest_bytes > self.seat.inbox_bytes and len(self._latest) > 1):
            oldest = next(iter(self._latest))
            self._latest_bytes -= self._latest.pop(oldest).size
            if not self._latest_dropped:  # told once: each further value may drop another
                self._latest_dropped = True
                most = f"{MAX_LATEST} keys or {self.seat.inbox_bytes} bytes"
                text = f"more than {most} of latest values: the oldest was dropped"
                self._dialogue.refuse("busy", text, key[0], None)

    def note_taken(self, arrival: _Arrived) -> None:
        """One of their events waits no more."""
        del self._waiting[arrival]
        self._waiting_bytes -= arrival.message.size
        if self.room.keeper is not None:
            self.room.keeper.touch(self)
        if (  # not for each one that is taken
            self._space is not None
            and 2 * len(self._waiting) <= self.seat.inbox
            and 2 * self._waiting_bytes <= self.seat.inbox_bytes
        ):
            self.read_on()

    def turn_down(self, arrival: _Arrived, problem: MessageProblem, text: str) -> None:
        """Nobody has taken an event of theirs: tell the client, unless it is kept."""
        self._dialogue.forget_request(arrival.event)
        if not (arrival.kept or self.left):
            number = arrival.message.id if isinstance(arrival.message, messages.Request) else None
            self._dialogue.refuse(problem, text, arrival.message.name, number)


@attrs.frozen
class _Kept:
    """A latest value."""

    event: Any
    size: int
    """The length of its frame."""


@attrs.define(eq=False)
class _Arrived(Arrival):
    """An event of a player's, on its way to whoever listens for it."""

    player: Player[Any, Any]
    event: Any
    message: messages.Event | messages.Request
    kept: bool
    """Whether it is a latest value, which is kept even if nobody listens."""

    @property
    def size(self) -> int:
        return self.message.size

    def take(self) -> None:
        self.player.note_taken(self)
        if not self.kept:
            self.player.room.directory_tally.received += 1

    def turn_away(self) -> None:
        self.player.note_taken(self)
        self.refuse("not_now", "nobody is listening for this now")

    def refuse(self, problem: MessageProblem, text: str) -> None:
        self.player.turn_down(self, problem, text)
