"""Tests of rooms that another server must continue, and of rooms that no other server may continue."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import attrs
import pytest
import trio
import trio.testing

import edge
from edge.client.client import Status
from edge.cluster.broker.broker import Broker, Lease, Renewed
from edge.cluster.node import RENEWALS
from edge.errors import BrokerDown
from edge.journal.entries import Entry, Written
from edge.journal.writer import AWAITED_SECONDS
from edge.rooms.opening import Opening
from edge.rooms.room import runtime_of
from edge.rooms.room_runtime import RoomRuntime
from edge.server.limiter import AddressLimits
from edge.testing import seeds
from edge.testing.network import Conditions, Network
from tests.cluster.servers import one_secret
from tests.endurance.adding import Add, Added, Adder, Adding, Ledger, Sums

from .servers import LEASE_SECONDS, Place, Town, open_town


def make_app(
    broker: Broker, *, max_rooms: int = 100, max_rooms_each: int = 100, **kinds: Callable[[], edge.Room[Any, Any]]
) -> edge.App:
    return edge.App(
        kinds or {"adding": Adding},
        cluster=edge.Cluster(broker),
        sessions=one_secret(),
        address_limits=AddressLimits(rooms=max_rooms, rooms_each=max_rooms_each),
    )


@asynccontextmanager
async def adder(town: Town, name: str, path: str = "adding/a", *at: Place) -> AsyncIterator[Adder]:
    """Join a room as a client that can send `Add`, and checks the `Added` events that it receives."""
    async with town.join(f"/rooms/{path}", *at, sends=Add, receives=Added, name=name) as client:
        await client.wait_status(Status.OPEN)
        async with trio.open_nursery() as nursery:
            someone = Adder(client, name, Ledger())
            nursery.start_soon(someone.listen)
            yield someone
            nursery.cancel_scope.cancel("the test is over")


def slow_log(place: Place, seconds: float) -> None:
    """Delay each later write of a server's journal."""
    append = place.broker.append

    async def append_late(entries: Sequence[Entry]) -> Sequence[Written]:
        await trio.sleep(seconds)
        return await append(entries)

    place.broker.append = append_late  # type: ignore[method-assign]


class Ending(Adding):
    """A room that takes a second to clean up, as each of its players does."""

    runs = 0

    async def player(self, player: edge.Player[Add, Added]) -> None:
        try:
            await super().player(player)
        finally:
            with player.shielded_cleanup():
                await trio.sleep(1)

    async def run(self) -> None:
        type(self).runs += 1
        try:
            await trio.sleep_forever()
        finally:
            with self.shielded_cleanup():
                await trio.sleep(1)


async def renew_in_vain(*_: object) -> Renewed:
    raise BrokerDown("no answer came")


