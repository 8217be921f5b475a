"""Tests of the limits on connections, requests, bodies, rooms and guessed keys. The server refuses a client beyond a
limit, and serves other clients."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge import Code
from edge.protocol.records import record
from edge.server.limiter import AddressLimits
from tests.abuse.town import (
    ANOTHER,
    ATTACKER,
    CLIENT,
    FRIEND,
    GET,
    LAST_GET,
    Heard,
    Know,
    Speaks,
    everything,
    frame,
    is_crowded,
    link_from,
    town,
)
from tests.network import joined
from tests.small_rooms import Say


async def test_an_address_has_so_many_connections(caplog: pytest.LogCaptureFixture) -> None:
    """Connections beyond the limit of their address are refused as crowded, and the log reports this once. Other
    addresses are served, and this address is served after one of its connections has ended."""
    async with town(address_limits=AddressLimits(connections_each=3)) as here:
        seats = [await here.websocket(client=f"an-attacker-{n}-with-a-name") for n in range(3)]
        for _ in range(3):
            assert is_crowded(await here.say(GET))
        assert not is_crowded(await here.say(LAST_GET, ANOTHER))
        await seats[0].stream.aclose()
        await wait_all_tasks_blocked()
        assert not is_crowded(await here.say(LAST_GET))
        assert here.server.site.directory.counters.refused[Code.CROWDED] == 3
    assert [record.getMessage() for record in caplog.records if record.name == "edge.server"] == [
        f"{ATTACKER} has reached the limit of connections of one address: "
        "if this is your proxy, add it to AddressLimits.proxies"
    ]


async def test_an_ipv6_network_is_one_address() -> None:
    """All addresses of an IPv6 /64 network share the connection limit of one address."""
    async with town(address_limits=AddressLimits(connections_each=2)) as here:
        for host in ("1", "2"):
            await here.websocket(f"2001:db8:0:1::{host}", client=f"an-attacker-{host}-with-a-name")
        assert is_crowded(await here.say(GET, "2001:db8:0:1:ffff::3"))
        assert not is_crowded(await here.say(LAST_GET, "2001:db8:0:2::1"))
        assert not is_crowded(await here.say(LAST_GET, "::ffff:203.0.113.9"))


async def test_a_proxy_says_for_whom_it_comes() -> None:
    """A connection of a trusted proxy counts for the address that the proxy reports. The server ignores addresses that
    other senders report."""
    address_limits = AddressLimits(connections_each=1, proxies=("10.0.0.0/8",))
    async with town(address_limits=address_limits) as here, AsyncExitStack() as stack:
        upgrade = (
            "GET /rooms/plaza/one HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: edge.1.json\r\nX-Forwarded-For: {}\r\n\r\n"
        )

        came: list[bytes] = []

        async def come(forwarded: str, address: str = "10.1.2.3") -> bytes:
            stream = await stack.enter_async_context(await here.connects(address)())
            await stream.send_all(upgrade.format(forwarded).encode())
            answer = bytes(await stream.receive_some())
            if answer.startswith(b"HTTP/1.1 101"):
                await stream.send_all(frame(["$hello", {"client": f"{CLIENT}-{len(came)}"}]))
                await stream.receive_some()
            came.append(answer)
            return answer

        assert (await come(ATTACKER)).startswith(b"HTTP/1.1 101")
        assert (await come(ANOTHER)).startswith(b"HTTP/1.1 101")
        assert is_crowded(await come(ATTACKER))
        assert is_crowded(await come(f"192.0.2.99, {ATTACKER}, 10.9.9.9"))
        assert is_crowded(await come(f'"[::ffff:{ATTACKER}]:5123"'))
        assert (await come("what is this")).startswith(b"HTTP/1.1 101")
        assert is_crowded(await come("nor this")), "clients with unreadable addresses must count as one address"
        assert (await come("192.0.2.99", "192.0.2.1")).startswith(b"HTTP/1.1 101")
        assert is_crowded(await come("192.0.2.98", "192.0.2.1"))


async def test_a_full_server_turns_away_who_has_been_idle_for_longest() -> None:
    """When a new connection arrives, a full server closes the connection that has been idle longest, but never a
    connection with a seat."""
    async with town(address_limits=AddressLimits(connections=4)) as here, AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(await here.connects(f"192.0.2.{n}")()) for n in range(3)]
        await wait_all_tasks_blocked()
        hello_less = await here.websocket(ANOTHER, hello=False)
        assert await everything(silent[0]) == b""
        async with here.join("198.51.100.2", client="a-client-of-somebody"):
            assert await everything(silent[1]) == b""
            assert not is_crowded(await here.say(LAST_GET))
            assert await everything(silent[2]) == b""
            async with here.join("198.51.100.3", client="a-client-of-another"):
                await here.say(LAST_GET)
                assert (await hello_less.until("$bye"))[1]["code"] == Code.CROWDED


async def test_a_server_full_of_seats_turns_away_who_comes() -> None:
    """If all connections of a full server have seats, the server refuses new connections as crowded until one of them
    ends."""
    async with town(address_limits=AddressLimits(connections=2)) as here:
        async with here.join("198.51.100.2", client="a-client-of-somebody"):
            assert is_crowded(await here.say(GET))
        await wait_all_tasks_blocked()
        assert not is_crowded(await here.say(LAST_GET))


async def test_a_crowd_costs_nobody_the_seat() -> None:
    """A client that reconnects while its address is at the limit tries again, and then resumes without losing an
    event."""
    async with town(address_limits=AddressLimits(connections_each=1)) as here:
        link = link_from(here.server, ATTACKER)
        async with joined(link.connect, "/rooms/plaza/two", sends=Speaks, receives=Heard, client=CLIENT) as eve:
            await eve.request(Know(), Heard)
            link.offline = "refused"
            link.cut()
            await wait_all_tasks_blocked()
            seat = await here.websocket(path="/rooms/plaza/three")
            async with seat.stream:
                link.offline = ""
                eve.send(Say("while away"))
                await trio.sleep(1)
                assert eve.lost is not None
                assert eve.lost.code is Code.CROWDED
            assert (await eve.request(Know(), Heard)).texts == 1
            assert eve.welcome is not None
            assert eve.welcome.resumed


async def test_only_so_many_are_told() -> None:
    """If more than a hundred refused connections wait for their answer, the server closes the rest without an
    answer."""
    async with town(address_limits=AddressLimits(connections_each=1)) as here:
        await here.websocket()
        crowd = [await here.connects(ATTACKER)() for _ in range(300)]
        await wait_all_tasks_blocked()
        assert is_crowded(await here.say(GET))
        ended = 0
        for stream in crowd:
            with trio.move_on_after(0.001):
                ended += await stream.receive_some() == b""
        assert ended == 300 - 99


async def test_a_full_server_is_alive() -> None:
    """A server that is full, or gets too many requests, still answers `/livez`, so that no supervisor restarts it."""
    alive = LAST_GET.replace(b"/readyz", b"/livez")
    async with town(address_limits=AddressLimits(connections=1)) as here:
        assert is_crowded(await here.say(LAST_GET))
        assert b"HTTP/1.1 200" in await here.say(alive)
    async with town(address_limits=AddressLimits(requests_each=1, burst_each=6)) as here:
        for _ in range(10):
            await here.say(LAST_GET)
        assert b"HTTP/1.1 200" in await here.say(alive)


async def test_an_address_makes_space_among_its_own() -> None:
    """If an address is at its limit, its new connection replaces the connection of that address that has been idle
    longest. Connections of other addresses stay open."""
    async with town(address_limits=AddressLimits(connections=5, connections_each=2)) as here:
        innocent = [await here.connects(f"192.0.2.{n}")() for n in range(2)]
        await here.websocket()
        idle = await here.connects(ATTACKER)()
        await wait_all_tasks_blocked()
        for _ in range(5):
            newest = await here.connects(ATTACKER)()
            await wait_all_tasks_blocked()
            assert await everything(idle) == b""
            idle = newest
        for stream in innocent:
            await stream.send_all(LAST_GET)
            assert b"HTTP/1.1 200" in await everything(stream)


async def test_requests_through_a_proxy_are_counted_while_they_are_served() -> None:
    """A request through a proxy counts for its client's address while it is served, whichever of the proxy's
    connections carries it."""
    async with town(address_limits=AddressLimits(connections_each=1, proxies=("10.0.0.0/8",))) as here:
        ended = trio.Event()

        @here.server.site.route("/slow")
        async def slow(request: edge.Request) -> edge.Response:
            await ended.wait()
            return edge.Response()

        ask = b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: %s\r\n\r\n"
        async with await here.connects("10.0.0.1")() as first:
            await first.send_all(ask % ATTACKER.encode())
            await wait_all_tasks_blocked()
            assert is_crowded(await here.say(ask % ATTACKER.encode(), "10.0.0.2"))
            ended.set()
            assert (await everything(first)).startswith(b"HTTP/1.1 200")
        assert (await here.say(ask % ATTACKER.encode(), "10.0.0.2")).startswith(b"HTTP/1.1 200")


async def test_who_is_refused_puts_out_nobody() -> None:
    """An address that has reached its limit can't displace connections of other addresses."""
    async with town(address_limits=AddressLimits(connections=4, connections_each=1)) as here:
        seat = await here.websocket()
        idle = [await here.connects(f"192.0.2.{n}")() for n in range(2)]
        await wait_all_tasks_blocked()
        for _ in range(5):
            assert is_crowded(await here.say(GET))
        for stream in idle:
            await stream.send_all(LAST_GET)
            assert b"HTTP/1.1 200" in await everything(stream)
        await seat.stream.aclose()


