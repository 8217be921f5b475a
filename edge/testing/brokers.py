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

from ..broker.broker import Broker, Entry, Renewal, Written

BrokerCheck = Callable[[Broker], Awaitable[None]]

ROOM = "game/one"


async def _run_out(broker: Broker, room: str = ROOM) -> None:
    """Wait until nobody has the room."""
    while True:
        left = [lease.seconds for lease in await broker.leases() if lease.room == room and lease.seconds > 0]
        if not left:
            return
        await trio.sleep(left[0] + 0.001)


async def _append(broker: Broker, entry: Entry) -> Written:
    """Write one entry."""
    (written,) = await broker.append([entry])
    return written


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
    assert await broker.lease("game/two") is None


async def a_lease_runs_out(broker: Broker) -> None:
    """Then another may have the room, with a higher fence, and hears that it was abandoned."""
    first = await broker.claim(ROOM, "a")
    await _run_out(broker)
    second = await broker.claim(ROOM, "b")
    assert (first.server, first.abandoned, second.server, second.abandoned) == ("a", False, "b", True)
    assert second.fence > first.fence
    assert not (await broker.renew("a", {ROOM: Renewal(first.fence)}, b"")).kept


async def a_lease_is_renewed(broker: Broker) -> None:
    """By its owner alone, for its full time, with what it says of the room."""
    claim = await broker.claim(ROOM, "a")
    await trio.sleep(broker.lease_seconds / 2)
    assert (await broker.renew("a", {ROOM: Renewal(claim.fence, b"full")}, b"")).kept == {ROOM}
    (shown,) = await broker.leases()
    lease = await broker.lease(ROOM)
    assert lease is not None
    for each in (lease, shown):
        assert each.seconds > broker.lease_seconds / 2
        assert (each.room, each.server, each.about) == (ROOM, "a", b"full")
    assert not (await broker.renew("b", {ROOM: Renewal(claim.fence - 1)}, b"")).kept
    (lease,) = await broker.leases()
    assert (lease.server, lease.fence) == ("a", claim.fence)


async def what_is_forgotten_is_renewed(broker: Broker) -> None:
    """As long as nobody has claimed it since."""
    claim = await broker.claim(ROOM, "a")
    await broker.release(ROOM, claim.fence, hand_over=False)
    assert (await broker.renew("a", {ROOM: Renewal(claim.fence)}, b"")).kept == {ROOM}
    await broker.release(ROOM, claim.fence, hand_over=False)
    await broker.claim(ROOM, "b")
    assert not (await broker.renew("a", {ROOM: Renewal(claim.fence)}, b"")).kept


async def what_is_forgotten_is_written_anew(broker: Broker) -> None:
    """By the owner, once its lease is renewed: one whole entry takes the place of all that was there."""
    first = await broker.claim(ROOM, "a")
    assert await _append(broker, Entry(ROOM, first.fence, 1, b"one", whole=True)) is Written.THERE
    await broker.release(ROOM, first.fence, hand_over=True)
    second = await broker.claim(ROOM, "b")
    await broker.release(ROOM, second.fence, hand_over=False)  # as a broker forgets that has begun again
    assert await _append(broker, Entry(ROOM, second.fence, 2, b"two")) is Written.FORGOTTEN
    assert await _append(broker, Entry(ROOM, second.fence, 3, b"all", whole=True)) is Written.FORGOTTEN
    await broker.renew("b", {ROOM: Renewal(second.fence)}, b"")
    assert await _append(broker, Entry(ROOM, second.fence, 4, b"four")) is Written.FORGOTTEN
    assert list(await broker.read(ROOM)) == []
    assert await _append(broker, Entry(ROOM, second.fence, 5, b"all", whole=True)) is Written.THERE
    assert await _append(broker, Entry(ROOM, second.fence, 8, b"all of it", whole=True)) is Written.THERE
    assert await _append(broker, Entry(ROOM, second.fence, 9, b"nine")) is Written.THERE
    assert await _append(broker, Entry(ROOM, second.fence, 5, b"all", whole=True)) is not Written.THERE
    assert list(await broker.read(ROOM)) == [b"all of it", b"nine"]
    assert [lease.kept for lease in await broker.leases()] == [True]
    assert await _append(broker, Entry(ROOM, first.fence, 9, b"stale", whole=True)) is Written.REFUSED


