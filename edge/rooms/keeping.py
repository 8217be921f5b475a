"""What a room keeps in its log, so that another server can go on with it: its state, its seats, what it has said.

An entry is what is true between two steps of Trio, so state, seats and events fit together. What a room has said
reliably leaves it only once the entry that says so is in the log, and what it has heard is acknowledged only then: so
whatever a client knows, the log knows, and at another server both go on where they were. An end is an entry, too:
nobody is told of it before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ..protocol.codec import MESSAGEPACK
from ..protocol.events import event_type
from ..protocol.messages import from_plain
from ..protocol.outgoing import Outgoing
from ..protocol.structure import structure
from ..protocol.unstructure import unstructure
from .session import Session

if TYPE_CHECKING:
    from .player import Player
    from .room import Room
    from .seat import Seat

# An entry that repeats everything comes after so many that tell what is new.
WHOLE_EVERY = 64
# How long a room that has closed waits for its log to say so. One that has a lease for no longer does not go beyond it.
CONCLUDE_SECONDS = 10.0


@attrs.frozen
class SeatRecord:
    """One seat, and its player."""

    session: str
    session_name: str
    claims: dict[str, Any]
    guest: bool
    name: str
    number: int
    asked: int
    """How many questions the room has asked."""
    unanswered: list[int]
    """The numbers of the client's requests that the room has taken, and not answered."""
    pending: list[Any]
    """Messages that have come, and that the room has not taken."""
    held: dict[str, Any]
    """What the seat itself keeps."""


@attrs.frozen
class Chapter:
    """One entry of a log."""

    whole: bool
    age: float
    """What the room's clock showed."""
    seats: list[SeatRecord]
    """Those that are new or have changed; in a whole entry, all."""
    left: list[str]
    """The sessions whose seats are no more."""
    messages: list[Any]
    """What seats refer to by its index."""
    state: Any = None
    """What `Room.snapshot` gave; without `Room.facts` in every entry, else in whole ones."""
    facts: list[list[Any]] = attrs.field(factory=list)
    """What `Room.persist` was given since the entry before: names and bodies."""


class Table:
    """The messages of an entry, each once."""

    def __init__(self) -> None:
        self.plain: list[Any] = []
        self._indices: dict[int, int] = {}

    def index(self, message: Outgoing) -> int:
        """Where a message is."""
        if id(message) not in self._indices:
            self._indices[id(message)] = len(self.plain)
            self.plain.append(message.plain)
        return self._indices[id(message)]


@attrs.frozen
class Draft:
    """An entry as it is to be written."""

    data: bytes
    whole: bool = False
    over: bool = False