async def test_a_flood_of_handshakes_is_served_at_a_pace() -> None:
    """Requests of one address beyond its burst are refused until its pace allows them, and other addresses are
    served."""
    address_limits = AddressLimits(requests_each=10, burst_each=20)
    async with town(address_limits=address_limits) as here:
        answers = [is_crowded(await here.say(LAST_GET)) for _ in range(50)]
        assert answers == [False] * 10 + [True] * 40
        assert not is_crowded(await here.say(LAST_GET, ANOTHER))
        await trio.sleep(1)
        assert not is_crowded(await here.say(LAST_GET))


async def test_a_flood_of_requests_on_one_connection_is_served_at_a_pace() -> None:
    """Requests on one kept-alive connection have the same pace as requests on separate connections."""
    async with town(address_limits=AddressLimits(requests_each=10, burst_each=20)) as here:
        answer = await here.say(GET * 100)
        assert answer.count(b"HTTP/1.1 200") == 19
        assert is_crowded(answer[answer.index(b"HTTP/1.1 503") :])


async def test_a_flood_of_lines_is_served_at_a_pace() -> None:
    """HTTP transports count towards the limit of connections, and the server limits the pace of their requests."""

    def get(line: str, has: int = 0) -> bytes:
        return (
            f"GET /rooms/plaza/one HTTP/1.1\r\nHost: x\r\nConnection: close\r\nEdge-Connection: {line}\r\n"
            f"Edge-Has: {has}\r\n"
            "Edge-Mode: poll\r\nEdge-Protocol: edge.1.json\r\n\r\n"
        ).encode()

    def post(line: str) -> bytes:
        body = record(json.dumps(["$hello", {"client": line}]))
        head = get(line).replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nEdge-First: 0\r\n")
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    async with town(address_limits=AddressLimits(connections_each=5)) as here:
        for n in range(4):
            assert (await here.say(post(f"a-line-of-an-attacker-{n}"))).startswith(b"HTTP/1.1 200")
        assert is_crowded(await here.say(post("a-line-of-an-attacker-5"))), (
            "four HTTP transports and this connection must reach the limit"
        )
    async with town(address_limits=AddressLimits(requests_each=10, burst_each=20)) as here:
        gone = [await here.say(get(f"a-line-that-is-not-there-{n}", has=5)) for n in range(30)]
        assert sum(map(is_crowded, gone)) >= 20
    async with town(address_limits=AddressLimits(requests_each=10, burst_each=20)) as here:
        head = post("a-line-of-an-attacker-9").partition(b"\r\n\r\n")[0].replace(b"Connection: close\r\n", b"")
        empty = (
            head.partition(b"Content-Length")[0].replace(b"Edge-First: 0", b"Edge-First: 1")
            + b"Content-Length: 0\r\n\r\n"
        )
        await here.say(post("a-line-of-an-attacker-9"))
        served = (await here.say(empty * 700)).count(b"HTTP/1.1 200")
        assert 500 <= served <= 520, (
            "an open HTTP transport must use its own pace first, and then the pace of its address"
        )
    async with town(address_limits=AddressLimits(requests_each=10, burst_each=20)) as here:
        junk = b"GET /rooms/plaza/one HTTP/1.1\r\nHost: x\r\nEdge-Connection: x\r\n\r\n"
        answer = await here.say(junk * 100)
        assert (answer.count(b"HTTP/1.1"), answer.count(b"HTTP/1.1 400")) == (1, 1), "the connection is closed"


