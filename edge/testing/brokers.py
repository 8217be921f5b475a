"""What every broker must do: one suite, run against each of them, and against yours.

Parametrize a test by `BROKER_CONFORMANCE` and call each with an open broker that nobody else uses::

    @pytest.mark.parametrize("check", edge.testing.BROKER_CONFORMANCE)
    async def test_my_broker(check):
        async with (broker := MyBroker(lease_seconds=1)).open():
            await check(broker)

The checks wait for leases to run out, on the broker's own clock: a second or less, if that is a real one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..broker.broker import Broker, Entry, Renewal

BrokerCheck = Callable[[Broker], Awaitable[None]]

ROOM = "game/one"


async def _run_out(broker: Broker, room: str = ROOM) -> None:
    """Wait until nobody has the room."""
    while True:
        left = [lease.seconds for lease in await broker.leases() if lease.room == room and lease.seconds > 0]
        if not left:
            return
        await trio.sleep(left[0] + 0.001)


async def one_of_many_gets_a_room(broker: Broker) -> None:
    """Of ten who claim at once one gets it, and the others learn who."""
    claims = []

    async def claim(server: str) -> None:
        claims.append((server, await broker.claim(ROOM, server)))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(claim, f"server-{number}")
    (winner,) = {claim.server for _, claim in claims}
    assert len([server for server, claim in claims if server == claim.server]) == 1
    assert all(0 < claim.seconds <= broker.lease_seconds for _, claim in claims)
    (lease,) = await broker.leases()
    assert (lease.room, lease.server) == (ROOM, winner)


async def a_lease_runs_out(broker: Broker) -> None:
    """Then another may have the room, with a higher fence, and hears that it was abandoned."""
    first = await broker.claim(ROOM, "a")
    await _run_out(broker)
    second = await broker.claim(ROOM, "b")
    assert (first.server, first.abandoned, second.server, second.abandoned) == ("a", False, "b", True)
    assert second.fence > first.fence
    assert not (await broker.renew("a", {ROOM: Renewal(first.fence)}, b"")).kept


async def a_lease_is_renewed(broker: Broker) -> None:
    """By its owner alone, for its full time; what is said of the room stays until something else is."""
    claim = await broker.claim(ROOM, "a")
    await trio.sleep(broker.lease_seconds / 2)
    assert (await broker.renew("a", {ROOM: Renewal(claim.fence, b"full")}, b"")).kept == {ROOM}
    (lease,) = await broker.leases()
    assert lease.seconds > broker.lease_seconds / 2
    assert lease.about == b"full"
    await broker.renew("a", {ROOM: Renewal(claim.fence)}, b"")
    (lease,) = await broker.leases()
    assert lease.about == b"full"
    assert not (await broker.renew("b", {ROOM: Renewal(claim.fence + 1)}, b"")).kept


async def what_is_forgotten_is_renewed(broker: Broker) -> None:
    """As long as nobody has claimed it since."""
    claim = await broker.claim(ROOM, "a")
    await broker.release(ROOM, claim.fence, hand_over=False)
    assert (await broker.renew("a", {ROOM: Renewal(claim.fence)}, b"")).kept == {ROOM}
    await broker.release(ROOM, claim.fence, hand_over=False)
    await broker.claim(ROOM, "b")
    assert not (await broker.renew("a", {ROOM: Renewal(claim.fence)}, b"")).kept


async def who_lost_its_answer_claims_again(broker: Broker) -> None:
    """A server that has the lease and does not know it gets it, with a higher fence."""
    first = await broker.claim(ROOM, "a")
    second = await broker.claim(ROOM, "a")
    assert (second.server, second.fence > first.fence) == ("a", True)
    assert await broker.append([Entry(ROOM, first.fence, 1, b"old")]) == [False]


async def a_released_room_is_free(broker: Broker) -> None:
    """At once, and nothing is left of it. Only its owner can let go of it."""
    claim = await broker.claim(ROOM, "a")
    await broker.append([Entry(ROOM, claim.fence, 1, b"said")])
    await broker.release(ROOM, claim.fence - 1, hand_over=False)
    assert len(await broker.leases()) == 1
    await broker.release(ROOM, claim.fence, hand_over=False)
    assert (list(await broker.leases()), list(await broker.read(ROOM))) == ([], [])
    again = await broker.claim(ROOM, "b")
    assert (again.server, again.abandoned, again.fence > claim.fence) == ("b", False, True)


async def a_room_is_handed_over(broker: Broker) -> None:
    """Anybody may have it at once, with its log."""
    claim = await broker.claim(ROOM, "a")
    await broker.append([Entry(ROOM, claim.fence, 1, b"said")])
    await broker.release(ROOM, claim.fence, hand_over=True)
    (lease,) = await broker.leases()
    assert lease.seconds <= 0
    assert await broker.append([Entry(ROOM, claim.fence, 2, b"too late")]) == [False]
    assert (await broker.claim(ROOM, "b")).abandoned
    assert list(await broker.read(ROOM)) == [b"said"]


async def rooms_that_are_left_are_found(broker: Broker) -> None:
    """Those that are kept, once nobody has them."""
    kept, other = await broker.claim(ROOM, "a"), await broker.claim("game/two", "a")
    assert await broker.append([Entry(ROOM, kept.fence, 1, b"said", whole=True)]) == [True]
    renewals = {ROOM: Renewal(kept.fence), "game/two": Renewal(other.fence)}
    assert (await broker.renew("a", renewals, b"")).kept == renewals.keys()
    assert [(lease.room, lease.kept) for lease in await broker.leases()] == [(ROOM, True), ("game/two", False)]
    assert list(await broker.leases(left=True)) == []
    await _run_out(broker)
    assert [lease.room for lease in await broker.leases(left=True)] == [ROOM]
    again = await broker.claim(ROOM, "b")
    assert list(await broker.leases(left=True)) == []
    await broker.release(ROOM, again.fence, hand_over=True)
    assert [lease.room for lease in await broker.leases(left=True)] == [ROOM]  # though b has written nothing


async def a_log_is_read_from_its_last_whole_entry(broker: Broker) -> None:
    """In order; the same entry twice is one, and after one that is missing nothing follows."""
    claim = await broker.claim(ROOM, "a")
    fence = claim.fence

    async def append(number: int, data: bytes, *, whole: bool = False) -> bool:
        (there,) = await broker.append([Entry(ROOM, fence, number, data, whole)])
        return there

    assert [await append(1, b"one"), await append(2, b"two"), await append(2, b"two")] == [True, True, True]
    assert not await append(4, b"four")
    assert not await append(1, b"one")
    assert list(await broker.read(ROOM)) == [b"one", b"two"]
    assert [await append(3, b"all\x00\xff", whole=True), await append(4, b"more")] == [True, True]
    assert list(await broker.read(ROOM)) == [b"all\x00\xff", b"more"]
    both = [Entry(ROOM, fence, 5, b"five"), Entry("game/two", fence, 1, b"not ours"), Entry(ROOM, fence, 6, b"six")]
    assert list(await broker.append(both)) == [True, False, True]


async def a_former_owner_writes_nothing(broker: Broker) -> None:
    """Not after its lease has run out, and not once another has the room."""
    claim = await broker.claim(ROOM, "a")
    assert await broker.append([Entry(ROOM, claim.fence, 1, b"one")]) == [True]
    await _run_out(broker)
    assert await broker.append([Entry(ROOM, claim.fence, 2, b"late")]) == [False]
    second = await broker.claim(ROOM, "b")
    assert await broker.append([Entry(ROOM, claim.fence, 2, b"stale")]) == [False]
    assert list(await broker.read(ROOM)) == [b"one"]
    assert await broker.append([Entry(ROOM, second.fence, 1, b"two")]) == [True]
    assert await broker.append([Entry(ROOM, claim.fence, 3, b"stale")]) == [False]
    assert list(await broker.read(ROOM)) == [b"one", b"two"]


async def letters_arrive_in_order(broker: Broker) -> None:
    """From several servers, before and after somebody reads; those for nobody are said to be."""
    await broker.renew("a", {}, b"")
    assert await broker.post({"a": b"0", "nobody": b"lost"}) == {"a"}
    async with broker.mailbox("a") as mailbox:
        got = list(await mailbox.receive())
        async with trio.open_nursery() as nursery:

            async def post() -> None:
                for number in range(1, 600):
                    assert await broker.post({"a": b"%d" % number})

            nursery.start_soon(post)
            while len(got) < 600:
                got += await mailbox.receive()
                await broker.renew("a", {}, b"")
        assert got == [b"%d" % number for number in range(600)]


async def a_cancelled_receive_takes_no_letter(broker: Broker) -> None:
    """It is there for the next."""
    await broker.renew("a", {}, b"")
    async with broker.mailbox("a") as mailbox:
        with trio.move_on_after(0.01):
            await mailbox.receive()
        await broker.post({"a": b"kept"})
        assert list(await mailbox.receive()) == [b"kept"]


async def servers_come_and_go(broker: Broker) -> None:
    """Each that has renewed is known with what it says, until it leaves, or does not; then its mailbox is gone."""
    await broker.renew("a", {}, b"first")
    assert (await broker.renew("b", {}, b"second")).servers == {"a": b"first", "b": b"second"}
    await broker.leave("a")
    assert await broker.post({"a": b"lost", "b": b"found"}) == {"b"}
    await trio.sleep(broker.lease_seconds * 1.01)
    assert (await broker.renew("c", {}, b"")).servers == {"c": b""}
    assert await broker.post({"b": b"lost"}) == frozenset()


BROKER_CONFORMANCE: tuple[BrokerCheck, ...] = (
    one_of_many_gets_a_room,
    a_lease_runs_out,
    a_lease_is_renewed,
    what_is_forgotten_is_renewed,
    who_lost_its_answer_claims_again,
    a_released_room_is_free,
    a_room_is_handed_over,
    rooms_that_are_left_are_found,
    a_log_is_read_from_its_last_whole_entry,
    a_former_owner_writes_nothing,
    letters_arrive_in_order,
    a_cancelled_receive_takes_no_letter,
    servers_come_and_go,
)