class Keeper:
    """Keeps one room's log.

    Args:
      notify: told when there is something to write, until `entry` is called.
    """

    def __init__(self, room: Room[Any, Any], notify: Callable[[Keeper], object]) -> None:
        self.room = room
        self.number = 0
        """How many entries there have been under this lease."""
        self.news = 0
        """How much has happened since the newest entry."""
        self._notify = notify
        self._facts: list[Any] = []
        self._changed: dict[Player[Any, Any], None] = {}
        """Who is to be told of in the next entry."""
        self._left: list[str] = []
        """The sessions of those who have left since the newest entry."""
        self._written: list[Seat] = []
        """The seats whose news are in the newest entry."""
        self._anew = False
        """Whether what the log had is forgotten."""
        self.kept_number = 0
        """How many of the entries, and all before them, are in the log."""
        self._kept = trio.Event()
        self.awaited = False
        """Whether somebody waits for the next entry."""
        self.over = False
        """Whether nothing more is kept."""
        self.concluding = False
        """Whether the room is closing: the next entry says that it is over."""
        self.concluded = False
        """Whether that is in the log, so that nobody goes on with the room; or is not waited for any more."""
        self._concluded = trio.Event()
        self._ending: list[Seat] = []
        """The seats whose players have ended, which wait for the log to say so..."""
        self._ended = 0
        """...and of how many the newest entry does."""
        self._draft = Draft(b"")
        """The newest entry."""

    def touch(self, player: Player[Any, Any] | None = None) -> None:
        """Something has happened that should be kept, to this player or to the room."""
        if player is not None:
            self._changed[player] = None
        self.news += 1
        self._notify(self)

    def note_left(self, player: Player[Any, Any]) -> None:
        """A player has left."""
        self._left.append(player.session.id)
        self.touch()

    def note_fact(self, fact: Any) -> None:
        """The room has recorded a fact."""
        self._facts.append(fact)
        self.touch()

    def note_end(self, seat: Seat) -> None:
        """A player has ended: what its seat says last waits for the log."""
        if self.concluded:
            seat.conclude()
        elif self.over or self.room.lease.over:
            seat.move_on()
        else:
            self._ending.append(seat)
            self.awaited = True
            self.touch()

    def conclude(self) -> None:
        """The room closes for good: say so in the log."""
        self.concluding = self.awaited = True
        self.touch()

    def entry(self) -> Draft:
        """What is new. Before the next is asked for, call `kept`, once it is in the log, or `forgotten`.

        Raises:
          Exception: whatever the author's `snapshot` raises, or why what it gives can't be written.
        """
        self.news, self.awaited, self._ended = 0, False, len(self._ending)
        if self.concluding:
            self._draft = Draft(b"", over=True)
        else:
            self._draft = self._write()
        self.number += 1
        return self._draft

    def _write(self) -> Draft:
        room, whole, table = self.room, self._anew or self.number % WHOLE_EVERY == 0, Table()
        self._anew = False
        changed, self._changed = self._changed, {}
        left, self._left = self._left, []
        facts, self._facts = self._facts, []
        seats, records = [], []
        for player in room.players if whole else changed:
            held = player.seat.keep(table, whole=whole) if not player.left else None
            if held is not None:
                seats.append(player.seat)
                records.append(player.record(held))
        chapter = Chapter(
            whole=whole,
            age=room.now(),
            seats=records,
            left=[] if whole else left,
            messages=table.plain,
            state=unstructure(room.snapshot(), room.state_class) if whole or not room.facts.classes else None,
            facts=[] if whole else [[event_type(type(fact)).name, unstructure(fact)] for fact in facts],
        )
        data = MESSAGEPACK.encode(unstructure(chapter))
        assert isinstance(data, bytes)
        self._written = seats
        return Draft(data, whole=whole)

    def kept(self) -> None:
        """The newest entry is in the log."""
        if self._draft.over:
            self._finish()
        else:
            for seat in self._written:
                seat.kept()
            ended, self._ending = self._ending[: self._ended], self._ending[self._ended :]
            for seat in ended:
                seat.conclude()
        self._written = []
        self.kept_number = self.number
        kept, self._kept = self._kept, trio.Event()
        kept.set()

    def forgotten(self) -> None:
        """The newest entry is not in the log, nor is all that came before: the next is whole."""
        self._anew = True
        self.touch()

    def give_up(self) -> None:
        """The log can't be reached: where the room goes on all the same, endings are told without it."""
        if self.room.lease.goes_on:
            if self.concluding:
                self._finish(unconfirmed=True)
            self._say_endings(unconfirmed=True)

    def _finish(self, *, unconfirmed: bool = False) -> None:
        self.concluded = True
        self.room.lease.conclude()
        self._say_endings(unconfirmed=unconfirmed)
        self._concluded.set()

    def _say_endings(self, *, unconfirmed: bool) -> None:
        ending, self._ending, self._ended = self._ending, [], 0
        for seat in ending:
            seat.conclude(unconfirmed=unconfirmed)

    async def wait_kept(self) -> None:
        """Wait until all that has happened up to now is kept, or never will be."""
        number = self.number + 1  # one that is on its way may be older
        self.awaited = True
        self.touch()
        while self.kept_number < number and not (self.over or self.room.lease.over or self.room.closing):
            await self._kept.wait()

    async def close(self) -> None:
        """The room has closed: wait until the log says so, or another may have the room; then nothing more is kept."""
        lease, until = self.room.lease, trio.current_time() + CONCLUDE_SECONDS
        with trio.CancelScope(shield=True):
            while self.concluding and not (self.concluded or lease.over) and trio.current_time() < until:
                with trio.move_on_at(min(lease.until, until)):
                    await self._concluded.wait()
        if self.concluding and not self.concluded:
            self.give_up()
            lease.lose()
        self.over = True
        for seat in self._ending:
            seat.move_on()
        self._kept.set()


@attrs.define
class Story:
    """What a log tells."""

    age: float = 0.0
    state: Any = None
    facts: list[list[Any]] = attrs.field(factory=list)
    seats: dict[str, tuple[SeatRecord, list[Outgoing]]] = attrs.field(factory=dict)
    """By session: each with the messages that its client has not acknowledged."""


def read(entries: Sequence[bytes]) -> Story:
    """What a log tells, from its last whole entry on.

    Raises:
      InvalidEvent: it is not one of this version.
    """
    story = Story()
    for entry in entries:
        chapter = structure(MESSAGEPACK.decode(entry), Chapter)
        if chapter.whole:
            story = Story()
        story.age = chapter.age
        if chapter.state is not None:
            story.state = chapter.state
        story.facts += chapter.facts
        for session in chapter.left:
            story.seats.pop(session, None)
        messages = [Outgoing(from_plain(plain)) for plain in chapter.messages]
        for record in chapter.seats:
            before = story.seats.get(record.session)
            said = [messages[index] for index in record.held["said"]]
            if before is not None and not record.held["anew"]:
                said = before[1] + said
            unacked = record.held["sent"] - record.held["acked"]
            latest = [chapter.messages[index] for index in record.held["latest"]]
            held = {**record.held, "latest": latest}
            story.seats[record.session] = attrs.evolve(record, held=held), said[len(said) - unacked :]
    return story


def restore(room: Room[Any, Any], story: Story, seat_again: Callable[[SeatRecord, list[Outgoing]], object]) -> None:
    """Have a room that is not open yet go on where its log ends.

    Raises:
      Exception: whatever the author's `restore` or `apply` raises, or why its state is none.
    """
    room.go_on(story.age)
    room.seats.reserve(record.number for record, _ in story.seats.values())
    for record, unacked in story.seats.values():
        seat_again(record, unacked)
    cls = room.state_class
    room.restore(story.state if cls is None else structure(story.state, cls))
    for name, body in story.facts:
        room.apply(structure(body, room.facts.by_name[name].cls))


def session_of(record: SeatRecord) -> Session:
    """Whose seat it is."""
    return Session(record.session, record.session_name, record.claims, guest=record.guest)
