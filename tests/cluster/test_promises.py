"""Tests of the guarantees of servers that share persistent rooms: recovery of rooms, ends of seats and rooms, calls of
`greet`, and late requests for leases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import product
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

import edge
from edge.client.client import Client, Status
from edge.cluster.broker.broker import Broker, Claim, Stamp
from edge.errors import BrokerDown
from edge.journal.entries import Entry, Written
from edge.rooms.room import runtime_of
from edge.rooms.room_runtime import RoomRuntime
from edge.testing import seeds
from tests.endurance.banking import Bank, Cash, Finish, Greeted, Heard, LonelyBank, PayIn, Said, Told

from .servers import LEASE_SECONDS, Place, Town, open_town


def make_app(broker: Broker, **kinds: Callable[[], edge.Room[Any, Any]]) -> edge.App:
    keys = edge.Keys("a secret of all the servers")
    return edge.App(
        kinds or {"bank": Bank, "going": LonelyBank}, cluster=edge.Cluster(broker), sessions=edge.Sessions(keys=keys)
    )


@asynccontextmanager
async def sit(town: Town, room: str, name: str = "ana", *at: Place) -> AsyncIterator[Client[Any, Any]]:
    """Join this room, which is a bank, and wait until the client is connected."""
    async with town.join(f"/rooms/{room}", *at, sends=Said, receives=Told, name=name) as client:
        await client.wait_status(Status.OPEN)
        yield client


def owner_of(town: Town, room: str) -> Place:
    return next(place for place in town.places if room in place.rooms and not place.dead)


def bank(place: Place, room: str) -> Bank:
    found = place.app.directory.find(*room.split("/"))
    assert isinstance(found, Bank)
    return found


async def told(client: Client[Any, Any]) -> list[int]:
    """Return the balances that a client has received since the last call."""
    await trio.testing.wait_all_tasks_blocked()
    heard, client._inbox = [*client._inbox], type(client._inbox)()
    return [event.balance for event in heard]


def key_of(name: str) -> str:
    """Return a key for the session with this name, which all servers accept."""
    return edge.Keys("a secret of all the servers").issue(id=name, name=name)


class Hush(edge.Room[PayIn, Heard]):
    """Adds up payments, and sends the sum to the player once the sum is 100 or more."""

    seats = edge.Seats(minimum=0, grace=60)
    total = 0

    async def player(self, player: edge.Player[PayIn, Heard]) -> None:
        async for event in player.listen(PayIn):
            self.total += event.amount
            if self.total >= 100:
                player.send(Heard(self.total))

    def snapshot(self) -> int:
        return self.total

    def restore(self, state: int) -> None:
        self.total = state


@seeds(3)
async def test_what_redis_and_the_server_forget_together_is_told() -> None:
    """If the server dies and Redis loses events that the room had acknowledged, the client starts fresh, and the room
    receives its new events."""
    async with (
        open_town(lambda broker: make_app(broker, hush=Hush), 2) as town,
        town.join("/rooms/hush/a", sends=PayIn, receives=Heard, name="ana") as client,
    ):
        await client.wait_status(Status.OPEN)
        for wait in (town.shared.write_to_disk, lambda: None):
            for _ in range(3):
                client.send(PayIn(1))
            await trio.sleep(2)
            wait()
        town.kill(owner_of(town, "hush/a"))
        town.shared.begin_again()
        await client.wait_status(Status.AWAY)
        with trio.fail_after(30):
            await client.wait_status(Status.OPEN)
        assert client.welcome is not None
        assert not client.welcome.resumed
        client.send(PayIn(100))
        with trio.fail_after(5):
            assert await client.receive() == Heard(103)


@pytest.mark.parametrize("how", ["empty", "older", "one log"])
@seeds(3)
async def test_a_quiet_room_is_written_anew(how: str) -> None:
    """If Redis loses the journal of a room in which nothing happens, the room's server writes it again, so that another
    server can continue the room with its whole state."""
    async with open_town(make_app, 2) as town:
        rooms = [f"bank/{number}" for number in range(20)]
        async with trio.open_nursery() as nursery:
            clients: list[Client[Any, Any]] = []

            async def come(room: str) -> None:
                async with sit(town, room) as client:
                    clients.append(client)
                    await trio.sleep_forever()

            for room in rooms:
                nursery.start_soon(come, room)
            await trio.sleep(LEASE_SECONDS)
            if how == "older":
                town.shared.write_to_disk()
            for client in clients:
                client.send(PayIn(7))
            await trio.sleep(1)
            if how == "one log":
                town.shared.write_to_disk()
                town.shared._disk[1].pop(rooms[0])
            town.shared.begin_again()
            await trio.sleep(2 * LEASE_SECONDS)
            victims = [place for place in town.places if place.rooms]
            town.kill(victims[0])
            await town.open()
            await trio.sleep(4 * LEASE_SECONDS)
            for room in rooms:
                assert bank(owner_of(town, room), room).balances == {"ana": 7}
            for client in clients:
                assert client.welcome is not None
                assert client.welcome.why in ("", "new"), client.welcome
            nursery.cancel_scope.cancel("the test is over")


async def test_what_is_forgotten_is_not_written_all_at_once() -> None:
    """After the broker has lost its data, the server writes all rooms again within the time of a lease, at most twenty
    in one batch."""
    async with open_town(make_app, 1) as town:
        (place,) = town.places
        await trio.sleep(LEASE_SECONDS)
        for number in range(200):
            await place.node.find("bank", str(number))
            runtime_of(bank(place, f"bank/{number}")).journal.mark_changed()  # type: ignore[union-attr]
        await trio.sleep(1)
        append, batches = town.shared.append, []

        async def note(entries: Sequence[Entry]) -> Sequence[Written]:
            batches.append([entry.room for entry in entries if entry.whole])
            return await append(entries)

        town.shared.append = note  # type: ignore[method-assign]
        town.shared.begin_again()
        await trio.sleep(LEASE_SECONDS)
        assert sorted(room for batch in batches for room in batch) == sorted(place.rooms)
        assert max(map(len, batches)) <= 20


async def delay_log(place: Place, seconds: float) -> None:
    """Delay each write of a server's journal from now on."""
    append = place.broker.append

    async def append_late(entries: Sequence[Entry]) -> Sequence[Written]:
        await trio.sleep(seconds)
        return await append(entries)

    place.broker.append = append_late  # type: ignore[method-assign]


