"""The journal of a persistent room: its state, its seats, and the messages that it has sent.

edge makes an entry in synchronous code, so that state, seats and events are consistent. A reliable event is sent only
after the entry that contains the event is written. A client's message is acknowledged only after the entry that
contains the message is written. So another server can resume each client from the journal, and no message is lost.
The end of a seat or of the room is also written to the journal before clients are informed.
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
from ..rooms.journal import Journal, RestorableSeat
from ..rooms.kind import decided
from ..rooms.ledger import Member
from ..rooms.records import MessageTable, PlayerRecord, RecoveredPlayer
from ..rooms.room_runtime import RoomRuntime
from ..rooms.session import Session
from .documents import DocumentRecorder, combine, restore_documents

# One entry in this many is whole, which means that it has the complete state of the room. The other entries have only
# changes.
WHOLE_EVERY = 64
# A closed room waits at most this many seconds for its end to be written. The wait also ends when the lease ends.
CONCLUDE_SECONDS = 10.0


@attrs.frozen
class JournalEntry:
    """The content of an entry, before it is encoded."""

    whole: bool
    """True if the entry has the complete state of the room, not only changes."""
    age: float
    """The room's clock, in seconds."""
    players: list[PlayerRecord]
    """The players who are new or have changed; in a whole entry, all players."""
    left: list[str]
    """The ids of the sessions of players who have left since the previous entry."""
    messages: list[Any]
    """The messages of the seats. `SeatRecord` refers to them by their index in this list."""
    state: Any = None
    """The result of `Room.snapshot`. If the room has `Room.facts`, only whole entries contain the state."""
    facts: list[list[Any]] = attrs.field(factory=list)
    """The facts given to `Room.persist` since the previous entry, each as its name and its body."""
    options: Any = None
    """In a whole entry: the join options with which the room was opened, as plain data."""
    documents: dict[str, dict[str, list[Any]]] = attrs.field(factory=dict)
    """The changes of the shared documents: see `DocumentRecorder.record`."""


@attrs.frozen
class Draft:
    """An encoded entry."""

    data: bytes
    whole: bool = False
    over: bool = False
    """True if the entry says that the room has closed for good."""


