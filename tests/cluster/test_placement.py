"""Tests of the choice of rooms that move to servers with less load, and of the moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

import edge
from edge.client.client import Status
from edge.cluster.broker.broker import Broker, Claim, News, Renewed, Stamp
from edge.cluster.node import Node
from edge.cluster.placement import BALANCE_SECONDS, LEAST, SLACK, STAY_SECONDS, choose_moves
from edge.testing import seeds
from tests.cluster.servers import one_secret
from tests.endurance.adding import Add, Added, Adder, Adding, Ledger

from .servers import LEASE_SECONDS, Town, open_town

weights = st.lists(st.integers(1, 150), max_size=60)


@example([[1, 1, 1, 25, 52, 28, 70, 70], [1, 1, 2, 16, 31, 11, 70, 116], [], [], [], [61]], [0, 1, 0, 70, 70, 187])
@given(servers=st.lists(weights, min_size=1, max_size=6), stuck=st.lists(st.integers(0, 500), min_size=6, max_size=6))
def test_rooms_come_to_rest(servers: list[list[int]], stuck: list[int]) -> None:
    """If all servers repeatedly choose their moves at the same time, the moves end within ten repetitions. No server
    ever has more load than the busiest server had at the start."""
    names = [f"server-{number}" for number in range(len(servers))]
    rooms = {
        name: {f"{name}/{number}": weight for number, weight in enumerate(each)}
        for name, each in zip(names, servers, strict=True)
    }
    fixed = dict(zip(names, stuck, strict=False))

    def loads() -> dict[str, int]:
        return {name: fixed[name] + sum(rooms[name].values()) for name in names}

    busiest, moved = max(loads().values()), 0
    for _ in range(10):
        known = loads()
        chosen = {name: choose_moves(name, rooms[name], known) for name in names}
        moved = sum(map(len, chosen.values()))
        if not moved:
            break
        for name, moves in chosen.items():
            for room, to in moves:
                assert to != name
                rooms[to][room] = rooms[name].pop(room)
        assert max(loads().values()) <= busiest
    assert not moved


def test_a_new_server_gets_its_share() -> None:
    """A new server gets an equal share of many rooms, and no room moves because of a small difference in load."""
    rooms = {f"chat/{number:03}": 5 for number in range(100)}
    moves = choose_moves("a", rooms, {"a": 501, "b": 500, "c": 0})
    assert [to for _, to in moves] == ["c"] * 33
    # `b` moves no rooms, because `a` has more load, and only one server can move rooms to `c`.
    assert not choose_moves("b", rooms, {"a": 501, "b": 500, "c": 0})
    assert not choose_moves("a", rooms, {"a": LEAST - 1, "b": 0})
    mean = 1000
    assert not choose_moves("a", rooms, {"a": int(mean * (1 + SLACK)) - 1, "b": int(mean * (1 - SLACK)) + 1})
    assert choose_moves("a", rooms, {"a": int(mean * (1 + SLACK)), "b": int(mean * (1 - SLACK))})
    # The move would not balance the servers, because it would give the whole load to `b`.
    assert not choose_moves("a", {"chat/large": 400}, {"a": 400, "b": 0})


def make_app(broker: Broker) -> edge.App:
    return edge.App(
        {"adding": Adding},
        cluster=edge.Cluster(broker),
        sessions=one_secret(),
    )


@asynccontextmanager
async def ten_rooms(town: Town) -> AsyncIterator[list[Adder]]:
    """Join ten rooms, each with two clients that send `Add`."""
    people: list[Adder] = []

    async def come(room: int, ledger: Ledger, *, task_status: trio.TaskStatus[None]) -> None:
        name = f"player-{len(people)}"
        async with town.join(f"/rooms/adding/{room}", sends=Add, receives=Added, name=name) as client:
            await client.wait_status(Status.OPEN)
            people.append(Adder(client, name, ledger))
            task_status.started()
            await people[-1].listen()

    async with trio.open_nursery() as nursery:
        for room in range(10):
            ledger = Ledger()
            for _ in range(2):
                await nursery.start(come, room, ledger)
        yield people
        nursery.cancel_scope.cancel("the test is over")


async def add(people: list[Adder], seconds: float) -> None:
    """Let every client send `Add` repeatedly, for this number of seconds."""
    with trio.move_on_after(seconds):
        while True:
            await trio.sleep(0.4)
            for someone in people:
                someone.add()


@pytest.fixture
def a_little_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the load below which a server moves no rooms."""
    monkeypatch.setattr("edge.cluster.placement.LEAST", 10)