@pytest.mark.parametrize(("how", "moment"), [*product(["cash", "finish", "kick", "close"], range(10))])
async def test_nobody_hears_an_end_that_is_undone(how: str, moment: int) -> None:
    """If a server dies around the end of a seat or a room, no client receives an end that the next server does not
    confirm. A client that has not received the end continues, or receives it from the next server."""
    async with open_town(make_app, 2) as town, sit(town, "bank/a") as ana, sit(town, "bank/a", "ben") as ben:
        ana.send(PayIn(5))
        await trio.sleep(1)
        await told(ana)
        place = owner_of(town, "bank/a")
        await delay_log(place, 0.03)
        if how == "kick":
            next(player for player in bank(place, "bank/a").players if player.name == "ana").kick("out")
        elif how == "close":
            bank(place, "bank/a").close("over")
        else:
            ana.send(Cash() if how == "cash" else Finish())
        await trio.sleep(0.01 * moment)
        town.kill(place)
        await trio.sleep(0.1)
        heard, ended = await told(ana), ana.status is Status.CLOSED
        if heard:  # an event about the end must be confirmed by the next server, as a goodbye must be
            assert heard == [5] if how == "cash" else [-5]
        await trio.sleep(4 * LEASE_SECONDS)
        going_on = [place for place in town.places if "bank/a" in place.rooms and not place.dead]
        if how in ("finish", "close"):
            if ended or heard:
                assert not [place for place in going_on if bank(place, "bank/a").balances.get("ana")]
            else:
                assert ana.welcome is not None
        elif ended:
            assert ana.ending is not None
            (place,) = going_on
            assert "ana" not in [player.name for player in bank(place, "bank/a").players]
            if how == "cash":
                assert bank(place, "bank/a").balances == {"ben": 0}
        elif how == "cash":  # the client sends the event again, and the next server ends the seat
            assert (await told(ana), ana.status) == ([5], Status.CLOSED)
        elif not heard:
            (place,) = going_on
            assert "ana" in bank(place, "bank/a").balances
        assert ben.status is not Status.CLOSED or how in ("finish", "close")


