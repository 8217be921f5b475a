"""The run time of a player: delivers received events and requests to the author's code, sends events, ends the seat."""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Callable, Hashable
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
from ..protocol.unstructure import unstructure
from ..requests.listening import Arrival, Listeners
from ..requests.tracker import RequestTracker, answer_classes
from .cleanup import ShieldedCleanup
from .ledger import Ending, Member, PlayerState
from .records import PlayerRecord, SeatRecord
from .room_core import RoomCore
from .seat import Seat
from .sharing import LARGE_BYTES
from .statistics import PlayerStatistics

log: logging.Logger = logging.getLogger("edge.rooms")

# The maximum number of latest values of one player. The number is limited because clients choose the keys.
# `Seat.inbox_bytes` limits the total size.
MAX_LATEST = 256

# Events that arrive before `Room.player` has first listened wait for it: at most this many of one player, for at most
# this many seconds after the start of the player's task.
MAX_EARLY, EARLY_SECONDS = 32, 5.0

_event_of = operator.attrgetter("event")

TOO_FAST = "the connection sends events faster than its pace allows"


class PlayerRuntime(Member):
    """The run time of one player.

    Args:
      room: the room of the player.
      seat: sends messages to the player.
      number: the number of the seat.
    """

    def __init__(self, room: RoomCore, seat: Seat, number: int) -> None:
        super().__init__(seat, number)
        self.room = room
        self.scope: trio.CancelScope = trio.CancelScope()
        """The cancel scope of the task that runs `Room.player`."""
        self.restored: bool = False
        """True if the player joined on another server, and this server restored the room."""
        self.listeners: Listeners = Listeners(_event_of, self._give_early)
        self._latest: LatestValues[Any] = LatestValues(MAX_LATEST, seat.inbox_bytes, self._note_dropped)
        """The newest ``latest`` events of the client, by event name and key."""
        self._waiting: dict[PlayerArrival, None] = {}
        """The inbox: the events that no listener has taken yet, the oldest first."""
        self._waiting_bytes = 0
        self._early: list[PlayerArrival] | None = []
        """Events that wait until the player's code listens for the first time; None from then on."""
        self._early_until = math.inf
        """The time, on Trio's clock, until which early events wait."""
        self._early_scope: trio.CancelScope | None = None
        """The scope of the task that ends the wait of early events; None until there are any."""
        self._to_deliver: list[messages.Message] = []
        """Messages that the room's previous server received, and that the room's code did not take there."""
        self._too_fast = False
        """True if the newest event was refused as ``too_fast``."""
        self._left_at: float | None = None
        self._space: trio.Event | None = None
        """Set when the inbox may have space again; None if no task waits for space."""
        self._started: trio.Event | None = None
        """Set when the task of `Room.player` begins or the player leaves; None if no task waits for it."""
        self.requests: RequestTracker = RequestTracker(
            self._tell,
            room.kind.receives,
            room.kind.type_of_sent,
            wait_relief=seat.wait_relief,
            check_size=self._check_size,
            on_refusal=self._note_refusal,
            on_dropped=self._note_unanswered,
            max_request_bytes=seat.inbox_bytes,
        )

    def __repr__(self) -> str:
        return f"<player {self.number} {self.name!r} {self.state}>"

    @property
    def log_context(self) -> dict[str, object]:
        """The attributes of a log record about this player."""
        return {**self.room.log_context, "seat": self.number, "session": self.session.id}

    def send(self, event: Any) -> None:
        """See `Player.send`."""
        room, seat = self.room, self.seat
        if room.sharing is not None:
            room.sharing.note_event()
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
        known = self.room.kind.receives.by_class.get(kind)
        if known is None or known.delivery != "latest":
            self.room.kind.check_receives(kind)
            had = event_type(kind).delivery
            raise TypeError(f"{kind.__name__} has delivery={had!r}, and only events with 'latest' are stored")
        return self._latest.get((known.name, key))

    async def ask(self, question: Any, *answers: Any) -> Any:
        """See `Player.ask`."""
        if self.left:
            raise Gone(self.name)
        self.room.kind.check_receives(*answer_classes(*answers))
        self.recheck_space()
        return await self.requests.ask(question, *answers)

    def shielded_cleanup(self) -> ShieldedCleanup:
        """See `Player.shielded_cleanup`."""
        since = trio.current_time() if self._left_at is None else self._left_at
        return self.room.shielded_cleanup(since, self.task_name, self.log_context)

    @property
    def task_name(self) -> str:
        """The name of the task of `Room.player` in the log."""
        return f"room {self.room.path}: player() of seat {self.number} ({self.name!r})"

    async def wait_started(self) -> None:
        """Wait until the task of `Room.player` has begun or the player has left. Call this before `deliver`.

        *Cancellation*: nothing is lost.
        """
        if self._early_until < math.inf or self.left:  # `start` sets the time
            await trio.lowlevel.checkpoint()
            return
        if self._started is None:
            self._started = trio.Event()
        await self._started.wait()

    def start(self) -> None:
        """Record that the task of `Room.player` begins now."""
        self.room.ledger.start(self)
        self._early_until = trio.current_time() + EARLY_SECONDS
        self._note_started()

    def _note_started(self) -> None:
        if self._started is not None:
            self._started.set()
            self._started = None

    def forget_latest(self) -> None:
        """Delete the latest values of the client."""
        self._latest.clear()

    def leave(self, code: Code, reason: str = "") -> bool:
        """End the player's stay in the room. Return False, without effect, if the player has already left.

        When this method returns, another player can take the seat, the player's turns and waits have ended, and the
        task of `Room.player` is cancelled.
        """
        if self.room.sharing is not None and not self.left:
            self.room.sharing.flush(last=True)  # the last changes come before the goodbye
        if not self.room.ledger.leave(self, Ending(code, reason)):
            return False
        self._left_at = trio.current_time()
        self.scope.cancel(f"left: {code.name.lower()}")
        self.room.note_strain(self, strained=False)
        self.listeners.close(lambda: Gone(self.name))
        self._end_early()
        self.requests.close(lambda: Gone(self.name))
        self.recheck_space()
        self._note_started()
        self.room.ledger.remove(self)
        return True

    def end(self) -> None:
        """End the seat, after the task of `Room.player` has ended."""
        assert self.ending is not None
        self.forget_latest()
        self.room.ledger.release_number(self.number)
        self.seat.end(self.ending.code, self.ending.reason)

    def record(self, seat: SeatRecord) -> PlayerRecord:
        """Return a record from which another server can restore this player.

        Args:
          seat: the record of the player's seat.
        """
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
            asked=self.requests.sent_requests,
            unanswered=sorted(self.requests.unsettled - numbers),
            pending=[messages.to_plain(message) for message in pending],
            seat=seat,
            options=None if self.seat.options is None else unstructure(self.seat.options, rename=self.room.kind.rename),
        )

    def restore(self, record: PlayerRecord) -> None:
        """Restore the player from a record that another server has written."""
        self.restored = True
        self.requests.restore(record.asked)
        self._to_deliver = [messages.from_plain(plain, len(JSON.encode(plain))) for plain in record.pending]
        for number in record.unanswered:
            self.requests.refuse("crashed", "the server that received this request is gone", "", number)

    def deliver_restored(self) -> None:
        """Deliver the messages that another server received, and that the room's code did not take there."""
        to_deliver, self._to_deliver = self._to_deliver, []
        for message in to_deliver:
            self.deliver(message)

    def statistics(self) -> PlayerStatistics:
        """Return the current statistics of the player."""
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

    @property
    def has_space(self) -> bool:
        """True if the connection may deliver one more message.

        This is the case while the inbox has space and the player need not be slowed (see `_slowed`). This is also the
        case while the room waits for replies or acks of this player, because these may arrive after other events. The
        full inbox then refuses such events as ``busy``. The value is also True once the player has left, because later
        messages are dropped.
        """
        strained = self.room.strained
        if not (self._waiting or strained):  # nearly always, and this runs for each frame
            return True
        slowed = strained and self._slowed
        return not (self._full or slowed) or self.requests.asking or self.seat.pressed or self.left

    @property
    def _slowed(self) -> bool:
        """True if this player has lately exceeded half of the byte pace, and another player is in `strained`."""
        return self.room.strained_except(self) and self.seat.low_rate_at > trio.current_time()

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= self.seat.inbox or self._waiting_bytes >= self.seat.inbox_bytes

    async def wait_space(self) -> None:
        """Wait until half of the inbox is free, or until `has_space` is true for another reason.

        *Cancellation*: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        while not self.has_space:
            if self._space is None:
                self._space = trio.Event()
            with trio.move_on_at(self.seat.low_rate_at if self._slowed and not self._full else math.inf):
                await self._space.wait()

    def recheck_space(self) -> None:
        """Make the task in `wait_space` check `has_space` again."""
        if self._space is not None:
            self._space.set()
            self._space = None

    def deliver(self, message: messages.Message) -> None:
        """Deliver a message to the code that waits for it, or refuse the message with a typed error. Never waits."""
        if self.ending is not None:
            return
        if self.room.journal is not None:
            self.room.journal.mark_changed(self)
        match message:
            case messages.Event() | messages.Request():  # the first case, because nearly all messages are events
                event = self.requests.read_event(message)
                if event is not None:
                    self._route(event, message)
            case messages.Error(id=None):
                self._note_unusable(message)
            case messages.Reply() | messages.Part() | messages.Error():
                self.requests.receive_reply(message)
            case messages.Cancel():
                self.requests.receive_cancel(message)

    def _note_unusable(self, error: messages.Error) -> None:
        """Count an event that the client could not use. Log only the first for each event name and kind of room."""
        counters, kind = self.room.counters, self.room.kind
        counters.unusable += 1
        event = error.about if error.about in kind.sends.by_name else "a message"
        if counters.is_first("unusable", kind, event):
            text = "the client of %r could not use %s of %s: %s: %.300r"
            why = (error.problem[:20], error.message)
            log.warning(text, self.name, event, kind.class_name, *why, extra=self.log_context)

    def refuse(self, fault: InvalidEvent) -> None:
        """Send the client an error about an invalid message."""
        if not self.left:
            self.requests.refuse(fault.problem, str(fault), fault.about, fault.request)

    def _route(self, event: Any, message: messages.Event | messages.Request) -> None:
        """Give an event to the most specific listener. If there is no listener, refuse any event but a latest value."""
        kind = self.room.kind.receives.by_name[message.name]
        stored = kind.delivery == "latest" and isinstance(message, messages.Event)
        if stored:
            self._latest.put(kind.key_of(event), event, message.size)
            self.room.counters.received += 1
            if not (message.too_fast or self.listeners or self.room.listeners):  # usually, only `latest` reads it
                self._too_fast = False
                return
        arrival = PlayerArrival(self, event, message, stored, message.size)
        if message.too_fast:
            if not self._too_fast:  # only the first of a series is answered, because many errors would be a flood, too
                arrival.refuse("too_fast", TOO_FAST)
            elif not stored:
                self._note_refusal("too_fast", TOO_FAST, message.name)
            self._too_fast = True
            return
        self._too_fast = False
        if self._full:
            arrival.refuse("busy", f"{len(self._waiting)} events are waiting: the inbox is full")
            return
        self._waiting[arrival] = None
        self._waiting_bytes += message.size
        if self.listeners.give(arrival, self.room.listeners):
            return
        early = self._early
        if early is not None and self._may_wait(arrival, early):
            if self._early_scope is None:
                self._early_scope = trio.CancelScope(deadline=self._early_until)
                assert self.room.nursery is not None  # the player's task runs in it
                self.room.nursery.start_soon(self._end_early_in_time, self._early_scope)
            early.append(arrival)
        else:
            arrival.refuse_unheard()

    def _may_wait(self, arrival: PlayerArrival, early: list[PlayerArrival]) -> bool:
        """Return True if an event that no listener takes may wait, because `Room.player` has not listened yet.

        If the author's room has no `player`, its `run` listens when it wants an event, so no event waits.
        """
        early_enough = len(early) < MAX_EARLY and trio.current_time() < self._early_until
        return self.room.kind.has_player and early_enough and not arrival.stored

    async def _end_early_in_time(self, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep_forever()
        self._end_early()

    def _give_early(self) -> None:
        """Give the early events to the listeners, in order. The rest waits until other code that is ready has listened,
        too."""
        if self._early is not None:
            self._early = [each for each in self._early if not self.listeners.give(each, self.room.listeners)]
            self.room.call_soon(self._end_early)

    def _end_early(self) -> None:
        """Give the early events to the listeners, in order, and refuse those that no listener takes."""
        early, self._early = self._early, None
        if self._early_scope is not None:
            self._early_scope.cancel("early events no longer wait")
        for arrival in early or ():
            if not self.listeners.give(arrival, self.room.listeners):
                arrival.refuse_unheard()

    def move_deadline(self, before: float, after: float) -> None:
        self.requests.move_deadline(before, after)

    def offer_early(self) -> None:
        if self._early:
            self._early = [arrival for arrival in self._early if not self.listeners.give(arrival, self.room.listeners)]

    def _tell(self, message: Outgoing) -> None:
        if self.room.lease.over:
            return
        if self.room.sharing is not None:
            self.room.sharing.note_event()
        self.room.counters.sent += 1
        self.seat.send(message)

    def _check_size(self, message: Outgoing) -> None:
        if message.size > LARGE_BYTES:
            self.seat.check_size(message)
        if self.seat.crowded:
            self.seat.check_crowded(message)

    def _note_refusal(self, problem: MessageProblem, text: str, about: str) -> None:
        if problem == "cancelled":  # not a fault: the sender cancelled its own request
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
            log_context=self.log_context,
        )

    def _note_unanswered(self, name: str, place: str) -> None:
        """Log the first request of each event of each kind of room that the author's code drops unanswered."""
        counters, kind = self.room.counters, self.room.kind
        if counters.is_first("unanswered", kind, name, place):
            text = "%s has dropped a request %r of %r without an answer, in the room %r"
            log.warning(text, place or "the room", name, self.name, self.room.path, extra=self.log_context)

    def _note_dropped(self, key: Hashable, _: Any) -> None:
        assert isinstance(key, tuple)
        most = f"{self._latest.max_values} keys or {self._latest.max_bytes} bytes"
        text = f"more than {most} of latest values: the oldest was dropped"
        self.requests.refuse("busy", text, key[0], None)

    def note_taken(self, arrival: PlayerArrival) -> None:
        """Remove an event from the inbox, because it is taken or refused."""
        del self._waiting[arrival]
        self._waiting_bytes -= arrival.message.size
        if self.room.journal is not None:
            self.room.journal.mark_changed(self)
        if (  # only if half of the inbox is free, because waking the reader for each event would cost more
            self._space is not None
            and 2 * len(self._waiting) <= self.seat.inbox
            and 2 * self._waiting_bytes <= self.seat.inbox_bytes
        ):
            self.recheck_space()

    def refuse_arrival(self, arrival: PlayerArrival, problem: MessageProblem, text: str) -> None:
        """Send the client an error about its event, unless the event is a latest value, which is stored."""
        self.requests.forget_request(arrival.event)
        if not (arrival.stored or self.left):
            number = arrival.message.id if isinstance(arrival.message, messages.Request) else None
            self.requests.refuse(problem, text, arrival.message.name, number)


@attrs.define(eq=False)
class PlayerArrival(Arrival):
    """An event of a player that the author's code has not taken yet."""

    member: PlayerRuntime
    event: Any
    message: messages.Event | messages.Request
    stored: bool
    """True for a latest value, which is stored even without a listener."""

    size: int

    def take(self) -> Callable[[], object] | None:
        self.member.note_taken(self)
        if not self.stored:
            self.member.room.counters.received += 1
        return self.member.requests.note_taken(self.event) if type(self.message) is messages.Request else None

    def refuse_unheard(self) -> None:
        self.member.note_taken(self)
        self.refuse("not_now", "nobody is listening for this now")

    def refuse(self, problem: MessageProblem, text: str) -> None:
        self.member.refuse_arrival(self, problem, text)