async def a_claim_that_is_forgotten_is_renewed(broker: Broker) -> None:
    """Also where the broker still knows who had the room before: whose fence is lower."""
    first = await broker.claim(ROOM, "a")
    assert await _append(broker, Entry(ROOM, first.fence, 1, b"one", whole=True)) is Written.THERE
    later = first.fence + 1
    assert await _append(broker, Entry(ROOM, later, 1, b"two", whole=True)) is Written.FORGOTTEN
    assert (await broker.renew("b", {ROOM: Renewal(later)}, b"")).kept == {ROOM}
    assert not (await broker.renew("a", {ROOM: Renewal(first.fence)}, b"")).kept
    assert await _append(broker, Entry(ROOM, first.fence, 2, b"stale")) is Written.REFUSED
    assert [(lease.server, lease.fence, lease.kept) for lease in await broker.leases()] == [("b", later, True)]
    assert await _append(broker, Entry(ROOM, later, 2, b"two", whole=True)) is Written.THERE
    assert list(await broker.read(ROOM)) == [b"two"]


async def who_lost_its_answer_claims_again(broker: Broker) -> None:
    """A server that has the lease and does not know it gets it, with a higher fence."""
    first = await broker.claim(ROOM, "a")
    second = await broker.claim(ROOM, "a")
    assert (second.server, second.fence > first.fence) == ("a", True)
    assert await _append(broker, Entry(ROOM, first.fence, 1, b"old")) is Written.REFUSED


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
    assert await _append(broker, Entry(ROOM, claim.fence, 2, b"too late")) is not Written.THERE
    assert (await broker.claim(ROOM, "b")).abandoned
    assert list(await broker.read(ROOM)) == [b"said"]


async def rooms_that_are_left_are_found(broker: Broker) -> None:
    """Those that are kept, once nobody has them."""
    kept, other = await broker.claim(ROOM, "a"), await broker.claim("game/two", "a")
    assert await _append(broker, Entry(ROOM, kept.fence, 1, b"said", whole=True)) is Written.THERE
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
    fence = (await broker.claim(ROOM, "a")).fence

    async def write(number: int, data: bytes, *, whole: bool = False) -> bool:
        return await _append(broker, Entry(ROOM, fence, number, data, whole)) is Written.THERE

    assert [await write(1, b"one"), await write(2, b"two"), await write(2, b"two")] == [True, True, True]
    assert not await write(4, b"four")
    assert not await write(1, b"one")
    assert list(await broker.read(ROOM)) == [b"one", b"two"]
    assert [await write(3, b"all\x00\xff", whole=True), await write(4, b"more")] == [True, True]
    assert list(await broker.read(ROOM)) == [b"all\x00\xff", b"more"]
    both = [Entry(ROOM, fence, 5, b"five"), Entry("game/two", fence, 1, b"not ours"), Entry(ROOM, fence, 6, b"six")]
    assert list(await broker.append(both)) == [Written.THERE, Written.FORGOTTEN, Written.THERE]


async def a_former_owner_writes_nothing(broker: Broker) -> None:
    """Not after its lease has run out, and not once another has the room."""
    claim = await broker.claim(ROOM, "a")
    assert await _append(broker, Entry(ROOM, claim.fence, 1, b"one")) is Written.THERE
    await _run_out(broker)
    assert await _append(broker, Entry(ROOM, claim.fence, 2, b"late")) is not Written.THERE
    second = await broker.claim(ROOM, "b")
    assert await _append(broker, Entry(ROOM, claim.fence, 2, b"stale", whole=True)) is Written.REFUSED
    assert list(await broker.read(ROOM)) == [b"one"]
    assert await _append(broker, Entry(ROOM, second.fence, 1, b"two")) is Written.THERE
    assert await _append(broker, Entry(ROOM, claim.fence, 3, b"stale")) is Written.REFUSED
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
    what_is_forgotten_is_written_anew,
    a_claim_that_is_forgotten_is_renewed,
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
