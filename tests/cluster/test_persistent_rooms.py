"""Tests of rooms that survive the death of their server. Each event arrives exactly once, in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio

import edge
from edge.client.client import Client, Status
from edge.cluster.broker.broker import Broker
from edge.rooms.room import kind_of
from edge.testing import seeds
from edge.testing.network import BOTH, Conditions, Side
from tests.cluster.servers import one_secret
from tests.endurance.adding import ROOMS, Add, Added, Adder, Adding, Ledger, Mirrorer, Sharing, Sums

from .servers import LEASE_SECONDS, Place, Town, open_town


def make_app(broker: Broker) -> edge.App:
    return edge.App({**ROOMS, "sharing": Sharing}, cluster=edge.Cluster(broker), sessions=one_secret())


def adder(town: Town, kind: str, *at: Place, name: str = "ana") -> AbstractAsyncContextManager[Client[Any, Any]]:
    documents = kind_of(Sharing).mirrored if kind == "sharing" else ()
    return town.join(f"/rooms/{kind}/a", *at, sends=Add, receives=Added, name=name, documents=documents)


@asynccontextmanager
async def adders(town: Town, kind: str, *names: str) -> AsyncIterator[list[Adder]]:
    """Join with clients that send `Add`, and that may connect to any server."""
    made, ledger = [], Ledger()
    async with trio.open_nursery() as nursery, trio.open_nursery() as watching:

        async def come(name: str, *, task_status: trio.TaskStatus[Adder]) -> None:
            async with adder(town, kind, name=name) as client:
                await client.wait_status(Status.OPEN)
                someone = (Mirrorer if kind == "sharing" else Adder)(client, name, ledger)
                task_status.started(someone)
                watching.start_soon(someone.watch)
                await someone.listen()

        for name in names:
            made.append(await nursery.start(come, name))
        yield made
        nursery.cancel_scope.cancel("the test is over")
        watching.cancel_scope.cancel("the test is over")


async def trouble(town: Town, people: list[Adder], random: Random) -> None:
    """Cause a random fault of the room's owner, or of all connections."""
    there = [place for place in town.places if not place.dead]
    owners = [place for place in there if place.rooms]
    match random.choice(["kill", "kill", "cut", "slow", "hang up", "drain", "forget"]):
        case "kill" if owners:
            town.kill(owners[0])
            await town.open()
        case "cut" if owners:
            owners[0].broker.cut = True
        case "slow":
            for place in there:
                place.broker.delay, place.broker.losses = random.choice([0.05, 0.5]), random.choice([0, 0.1])
        case "hang up":
            hang_up(there, random)
        case "drain" if owners:
            await town.open()
            if random.random() < 0.5:  # as a result, some clients are reconnecting when the drain begins
                hang_up(there, random)
                await trio.sleep(random.uniform(0, 0.5))
            town.nursery.start_soon(town.drain, owners[0])
        case "forget" if owners:
            town.shared.write_to_disk()
            await add(people, random, random.randint(0, 40))
            town.shared.begin_again()
            await add(people, random, random.randint(0, 40))
            await trio.sleep(LEASE_SECONDS / 2)  # by then, the servers have written the lost entries again


def hang_up(places: list[Place], random: Random) -> None:
    """Break each connection with a probability of one half."""
    for place in places:
        for link in place.wires.links:
            if random.random() < 0.5:
                link.cut()


async def add(people: list[Adder], random: Random, times: int) -> None:
    """Send `Add` this number of times, from random clients and at random intervals."""
    for _ in range(times):
        await trio.sleep(random.expovariate(20))
        random.choice(people).add()


async def play(town: Town, people: list[Adder], random: Random, *, troubles: int) -> None:
    """Let clients send `Add` while one random fault follows another, then end all faults."""
    for _ in range(troubles):
        await add(people, random, random.randint(5, 40))
        await trouble(town, people, random)
        await add(people, random, random.randint(0, 20))
        await trio.sleep(random.choice([0, 0.5, LEASE_SECONDS + 2, 25]))
        for place in town.places:
            if not place.dead:
                place.broker.heal()
    await trio.sleep(4 * LEASE_SECONDS)


@seeds(100)
async def test_nothing_is_lost_and_nothing_twice(edge_seed: int) -> None:
    """The room receives each event of a client once, and each client receives each event of the room once, in order,
    even if servers are killed, drained or cut off, the broker loses its newest writes, or connections break."""
    random = Random(edge_seed)
    kind = random.choice([*ROOMS])
    async with open_town(make_app, 3) as town, adders(town, kind, "ana", "ben", "cyn") as people:
        town.conditions = Conditions(latency=random.choice([0, 0.02, 0.1]), jitter=0.05)
        await play(town, people, random, troubles=4)
        for someone in people:
            someone.check()
        (owner,) = (place for place in town.places if place.rooms and not place.dead)
        (room,) = owner.app.directory.rooms
        assert isinstance(room, Adding)
        assert room.by == {someone.name: someone.said for someone in people if someone.said}
        assert room.greeted == [] or not room.players[0].restored
        assert [player.number for player in room.players] == [0, 1, 2]