@pytest.mark.usefixtures("a_little_is_enough")
@seeds(3)
async def test_rooms_go_on_at_a_new_server() -> None:
    """Half of the rooms move to a new server with their players, whose clients reconnect, miss no event, and receive
    none twice."""
    async with open_town(make_app, 1) as town, ten_rooms(town) as people:
        (old,) = town.places
        assert len(old.rooms) == 10
        new = await town.open()
        await add(people, 2 * BALANCE_SECONDS)
        await trio.sleep(3)
        assert (len(old.rooms), len(new.rooms)) == (5, 5)
        for someone in people:
            assert someone.client.status is Status.OPEN
            someone.check()


@pytest.mark.usefixtures("a_little_is_enough")
@seeds(8)
async def test_a_server_that_dies_while_rooms_go_to_it(edge_seed: int) -> None:
    """If any server dies while rooms move, no event and no room is lost or duplicated."""
    chance = Random(edge_seed)
    async with open_town(make_app, 2) as town, ten_rooms(town) as people:
        for place in town.places:
            place.broker.delay = chance.choice([0.0, 0.05])
        await town.open()
        await add(people, BALANCE_SECONDS - 3 + chance.uniform(0, 4))
        town.kill(chance.choice(town.places))
        await add(people, 5)
        for place in town.places:
            if not place.dead:
                place.broker.heal()
        await add(people, 2 * BALANCE_SECONDS)
        await trio.sleep(4 * LEASE_SECONDS)
        assert sum(len(place.rooms) for place in town.places if not place.dead) == 10
        for someone in people:
            someone.check()


@pytest.mark.usefixtures("a_little_is_enough")
async def test_rooms_that_are_to_stay() -> None:
    """No room moves if the app has `balance=False`."""

    def make_still(broker: Broker) -> edge.App:
        return edge.App(
            {"adding": Adding},
            cluster=edge.Cluster(broker, balance=False),
            sessions=one_secret(),
        )

    async with open_town(make_still, 1) as town, ten_rooms(town):
        await town.open()
        await trio.sleep(5 * BALANCE_SECONDS)
        assert [len(place.rooms) for place in town.places] == [10, 0]


async def test_a_late_renewal_does_not_take_back_a_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the broker gets a renewal of leases late, after a server has moved a room, this renewal does not return the
    room to that server."""
    async with (
        open_town(make_app, 2) as town,
        town.join("/rooms/adding/a", sends=Add, receives=Added, name="ana") as ana,
    ):
        await ana.wait_status(Status.OPEN)
        await trio.sleep(LEASE_SECONDS)
        old, new = sorted(town.places, key=lambda place: not place.rooms)
        renew, claim, under_way = town.shared.renew, town.shared.claim, trio.Event()

        async def renew_late(server: str, stamp: Stamp, about: bytes, news: Sequence[News] = ()) -> Renewed:
            if server == old.node.id:
                under_way.set()
                await trio.sleep(0.5)
            return await renew(server, stamp, about, news)

        async def claim_later(room: str, server: str, stamp: Stamp) -> Claim:
            await trio.sleep(1)
            return await claim(room, server, stamp)

        monkeypatch.setattr(town.shared, "renew", renew_late)
        monkeypatch.setattr(town.shared, "claim", claim_later)
        await under_way.wait()
        assert await old.node.move("adding/a", new.node.id)
        assert (old.rooms, new.rooms) == ([], ["adding/a"])


async def test_a_room_that_is_not_taken_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed move, a server waits before it tries to move the same room again, so that players do not reconnect
    in vain."""
    moves = []

    async def move(node: Node, name: str, to: str) -> bool:
        moves.append(name)
        return False

    monkeypatch.setattr("edge.cluster.node.Node.move", move)
    monkeypatch.setattr("edge.cluster.placement.LEAST", 1)
    async with open_town(make_app, 1) as town, ten_rooms(town):
        await town.open()
        await trio.sleep(STAY_SECONDS)
        assert len(moves) == len(set(moves)) == 10
        await trio.sleep(STAY_SECONDS)
        assert len(moves) > 10
