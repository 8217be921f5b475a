"""A room's clock and random generator."""

from __future__ import annotations

from random import Random

import pytest
import trio

import edge
from edge.rooms.directory import Directory
from edge.testing import EdgeRoom, open_rooms, run_virtual, seeds
from tests.rooms.quiet import Quiet


@seeds(20)
async def test_clients_know_the_rooms_clock(edge_room: EdgeRoom, edge_seed: int) -> None:
    """From the welcome on, a client's `now` equals the room's, even after a lost connection."""
    await trio.sleep(5)
    room = await edge_room(Quiet)
    await trio.sleep(3)
    ana, ben = await room.join("ana", "ben")
    assert ben.now() == room.room.now() == 3
    ana.drop()
    assert ana.now() == 3
    await trio.sleep(1)
    await ana.resume()
    for _ in range(50):
        await trio.sleep(1.7)
        assert ana.now() == pytest.approx(room.room.now(), abs=1e-3)
        assert ben.now() == pytest.approx(room.room.now(), abs=1e-3)


async def test_before_the_welcome_the_clock_shows_nothing(edge_room: EdgeRoom) -> None:
    """Before the welcome, a client's `now` is 0."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    ana._clock.restart()
    assert ana.now() == 0


class Dice(edge.Room[None, None]):
    """Throws dice when it opens."""

    async def run(self) -> None:
        self.thrown = [self.random.randint(1, 6) for _ in range(20)]
        await trio.sleep_forever()


async def throws(seed: int) -> list[list[int]]:
    async with open_rooms(seed=seed) as open_room:
        rooms = [await open_room(Dice) for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        return [room.room.thrown for room in rooms]


def test_chance_repeats_itself_by_its_seed() -> None:
    """A seed reproduces the random numbers of all rooms, and two rooms get different numbers."""
    one, again, other = (run_virtual(throws, seed) for seed in (1, 1, 2))
    assert one == again
    assert one[0] != one[1]
    assert other[0] not in one


@seeds(3)
async def test_the_seed_of_a_test_is_the_rooms(edge_room: EdgeRoom, edge_seed: int) -> None:
    """The seed of a test determines the seed of its room."""
    room = await edge_room(Quiet)
    assert room.room.random.random() == Random(edge_seed << 32).random()


def test_there_is_no_chance_before_the_room_is_open() -> None:
    """Before a room is open, `now` and `random` raise RuntimeError."""
    with pytest.raises(RuntimeError, match="once it is open"):
        Dice().random.random()
    with pytest.raises(RuntimeError, match="once it is open"):
        Dice().now()


async def test_a_servers_rooms_are_not_to_be_foretold() -> None:
    """Different rooms of a server have different seeds."""
    directory = Directory({"dice": Dice})
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        rooms = [directory.open("dice", name) for name in ("a", "b")]
        assert rooms[0].random.random() != rooms[1].random.random()
        directory.close()


async def test_a_round_has_its_time(edge_room: EdgeRoom) -> None:
    """A round ends as TIMEOUT at its deadline, as RESET if it is reset or cancelled before, and as DONE if its block
    ends before."""
    room = await edge_room(Quiet)
    await room.join("ana")
    async with room.room.open_round(seconds=10) as round:
        await trio.sleep(4)
        assert round.remaining == 6
        await trio.sleep_forever()
    assert (round.outcome, trio.current_time()) == (edge.Outcome.TIMEOUT, 10)
    async with room.room.open_round(seconds=10) as round:
        room.room.reset()
        await trio.sleep_forever()
    assert round.outcome is edge.Outcome.RESET
    async with room.room.open_round(seconds=10) as round:
        await trio.sleep(1)
    assert round.outcome is edge.Outcome.DONE
    async with room.room.open_round(seconds=10) as round:
        try:
            await trio.sleep_forever()
        finally:
            room.room.reset()  # too late, because the round has already timed out
    assert round.outcome is edge.Outcome.TIMEOUT
    with trio.move_on_after(1):
        async with room.room.open_round(seconds=10) as round:
            await trio.sleep_forever()
    assert round.outcome is edge.Outcome.RESET
    with pytest.raises(ExceptionGroup):
        async with room.room.open_round(seconds=10) as round:
            raise ValueError
    assert round.outcome is None
