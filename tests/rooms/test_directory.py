"""The directory: opening, listing and closing rooms, and rooms whose constructor or `run` raises."""

from __future__ import annotations

from typing import ClassVar

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.rooms.directory import Directory
from edge.rooms.restarts import Restarts
from edge.rooms.room import runtime_of
from edge.testing import EdgeRoom
from tests.rooms.quiet import Quiet, StubSeat


async def test_the_directory_opens_finds_lists_and_forgets() -> None:
    """A name has one room at a time. A room closes after `idle` seconds without seats, and the name then gets a new
    room."""
    directory = Directory({"quiet": Quiet}, max_rooms=2, idle=60)
    with pytest.raises(edge.Refused, match="shutting down"):
        directory.open("quiet", "early")
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        room = directory.open("quiet", "a")
        assert directory.open("quiet", "a") is room
        directory.open("quiet", "b").lock()
        assert [(each.name, each.seated, each.locked) for each in directory.list("quiet")] == [
            ("a", 0, False),
            ("b", 0, True),
        ]
        assert directory.list("other") == ()
        for kind, name, code in [
            ("quiet", "c", edge.Code.FULL),
            ("other", "a", edge.Code.NO_ROOM),
            ("quiet", "../a", edge.Code.NO_ROOM),
        ]:
            with pytest.raises(edge.Refused) as refused:
                directory.open(kind, name)
            assert refused.value.code is code
        await trio.sleep(61)
        assert len(directory) == 0
        assert room.closing
        assert directory.open("quiet", "a") is not room
        directory.close()
    assert len(directory) == 0


async def test_a_room_with_somebody_in_it_is_not_idle(edge_room: EdgeRoom) -> None:
    """A room with a player is not idle. The idle time starts when the last player has left."""
    directory = Directory({"quiet": Quiet}, idle=60)
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        room = directory.open("quiet", "a")
        player = runtime_of(room).take_seat(StubSeat("ana"))
        await trio.sleep(3600)
        assert not room.closing
        player.leave(edge.Code.LEFT)
        await trio.sleep(59)
        assert not room.closing
        await trio.sleep(2)
        assert room.closing
        directory.close()


async def test_a_crash_of_a_room_that_cant_be_made(caplog: pytest.LogCaptureFixture) -> None:
    """If the constructor of a room raises, the client that requested the room is refused, and the directory
    continues."""

    class Broken(Quiet):
        def __init__(self) -> None:
            raise RuntimeError("no database")

    class Forgetful(Quiet):
        def __init__(self) -> None:
            self.mine = 1  # super().__init__() is not needed

    directory = Directory({"broken": Broken, "forgetful": Forgetful})
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        with pytest.raises(edge.Refused) as refused:
            directory.open("broken", "a")
        assert refused.value.code is edge.Code.ROOM_CRASHED
        assert "no database" in caplog.text
        assert directory.open_runtime("forgetful", "a").take_seat(StubSeat("ana")).number == 0
        directory.close()


class Fragile(Quiet):
    """Crashes when its `told` event is set."""

    made: ClassVar[list[Fragile]] = []
    restarts = Restarts(most=2, seconds=60)

    async def run(self) -> None:
        self.made.append(self)
        self.told = trio.Event()
        await self.told.wait()
        raise RuntimeError("on purpose")


async def test_a_crashed_room_is_followed_by_a_fresh_one(caplog: pytest.LogCaptureFixture) -> None:
    """A crashed room with players is replaced at once, even if no client requests a room. After too many crashes, its
    name is refused for a while."""
    Fragile.made.clear()
    directory = Directory({"fragile": Fragile})
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        directory.open("fragile", "a")
        for count in range(1, 4):
            await wait_all_tasks_blocked()
            assert len(Fragile.made) == count
            assert directory.rooms == (Fragile.made[-1],)
            seat = StubSeat("ana")
            runtime_of(Fragile.made[-1]).take_seat(seat)
            Fragile.made[-1].told.set()
            await trio.sleep(10)
            assert seat.ended == [edge.Code.ROOM_CRASHED]
        assert directory.rooms == ()
        assert "has crashed too often" in caplog.text
        with pytest.raises(edge.Refused) as refused:
            directory.open("fragile", "a")
        assert refused.value.code is edge.Code.ROOM_CRASHED
        directory.open("fragile", "another")
        await trio.sleep(49)
        with pytest.raises(edge.Refused):
            directory.open("fragile", "a")
        await trio.sleep(1)
        directory.open("fragile", "a")
        assert directory.counters.crashes == 3
        directory.close()


async def test_no_fresh_room_follows_where_nobody_was() -> None:
    """A crashed room without players is not replaced, because the new room might crash again and again. The next client
    opens a new room."""
    Fragile.made.clear()
    directory = Directory({"fragile": Fragile})
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        directory.open("fragile", "a")
        await wait_all_tasks_blocked()
        Fragile.made[0].told.set()
        await wait_all_tasks_blocked()
        assert directory.rooms == ()
        assert directory.open("fragile", "a") is not Fragile.made[0]
        directory.close()


async def test_no_fresh_room_follows_while_the_directory_closes() -> None:
    """A crashed room is not replaced if the directory is closing, or if the room's `restarts` forbid it."""

    class Closing(Fragile):
        restarts = Restarts(most=0)

    Fragile.made.clear()
    directory = Directory({"closing": Closing, "fragile": Fragile})
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        directory.open("closing", "a")
        directory.open("fragile", "a")
        await wait_all_tasks_blocked()
        closing, fragile = sorted(Fragile.made, key=lambda room: room.kind)
        runtime_of(closing).take_seat(StubSeat("ana"))
        runtime_of(fragile).take_seat(StubSeat("ben"))
        await wait_all_tasks_blocked()
        closing.told.set()
        await wait_all_tasks_blocked()
        assert directory.rooms == (fragile,)
        fragile.told.set()
        directory.close()
    assert len(Fragile.made) == 2


async def test_who_leaves_before_the_room_has_begun_is_told() -> None:
    """A seat that is taken and ended before the first step of the room's task still gets its goodbye."""
    directory = Directory({"quiet": Quiet})
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        seats = [StubSeat("ana"), StubSeat("ben")]
        room = directory.open_runtime("quiet", "a")
        with trio.testing.assert_no_checkpoints():
            first = room.take_seat(seats[0])
            room.take_seat(seats[1])
            first.facade.kick()
        await wait_all_tasks_blocked()
        assert [seat.ended for seat in seats] == [[edge.Code.KICKED], []]
        directory.close()