@pytest.mark.parametrize("how", ["cash", "finish"])
async def test_who_is_cut_off_tells_no_end(how: str) -> None:
    """A server that can't reach the broker does not report the end of a seat or a room. After its lease has expired,
    the room continues at another server, and the seat or the room ends there."""
    async with open_town(make_app, 2) as town, sit(town, "bank/a") as ana:
        ana.send(PayIn(5))
        await trio.sleep(1)
        assert await told(ana) == [0, 5]
        place = owner_of(town, "bank/a")
        place.broker.cut = True
        ana.send(Cash() if how == "cash" else Finish())
        await trio.sleep(LEASE_SECONDS * 0.8)
        assert (await told(ana), ana.status) == ([], Status.OPEN)
        place.dead = True
        await trio.sleep(4 * LEASE_SECONDS)
        assert ana.welcome is not None
        # After a resume, the client sends the event again, and the other server ends the seat or the room.
        assert ana.status is Status.CLOSED or ana.welcome.resumed
        assert await told(ana) == [5 if how == "cash" else -5]
        assert ana.status is Status.CLOSED
        assert not ana.ending.unconfirmed  # type: ignore[union-attr]


async def test_an_end_waits_while_the_broker_is_away_for_a_while() -> None:
    """While the broker is unreachable, a server withholds the goodbye of a room that ended. If the broker returns
    before the lease expires, the server sends the goodbye."""
    async with open_town(make_app, 1) as town, sit(town, "bank/a") as ana:
        (place,) = town.places
        await trio.sleep(1)
        place.broker.cut = True
        ana.send(Finish())
        await trio.sleep(1)
        assert ana.status is Status.OPEN
        place.broker.cut = False
        await ana.wait_status(Status.CLOSED)
        assert ana.ending is not None
        assert (ana.ending.code, ana.ending.unconfirmed) == (edge.Code.ROOM_CLOSED, False)
        await trio.sleep(1)
        assert list(await town.shared.leases()) == []


@pytest.mark.parametrize("how", ["cash", "finish"])
async def test_a_room_that_goes_on_alone_tells_an_end_as_unconfirmed(how: str) -> None:
    """A room that may continue without the broker withholds the end of a seat, or its own end, for the time of a lease.
    Then it reports this end as unconfirmed."""
    async with open_town(make_app, 1) as town, sit(town, "going/a") as ana:
        (place,) = town.places
        ana.send(PayIn(5))
        await trio.sleep(1)
        place.broker.cut = True
        ana.send(Cash() if how == "cash" else Finish())
        await trio.sleep(LEASE_SECONDS * 0.8)
        assert ana.status is Status.OPEN
        await trio.sleep(LEASE_SECONDS)
        assert ana.ending is not None
        assert ana.ending.unconfirmed
        assert ana.ending.code is (edge.Code.LEFT if how == "cash" else edge.Code.ROOM_CLOSED)
        assert await told(ana) == [0, 5, 5 if how == "cash" else -5]
        place.broker.heal()
        await trio.sleep(2 * LEASE_SECONDS)
        assert place.rooms == ([] if how == "finish" else ["going/a"])
        assert [lease.room for lease in await town.shared.leases()] == place.rooms


@seeds(20)
async def test_who_knows_nothing_is_greeted_first(edge_seed: int) -> None:
    """Each client that starts fresh receives the event of `greet` first and only once, even while the room broadcasts
    or moves to another server."""
    random = Random(edge_seed)
    async with (
        open_town(make_app, 3) as town,
        sit(town, "bank/a", "chatter") as chatter,
        trio.open_nursery() as nursery,
    ):

        async def chat() -> None:
            while True:
                await trio.sleep(random.expovariate(30))
                if chatter.status is Status.OPEN:
                    chatter.send(PayIn(1))

        async def reload(name: str) -> None:
            key = key_of(name) if random.random() < 0.5 else None
            for _ in range(8):
                async with town.join("/rooms/bank/a", sends=Said, receives=Told, name=name, key=key) as client:
                    with trio.fail_after(30):
                        await client.wait_status(Status.OPEN)
                        first = await client.receive()
                    assert isinstance(first, Greeted), first
                    with trio.move_on_after(random.uniform(0, 0.3)):
                        while True:
                            event = await client.receive()
                            fresh = client.welcome is not None and not client.welcome.resumed
                            assert fresh or isinstance(event, Heard), event

        nursery.start_soon(chat)
        async with trio.open_nursery() as reloading:
            for number in range(6):
                reloading.start_soon(reload, f"player {number}")
            await trio.sleep(1)
            for how in random.sample(["kill", "drain"], 2):
                place = owner_of(town, "bank/a")
                await town.open()
                if how == "kill":
                    town.kill(place)
                    await trio.sleep(LEASE_SECONDS * 2)
                else:
                    await town.drain(place)
        nursery.cancel_scope.cancel("the test is over")