class RoomJournal(Journal):
    """The journal of one room.

    Args:
      room: the run time of the room.
      notify: called with this journal after each change that has to be written.
    """

    def __init__(self, room: RoomRuntime, notify: Callable[[RoomJournal], object]) -> None:
        self.room = room
        self.number: int = 0
        """The number of the newest entry under this lease; 0 before the first."""
        self.changes: int = 0
        """The number of changes since the newest entry."""
        self._notify = notify
        self._documents = DocumentRecorder(room)
        self._shares = room.sharing if room.kind.persists_documents else None
        """The shared documents that the journal has; None if it has none."""
        if self._shares is not None:
            self._shares.note_changed = self.mark_changed
        self._facts: list[Any] = []
        self._changed: set[Member] = set()
        """The players whose records the next entry has to contain."""
        self._left: list[str] = []
        """The ids of the sessions of the players who have left since the newest entry."""
        self._recorded: list[RestorableSeat] = []
        """The seats whose records are in the newest entry."""
        self._rewrite = False
        """True if the next entry must be whole, because earlier entries may be lost."""
        self.written_number: int = 0
        """The number of the newest written entry; 0 before the first."""
        self._written_event = trio.Event()
        self.awaited: bool = False
        """True if the next entry is urgent, because a task or a goodbye waits for the entry."""
        self.over: bool = False
        """True once the journal is closed, so that no further entries are written."""
        self.concluding: bool = False
        """True if the next entry has to record that the room has closed for good."""
        self.concluded: bool = False
        """True once the end of the room is written, or once the room no longer waits for the end to be written."""
        self._concluded = trio.Event()
        self._ending: list[RestorableSeat] = []
        """The seats whose players have ended but whose ends are not written yet, the oldest first."""
        self._ended = 0
        """The number of seats at the beginning of `_ending` whose ends are in the newest entry."""
        self._draft = Draft(b"")
        """The newest entry."""

    @property
    def held(self) -> bool:
        """True if no entry may be written now: a block of `Room.changing` is open, so half of a change may be made.

        All other changes wait for the end of the block, too, because an entry acknowledges the messages that led to
        them.
        """
        return self._shares is not None and bool(self._shares.held) and not self.concluding

    def mark_changed(self, member: Member | None = None) -> None:
        if member is not None:
            self._changed.add(member)
        if not (self.room.set_up.is_set() or self.concluding):
            return  # the journal begins once the room is set up: `snapshot` may need what `setup` loads
        self.changes += 1
        self._notify(self)

    def note_left(self, member: Member) -> None:
        self._left.append(member.session.id)
        self._documents.forget(member.session.id)
        self.mark_changed()

    def note_fact(self, fact: Any) -> None:
        self._facts.append(fact)
        self.mark_changed()

    def note_end(self, seat: RestorableSeat) -> None:
        if self.concluded:
            seat.conclude()
        elif self.over or self.room.lease.over:
            seat.hand_over()
        else:
            self._ending.append(seat)
            self.awaited = True
            self.mark_changed()

    def conclude(self) -> None:
        self.concluding = self.awaited = True
        self.mark_changed()

    def next_entry(self) -> Draft:
        """Return an entry with all changes since the previous entry.

        Call `note_written` or `note_lost` before you call this method again.

        Raises:
          Exception: the author's `snapshot` raised this exception, or the result of `snapshot` can't be encoded.
        """
        self.changes, self.awaited, self._ended = 0, False, len(self._ending)
        if self._shares is not None:
            self._shares.draft()
        if self.concluding:
            self._draft = Draft(b"", over=True)
        else:
            self._draft = self._write()
        self.number += 1
        return self._draft

    def _write(self) -> Draft:
        room, table = self.room, MessageTable()
        whole = self._rewrite or self.number % WHOLE_EVERY == 0
        self._rewrite = False
        changed, self._changed = self._changed, set()
        left, self._left = self._left, []
        facts, self._facts = self._facts, []
        seats, records = list[RestorableSeat](), []
        for player in room.players:
            if (whole or player in changed) and isinstance(seat := player.seat, RestorableSeat):
                seats.append(seat)
                records.append(player.record(seat.record(table, whole=whole)))
        entry = JournalEntry(
            whole=whole,
            age=room.now(),
            players=records,
            left=[] if whole else left,
            messages=table.plain,
            state=self._state() if whole or not room.kind.facts.by_class else None,
            facts=[] if whole else [[event_type(type(fact)).name, unstructure(fact)] for fact in facts],
            options=room.opening.options if whole else None,
            documents=self._documents.record(whole=whole),
        )
        data = MESSAGEPACK.encode(unstructure(entry))
        assert isinstance(data, bytes)
        self._recorded = seats
        return Draft(data, whole=whole)

    def _state(self) -> Any:
        """Call the author's `snapshot`, if there is one, and return the result as plain data."""
        if not self.room.kind.has_snapshot:
            return None
        return unstructure(decided("snapshot()", self.room.facade.snapshot()), self.room.kind.state_class)

    def note_written(self) -> None:
        """Send the messages and the goodbyes that waited for the newest entry. Called when that entry is written."""
        if self._draft.over:
            self._finish()
        else:
            if self._shares is not None:
                self._shares.deliver()  # before the events, which may have been sent after the changes
            for seat in self._recorded:
                seat.recorded()
            ended, self._ending = self._ending[: self._ended], self._ending[self._ended :]
            for seat in ended:
                seat.conclude()
        self._recorded = []
        self.written_number = self.number
        written, self._written_event = self._written_event, trio.Event()
        written.set()

    def note_lost(self) -> None:
        """Request a whole entry. Called when the newest entry could not be written or earlier entries may be lost."""
        self._rewrite = True
        self.mark_changed()

    def give_up(self) -> None:
        """If the room continues without the broker, send clients the waiting goodbyes, marked as unconfirmed.

        Called when the broker has been unreachable for a lease period, or when a closed room stops waiting.
        """
        if self.room.lease.continues_without_broker:
            if self.concluding:
                self._finish(unconfirmed=True)
            self._say_endings(unconfirmed=True)

    def _finish(self, *, unconfirmed: bool = False) -> None:
        self.concluded = True
        if self._shares is not None:
            self._shares.deliver()
        self.room.lease.conclude()
        self._say_endings(unconfirmed=unconfirmed)
        self._concluded.set()

    def _say_endings(self, *, unconfirmed: bool) -> None:
        ending, self._ending, self._ended = self._ending, [], 0
        for seat in ending:
            seat.conclude(unconfirmed=unconfirmed)

    async def wait_written(self) -> None:
        number = self.number + 1  # not `self.number`, because the entry being written may lack the newest changes
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
            seat.hand_over()
        self._written_event.set()