@seeds(100)
async def test_no_mirror_goes_back(edge_seed: int) -> None:
    """A client never mirrors a state that is older than an earlier one or than an event, a patch is neither missing nor
    doubled, and the documents of one change are shown together, even if servers are killed and connections break."""
    random = Random(edge_seed)
    async with open_town(make_app, 3) as town, adders(town, "sharing", "ana", "ben", "cyn") as people:
        town.conditions = Conditions(latency=random.choice([0, 0.02, 0.1]), jitter=0.05)
        await play(town, people, random, troubles=4)
        for someone in people:
            someone.check()
            assert isinstance(someone, Mirrorer)
            assert someone.total == sum(each.said for each in people)


@seeds(20)
async def test_a_new_connection_shows_only_what_the_journal_has(edge_seed: int) -> None:
    """While the journal cannot be written, clients that reconnect get no document with changes that it does not have.
    Afterwards, they get them whole, and no patch for the connection before."""
    async with open_town(make_app, 1) as town, adders(town, "sharing", "ana", "ben") as (ana, ben):
        (place,) = town.places
        ana.add()
        await trio.sleep(1)
        place.broker.cut = True
        ana.add()
        await trio.sleep(pause := Random(edge_seed).choice([0.01, 0.1, 0.3]))
        for link in place.wires.links:
            link.cut()
        ana.add()  # is sent again after the welcome
        await trio.sleep(0.6 - pause)
        for someone in (ana, ben):
            assert isinstance(someone, Mirrorer)
            assert someone.total == 1
            assert someone.client.status is not Status.OPEN
        place.broker.cut = False
        await trio.sleep(5)
        for someone in (ana, ben):
            someone.check()
            assert isinstance(someone, Mirrorer)
            assert someone.total == 3
            assert someone.client.lost is not None
            assert "document" not in someone.client.lost.reason


@seeds(20)
async def test_a_server_that_is_cancelled_leaves_its_rooms() -> None:
    """The rooms of a server that is cancelled do not end, and continue at another server within the time of a lease."""
    async with open_town(make_app, 2) as town, adders(town, "adding", "ana") as (ana,):
        for _ in range(10):
            ana.add()
        await trio.sleep(1)
        owner = next(place for place in town.places if place.rooms)
        owner.dead = True
        owner.scope.cancel("no patience at all")
        await trio.sleep(LEASE_SECONDS)
        ana.add()
        await trio.sleep(1)
        ana.check()


async def test_a_log_that_can_t_be_read_stays() -> None:
    """While no server can restore a room's snapshot, no server opens the room. Its journal stays, and a server that can
    restore the snapshot later continues the room."""
    can_read = False

    class Picky(Adding):
        def restore(self, state: Sums) -> None:
            if not can_read:
                self.broadcast(Added("nobody", 0, 1000, 0))
                raise ValueError("a version that knows no such state")
            super().restore(state)

    def make_picky(broker: Broker) -> edge.App:
        return edge.App(
            {"adding": Picky},
            cluster=edge.Cluster(broker),
            sessions=one_secret(),
        )

    async with open_town(make_picky, 2) as town, adders(town, "adding", "ana") as (ana,):
        for _ in range(10):
            ana.add()
        await trio.sleep(1)
        owner = next(place for place in town.places if place.rooms)
        town.kill(owner)
        await trio.sleep(3 * LEASE_SECONDS)
        assert not any(place.rooms for place in town.places)
        can_read = True
        await trio.sleep(20)
        (room,) = next(place for place in town.places if place.rooms).app.directory.rooms
        assert isinstance(room, Picky)
        assert room.by == {"ana": 10}
        ana.add()
        await trio.sleep(1)
        ana.check()


@pytest.mark.parametrize("noticed_by", [BOTH, frozenset[Side](["client"])])
async def test_a_welcome_waits_for_the_log(noticed_by: frozenset[Side]) -> None:
    """A welcome is sent only after the counts in it are written to the journal, because the client drops the events
    that the welcome acknowledges."""
    async with open_town(make_app, 2) as town, adders(town, "adding", "ana") as (ana,):
        owner = next(place for place in town.places if place.rooms)
        owner.broker.delay = 1.0
        ana.add()
        await trio.sleep(0.01)
        for link in [link for place in town.places for link in place.wires.links]:
            link.cut(noticed_by=noticed_by)
        await ana.client.wait_status(Status.AWAY)
        await ana.client.wait_status(Status.OPEN)
        town.kill(owner)
        await trio.sleep(4 * LEASE_SECONDS)
        ana.check()


@pytest.mark.parametrize("seconds", [number / 20 for number in range(16)])
async def test_who_comes_back_to_a_server_that_drains_resumes_elsewhere(seconds: float) -> None:
    """A client that is reconnecting when its server begins to drain loses no event and keeps its seat, at whatever
    moment the drain begins."""
    async with open_town(make_app, 1) as town, adders(town, "adding", "ana") as (ana,):
        town.conditions = Conditions(latency=0.1)
        (owner,) = town.places
        for link in owner.wires.links:
            link.cut()
        for _ in range(5):
            ana.add()
        await trio.sleep(seconds)
        await town.open()
        await town.drain(owner)
        ana.check()
