"""The journal of a room: the times at which entries are written, and the messages that wait for them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import edge
from edge.bots import open_bot
from edge.client.client import Status
from edge.journal.room_journal import RoomJournal, read_entries, session_of
from edge.protocol import messages
from edge.rooms.player import member_of
from edge.rooms.records import PlayerRecord, RecoveredPlayer, SeatRecord
from edge.seats.persistent_seat import PersistentSeat
from edge.testing import EdgeRoom
from tests.endurance.adding import Add, Added, Adding
from tests.rooms.quiet import StubSeat

SEAT_RECORD = SeatRecord(
    client="a-client-of-ana",
    attempt=1,
    since=1,
    why="new",
    former=[],
    sent=0,
    acked=0,
    received=0,
    behind=False,
    whole=True,
    unacked=[],
    latest=[],
    dropped=True,
)


class Asking(Adding):
    """Receives one event at a time, without a loop."""

    async def player(self, player: edge.Player[Add, Added]) -> None:
        while True:
            self.add(player.name, (await player.receive(Add)).number)


def write(journal: RoomJournal) -> None:
    """Make the next entry, and mark it as written at once."""
    journal.next_entry()
    journal.note_written()


async def test_an_event_is_pending_until_its_listener_goes_on(edge_room: EdgeRoom) -> None:
    """A received event is pending in the player's record from its delivery until its listener has continued."""
    room = await edge_room(Asking)
    room.runtime.journal = RoomJournal(room.runtime, write)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    deliver, seen = member_of(player).deliver, []

    def spy(message: messages.Message) -> None:
        deliver(message)
        seen.append(member_of(player).record(SEAT_RECORD).pending)

    member_of(player).deliver = spy  # type: ignore[method-assign]
    ana.send(Add(0))
    await trio.sleep(1)
    assert seen == [[["add", {"number": 0}]]]
    assert (room.room.total, member_of(player).record(SEAT_RECORD).pending) == (1, [])
    room.room.close()  # because no other server could continue the room in this test


async def test_what_is_said_leaves_when_it_is_kept(edge_room: EdgeRoom) -> None:
    """A room's event is sent, and the client's event that caused it is acknowledged, only after the journal entry that
    contains both is written. Likewise, the client learns the end of the room only after its entry is written."""
    room = await edge_room(Adding)
    journal = room.runtime.journal = RoomJournal(room.runtime, lambda journal: None)

    async def keep_soon() -> None:
        await trio.testing.wait_all_tasks_blocked()
        write(journal)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_soon)  # because ana's welcome waits for the journal
        (ana,) = await room.join("ana")
    ana.send(Add(0))
    await trio.sleep(30)  # long enough for several heartbeats
    journal.note_lost()
    entry = journal.next_entry()
    assert entry.whole
    (player,) = read_entries([entry.data]).players.values()
    assert ([message.plain[0] for message in player.unacked], player.record.seat.received) == (["added"], 1)
    ana.send(Add(1))
    await trio.sleep(30)
    assert (len(ana._inbox), ana._send_buffer.counts.acked) == (0, 0)
    journal.note_written()
    assert (await ana.receive(Added)).number == 0
    await trio.sleep(1)
    assert (len(ana._inbox), ana._send_buffer.counts.acked) == (0, 1)
    journal.next_entry()
    journal.note_written()
    assert (await ana.receive(Added)).number == 1
    room.room.close()
    assert journal.next_entry().over
    await trio.sleep(1)
    assert ana.ending is None
    journal.note_written()
    await ana.wait_status(Status.CLOSED)
    assert ana.ending is not None
    assert (ana.ending.code, ana.ending.unconfirmed) == (edge.Code.ROOM_CLOSED, False)


async def test_who_comes_to_a_room_that_is_lost_comes_back(edge_room: EdgeRoom) -> None:
    """A room whose lease is lost refuses a new client with `MOVED`, so that the client reconnects to the server that
    now has the room."""
    room = await edge_room(Adding)
    room.runtime.lease.lose()
    with pytest.raises(edge.Refused) as refused:
        room.runtime.take_seat(StubSeat("ana"))
    assert refused.value.code is edge.Code.MOVED


async def test_a_bot_hears_what_a_persistent_room_says(edge_room: EdgeRoom) -> None:
    """A bot receives the events of a persistent room. Its seat is not in the journal, because the room starts its bots
    again at another server."""
    room, entries = await edge_room(Adding), list[bytes]()

    def write_down(journal: RoomJournal) -> None:
        entries.append(journal.next_entry().data)
        journal.note_written()

    room.runtime.journal = RoomJournal(room.runtime, write_down)
    (ana,) = await room.join("ana")
    async with open_bot(room.room, name="robby") as bot:
        ana.send(Add(0))
        with trio.fail_after(1):
            assert (await bot.receive(Added)).who == "ana"
    assert [player.record.name for player in read_entries(entries).players.values()] == ["ana"]
    room.room.close()


async def test_a_latest_value_that_no_room_sends_any_more_is_forgotten(
    edge_room: EdgeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    """If the app no longer has the class or the fields of a stored `latest` value, a restored seat drops the value with
    a warning."""
    room = await edge_room(Adding)
    journal = room.runtime.journal = RoomJournal(room.runtime, write)
    record = PlayerRecord("ana", "", {}, True, "ana", 0, 0, [], [], SEAT_RECORD)
    seat = PersistentSeat(journal, session_of(record), "ana", edge.Limits())
    seat.enter(room.runtime, number=0)
    seat.restore(RecoveredPlayer(record, [], [["~gone", {"number": 1}], ["~added", {"other": 1}]]))
    assert [player.name for player in room.room.players] == ["ana"]
    assert caplog.text.count("is dropped") == 2
    assert not seat.can_resume(0), "a client can't resume without the values that were dropped"
    room.room.close()