@attrs.define
class Recovery:
    """The combined content of a journal, from its newest whole entry to its last entry."""

    age: float = 0.0
    state: Any = None
    facts: list[list[Any]] = attrs.field(factory=list)
    options: Any = None
    """The join options with which the room was opened, as plain data."""
    players: dict[str, RecoveredPlayer] = attrs.field(factory=dict)
    """The players, by the ids of their sessions."""
    documents: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """The shared documents, by the id of their player's session and by name; "" has the documents of the room."""


def read_entries(entries: Sequence[bytes]) -> Recovery:
    """Decode the entries of a journal, and combine them.

    Raises:
      InvalidEvent: an entry was written by a version of edge whose entries differ.
    """
    recovery = Recovery()
    for data in entries:
        entry = structure(MESSAGEPACK.decode(data), JournalEntry)
        if entry.whole:
            recovery = Recovery(options=entry.options)
        recovery.age = entry.age
        if entry.state is not None:
            recovery.state = entry.state
        recovery.facts += entry.facts
        for session in entry.left:
            recovery.players.pop(session, None)
            recovery.documents.pop(session, None)
        combine(recovery.documents, entry.documents)
        messages = [Outgoing.of(from_plain(plain)) for plain in entry.messages]
        for record in entry.players:
            seat, before = record.seat, recovery.players.get(record.session)
            unacked = [messages[index] for index in seat.unacked]
            if before is not None and not seat.whole:
                unacked = before.unacked + unacked
            unacked = unacked[len(unacked) - (seat.sent - seat.acked) :]
            latest = [entry.messages[index] for index in seat.latest]
            recovery.players[record.session] = RecoveredPlayer(record, unacked, latest)
    return recovery


def restore(room: RoomRuntime, recovery: Recovery, restore_player: Callable[[RecoveredPlayer], object]) -> None:
    """Restore a room from its journal, after `Room.setup` and before `Room.run`.

    Args:
      restore_player: adds a player to the room.

    Raises:
      Exception: the author's `restore` or `apply` raised this exception, or the state or a fact does not fit its class.
    """
    room.set_age(recovery.age)
    room.ledger.reserve(player.record.number for player in recovery.players.values())
    for player in recovery.players.values():
        restore_player(player)
    restore_documents(room, recovery.documents)
    if room.kind.has_snapshot:
        cls = room.kind.state_class
        state = recovery.state if cls is None else structure(recovery.state, cls)
        decided("restore()", room.facade.restore(state))
    for name, body in recovery.facts:
        decided("apply()", room.facade.apply(structure(body, room.kind.facts.by_name[name].cls)))


def session_of(record: PlayerRecord) -> Session:
    """Return the session of a player from the player's record."""
    return Session(record.session, record.session_name, record.claims, guest=record.guest)
