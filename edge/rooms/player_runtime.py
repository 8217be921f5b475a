"""The run time of a player: what has come, who takes it, what is asked, and the end."""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Hashable
from typing import Any

import attrs
import trio

from ..codes import Code
from ..errors import Gone, InvalidEvent, MessageProblem
from ..protocol import messages
from ..protocol.codec import JSON
from ..protocol.events import event_type
from ..protocol.latest import LatestValues
from ..protocol.outgoing import Outgoing, outgoing_event
from ..requests.listening import Arrival, Listeners
from ..requests.tracker import Dialogue
from .ledger import Ending, Member, PlayerState
from .records import PlayerRecord, SeatRecord
from .room_core import LARGE_BYTES, RoomCore
from .seat import Seat
from .statistics import PlayerStatistics

log = logging.getLogger("edge.rooms")

# How many latest values of one player are kept: their keys are the client's to choose. Their bytes are bounded by
# `Seat.inbox_bytes`.
MAX_LATEST = 256

TOO_FAST = "more came than is heard of one connection"


class PlayerRuntime(Member):
    """One player.

    Args:
      room: where the player sits.
      seat: takes what is sent to the player.
      number: of the seat.
    """

    def __init__(self, room: RoomCore, seat: Seat, number: int) -> None:
        super().__init__(seat, number)
        self.room = room
        self.scope = trio.CancelScope()
        """Of the task of `Room.player`."""
        self.restored = False
        """True if the seat was taken on another server, which the room has left."""
        self.listeners = Listeners(operator.attrgetter("event"))
        self._latest: LatestValues[Any] = LatestValues(MAX_LATEST, seat.inbox_bytes, self._note_dropped)
        """The latest events of the client, by their names and keys."""
        self._waiting: dict[_Arrived, None] = {}
        """What has come, and is not taken yet."""
        self._waiting_bytes = 0
        self._to_deliver: list[messages.Message] = []
        """What had come to another server, and was not taken yet."""
        self._too_fast = False
        """Whether the last event came too fast to be heard."""
        self._left_at: float | None = None
        self._space: trio.Event | None = None
        """Set when there may be space again, for whoever waits for it."""
        self._started = trio.Event()
        self.dialogue = Dialogue(
            self._tell,
            room.kind.receives,
            wait_relief=seat.wait_relief,
            check_size=self._check_size,
            on_refusal=self._note_refusal,
            max_request_bytes=seat.inbox_bytes,
        )

    def __repr__(self) -> str:
        return f"<player {self.number} {self.name!r} {self.state}>"

    @property
    def about(self) -> dict[str, object]:
        """The context of a log record about this player."""
        return {**self.room.about, "seat": self.number, "session": self.session.id}

    # --- what the author calls

    def send(self, event: Any) -> None:
        """See `Player.send`."""
        room, seat = self.room, self.seat
        message = outgoing_event(event, room.kind.type_of_sent(event))
        if message.size > LARGE_BYTES or seat.crowded:
            self._check_size(message)
        if not room.lease.over:
            room.counters.sent += 1
            seat.send(message)

    async def receive(self, *kinds: type[Any]) -> Any:
        """See `Player.receive`."""
        if self.left:
            raise Gone(self.name)
        return await self.listeners.receive(self.room.kind.check_receives(*kinds))

    def latest(self, kind: type[Any], key: Hashable) -> Any | None:
        """See `Player.latest`."""
        self.room.kind.check_receives(kind)
        if (known := event_type(kind)).delivery != "latest":
            raise TypeError(f"{kind.__name__} is {known.delivery}: only latest events are kept")
        return self._latest.get((known.name, key))

    async def ask(self, question: Any, answer: type[Any]) -> Any:
        """See `Player.ask`."""
        if self.left:
            raise Gone(self.name)
        self.room.kind.check_receives(answer)
        self.read_on()
        return await self.dialogue.ask(self.room.kind.check_sends(question), answer)

    def farewell(self) -> trio.CancelScope:
        """See `Player.farewell`."""
        return self.room.farewell(trio.current_time() if self._left_at is None else self._left_at)

    # --- beginning and end

    async def wait_started(self) -> None:
        """Wait until the task of `Room.player` has begun, or the player has left. Deliver nothing before that.

        *Cancellation*: nothing is lost.
        """
        await self._started.wait()

    def start(self) -> None:
        """The task of `Room.player` begins in this very step."""
        self.room.ledger.start(self)
        self._started.set()

    def forget_latest(self) -> None:
        """Forget the latest values that the client sent."""
        self._latest.clear()

    def leave(self, code: Code, reason: str = "") -> bool:
        """Begin leaving: once, for the first reason given. True if this call was the first.

        Synchronous: when it returns, the seat is free, the player's turns and waits are over, and the task of
        `Room.player` is cancelled.
        """
        if not self.room.ledger.leave(self, Ending(code, reason)):
            return False
        self._left_at = trio.current_time()
        self.scope.cancel(f"left: {code.name.lower()}")
        self.room.note_strain(self, strained=False)
        self.listeners.close(lambda: Gone(self.name))
        self.dialogue.close(lambda: Gone(self.name))
        self.read_on()
        self._started.set()
        self.room.ledger.remove(self)
        return True

    def end(self) -> None:
        """The task of `Room.player` has ended: end the seat."""
        assert self.ending is not None
        self.room.ledger.release_number(self.number)
        self.seat.end(self.ending.code, self.ending.reason)

    # --- on another server

    def record(self, seat: SeatRecord) -> PlayerRecord:
        """Record what another server needs to restore this player, whose seat has recorded this."""
        waiting = [arrival.message for arrival in self._waiting if messages.is_counted(arrival.message)]
        pending = [*self._to_deliver, *waiting]
        numbers = {message.id for message in pending if isinstance(message, messages.Request)}
        return PlayerRecord(
            session=self.session.id,
            session_name=self.session.name,
            claims=dict(self.session.claims),
            guest=self.session.guest,
            name=self.name,
            number=self.number,
            asked=self.dialogue.asked,
            unanswered=sorted(self.dialogue.unsettled - numbers),
            pending=[messages.to_plain(message) for message in pending],
            seat=seat,
        )

    def restore(self, record: PlayerRecord) -> None:
        """Restore what `record` returned on another server."""
        self.restored = True
        self.dialogue.go_on(record.asked)
        self._to_deliver = [messages.from_plain(plain, len(JSON.encode(plain))) for plain in record.pending]
        for number in record.unanswered:
            self.dialogue.refuse("crashed", "the server that was asked is gone", "", number)

    def deliver_restored(self) -> None:
        """Deliver what had come to another server, and was not taken there."""
        to_deliver, self._to_deliver = self._to_deliver, []
        for message in to_deliver:
            self.deliver(message)

    def statistics(self) -> PlayerStatistics:
        """A snapshot of the player."""
        away = self.state is PlayerState.AWAY and self.away_until < math.inf
        left = max(0.0, self.away_until - trio.current_time()) if away else None
        return PlayerStatistics(
            self.number,
            self.name,
            self.session.id,
            self.session.guest,
            self.state.value,
            left,
            len(self._waiting),
            self.seat.statistics(),
        )

    # --- what comes

    @property
    def has_space(self) -> bool:
        """True if one more event may be delivered: it fits, and others are not slowed by what comes.

        Also true while an answer that is waited for, or acks that are needed, may be behind events that don't fit:
        those are then refused as busy. Also true once the player has left: what comes then is dropped.
        """
        slowed = self.room.strained and self._slowed  # asked for each frame: nearly always nobody is
        return not (self._full or slowed) or self.dialogue.asking or self.seat.pressed or self.left

    @property
    def _slowed(self) -> bool:
        """True if this player has sent much lately, and others have yet to acknowledge much."""
        return self.room.strained_besides(self) and self.seat.light_at > trio.current_time()

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= self.seat.inbox or self._waiting_bytes >= self.seat.inbox_bytes

    async def wait_space(self) -> None:
        """Wait until half of the inbox is free, or something else makes `has_space` true.

        *Cancellation*: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        while not self.has_space:
            if self._space is None:
                self._space = trio.Event()
            with trio.move_on_at(self.seat.light_at if self._slowed and not self._full else math.inf):
                await self._space.wait()

    def read_on(self) -> None:
        """Let the task in `wait_space` look again."""
        if self._space is not None:
            self._space.set()
            self._space = None

    def deliver(self, message: messages.Message) -> None:
        """Give a message to the code that listens for it, or refuse it with a typed error. Never waits."""
        if self.ending is not None:
            return
        if self.room.journal is not None:
            self.room.journal.mark_changed(self)
        match message:
            case messages.Event() | messages.Request():
                event = self.dialogue.heard(message)
                if event is not None:
                    self._route(event, message)
            case messages.Error(id=None):
                self._note_unusable(message)
            case messages.Reply() | messages.Part() | messages.Error():
                self.dialogue.answered(message)
            case messages.Cancel():
                self.dialogue.cancelled(message)

    def _note_unusable(self, error: messages.Error) -> None:
        """The client could not use an event: count it, and log the first of each event of each kind of room."""
        counters, kind = self.room.counters, self.room.kind
        counters.unusable += 1
        event = error.about if error.about in kind.sends.by_name else "a message"
        if counters.is_first("unusable", kind, event):
            text = "the client of %r could not use %s of %s: %s: %.300r"
            why = (error.problem[:20], error.message)
            log.warning(text, self.name, event, kind.class_name, *why, extra=self.about)

    def refuse(self, fault: InvalidEvent) -> None:
        """Tell the client that what it sent is no message."""
        if not self.left:
            self.dialogue.refuse(fault.problem, str(fault), fault.about, fault.request)

    def _route(self, event: Any, message: messages.Event | messages.Request) -> None:
        """Give an event to whoever listens for it most narrowly; without anybody, turn it away, unless it is kept."""
        kind = self.room.kind.receives.by_name[message.name]
        kept = kind.delivery == "latest" and isinstance(message, messages.Event)
        if kept:
            self._latest.put(kind.key_of(event), event, message.size)
            self.room.counters.received += 1
        arrival = _Arrived(self, event, message, kept, message.size)
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
        if not self.listeners.give(arrival, self.room.listeners):
            arrival.turn_away()

    def _tell(self, message: Outgoing) -> None:
        if self.room.lease.over:
            return
        self.room.counters.sent += 1
        self.seat.send(message)

    def _check_size(self, message: Outgoing) -> None:
        if message.size > LARGE_BYTES:
            self.seat.check_size(message)
        if self.seat.crowded:
            self.seat.check_crowded(message)

    def _note_refusal(self, problem: MessageProblem, text: str, about: str) -> None:
        if problem == "cancelled":  # by its sender: that is no fault
            return
        counters, name = self.room.counters, about[:64]
        counters.turned_away[problem] += 1
        counters.refusals.note(
            (self.room.path, self.number, problem, name, text[:300]),
            "%r of %r is refused in the room %r: %s: %s",
            name,
            self.name,
            self.room.path,
            problem,
            text[:300],
            about=self.about,
        )

    def _note_dropped(self, key: Hashable, _: Any) -> None:
        assert isinstance(key, tuple)
        most = f"{self._latest.max_values} keys or {self._latest.max_bytes} bytes"
        text = f"more than {most} of latest values: the oldest was dropped"
        self.dialogue.refuse("busy", text, key[0], None)

    def note_taken(self, arrival: _Arrived) -> None:
        """One of their events waits no more."""
        del self._waiting[arrival]
        self._waiting_bytes -= arrival.message.size
        if self.room.journal is not None:
            self.room.journal.mark_changed(self)
        if (  # not for each one that is taken
            self._space is not None
            and 2 * len(self._waiting) <= self.seat.inbox
            and 2 * self._waiting_bytes <= self.seat.inbox_bytes
        ):
            self.read_on()

    def turn_down(self, arrival: _Arrived, problem: MessageProblem, text: str) -> None:
        """Nobody has taken an event of theirs: tell the client, unless it is kept."""
        self.dialogue.forget_request(arrival.event)
        if not (arrival.kept or self.left):
            number = arrival.message.id if isinstance(arrival.message, messages.Request) else None
            self.dialogue.refuse(problem, text, arrival.message.name, number)


@attrs.define(eq=False)
class _Arrived(Arrival):
    """An event of a player, on its way to the code that listens for it."""

    member: PlayerRuntime
    event: Any
    message: messages.Event | messages.Request
    kept: bool
    """Whether it is a latest value, which is kept even if nobody listens."""

    size: int

    def take(self) -> None:
        self.member.note_taken(self)
        if not self.kept:
            self.member.room.counters.received += 1

    def turn_away(self) -> None:
        self.member.note_taken(self)
        self.refuse("not_now", "nobody is listening for this now")

    def refuse(self, problem: MessageProblem, text: str) -> None:
        self.member.turn_down(self, problem, text)