async def test_bodies_are_kept_up_to_a_cap() -> None:
    """Unfinished bodies of one address, and of all addresses together, have a limit of bytes. A finished body no longer
    counts."""

    def post(size: int) -> bytes:
        head = f"POST /session HTTP/1.1\r\nHost: x\r\nEdge-Session: tab\r\nContent-Length: {size + 1}\r\n\r\n"
        return head.encode() + b"x" * size

    address_limits = AddressLimits(body_bytes=3_000_000, body_bytes_each=2_000_000)
    async with town(address_limits=address_limits) as here, AsyncExitStack() as stack:

        async def begin(address: str) -> trio.abc.Stream:
            stream = await stack.enter_async_context(await here.connects(address)())
            await stream.send_all(post(900_000))
            await wait_all_tasks_blocked()
            return stream

        first = await begin(ATTACKER)
        await begin(ATTACKER)
        assert is_crowded(await here.say(post(900_000)))
        assert b"HTTP/1.1 200" in await here.say(post(9)[:-9] + b"0123456789" + LAST_GET, ANOTHER)
        await begin(ANOTHER)
        assert is_crowded(await here.say(post(900_000), FRIEND)), (
            "the bodies of all addresses together must have a limit, too"
        )
        await first.send_all(b"x")
        assert (await first.receive_some()).startswith(b"HTTP/1.1 200")
        again = await begin(ATTACKER)
        await again.send_all(b"x")
        assert (await again.receive_some()).startswith(b"HTTP/1.1 200")


