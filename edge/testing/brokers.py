"""The conformance suite for brokers. edge runs this suite against its own brokers. Run it against your brokers, too.

Parametrize a test by `BROKER_CONFORMANCE`, and call each check with an open broker that has no other users::

    @pytest.mark.parametrize("check", edge.testing.BROKER_CONFORMANCE)
    async def test_my_broker(check):
        async with (broker := MyBroker(lease_seconds=1)).open():
            await check(broker)

The checks wait until leases run out on the broker's clock. With a real clock, use a lease of one second or less.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count

import attrs
import trio

from ..cluster.broker.broker import Broker, Claim, News, Renewed, Stamp, Wish
from ..journal.entries import Entry, Written

BrokerCheck = Callable[[Broker], Awaitable[None]]

ROOM = "game/one"


@attrs.define(eq=False)
class Asker:
    """A simulated server, which sends requests to a broker."""

    broker: Broker
    name: str
    _numbers: count[int] = attrs.field(factory=lambda: count(1))

    def stamp(self) -> Stamp:
        """Return the stamp of a new request. From then on, the server waits for the answer to this request only."""
        number = next(self._numbers)
        return Stamp(number, number)

    async def claim(self, room: str = ROOM) -> Claim:
        return await self.broker.claim(room, self.name, self.stamp())

    async def renew(self, *news: News, about: bytes = b"") -> Renewed:
        return await self.broker.renew(self.name, self.stamp(), about, news)

    async def keep(self, fence: int, room: str = ROOM, *, about: bytes = b"", entries: int = 0) -> bool:
        """Send `Wish.KEEP` for a lease. Return True if the broker did not refuse the request."""
        return not (await self.renew(News(Wish.KEEP, room, fence, about, entries))).refused

    async def release(self, fence: int, room: str = ROOM) -> None:
        await self.renew(News(Wish.RELEASE, room, fence))

    async def hand_over(self, fence: int, room: str = ROOM) -> None:
        await self.renew(News(Wish.HAND_OVER, room, fence))


async def open_askers(broker: Broker, *names: str) -> list[Asker]:
    """Register servers, wait until the broker grants claims, and return the servers."""
    servers = [Asker(broker, name) for name in names]
    for server in servers:
        await server.renew()
    while not (claim := await servers[0].claim("game/first")).server:
        await trio.sleep(min(claim.seconds, broker.lease_seconds / 4))
        for server in servers:
            await server.renew()
    await servers[0].release(claim.fence, "game/first")
    return servers


async def _run_out(broker: Broker, room: str = ROOM) -> None:
    """Wait until the lease of a room has run out."""
    lease = await broker.lease(room)
    assert lease is not None
    await trio.sleep(lease.seconds + 0.002)


async def _append(broker: Broker, entry: Entry) -> Written:
    """Append one entry to a journal, and return the result."""
    (written,) = await broker.append([entry])
    return written


async def one_of_many_gets_a_room(broker: Broker) -> None:
    """If ten servers claim a room at once, one server gets the lease, and the others get the name of that server."""
    servers = await open_askers(broker, *(f"server-{number}" for number in range(10)))
    claims = []

    async def claim(server: Asker) -> None:
        claims.append((server.name, await server.claim()))

    async with trio.open_nursery() as nursery:
        for server in servers:
            nursery.start_soon(claim, server)
    (winner,) = {claim.server for _, claim in claims}
    assert len([server for server, claim in claims if server == claim.server]) == 1
    assert all(0 < claim.seconds <= broker.lease_seconds for _, claim in claims)
    (lease,) = await broker.leases()
    assert (lease.room, lease.server) == (ROOM, winner)
    assert await broker.lease("game/two") is None


async def only_a_server_that_is_there_claims(broker: Broker) -> None:
    """A server that has not renewed in time cannot claim a room until it renews."""
    (a,) = await open_askers(broker, "a")
    assert (await broker.claim(ROOM, "nobody", Stamp(1, 1))).server == ""
    await trio.sleep(broker.lease_seconds * 1.01)
    assert (await a.claim()).server == ""
    assert await broker.lease(ROOM) is None
    await a.renew()
    assert (await a.claim()).server == "a"


async def a_lease_runs_out(broker: Broker) -> None:
    """After a lease has run out, another server can claim the room, with a higher fence and `abandoned` set."""
    a, b = await open_askers(broker, "a", "b")
    first = await a.claim()
    await _run_out(broker)
    await b.renew()
    second = await b.claim()
    assert (first.server, first.abandoned, second.server, second.abandoned) == ("a", False, "b", True)
    assert second.fence > first.fence
    assert not await a.keep(first.fence)


async def a_server_renews_all_it_has(broker: Broker) -> None:
    """A renewal extends all leases of the server, and no others. Only the owner can describe a room."""
    a, b = await open_askers(broker, "a", "b")
    claim, mark = await a.claim(), (await a.renew()).mark
    await a.claim("game/two")
    await trio.sleep(broker.lease_seconds / 2)
    assert (await a.renew(News(Wish.TELL, ROOM, claim.fence, b"full"))).mark == mark
    await b.renew(News(Wish.TELL, ROOM, claim.fence, b"lies"))
    leases = {lease.room: lease for lease in await broker.leases()}
    assert leases.keys() == {ROOM, "game/two"}
    lease = await broker.lease(ROOM)
    assert lease is not None
    for each in (lease, leases[ROOM]):
        assert each.seconds > broker.lease_seconds / 2
        assert (each.room, each.server, each.about) == (ROOM, "a", b"full")
    await trio.sleep(broker.lease_seconds * 0.6)
    await b.renew()
    assert (await b.claim("game/two")).server == "a"


async def a_gap_is_told(broker: Broker) -> None:
    """A renewal after the leases have run out returns a new mark. `Wish.KEEP` then restores the lease of a room that no
    other server has claimed, and is refused for a room that another server has claimed."""
    a, b = await open_askers(broker, "a", "b")
    first, second = await a.claim(), await a.claim("game/two")
    mark = (await a.renew()).mark
    await trio.sleep(broker.lease_seconds * 1.01)
    await b.renew()
    theirs = await b.claim()
    later = await a.renew()
    assert later.mark != mark
    keep = [News(Wish.KEEP, ROOM, first.fence), News(Wish.KEEP, "game/two", second.fence, b"mine")]
    kept = await a.renew(*keep)
    assert kept.mark == later.mark
    assert kept.refused == {ROOM}
    leases = {lease.room: (lease.server, lease.fence, lease.about) for lease in await broker.leases()}
    assert leases == {ROOM: ("b", theirs.fence, b""), "game/two": ("a", second.fence, b"mine")}


async def what_is_forgotten_is_kept(broker: Broker) -> None:
    """`Wish.KEEP` restores a lease that the broker has lost, unless another server has claimed the room since."""
    a, b = await open_askers(broker, "a", "b")
    claim = await a.claim()
    await a.release(claim.fence)  # as if the broker had restarted and forgotten the lease
    assert await a.keep(claim.fence, about=b"mine")
    (lease,) = await broker.leases()
    assert (lease.server, lease.fence, lease.about) == ("a", claim.fence, b"mine")
    await a.release(claim.fence)
    await b.claim()
    assert not await a.keep(claim.fence)


async def what_is_forgotten_is_written_again(broker: Broker) -> None:
    """A broker that has lost a journal accepts no entry of the room's owner until a `Wish.KEEP`. The answer to this
    request reports the loss, and the next entry must be whole."""
    a, b = await open_askers(broker, "a", "b")
    first = await a.claim()
    assert await _append(broker, Entry(ROOM, first.fence, 1, b"one", whole=True)) is Written.THERE
    await a.hand_over(first.fence)
    second = await b.claim()
    await b.release(second.fence)  # as if the broker had restarted and forgotten the lease
    assert await _append(broker, Entry(ROOM, second.fence, 2, b"two")) is Written.FORGOTTEN
    assert await _append(broker, Entry(ROOM, second.fence, 3, b"all", whole=True)) is Written.FORGOTTEN
    assert (await b.renew(News(Wish.KEEP, ROOM, second.fence, entries=1))).forgotten == {ROOM}
    assert await _append(broker, Entry(ROOM, second.fence, 4, b"four")) is Written.FORGOTTEN
    assert list(await broker.read(ROOM)) == []
    assert await _append(broker, Entry(ROOM, second.fence, 5, b"all", whole=True)) is Written.THERE
    assert await _append(broker, Entry(ROOM, second.fence, 8, b"all of it", whole=True)) is Written.THERE
    assert await _append(broker, Entry(ROOM, second.fence, 9, b"nine")) is Written.THERE
    assert await _append(broker, Entry(ROOM, second.fence, 5, b"all", whole=True)) is not Written.THERE
    assert list(await broker.read(ROOM)) == [b"all of it", b"nine"]
    assert [lease.kept for lease in await broker.leases()] == [True]
    assert not (await b.renew(News(Wish.KEEP, ROOM, second.fence, entries=9))).forgotten
    assert (await b.renew(News(Wish.KEEP, ROOM, second.fence, entries=10))).forgotten == {ROOM}
    assert await _append(broker, Entry(ROOM, first.fence, 9, b"stale", whole=True)) is Written.REFUSED


async def a_claim_that_is_forgotten_is_kept(broker: Broker) -> None:
    """After the broker has lost a claim, the claimant gets the lease by `Wish.KEEP`, even if the broker has an older
    lease of another server."""
    a, b = await open_askers(broker, "a", "b")
    first = await a.claim()
    assert await _append(broker, Entry(ROOM, first.fence, 1, b"one", whole=True)) is Written.THERE
    later = first.fence + 1
    assert await _append(broker, Entry(ROOM, later, 1, b"two", whole=True)) is Written.FORGOTTEN
    kept = await b.renew(News(Wish.KEEP, ROOM, later, entries=1))
    assert kept.refused == frozenset()
    assert kept.forgotten == {ROOM}
    assert not await a.keep(first.fence)
    assert await _append(broker, Entry(ROOM, first.fence, 2, b"stale")) is Written.REFUSED
    assert [(lease.server, lease.fence, lease.kept) for lease in await broker.leases()] == [("b", later, True)]
    assert await _append(broker, Entry(ROOM, later, 2, b"two", whole=True)) is Written.THERE
    assert list(await broker.read(ROOM)) == [b"two"]


async def who_lost_its_answer_claims_again(broker: Broker) -> None:
    """A server that did not get the answer to its claim can claim again, and gets a higher fence. The server can also
    hand the lease over, by the number of its claim."""
    a, b = await open_askers(broker, "a", "b")
    first = await a.claim()
    second = await a.claim()
    assert (second.server, second.fence > first.fence) == ("a", True)
    assert await _append(broker, Entry(ROOM, first.fence, 1, b"old")) is Written.REFUSED
    unseen = a.stamp()
    assert (await broker.claim("game/two", "a", unseen)).server == "a"
    await a.renew(News(Wish.HAND_OVER, "game/two", 0, claim=unseen.number - 1))
    assert (await b.claim("game/two")).server == "a"
    await a.renew(News(Wish.HAND_OVER, "game/two", 0, claim=unseen.number))
    assert (await b.claim("game/two")).server == "b"


async def what_was_given_up_is_not_done(broker: Broker) -> None:
    """A request has no effect if it arrives after its server has stopped waiting for the answer. A late claim gets no
    lease, and a late renewal restores no lease."""
    a, b = await open_askers(broker, "a", "b")
    late_claim, late_renewal = a.stamp(), a.stamp()
    claim = await a.claim()
    assert (await broker.claim(ROOM, "a", late_claim)).server == ""
    assert await _append(broker, Entry(ROOM, claim.fence, 1, b"one", whole=True)) is Written.THERE
    await a.release(claim.fence)
    await broker.renew("a", late_renewal, b"", [News(Wish.KEEP, ROOM, claim.fence, entries=1)])
    assert (await broker.claim(ROOM, "a", late_claim)).server == ""
    assert await _append(broker, Entry(ROOM, claim.fence, 2, b"all", whole=True)) is not Written.THERE
    assert (await broker.lease(ROOM), list(await broker.read(ROOM))) == (None, [])
    waiting = Stamp(next(a._numbers), 0)
    await broker.renew("a", Stamp(next(a._numbers), waiting.number), b"")  # a still waits for the claim
    assert (await broker.claim(ROOM, "a", waiting)).server == "a"
    await broker.leave("a")
    assert (await b.claim()).server == "b"
    await broker.renew("a", late_renewal, b"", [News(Wish.KEEP, "game/two", claim.fence)])
    assert await broker.lease("game/two") is None


async def a_released_room_is_free(broker: Broker) -> None:
    """A released room can be claimed at once, and its journal is deleted. Only the owner of a room can release it."""
    a, b = await open_askers(broker, "a", "b")
    claim = await a.claim()
    await broker.append([Entry(ROOM, claim.fence, 1, b"said")])
    await a.release(claim.fence - 1)
    await b.release(claim.fence)
    assert len(await broker.leases()) == 1
    await a.release(claim.fence)
    assert (list(await broker.leases()), list(await broker.read(ROOM))) == ([], [])
    again = await b.claim()
    assert (again.server, again.abandoned, again.fence > claim.fence) == ("b", False, True)


async def a_room_is_handed_over(broker: Broker) -> None:
    """After a hand-over, another server can claim the room at once, and read its journal."""
    a, b = await open_askers(broker, "a", "b")
    claim = await a.claim()
    await broker.append([Entry(ROOM, claim.fence, 1, b"said")])
    await a.hand_over(claim.fence)
    (lease,) = await broker.leases()
    assert lease.seconds <= 0
    assert await _append(broker, Entry(ROOM, claim.fence, 2, b"too late")) is not Written.THERE
    assert (await b.claim()).abandoned
    assert list(await broker.read(ROOM)) == [b"said"]


async def rooms_that_are_left_are_found(broker: Broker) -> None:
    """`left` returns the rooms that have a journal but no owner."""
    a, b = await open_askers(broker, "a", "b")
    kept, _ = await a.claim(), await a.claim("game/two")
    assert await _append(broker, Entry(ROOM, kept.fence, 1, b"said", whole=True)) is Written.THERE
    assert [(lease.room, lease.kept) for lease in await broker.leases()] == [(ROOM, True), ("game/two", False)]
    assert list(await broker.left()) == []
    await _run_out(broker)
    await b.renew()
    assert list(await broker.left()) == [ROOM]
    again = await b.claim()
    assert list(await broker.left()) == []
    await b.hand_over(again.fence)
    assert list(await broker.left()) == [ROOM]  # the journal that a wrote remains, although b wrote nothing


async def a_room_that_is_over_does_not_go_on(broker: Broker) -> None:
    """A room cannot be restored if its journal has an entry with `over`, whether its owner hands it over or dies."""
    a, b = await open_askers(broker, "a", "b")
    for room, leave in ((ROOM, a.hand_over), ("game/two", None)):
        claim = await a.claim(room)
        assert await _append(broker, Entry(room, claim.fence, 1, b"said", whole=True)) is Written.THERE
        assert await _append(broker, Entry(room, claim.fence, 3, b"", over=True)) is Written.THERE
        assert await _append(broker, Entry(room, claim.fence, 3, b"", over=True)) is Written.THERE
        assert list(await broker.read(room)) == []
        if leave is not None:
            await leave(claim.fence, room)
            assert await broker.lease(room) is None
    await _run_out(broker, "game/two")
    await b.renew()
    assert list(await broker.left()) == []
    again = await b.claim("game/two")
    assert (again.server, again.abandoned) == ("b", False)


async def a_log_is_read_from_its_last_whole_entry(broker: Broker) -> None:
    """A journal is read in order, from its last whole entry. A repeated entry is stored once. An entry is rejected if
    the entry before it is missing."""
    (a,) = await open_askers(broker, "a")
    fence = (await a.claim()).fence

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
    """A server cannot write to a journal after its lease has run out, or after another server has claimed the room."""
    a, b = await open_askers(broker, "a", "b")
    claim = await a.claim()
    assert await _append(broker, Entry(ROOM, claim.fence, 1, b"one")) is Written.THERE
    await _run_out(broker)
    assert await _append(broker, Entry(ROOM, claim.fence, 2, b"late")) is not Written.THERE
    await b.renew()
    second = await b.claim()
    assert await _append(broker, Entry(ROOM, claim.fence, 2, b"stale", whole=True)) is Written.REFUSED
    assert list(await broker.read(ROOM)) == [b"one"]
    assert await _append(broker, Entry(ROOM, second.fence, 1, b"two")) is Written.THERE
    assert await _append(broker, Entry(ROOM, claim.fence, 3, b"stale")) is Written.REFUSED
    assert list(await broker.read(ROOM)) == [b"one", b"two"]


async def batches_arrive_in_order(broker: Broker) -> None:
    """Batches arrive in the order in which they were sent, even those sent before the mailbox is opened. `send` returns
    the servers that have a mailbox."""
    a = Asker(broker, "a")
    await a.renew()
    assert await broker.send({"a": b"0", "nobody": b"lost"}) == {"a"}
    async with broker.mailbox("a") as mailbox:
        got = list(await mailbox.receive())
        async with trio.open_nursery() as nursery:

            async def post() -> None:
                for number in range(1, 600):
                    assert await broker.send({"a": b"%d" % number})

            nursery.start_soon(post)
            while len(got) < 600:
                got += await mailbox.receive()
                await a.renew()
        assert got == [b"%d" % number for number in range(600)]


async def a_cancelled_receive_takes_no_letter(broker: Broker) -> None:
    """The next `receive` after a cancelled one returns a batch that was sent after the cancellation."""
    await Asker(broker, "a").renew()
    async with broker.mailbox("a") as mailbox:
        with trio.move_on_after(0.01):
            await mailbox.receive()
        await broker.send({"a": b"kept"})
        assert list(await mailbox.receive()) == [b"kept"]


async def servers_come_and_go(broker: Broker) -> None:
    """The answer to a renewal lists each server that has renewed in time, with its status. When a server leaves or
    stops renewing, it is no longer listed, and its mailbox is deleted."""
    a, b, c = (Asker(broker, name) for name in "abc")
    await a.renew(about=b"first")
    assert (await b.renew(about=b"second")).servers == {"a": b"first", "b": b"second"}
    await broker.leave("a")
    assert await broker.send({"a": b"lost", "b": b"found"}) == {"b"}
    await trio.sleep(broker.lease_seconds * 1.01)
    assert (await c.renew()).servers == {"c": b""}
    assert await broker.send({"b": b"lost"}) == frozenset()


BROKER_CONFORMANCE: tuple[BrokerCheck, ...] = (
    one_of_many_gets_a_room,
    only_a_server_that_is_there_claims,
    a_lease_runs_out,
    a_server_renews_all_it_has,
    a_gap_is_told,
    what_is_forgotten_is_kept,
    what_is_forgotten_is_written_again,
    a_claim_that_is_forgotten_is_kept,
    who_lost_its_answer_claims_again,
    what_was_given_up_is_not_done,
    a_released_room_is_free,
    a_room_is_handed_over,
    rooms_that_are_left_are_found,
    a_room_that_is_over_does_not_go_on,
    a_log_is_read_from_its_last_whole_entry,
    a_former_owner_writes_nothing,
    batches_arrive_in_order,
    a_cancelled_receive_takes_no_letter,
    servers_come_and_go,
)
