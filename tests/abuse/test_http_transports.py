"""Tests of requests to HTTP transports, with bodies that are large, slow, empty or for a transport that was never
opened."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.client.client import Status
from edge.cluster.broker.broker import Broker
from edge.errors import RemoteProtocolError
from edge.protocol.limits import Limits
from edge.protocol.records import record
from edge.server.limiter import AddressLimits
from edge.transports.http.served import ServedHttpTransport
from tests.abuse.town import (
    ANOTHER,
    ATTACKER,
    FRIEND,
    Heard,
    Know,
    Plaza,
    Speaks,
    everything,
    is_crowded,
    link_from,
    town,
)
from tests.cluster.servers import LEASE_SECONDS, Town, one_secret, open_town

KIB = 1024


def post(line: str, body: bytes, *, first: int = 0, has: int = 0, sent: int | None = None) -> bytes:
    """Return a POST request for the HTTP transport with the name `line`. If `sent` is given, include only the first
    `sent` bytes of the body."""
    head = (
        f"POST /rooms/plaza/one HTTP/1.1\r\nHost: x\r\nEdge-Connection: {line}\r\n"
        f"Edge-First: {first}\r\nEdge-Has: {has}\r\n"
        f"Edge-Protocol: edge.1.json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body[:sent]


def hello(line: str) -> bytes:
    return record(json.dumps(["$hello", {"client": line}]))


SESSION = b"POST /session HTTP/1.1\r\nHost: x\r\nEdge-Session: tab\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
LINE = "a-line-of-an-attacker"


async def test_one_line_has_two_posts_at_a_time() -> None:
    """Of three hundred slow POST requests for one HTTP transport, all but the two newest are refused. Other addresses
    are served."""
    body = record("x" * 200 * KIB)
    async with town() as here, AsyncExitStack() as stack:
        assert (await here.say(post(LINE, hello(LINE)) + SESSION)).startswith(b"HTTP/1.1 200")
        streams = []
        for _ in range(300):
            stream = await stack.enter_async_context(await here.connects(ATTACKER)())
            await stream.send_all(post(LINE, body, first=1, sent=len(body) - 1))
            await wait_all_tasks_blocked()
            streams.append(stream)
        assert here.server._limiter._body_bytes <= 2 * len(body)
        for stream in streams[:-2]:
            assert is_crowded(await everything(stream))
        assert (await here.say(SESSION, ANOTHER)).startswith(b"HTTP/1.1 200")
        await streams[-1].send_all(body[-1:])
        assert (await streams[-1].receive_some()).startswith(b"HTTP/1.1 200"), "the newest post is served"


async def test_bodies_on_lines_count_for_their_address() -> None:
    """The bodies of all HTTP transports of one address share one limit, and other addresses are served."""
    body = record("x" * 200 * KIB)
    address_limits = AddressLimits(body_bytes=2**21, body_bytes_each=2**20)
    async with town(address_limits=address_limits) as here, AsyncExitStack() as stack:
        refused = 0
        for number in range(20):
            line = f"{LINE}-{number}"
            assert (await here.say(post(line, hello(line)) + SESSION)).startswith(b"HTTP/1.1 200")
            stream = await stack.enter_async_context(await here.connects(ATTACKER)())
            await stream.send_all(post(line, body, first=1, sent=len(body) - 1))
            await wait_all_tasks_blocked()
            with trio.move_on_after(0.1):
                refused += is_crowded(await everything(stream))
        assert refused == 15, "five bodies of 200 KiB are the limit of one address"
        assert (await here.say(SESSION, FRIEND)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("record_of_nothing", [b"k0\n", b"k7\n", b"x1\n", b"\n"])
async def test_a_client_sends_no_empty_records(record_of_nothing: bytes) -> None:
    """A client's body of empty or invalid records is refused with status 400 and code 4202."""
    async with town() as here:
        await here.say(post(LINE, hello(LINE)) + SESSION)
        answer = await here.say(post(LINE, record_of_nothing * 80_000, first=1) + SESSION)
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"edge-code: 4202" in answer


@pytest.mark.parametrize("item", [b"t0\n", b"b0\n"])
async def test_many_records_are_taken_in_steps(item: bytes) -> None:
    """While an HTTP transport processes a body of many records, other tasks run, even if all records are duplicates."""
    line, turns = ServedHttpTransport(Limits()), 0
    line.received = 80_000

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        assert await line.post(0, 0, item * 80_000) == 80_000
        nursery.cancel_scope.cancel()
    assert turns >= 80_000 // 64


async def test_few_records_are_read_after_the_server_s_goodbye() -> None:
    """A transport whose server has closed it reads a bounded part of a body, and still acknowledges what it read."""
    line, read = ServedHttpTransport(Limits()), 0
    line.send_nowait("the last frame")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.close, 4209)
        await wait_all_tasks_blocked()
        for _ in range(3):
            before, read = read, await line.post(read, 0, b"t0\n" * 80_000)
            assert 1 <= read - before <= 1000
        nursery.cancel_scope.cancel()


