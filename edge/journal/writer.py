"""The journal writer, which writes the entries of all changed rooms of a server together.

Usually, the writer writes entries at most twenty times a second. It writes sooner if a task waits for an entry, or if a
room has many changes.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import trio

from ..aio.outage_log import AGAIN_SECONDS, OutageLog
from ..aio.wakeup import WakeUp
from ..codes import Code
from ..errors import BrokerDown
from ..rooms.lease import Lease
from .entries import Entry, EntryStore, Written
from .room_journal import RoomJournal

log: logging.Logger = logging.getLogger("edge.rooms")

# The writer collects changes for TOGETHER_SECONDS, or until one room has TOGETHER_NEWS changes. The writer then writes
# one entry for each changed room. The first change after a pause is written at once. If a task waits for an entry, for
# example to serve a new client, the writer collects changes for AWAITED_SECONDS only.
TOGETHER_SECONDS = 0.05
TOGETHER_NEWS = 64
AWAITED_SECONDS = 0.01
# The maximum size of an entry, in bytes. A room with a larger entry is closed with `Code.ROOM_CRASHED`, because large
# entries delay the entries of all other rooms.
MAX_ENTRY_BYTES = 8 * 1024 * 1024
# The writer sends a request to the broker once the request has this many entries or this many bytes. The requests are
# limited so that the broker can serve other servers between two requests.
AT_ONCE, AT_ONCE_BYTES = 500, 1024 * 1024
# After a broker has lost journals, the writer writes them again in groups of at least this size. If this server fails
# before a journal is written again, the room is lost, so the number must not be small.
REWRITTEN_AT_ONCE = 20


class JournalWriter:
    """The writer of the journals of this server's rooms.

    Args:
      store: the store of the journals.
    """

    def __init__(self, store: EntryStore) -> None:
        self._store = store
        self._news: dict[RoomJournal, None] = {}
        self._wake_up = WakeUp()
        self._began = -math.inf
        """The time, on Trio's clock, at which the newest entries were made."""
        self._gathering = trio.CancelScope()
        self._forgotten_by_broker = deque[RoomJournal]()
        """The journals that have to be written again, because the broker has lost them."""
        self._step = 0
        """The number of journals of `_forgotten_by_broker` that are written together."""
        self._unwritten = OutageLog("journals of rooms are not written")
        self._forgotten = OutageLog("the broker has lost journals of rooms")

    def note(self, journal: RoomJournal) -> None:
        """Schedule the next entry of a journal. Called after each change of its room."""
        if journal.changes == 1:
            self._news[journal] = None
            self._wake_up.wake()
        elif journal.changes >= TOGETHER_NEWS:
            self._gathering.cancel("a room has enough changes for an entry")
        if journal.awaited:
            self._gathering.deadline = self._began + AWAITED_SECONDS

    def rewrite(self, journals: Iterable[RoomJournal]) -> None:
        """Schedule whole entries for journals that the broker has lost, spread over at most half a lease period."""
        self._forgotten_by_broker.extend(journals)
        passes = self._store.lease_seconds / 2 / TOGETHER_SECONDS
        self._step = max(REWRITTEN_AT_ONCE, math.ceil(len(self._forgotten_by_broker) / passes))
        self._wake_up.wake()

    def forget(self, lease: Lease) -> None:
        """Write no entry for the room that could not be opened under this lease."""
        self._news = {journal: None for journal in self._news if journal.room.lease is not lease}

    async def run(self) -> None:
        """Write the journals of changed rooms, for ever."""
        while True:
            if not (self._news or self._forgotten_by_broker):
                await self._wake_up.wait()
            await trio.lowlevel.checkpoint()  # so that the entries include changes by tasks that are ready to run
            self._began = trio.current_time()
            for _ in range(min(self._step, len(self._forgotten_by_broker))):
                self._forgotten_by_broker.popleft().note_lost()
            journals, self._news = [journal for journal in self._news if not journal.over], {}
            for entries in self._gather(journals):
                await self._write(entries)
            soon = any(journal.awaited or journal.changes >= TOGETHER_NEWS for journal in self._news)
            seconds = AWAITED_SECONDS if soon else TOGETHER_SECONDS
            with trio.CancelScope(deadline=self._began + seconds) as self._gathering:
                await trio.sleep_forever()

    def _gather(self, journals: Sequence[RoomJournal]) -> Iterator[list[tuple[RoomJournal, Entry]]]:
        """Make the next entry of each of these journals, and yield lists of entries. One request writes one list."""
        written: list[tuple[RoomJournal, Entry]] = []
        size = 0
        for journal in journals:
            if journal.over:
                continue
            if journal.held:
                journal.changes = 0  # the end of the block is a change
                continue
            room = journal.room
            try:
                draft = journal.next_entry()
                if len(draft.data) > MAX_ENTRY_BYTES:
                    raise ValueError(f"{len(draft.data)} bytes exceed the limit of a journal entry: {MAX_ENTRY_BYTES}")
            except Exception:
                log.exception("room %s is closed: its journal can't be written", room.path, extra=room.log_context)
                room.counters.crashes += 1
                room.close("an error in the room's code", code=Code.ROOM_CRASHED)
            else:
                fence, number = room.lease.fence, journal.number
                written.append((journal, Entry(room.path, fence, number, draft.data, draft.whole, draft.over)))
                size += len(draft.data)
            if len(written) >= AT_ONCE or size >= AT_ONCE_BYTES:
                yield written
                written, size = [], 0
        if written:
            yield written

    async def _write(self, written: list[tuple[RoomJournal, Entry]]) -> None:
        began = trio.current_time()
        while written := [each for each in written if not (each[0].over or each[0].room.lease.over)]:
            try:
                outcomes = await self._store.append([entry for _, entry in written])
            except BrokerDown as exc:
                self._unwritten.note(exc)
                if trio.current_time() >= began + self._store.lease_seconds:
                    for journal in [*(journal for journal, _ in written), *self._news]:
                        journal.give_up()
                await trio.sleep(AGAIN_SECONDS)
                continue
            self._unwritten.over()
            forgotten = False
            for (journal, _), outcome in zip(written, outcomes, strict=True):
                match outcome:
                    case Written.THERE:
                        journal.note_written()
                    case Written.FORGOTTEN:
                        journal.note_lost()
                        forgotten = True
                    case Written.REFUSED if not journal.over:
                        log.warning(
                            "room %s ends on this server: another server has claimed it",
                            journal.room.path,
                            extra=journal.room.log_context,
                        )
                        journal.room.lease.lose()
            if forgotten:
                self._forgotten.note("they are written again")
                await trio.sleep(AGAIN_SECONDS)  # so that leases can be renewed before the next attempt
            else:
                self._forgotten.over()
            return
