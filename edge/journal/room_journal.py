"""The journal of a persistent room: its state, its seats, and what it has sent.

An entry is what is true between two steps of Trio, so that state, seats and events fit together. A reliable event
leaves the room only after the entry that has it is written, and what a client sent is acknowledged only then: so the
journal knows whatever a client knows, and both resume where they were on another server. The end of a seat or of the
room is an entry, too: nobody is told of it before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from ..protocol.codec import MESSAGEPACK
from ..protocol.events import event_type
from ..protocol.messages import from_plain
from ..protocol.outgoing import Outgoing
from ..protocol.structure import structure
from ..protocol.unstructure import unstructure
from ..rooms.journal import Journal
from ..rooms.kind import decided
from ..rooms.ledger import Member
from ..rooms.records import MessageTable, SeatRecord
from ..rooms.room_runtime import RoomRuntime
from ..rooms.seat import Seat
from ..rooms.session import Session

# An entry that repeats everything comes after so many that have only changes.
WHOLE_EVERY = 64
# How long a closed room waits until its journal says so. A lease that ends sooner ends the wait.
CONCLUDE_SECONDS = 10.0


@attrs.frozen
class JournalEntry:
    """One entry."""

    whole: bool
    """True if it repeats everything."""
    age: float
    """What the room's clock showed, in seconds."""
    seats: list[SeatRecord]
    """The seats that are new or have changed; in a whole entry, all."""
    left: list[str]
    """The sessions whose seats are no more."""
    messages: list[Any]
    """The messages that seats refer to by their index."""
    state: Any = None
    """What `Room.snapshot` returned: in every entry if the room has no `Room.facts`, else in whole ones."""
    facts: list[list[Any]] = attrs.field(factory=list)
    """What `Room.persist` was given since the previous entry: names and bodies."""


@attrs.frozen
class Draft:
    """An entry as it is to be written."""

    data: bytes
    whole: bool = False
    over: bool = False
    """True if the room is over with it."""


class RoomJournal(Journal):
    """The journal of one room.

    Args:
      notify: called when there is something to write, until `next_entry` is called.
    """

    def __init__(self, room: RoomRuntime, notify: Callable[[RoomJournal], object]) -> None:
        self.room = room
        self.number = 0
        """How many entries there have been under this lease."""
        self.changes = 0
        """How many changes there were since the newest entry."""
        self._notify = notify
        self._facts: list[Any] = []
        self._changed: dict[Member, None] = {}
        """Who is to be told of in the next entry."""
        self._left: list[str] = []
        """The sessions of those who have left since the newest entry."""
        self._written: list[Seat] = []
        """The seats whose news are in the newest entry."""
        self._rewrite = False
        """True if the broker has lost the entries before."""
        self.written_number = 0
        """How many of the entries are written."""
        self._written_event = trio.Event()
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

    def mark_changed(self, member: Member | None = None) -> None:
        if member is not None:
            self._changed[member] = None
        self.changes += 1
        self._notify(self)

    def note_left(self, member: Member) -> None:
        self._left.append(member.session.id)
        self.mark_changed()

    def note_fact(self, fact: Any) -> None:
        self._facts.append(fact)
        self.mark_changed()

    def note_end(self, seat: Seat) -> None:
        if self.concluded:
            seat.conclude()
        elif self.over or self.room.lease.over:
            seat.move_on()
        else:
            self._ending.append(seat)
            self.awaited = True
            self.mark_changed()

    def conclude(self) -> None:
        self.concluding = self.awaited = True
        self.mark_changed()

    def next_entry(self) -> Draft:
        """The next entry, with all changes. Before you ask for another, call `note_written` or `note_lost`.

        Raises:
          Exception: whatever the author's `snapshot` raises, or why what that returns can't be written.
        """
        self.changes, self.awaited, self._ended = 0, False, len(self._ending)
        if self.concluding:
            self._draft = Draft(b"", over=True)
        else:
            self._draft = self._write()
        self.number += 1
        return self._draft

    def _write(self) -> Draft:
        room, kind, table = self.room, self.room.kind, MessageTable()
        whole = self._rewrite or self.number % WHOLE_EVERY == 0
        self._rewrite = False
        changed, self._changed = self._changed, {}
        left, self._left = self._left, []
        facts, self._facts = self._facts, []
        seats, records = [], []
        for player in room.players if whole else changed:
            held = player.seat.record(table, whole=whole) if not player.left else None
            if held is not None:
                seats.append(player.seat)
                records.append(player.record(held))
        entry = JournalEntry(
            whole=whole,
            age=room.now(),
            seats=records,
            left=[] if whole else left,
            messages=table.plain,
            state=unstructure(decided("snapshot()", room.room.snapshot()), kind.state_class)
            if whole or not kind.facts.by_class
            else None,
            facts=[] if whole else [[event_type(type(fact)).name, unstructure(fact)] for fact in facts],
        )
        data = MESSAGEPACK.encode(unstructure(entry))
        assert isinstance(data, bytes)
        self._written = seats
        return Draft(data, whole=whole)

    def _state(self) -> Any:
        """What the author's `snapshot` returns, as plain data."""
        return unstructure(decided("snapshot()", self.room.room.snapshot()), self.room.kind.state_class)

    def note_written(self) -> None:
        """The newest entry is written."""
        if self._draft.over:
            self._finish()
        else:
            for seat in self._written:
                seat.recorded()
            ended, self._ending = self._ending[: self._ended], self._ending[self._ended :]
            for seat in ended:
                seat.conclude()
        self._written = []
        self.written_number = self.number
        written, self._written_event = self._written_event, trio.Event()
        written.set()

    def note_lost(self) -> None:
        """The newest entry is not written, nor are all before it: the next one is whole."""
        self._rewrite = True
        self.mark_changed()

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

    async def wait_written(self) -> None:
        number = self.number + 1  # one that is on its way may be older
        self.awaited = True
        self.mark_changed()
        while self.written_number < number and not (self.over or self.room.lease.over or self.room.closing):
            await self._written_event.wait()

    async def close(self) -> None:
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
        self._written_event.set()