async def test_who_comes_between_a_move_and_their_players_first_step_is_greeted() -> None:
    """If a new client takes a restored seat shortly after another server has restored the room, `greet` is called for
    this client."""
    async with open_town(make_app, 2) as town:
        key = key_of("ana")
        async with town.join("/rooms/bank/a", sends=Said, receives=Told, key=key) as client:
            await client.wait_status(Status.OPEN)
            client.send(PayIn(5))
            await trio.sleep(1)
            place = owner_of(town, "bank/a")
            town.kill(place)
            other = next(place for place in town.places if not place.dead)
            await trio.sleep_until(trio.current_time() + LEASE_SECONDS + 0.01)
        async with town.join("/rooms/bank/a", other, sends=Said, receives=Told, key=key) as client:
            await client.wait_status(Status.OPEN)
            assert await client.receive() == Greeted(5)


async def test_a_claim_that_comes_late_takes_no_room() -> None:
    """If a request for a lease reaches the broker after its time-out, it has no effect. It neither replaces the lease
    of a later request, nor creates a lease after the later lease was released."""
    async with open_town(make_app, 1) as town:
        (place,) = town.places
        await trio.sleep(LEASE_SECONDS)
        claim, late = place.broker.claim, []

        async def claim_in_vain(room: str, server: str, stamp: Stamp) -> Claim:
            late.append((room, server, stamp))
            raise BrokerDown("no answer came")

        place.broker.claim = claim_in_vain  # type: ignore[method-assign]
        with pytest.raises(edge.Refused):
            await place.node.find("bank", "a")
        place.broker.claim = claim  # type: ignore[method-assign]
        room = await place.node.find("bank", "a")
        assert isinstance(room, RoomRuntime)
        (lost,) = late
        await town.shared.claim(*lost)
        lease = await town.shared.lease("bank/a")
        assert lease is not None
        assert lease.fence == room.lease.fence
        await trio.sleep(3 * LEASE_SECONDS)
        assert place.rooms == ["bank/a"]
        room.close()
        await trio.sleep(1)
        await town.shared.claim(*lost)
        assert await town.shared.lease("bank/a") is None


async def test_a_claim_whose_answer_is_lost_is_given_back() -> None:
    """If the answer to a request for a lease is lost, the server releases the lease, so that another server can open
    the room."""
    async with open_town(make_app, 2) as town:
        one, two = town.places
        await trio.sleep(LEASE_SECONDS)
        claim = one.broker.claim

        async def claim_unheard(room: str, server: str, stamp: Stamp) -> Claim:
            await claim(room, server, stamp)
            raise BrokerDown("no answer came")

        one.broker.claim = claim_unheard  # type: ignore[method-assign]
        with pytest.raises(edge.Refused):
            await one.node.find("bank", "a")
        await trio.sleep(0.1)
        assert isinstance(await two.node.find("bank", "a"), RoomRuntime)


async def test_what_was_let_go_of_and_is_known_again_is_let_go_of() -> None:
    """If Redis loses the release of a closed room's lease, the room's server releases the lease again, and no server
    continues the room."""
    async with open_town(make_app, 2) as town, sit(town, "bank/a") as ana:
        await trio.sleep(1)
        place = owner_of(town, "bank/a")
        town.shared.write_to_disk()
        bank(place, "bank/a").close("over")
        await ana.wait_status(Status.CLOSED)
        await trio.sleep(0.1)
        town.shared.begin_again()
        assert len(await town.shared.leases()) == 1
        await trio.sleep(3 * LEASE_SECONDS)
        assert list(await town.shared.leases()) == []
        assert not any(place.rooms for place in town.places)


async def test_renewing_costs_the_broker_no_more_with_more_rooms() -> None:
    """A renewal of leases lists only the rooms that have changed or closed since the previous renewal."""
    async with open_town(make_app, 1) as town:
        (place,) = town.places
        await trio.sleep(LEASE_SECONDS)
        for number in range(300):
            await place.node.find("bank", str(number))
        await trio.sleep(LEASE_SECONDS)
        renew, news = town.shared.renew, []

        async def note(server: str, stamp: Stamp, about: bytes, told: Any = ()) -> Any:
            news.append(len(told))
            return await renew(server, stamp, about, told)

        town.shared.renew = note  # type: ignore[method-assign, assignment]
        await trio.sleep(2 * LEASE_SECONDS)
        assert len(news) >= 7
        assert set(news) == {0}
        for number in range(200):
            bank(place, f"bank/{number}").close()
        await trio.sleep(2 * LEASE_SECONDS)
        assert 200 <= sum(news) <= 400, "each closed room must be listed once or twice"
        assert max(news) > 50
        assert len(place.rooms) == 100