async def test_rooms_without_end() -> None:
    """An address that has reached its limit of rooms can open no other room until one of its rooms closes. Other
    addresses can open rooms."""
    async with town(address_limits=AddressLimits(rooms_each=3), idle=5) as here:
        for n in range(3):
            async with here.join(ATTACKER, f"/rooms/plaza/r{n}", client=CLIENT):
                pass
        with pytest.raises(edge.Disconnected) as caught:
            async with here.join(ATTACKER, "/rooms/plaza/r3", client=CLIENT):
                pass
        assert caught.value.code is Code.FULL
        async with here.join(ATTACKER, "/rooms/plaza/r2", client=CLIENT), here.join(ANOTHER, "/rooms/plaza/r3"):
            pass
        await trio.sleep(20)
        async with here.join(ATTACKER, "/rooms/plaza/r4", client=CLIENT):
            pass


async def test_keys_can_not_be_guessed() -> None:
    """Every invalid key gets the same answer, even if it is similar to a valid key. Guesses count towards the pace of
    all requests."""
    keys = edge.Keys("the secret of the abuse tests")
    key = keys.issue("ana")
    near = [
        key[:-5] + ("A" if key[-5] != "A" else "B") + key[-4:],
        key[1:],
        key + "A",
        key.replace(".", ""),
        "",
        "A" * 3000,
        ".",
        "é",
    ]
    async with town(
        sessions=edge.Sessions(keys=keys), address_limits=AddressLimits(requests_each=10, burst_each=50)
    ) as here:
        told = set()
        for guess in near:
            raw = await here.websocket(hello=False)
            await raw.send(frame(["$hello", {"client": CLIENT, "key": guess}]))
            bye = (await raw.until("$bye"))[1]
            told.add((bye["code"], bye["reason"]))
        assert told == {(Code.KEY_INVALID, "the session's key is not valid")}
        answers = [await here.say(LAST_GET) for _ in range(50)]
        assert sum(map(is_crowded, answers)) > 20


async def test_a_request_says_where_it_comes_from() -> None:
    """A mounted app gets the exact address of the client, although the address limits count its whole IPv6 network."""
    app_seen: list[Any] = []

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            app_seen.append(scope["client"])
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    async with town(mount=mounted, address_limits=AddressLimits(proxies=("10.0.0.0/8",))) as here:
        head = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        await here.say(head + b"\r\n", "2001:db8::7")
        await here.say(head + b"X-Forwarded-For: 192.0.2.1, 203.0.113.7:5123\r\n\r\n", "10.0.0.1")
        await here.say(head + b"X-Forwarded-For: 192.0.2.1\r\n\r\n", "198.51.100.9")
    assert app_seen == [("2001:db8::7", 0), ("203.0.113.7", 0), ("198.51.100.9", 0)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: edge.Limits(events_per_second=0),
        lambda: edge.Limits(events_burst=0),
        lambda: AddressLimits(connections=0),
        lambda: AddressLimits(requests_each=-1),
        lambda: AddressLimits(proxies=("everywhere",)),
    ],
)
def test_caps_that_make_no_sense(make: Callable[[], object]) -> None:
    """An invalid limit is an error when the limits are created, not at the first connection."""
    with pytest.raises(ValueError, match=r"must be > 0|must be a number above 0|does not appear to be"):
        make()


async def test_a_large_hello_on_a_line() -> None:
    """The first post of an HTTP transport has the same size limit as the first frame of a WebSocket."""
    async with town() as here:
        body = record(json.dumps(["$hello", {"client": CLIENT, "name": "x" * 30_000}]))
        head = (
            f"POST /rooms/plaza/one HTTP/1.1\r\nHost: x\r\nConnection: close\r\nEdge-Connection: {CLIENT}\r\n"
            f"Edge-First: 0\r\nEdge-Has: 0\r\nEdge-Protocol: edge.1.json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        answer = await here.say(head.encode() + body)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"edge-code: 4203" in answer