async def test_nothing_is_read_behind_a_goodbye() -> None:
    """An HTTP transport ignores the bytes that follow the record that closes it."""
    line = ServedHttpTransport(Limits())
    await line.post(0, 0, b"c1000\n" + b"not a record" * 10)
    assert line.over
    with pytest.raises(RemoteProtocolError):
        await ServedHttpTransport(Limits()).post(0, 0, b"not a record" * 10)


def make_app(broker: Broker) -> edge.App:
    return edge.App(
        {"plaza": Plaza},
        cluster=edge.Cluster(broker),
        sessions=one_secret(),
    )


@attrs.define
class _Attack:
    """Sends requests to one server for HTTP transports of another server, and counts the bytes that the broker
    forwards."""

    town: Town
    posted: int = 0

    async def say(self, request: bytes, address: str = ATTACKER) -> bytes:
        async with await link_from(self.town.places[0].server, address).connect() as stream:
            await stream.send_all(request)
            return await everything(stream)

    def lines_elsewhere(self, count: int) -> list[str]:
        """Return names of HTTP transports that belong to the other server."""
        here, there = (place.node for place in self.town.places)
        assert set(here.servers) == {here.id, there.id}
        names = (f"a-line-that-is-made-up-{number}" for number in range(10_000))
        return [name for name in names if here.home(name) == there.id][:count]


@asynccontextmanager
async def attack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_Attack]:
    """Run two servers, each with one client of the same room, so that one client is relayed. Check at the end that no
    client was disconnected."""
    async with open_town(make_app) as town:
        attack, post = _Attack(town), town.shared.send

        async def count(batches: Mapping[str, bytes]) -> frozenset[str]:
            attack.posted += sum(map(len, batches.values()))
            return await post(batches)

        monkeypatch.setattr(town.shared, "send", count)
        await trio.sleep(LEASE_SECONDS)  # by then, the servers know each other
        async with AsyncExitStack() as stack:
            friends = []
            for place in town.places:
                joining = town.join("/rooms/plaza/one", place, sends=Speaks, receives=Heard)
                friends.append(await stack.enter_async_context(joining))
            for friend in friends:
                await friend.wait_status(Status.OPEN)
            yield attack
            for friend in friends:
                with trio.fail_after(1):
                    await friend.request(Know(), Heard)
                assert friend._hellos == 1, "no client had to reconnect"


async def test_bodies_for_lines_that_nobody_opened_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large body for an unknown HTTP transport is refused and not forwarded to the other server. Only a small, valid
    hello opens a transport."""
    large, small = record("x" * 250 * KIB), record("x" * 10_000)
    async with attack(monkeypatch) as here:
        lines = here.lines_elsewhere(60)
        before = here.posted
        for line in lines:
            answer = await here.say(post(line, large, first=7, has=3) + SESSION)
            assert answer.startswith(b"HTTP/1.1 410")
            answer = await here.say(post(line, large) + SESSION)
            assert answer.startswith(b"HTTP/1.1 413")
            assert b"edge-code: 4203" in answer
            for body in (small, b"", b"c1000\n", record('["say",{}]')):
                answer = await here.say(post(line, body) + SESSION)
                assert answer.startswith(b"HTTP/1.1 400")
        assert (here.posted - before) / len(lines) < 2000, "the broker must not forward the bodies of 250 KiB"
        answer = await here.say(post(lines[0], hello(lines[0])) + SESSION)
        assert answer.startswith(b"HTTP/1.1 200"), "an honest hello opens the transport"
        answer = await here.say(post(lines[0], record('["know",{},1]'), first=1) + SESSION)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.partition(b"\r\n\r\n")[2].startswith(b"2"), "the response must acknowledge two frames"


async def test_who_sends_too_much_to_another_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If one address sends too many bytes to another server at a time, some requests are refused as crowded, and no
    other client is disconnected."""
    body = record(json.dumps(["say", {"text": "x" * 60 * KIB}])) * 4
    async with attack(monkeypatch) as here:
        lines = here.lines_elsewhere(40)
        for line in lines:
            assert (await here.say(post(line, hello(line)) + SESSION)).startswith(b"HTTP/1.1 200")
        answers: list[bytes] = []

        async def flood(line: str) -> None:
            for first in (1, 5):
                with suppress(trio.BrokenResourceError):
                    answers.append(await here.say(post(line, body, first=first) + SESSION))

        async with trio.open_nursery() as nursery:
            for line in lines:
                nursery.start_soon(flood, line)
        assert any(map(is_crowded, answers))
        assert sum(answer.startswith(b"HTTP/1.1 200") for answer in answers) >= 8
        proxy = here.town.places[0].server._proxy
        assert not proxy._to_server
        assert not proxy._from_address