@pytest.mark.parametrize("how", ["drain", "move", "cut off"])
async def test_a_room_that_closes_for_good_does_not_go_on(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other server continues a room that was closed. This also holds if the room's server drains, if the server was
    moving the room, and if it loses the lease while the room cleans up."""
    monkeypatch.setattr(Ending, "runs", 0)
    async with open_town(partial(make_app, adding=Ending), 1) as town, adder(town, "ana") as ana:
        ana.add()
        (old,) = town.places
        new = await town.open()
        await trio.sleep(1)
        (room,) = old.app.directory.rooms
        if how == "move":
            slow_log(old, 0.1)
            town.nursery.start_soon(old.node.move, runtime_of(room).path, new.node.id)
            await trio.sleep(0.05)
        elif how == "cut off":
            old.broker.renew = renew_in_vain  # type: ignore[method-assign, assignment]
            await trio.sleep_until(runtime_of(room).lease.until - 0.5)
        room.close("the game is over")
        await trio.sleep(0.2)
        if how == "drain":
            await town.drain(old)
        await room.wait_closed()
        await trio.sleep(2 * LEASE_SECONDS)
        assert new.rooms == []
        assert await town.shared.left() == []
        assert ana.client.ending is not None
        assert ana.client.ending.code is edge.Code.ROOM_CLOSED
        assert Ending.runs == 1


@seeds(8)
async def test_a_room_that_crashes_while_it_is_moved(caplog: pytest.LogCaptureFixture) -> None:
    """If a room crashes while its server moves it to another server, the move fails, and a fresh room replaces it at
    the old server."""
    boom, runs = trio.Event(), []

    class Crashing(Adding):
        async def run(self) -> None:
            runs.append(self)
            if len(runs) == 1:
                await boom.wait()
                raise RuntimeError("boom")
            await trio.sleep_forever()

    async with open_town(partial(make_app, adding=Crashing), 1) as town, adder(town, "ana") as ana:
        (old,) = town.places
        new = await town.open()
        await trio.sleep(1)
        slow_log(old, 0.5)
        moved = []

        async def move() -> None:
            moved.append(await old.node.move("adding/a", new.node.id))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(move)
            await trio.sleep(0.1)
            boom.set()
        await ana.client.wait_status(Status.OPEN)
        await trio.sleep(5)
        assert (moved, old.rooms, new.rooms) == ([False], ["adding/a"], [])
    assert [record.message for record in caplog.records if "boom" not in record.message] == []


async def test_who_comes_back_after_a_failover_is_not_too_many() -> None:
    """After one of two servers dies, the other server restores rooms of an address even beyond the address's limit of
    rooms, but refuses a new room."""
    async with open_town(partial(make_app, max_rooms_each=3)) as town, trio.open_nursery() as nursery:
        one, other = town.places
        for place in town.places:
            place.wires = Network(partial(serve_school, place), place.server.connections)
        clients: list[Adder] = []

        async def sit(number: int, *at: Place) -> None:
            async with adder(town, f"player {number}", f"adding/{number}", *at) as someone:
                clients.append(someone)
                await trio.sleep_forever()

        for number in range(6):
            nursery.start_soon(sit, number, *(town.places if number < 3 else reversed(town.places)))
        await trio.sleep(3)
        for someone in clients:
            someone.add()
        await trio.sleep(1)
        assert (len(one.rooms), len(other.rooms)) == (3, 3)
        other.broker.leases = no_leases  # type: ignore[method-assign]
        town.kill(one)
        await trio.sleep(10)
        assert len(other.rooms) == 6
        for someone in clients:
            someone.check()
        with pytest.raises(edge.Refused) as refused:
            await other.node.find("adding", "another", Opening("10.0.0.1"))
        assert refused.value.code is edge.Code.FULL
        nursery.cancel_scope.cancel("the test is over")


async def no_leases(*, left: bool = False) -> Sequence[Lease]:
    """Return no leases, so that a server restores a room only when a client asks for that room."""
    await trio.lowlevel.checkpoint()
    return ()


async def serve_school(place: Place, stream: trio.abc.Stream) -> None:
    """Serve a connection as if its client had the address 10.0.0.1, which all clients of the test share."""
    await place.server.serve_connection(stream, "10.0.0.1")


async def test_a_server_that_is_full_sends_on_who_comes_back() -> None:
    """If a room's server dies while the only other server is full, the room's client is not closed, and is
    connected again when a third server continues the room."""
    async with open_town(partial(make_app, max_rooms=1)) as town:
        one, other = town.places
        async with adder(town, "ana", "adding/a", one, other) as ana, adder(town, "ben", "adding/b", other):
            ana.add()
            await trio.sleep(1)
            assert (one.rooms, other.rooms) == (["adding/a"], ["adding/b"])
            town.kill(one)
            await trio.sleep(10)
            assert ana.client.status is not Status.CLOSED
            third = await town.open()
            await trio.sleep(5)
            assert third.rooms == ["adding/a"]
            await ana.client.wait_status(Status.OPEN)
            ana.check()


@pytest.mark.parametrize("seconds", [0.0, 0.005, 0.015, 0.03, 0.1])
async def test_a_welcome_is_said_once_the_seat_is_kept(seconds: float) -> None:
    """If a server dies shortly after a welcome, no event that the client sent right after the welcome is lost."""
    async with open_town(make_app) as town, adder(town, "ana") as ana:
        ana.add()
        await trio.sleep(2)
        owner = next(place for place in town.places if place.rooms)
        slow_log(owner, 0.02)
        async with adder(town, "ben") as ben:
            ben.add()
            await trio.sleep(seconds)
            town.kill(owner)
            await trio.sleep(10)
            for someone in (ana, ben):
                someone.check()


async def test_a_welcome_waits_for_no_more_than_its_own_entry() -> None:
    """A welcome waits only for the journal entry of its own seat, and not for other entries that are due."""
    async with open_town(make_app, 1) as town, adder(town, "ana") as ana:
        for _ in range(10):
            ana.add()
            await trio.sleep(0.013)
            began = trio.current_time()
            async with adder(town, "ben"):
                assert trio.current_time() - began < 2 * AWAITED_SECONDS


@edge.event("began")
class Began:
    number: int


@edge.event("position", delivery="latest")
class Position:
    x: int


Shown: TypeAlias = Began | Position


class Showing(edge.Room[Add, Shown]):
    seats = edge.Seats(minimum=0, grace=60)

    def snapshot(self) -> Sums:
        return Sums(0, {})

    def restore(self, state: Sums) -> None:
        pass


async def test_a_latest_value_does_not_overtake_what_it_waits_for() -> None:
    """A `latest` value does not overtake withheld reliable events, not even on a resume."""
    async with (
        open_town(partial(make_app, showing=Showing), 1) as town,
        town.join("/rooms/showing/a", sends=Add, receives=Shown) as client,
    ):
        await client.wait_status(Status.OPEN)
        await trio.sleep(1)
        (place,) = town.places
        (room,) = place.app.directory.rooms
        slow_log(place, 0.5)
        for number in (1, 2):
            await trio.sleep(0.2)
            room.broadcast(Began(number))
            room.broadcast(Position(number))
        for link in place.wires.links:
            link.cut()
        await trio.sleep(5)
        heard = list(client._inbox)
        assert [event for event in heard if isinstance(event, Began)] == [Began(1), Began(2)]
        numbers = [attrs.astuple(event)[0] for event in heard]
        assert numbers == sorted(numbers)
        assert heard[-1] == Position(2)


class Short(Adding):
    async def run(self) -> None:
        await trio.sleep(1)
        for number in range(3):
            await trio.sleep(0.01)
            self.broadcast(Added("the end", number, number, 0))


async def test_a_room_that_ends_says_nothing_of_its_log(caplog: pytest.LogCaptureFixture) -> None:
    """A room that ends logs no warning and sends its last events, although its journal is deleted before these events
    are written to it."""
    async with open_town(partial(make_app, short=Short), 1) as town:
        town.places[0].broker.delay = 0.002
        async with town.join("/rooms/short/a", sends=Add, receives=Added) as client:
            await client.wait_status(Status.CLOSED)
            await trio.sleep(1)
            assert len(client._inbox) == 3
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@edge.event("big")
class Big:
    number: int
    text: str


class Talking(edge.Room[Add, Big]):
    seats = edge.Seats(minimum=0, grace=60)


@seeds(6)
@pytest.mark.parametrize("size", [15_000, 28_000])
async def test_who_reads_slowly_and_is_carried_hears_the_end(size: int) -> None:
    """A relayed client that reads slowly receives all events and the goodbye."""
    async with open_town(partial(make_app, talking=Talking)) as town:
        one, other = town.places
        town.conditions = Conditions(latency=0.01, capacity=20_000)
        room = await one.node.find("talking", "a")
        assert isinstance(room, RoomRuntime)
        async with town.join("/rooms/talking/a", other, sends=Add, receives=Big) as client:
            await client.wait_status(Status.OPEN)
            await trio.sleep(1)
            other.wires.links[-1].reading = False
            for number in range(4):
                room.broadcast(Big(number, "x" * size), room.ledger.members)
                await trio.sleep(0.02)
            room.players[0].facade.kick("out with you")
            await trio.sleep(0.5)
            other.wires.links[-1].reading = True
            await client.wait_status(Status.CLOSED)
            assert [event.number for event in client._inbox] == [0, 1, 2, 3]
            assert client.ending is not None
            assert client.ending.code is edge.Code.KICKED


class Stubborn(edge.Room[Add, Added]):
    when_cut_off = "continue"
    seats = edge.Seats(minimum=0)


class Plain(edge.Room[Add, Added]):
    seats = edge.Seats(minimum=0)


async def test_a_room_goes_on_while_a_release_is_under_way() -> None:
    """A room that may continue without the broker continues, even while its server tries to release the lease of
    another room."""
    async with open_town(partial(make_app, stubborn=Stubborn, plain=Plain), 1) as town:
        (place,) = town.places
        await place.node.find("stubborn", "a")
        plain = await place.node.find("plain", "a")
        assert isinstance(plain, RoomRuntime)
        await trio.sleep(LEASE_SECONDS / RENEWALS * 2 + 0.01)  # the test continues right after a renewal of the leases
        place.broker.cut = True
        await trio.sleep(0.3)
        plain.close()
        await trio.sleep(3 * LEASE_SECONDS)
        assert place.rooms == ["stubborn/a"]


async def test_one_claim_that_fails_answers_all_who_wait_for_it() -> None:
    """If a server's request for a room's lease fails, all tasks that wait for this lease get the error, and do not
    repeat the request."""
    async with open_town(partial(make_app, plain=Plain), 1) as town:
        (place,) = town.places
        await trio.sleep(1)
        place.broker.cut = True
        codes: list[edge.Code] = []
        began = trio.current_time()

        async def come() -> None:
            with pytest.raises(edge.Refused) as refused:
                await place.node.find("plain", "a")
            codes.append(refused.value.code)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(come)
        assert codes == [edge.Code.CUT_OFF] * 10
        assert trio.current_time() - began <= LEASE_SECONDS


async def test_a_server_that_was_stopped_is_not_deaf() -> None:
    """A server whose process was stopped for a long time does not end as unreachable when it continues, because its
    canaries had arrived in the meantime."""
    async with open_town(make_app, 1) as town:
        (place,) = town.places
        await trio.sleep(1)
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(20 * LEASE_SECONDS)
        await trio.sleep(2 * LEASE_SECONDS)
        assert place.node.servers.keys() == {place.node.id}
