"""Rooms that open, and are restored, on several servers: `setup`, join options and `create`."""

from __future__ import annotations

import attrs
import pytest
import trio

import edge
from edge import Code
from edge.client.client import Status
from edge.cluster.broker.broker import Broker
from edge.rooms.room import Room
from edge.testing import seeds
from tests.small_rooms import Said, Say

from .servers import Place, Town, one_secret, open_town


@attrs.frozen
class Stakes:
    stakes: int = 1


class Counting(Room[Say, Said]):
    """A persistent room that counts what is said. `setup` takes a second, and can be made to fail."""

    seats = edge.Seats(grace=60)
    join_options = Stakes
    failing = False

    def __init__(self, options: Stakes) -> None:
        self.options = options
        self.happened: list[str] = []
        self.count = -1

    async def setup(self) -> None:
        self.happened.append("setup")
        await trio.sleep(1)
        if Counting.failing:
            raise ValueError("no database")
        self.count = 100

    def snapshot(self) -> int:
        assert self.count >= 100, "the journal begins after setup"
        return self.count

    def restore(self, state: int) -> None:
        self.happened.append(f"restore {state} after {self.count}, {[player.options for player in self.players]}")
        self.count = state

    async def player(self, player: edge.Player[Say, Said]) -> None:
        async for event in player:
            self.count += 1
            player.reply(event, Said(f"{event.text} {self.count}"))


class Passing(Room[Say, Said]):
    """A room that is not persistent."""


def make_app(broker: Broker) -> edge.App:
    return edge.App(
        {"counting": Counting, "passing": Passing}, cluster=edge.Cluster(broker), sessions=one_secret(), idle=2
    )


def room_at(place: Place) -> Counting:
    (room,) = place.app.directory.rooms
    assert isinstance(room, Counting)
    return room


@seeds(20)
async def test_setup_runs_before_a_room_is_restored() -> None:
    """Another server makes the room with the options of its first opener, runs `setup`, then restores the state and
    the options of the players, and continues."""
    async with open_town(make_app) as town:
        one, other = town.places
        path = "/rooms/counting/a"
        async with town.join(path, one, other, sends=Say, receives=Said, options=Stakes(7)) as ana:
            assert await ana.request(Say("hello"), Said) == Said("hello 101")
            town.kill(one)
            with trio.fail_after(20):
                assert await ana.request(Say("again"), Said) == Said("again 102")
        room = room_at(other)
        assert room.options == Stakes(7)
        assert room.happened == ["setup", f"restore 101 after 100, {[Stakes(7)]}"]


async def test_a_room_whose_setup_fails_keeps_its_journal() -> None:
    """If `setup` fails before a room is restored, the journal stays, and a later attempt restores the room."""
    async with open_town(make_app) as town:
        one, other = town.places
        async with town.join("/rooms/counting/a", one, other, sends=Say, receives=Said) as ana:
            assert await ana.request(Say("hello"), Said) == Said("hello 101")
            Counting.failing = True
            try:
                town.kill(one)
                await trio.sleep(20)
                assert ana.status is not Status.OPEN
            finally:
                Counting.failing = False
            with trio.fail_after(100):  # the name stays closed for a minute after too many crashes
                assert await ana.request(Say("again"), Said) == Said("again 102")


async def refusal(town: Town, path: str, create: str, *at: Place) -> Code:
    async with town.join(path, *at, sends=Say, receives=Said, create=create) as client:  # type: ignore[arg-type]  # a Literal
        with pytest.raises(edge.Disconnected) as caught, trio.fail_after(20):
            await client.wait_status(Status.OPEN)
        return caught.value.code


async def test_never_and_only_concern_all_servers() -> None:
    """``create="never"`` finds rooms of other servers, and opens none; ``create="only"`` refuses a room that another
    server has. A persistent room whose server has died still counts as a room."""
    async with open_town(make_app) as town:
        one, other = town.places
        for kind in ("counting", "passing"):
            path = f"/rooms/{kind}/a"
            assert await refusal(town, path, "never", one) is Code.NO_ROOM
            async with town.join(path, one, sends=Say, receives=Said, create="only") as ana:
                await ana.wait_status(Status.OPEN)
                assert await refusal(town, path, "only", one) is Code.ROOM_EXISTS
                assert await refusal(town, path, "only", other) is Code.ROOM_EXISTS
                async with town.join(path, other, sends=Say, receives=Said, create="never") as ben:
                    await ben.wait_status(Status.OPEN)
            await trio.sleep(3)
            assert await refusal(town, path, "never", other) is Code.NO_ROOM
        assert (one.rooms, other.rooms) == ([], [])
        async with (
            town.join("/rooms/counting/b", one, other, sends=Say, receives=Said, create="only") as ana,
            town.join("/rooms/passing/b", one, other, sends=Say, receives=Said, create="never") as ben,
        ):
            await ana.wait_status(Status.OPEN)
            town.kill(one)
            await trio.sleep(20)
            assert ana.status is Status.OPEN  # the client holds its seat in the restored room
            assert ben.status is Status.CLOSED
            async with town.join("/rooms/counting/b", other, sends=Say, receives=Said, create="never") as cyn:
                await cyn.wait_status(Status.OPEN)
