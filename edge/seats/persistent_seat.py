"""A seat in a persistent room, which sends a reliable message only after the room's journal has the message."""

from __future__ import annotations

import logging
from typing import Any

import trio

from ..codes import Code
from ..connections.outbox import Outbox
from ..errors import InvalidEvent
from ..protocol.limits import Limits
from ..protocol.messages import Event, from_plain
from ..protocol.outgoing import Outgoing, outgoing_event
from ..protocol.structure import structure
from ..rooms.journal import Journal, RestorableSeat
from ..rooms.records import MessageTable, RecoveredPlayer, SeatRecord
from ..rooms.session import Session
from .held_seat import HeldSeat

log: logging.Logger = logging.getLogger("edge.sessions")


class PersistentSeat(HeldSeat, RestorableSeat):
    """A seat that another server can restore.

    Args:
      journal: the journal of the room.
      session, name, limits: see `HeldSeat`.
    """

    client: str
    attempt: int
    since: int
    why: str
    former: tuple[str, ...]

    def __init__(self, journal: Journal, session: Session, name: str, limits: Limits, options: Any = None) -> None:
        super().__init__(session, name, limits, options)
        self._journal = journal
        self.counts.confirmed = 0
        self._life = 0
        """The number of fresh starts since the seat was created."""
        self._drafted_life, self._drafted_sent = -1, 0
        """The values of `_life` and `counts.sent` when the newest record of this seat was made."""
        self._drafted_withheld = self._drafted_received = 0
        self._drafted_since = self._recorded_since = -1
        self._behind: list[tuple[int, Outgoing]] = []
        """Uncounted messages that wait for withheld messages, each with the number of counted messages before it."""

    @property
    def known(self) -> bool:
        """True if the journal has this seat and the newest fresh start of its client."""
        return self._recorded_since == self.since

    @property
    def all_written(self) -> bool:
        """True if the journal has all counted messages that were received from the client."""
        return self.counts.confirmed == self.counts.received

    def send(self, message: Outgoing) -> None:
        if message.whole is not None and self.outbox is not None and self.outbox.will_send_whole(message.name):
            return
        if self._journal.concluded or not (message.counted or self.counts.withheld):
            if self.counts.withheld:
                self._release(self.counts.withheld)
            super().send(message)
        elif not self.over and message.counted:  # `_release` sends the message once the journal has it
            self.counts.withheld += 1
            self.counts.record(message)
            self._journal.mark_changed(self.player)
        elif not self.over:  # `_release` sends the message after the withheld messages, to keep the order
            if message.key is not None:
                self.latest.put(message.key, message, message.size)
            self._behind.append((self.counts.sent, message))
            del self._behind[: -self.latest.max_values]

    def send_written(self, message: Outgoing) -> None:
        if self.outbox is not None:  # also after the player has left: its goodbye is sent later
            self.outbox.put(message)

    def record(self, table: MessageTable, *, whole: bool) -> SeatRecord:
        counts, whole = self.counts, whole or self._life != self._drafted_life
        unacked = counts.newest(counts.sent - (counts.acked if whole else self._drafted_sent))
        self._drafted_life, self._drafted_sent = self._life, counts.sent
        self._drafted_withheld, self._drafted_received = counts.withheld, counts.received
        self._drafted_since = self.since
        return SeatRecord(
            client=self.client,
            attempt=self.attempt,
            since=self.since,
            why=self.why,
            former=[*self.former],
            sent=counts.sent,
            acked=counts.acked,
            received=counts.received,
            behind=counts.behind,
            whole=whole,
            unacked=[table.index(message) for message in unacked],
            latest=[table.index(message) for message in self.latest.values()],
            dropped=self.latest.dropped,
        )

    def recorded(self) -> None:
        if self._life != self._drafted_life:
            return
        self._recorded_since = self._drafted_since
        self.counts.confirmed = self._drafted_received
        self._release(self._drafted_withheld)
        if self.connection is not None and self.outbox is not None:
            self.connection.note_confirmed(trio.current_time())
            self.outbox.wake()

    def restore(self, recovered: RecoveredPlayer) -> None:
        """Restore the seat and its player from a record that another server has written to the journal."""
        record = recovered.record.seat
        self.client, self.attempt, self.since, self.why = record.client, record.attempt, record.since, record.why
        self.former = tuple(record.former)
        self._recorded_since = record.since
        self.counts.restore(record.sent, record.received, recovered.unacked, behind=record.behind)
        for plain in recovered.latest:
            event = from_plain(plain)
            assert isinstance(event, Event)
            try:
                kind = self.player.room.kind.sends.by_name[event.name]
                message = outgoing_event(structure(event.body, kind.cls, rename=kind.rename), kind)
            except (KeyError, InvalidEvent) as exc:  # the server that wrote the entry had different event classes
                log.warning("the latest value %r is dropped: %r", event.name, exc, extra=self._log_context())
            else:
                self.latest.put(message.key, message, message.size)
        self.latest.dropped |= record.dropped
        self.player.restore(recovered.record)
        self.player.room.ledger.lose(self.player, Code.LOST, "the server of the room is gone")

    def reset_counts(self) -> None:
        self._life += 1
        self._behind.clear()
        super().reset_counts()

    def release(self) -> None:
        self._behind.clear()
        super().release()

    def _current(self) -> list[Outgoing]:
        behind = {message.key for _, message in self._behind}  # left out, because `_release` sends these later
        return [message for message in super()._current() if message.key not in behind]

    def _release(self, count: int) -> None:
        """Send the oldest `count` withheld messages, and the uncounted messages that waited for them."""
        withheld = self.counts.newest(self.counts.withheld)[:count]
        first = self.counts.sent - self.counts.withheld + 1
        self.counts.withheld -= len(withheld)
        for position, message in enumerate(withheld, first):
            self._put(message)
            while self._behind and self._behind[0][0] <= position:
                self._put(self._behind.pop(0)[1])

    def _put(self, message: Outgoing) -> None:
        if self.outbox is None:
            return
        self.outbox.put(message)
        if message.whole is not None and self.outbox.will_send_whole(message.name):
            self._behind[:] = [entry for entry in self._behind if entry[1].name != message.name]

    def end(self, code: Code, reason: str) -> None:
        self.over = True
        self._goodbye = code, reason
        if code is Code.MOVED:
            self.hand_over()
        else:  # the last messages and the goodbye are sent once the journal has the end
            self._journal.note_end(self)

    def conclude(self, *, unconfirmed: bool = False) -> None:
        self._release(self.counts.withheld)
        super().conclude(unconfirmed=unconfirmed)

    def hand_over(self) -> None:
        self._goodbye_due, self._goodbye = True, (Code.MOVED, "this server no longer has the room")
        self.disconnect(*self._goodbye)
        if self.outbox is None:
            self.release()

    def attach(self, outbox: Outbox) -> None:
        outbox.cancel_code = Code.MOVED  # if this server stops, another server restores the room and this seat
        self._journal.mark_changed(self.player)
        # the new connection gets whole documents, to which earlier patches do not fit
        self._behind = [entry for entry in self._behind if entry[1].whole is None]
        super().attach(outbox)