@attrs.define
class Recovery:
    """What a journal says, from its newest whole entry on."""

    age: float = 0.0
    state: Any = None
    facts: list[list[Any]] = attrs.field(factory=list)
    seats: dict[str, tuple[SeatRecord, list[Outgoing]]] = attrs.field(factory=dict)
    """By session: each with the messages that its client has not acknowledged."""


def read_entries(entries: Sequence[bytes]) -> Recovery:
    """Read a journal.

    Raises:
      InvalidEvent: an entry is not one of this version.
    """
    recovery = Recovery()
    for data in entries:
        entry = structure(MESSAGEPACK.decode(data), JournalEntry)
        if entry.whole:
            recovery = Recovery()
        recovery.age = entry.age
        if entry.state is not None:
            recovery.state = entry.state
        recovery.facts += entry.facts
        for session in entry.left:
            recovery.seats.pop(session, None)
        messages = [Outgoing(from_plain(plain)) for plain in entry.messages]
        for record in entry.seats:
            before = recovery.seats.get(record.session)
            said = [messages[index] for index in record.held["said"]]
            if before is not None and not record.held["anew"]:
                said = before[1] + said
            unacked = record.held["sent"] - record.held["acked"]
            latest = [entry.messages[index] for index in record.held["latest"]]
            held = {**record.held, "latest": latest}
            recovery.seats[record.session] = attrs.evolve(record, held=held), said[len(said) - unacked :]
    return recovery


def restore(
    room: RoomRuntime, recovery: Recovery, restore_seat: Callable[[SeatRecord, list[Outgoing]], object]
) -> None:
    """Restore a room that does not live yet from its journal.

    Raises:
      Exception: whatever the author's `restore` or `apply` raises, or why its state is none.
    """
    room.set_age(recovery.age)
    room.ledger.reserve(record.number for record, _ in recovery.seats.values())
    for record, unacked in recovery.seats.values():
        restore_seat(record, unacked)
    cls = room.kind.state_class
    state = recovery.state if cls is None else structure(recovery.state, cls)
    decided("restore()", room.room.restore(state))
    for name, body in recovery.facts:
        decided("apply()", room.room.apply(structure(body, room.kind.facts.by_name[name].cls)))


def session_of(record: SeatRecord) -> Session:
    """Whose seat it is."""
    return Session(record.session, record.session_name, record.claims, guest=record.guest)
