"""Whoever wants to break a server: each attack has its answer, and the others are served meanwhile."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge import Code
from edge.client.client import Client
from edge.protocol.records import record
from edge.server.serve import Server, open_server
from edge.testing.network import Link, Network
from tests.network import joined, open_network

ATTACKER, ANOTHER, FRIEND = "203.0.113.7", "203.0.113.8", "198.51.100.1"
CLIENT = "an-attacker-with-a-name"
MASK = b"\1\2\3\4"


@edge.event("say")
class Say:
    text: str


@edge.event("point", delivery="volatile")
class Point:
    x: int


@edge.event("steer", delivery="latest")
class Steer:
    x: int


@edge.event("know")
class Know:
    """Asks for what the room has heard."""


@edge.event("heard")
class Heard:
    texts: int
    points: int
    steered: int
    wanted: int | None


Speaks = Say | Point | Steer | Know


class Plaza(edge.Room[Speaks, Heard]):
    seats = edge.Seats(minimum=1, maximum=100, grace=5)

    async def player(self, player: edge.Player[Speaks, Heard]) -> None:
        texts: list[str] = []
        points = steered = 0
        async for event in player:
            match event:
                case Say(text):
                    assert text == str(len(texts)) or not text.isdigit(), "out of order"
                    texts.append(text)
                case Point():
                    points += 1
                case Steer():
                    steered += 1
                case Know():
                    wanted = player.latest(Steer)
                    player.reply(event, Heard(len(texts), points, steered, wanted.x if wanted else None))


@attrs.frozen
class Town:
    """A server in memory, whom everybody can reach from any address; and a friend who sits in a room of it."""

    server: Server
    friend: Client[Speaks, Heard]

    def connects(self, address: str) -> Callable[[], Awaitable[trio.abc.Stream]]:
        return link_from(self.server, address).connect

    @asynccontextmanager
    async def join(
        self, address: str, path: str = "/rooms/plaza/one", **options: Any
    ) -> AsyncIterator[Client[Any, Any]]:
        async with joined(self.connects(address), path, speaks=Speaks, hears=Heard, **options) as client:
            await client.request(Know(), Heard)
            yield client

    async def say(self, request: bytes, address: str = ATTACKER) -> bytes:
        """All that comes back for these bytes."""
        async with await self.connects(address)() as stream:
            await stream.send_all(request)
            return await everything(stream)

    async def websocket(
        self, address: str = ATTACKER, path: str = "/rooms/plaza/one", *, hello: bool = True, client: str = CLIENT
    ) -> Raw:
        """A WebSocket to write any bytes on."""
        raw = Raw(await self.connects(address)())
        await raw.stream.send_all(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: edge.1.json\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await raw.stream.receive_some(1)
        assert head.startswith(b"HTTP/1.1 101")
        if hello:
            await raw.send(frame(["$hello", {"name": "eve", "client": client}]))
            assert (await raw.next())[0] == "$welcome"
        return raw

    async def check_friend(self) -> None:
        """They are served, at once."""
        with trio.fail_after(0.1):
            await self.friend.request(Know(), Heard)


def link_from(server: Server, address: str) -> Link:
    """The way to a server from an address."""

    async def serve(stream: trio.abc.Stream) -> None:
        await server.serve_connection(stream, address)

    return Network(serve, server.connections).link()


@asynccontextmanager
async def town(**options: Any) -> AsyncIterator[Town]:
    app = edge.App({"plaza": Plaza}, **options)
    async with open_server(app) as server:
        friend = joined(link_from(server, FRIEND).connect, "/rooms/plaza/one", speaks=Speaks, hears=Heard)
        async with friend as client:
            here = Town(server, client)
            await here.check_friend()
            yield here
            await here.check_friend()
        server.drain()


@attrs.frozen
class Raw:
    """The attacker's end of a WebSocket."""

    stream: trio.abc.Stream

    async def send(self, *frames: bytes) -> None:
        await self.stream.send_all(b"".join(frames))

    async def flood(self, data: bytes) -> None:
        """Write this again and again, for as long as the server reads."""
        with suppress(trio.BrokenResourceError):
            while True:
                await self.stream.send_all(data)

    async def next(self) -> list[Any]:
        """The next message; a close as ``["close", code]``, a pong as ``["pong"]``."""
        first, size = await self._exactly(2)
        if size == 126:
            size = int.from_bytes(await self._exactly(2), "big")
        payload = await self._exactly(size)
        if first & 15 == 8:
            return ["close", int.from_bytes(payload[:2], "big")]
        if first & 15 == 10:
            return ["pong"]
        message: list[Any] = json.loads(payload)
        return message

    async def until(self, *names: str) -> list[Any]:
        """The next message of one of these names."""
        with trio.fail_after(60):
            while (message := await self.next())[0] not in names:
                pass
        return message

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            received = await self.stream.receive_some(size - len(data))
            if not received:
                raise trio.EndOfChannel
            data += received
        return data


def frame(payload: Any, *, first: int = 0x81, masked: bool = True) -> bytes:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    length = (
        bytes([len(data) | 128 * masked])
        if len(data) < 126
        else bytes([126 | 128 * masked]) + len(data).to_bytes(2, "big")
        if len(data) < 65536
        else bytes([127 | 128 * masked]) + len(data).to_bytes(8, "big")
    )
    if not masked:
        return bytes([first]) + length + data
    return bytes([first]) + length + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(data))


async def everything(stream: trio.abc.Stream) -> bytes:
    answer = b""
    try:
        while received := await stream.receive_some():
            answer += received
    except trio.BrokenResourceError:
        pass
    return answer


def is_crowded(answer: bytes) -> bool:
    """Whether this is the typed answer for want of space."""
    if not answer.startswith(b"HTTP/1.1 503"):
        return False
    assert b"edge-code: 4005" in answer
    assert b'"code": "crowded"' in answer
    assert b"retry-after: 1" in answer
    return True


GET = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_GET = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


# --- connections


async def test_an_address_has_so_many_connections(caplog: pytest.LogCaptureFixture) -> None:
    """One more is told that it is crowded, and the log says once what to do if that is a proxy; other addresses come
    in, and so does this one when one of its seats has lost its connection."""
    async with town(caps=edge.Caps(connections_each=3)) as here:
        seats = [await here.websocket(client=f"an-attacker-{n}-with-a-name") for n in range(3)]
        for _ in range(3):
            assert is_crowded(await here.say(GET))
        assert not is_crowded(await here.say(LAST_GET, ANOTHER))
        await seats[0].stream.aclose()
        await wait_all_tasks_blocked()
        assert not is_crowded(await here.say(LAST_GET))
        assert here.server.app.directory.tally.refused[Code.CROWDED] == 3
    assert [record.getMessage() for record in caplog.records if record.name == "edge.server"] == [
        f"{ATTACKER} has as many connections as one address may: if it is a proxy, name it in Caps.proxies"
    ]


async def test_an_ipv6_network_is_one_address() -> None:
    """Whoever has a /64 has 2^64 addresses, and no more connections for that."""
    async with town(caps=edge.Caps(connections_each=2)) as here:
        for host in ("1", "2"):
            await here.websocket(f"2001:db8:0:1::{host}", client=f"an-attacker-{host}-with-a-name")
        assert is_crowded(await here.say(GET, "2001:db8:0:1:ffff::3"))
        assert not is_crowded(await here.say(LAST_GET, "2001:db8:0:2::1"))
        assert not is_crowded(await here.say(LAST_GET, "::ffff:203.0.113.9"))


async def test_a_proxy_says_for_whom_it_comes() -> None:
    """Its connections are many people's: each is counted for whom the proxy names, and nobody else is believed."""
    caps = edge.Caps(connections_each=1, proxies=("10.0.0.0/8",))
    async with town(caps=caps) as here, AsyncExitStack() as stack:
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
        assert is_crowded(await come("nor this")), "those who can't be told apart are one"
        assert (await come("192.0.2.99", "192.0.2.1")).startswith(b"HTTP/1.1 101")
        assert is_crowded(await come("192.0.2.98", "192.0.2.1"))


async def test_a_full_server_turns_away_who_has_been_idle_for_longest() -> None:
    """Silent connections from everywhere keep nobody out: they give way to those who come, and seats never do."""
    async with town(caps=edge.Caps(connections=4)) as here, AsyncExitStack() as stack:
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
    """There is nobody to turn away for them: they are told, and come in when there is space."""
    async with town(caps=edge.Caps(connections=2)) as here:
        async with here.join("198.51.100.2", client="a-client-of-somebody"):
            assert is_crowded(await here.say(GET))
        await wait_all_tasks_blocked()
        assert not is_crowded(await here.say(LAST_GET))


async def test_only_so_many_are_told() -> None:
    """Telling has its own limit: of a crowd for which there is no space, the first are cut off, and the last told."""
    async with town(caps=edge.Caps(connections_each=1)) as here:
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
    """Who asks that is answered, even where there is no space, so that nobody starts it again for being loved."""
    alive = LAST_GET.replace(b"/readyz", b"/livez")
    async with town(caps=edge.Caps(connections=1)) as here:
        assert is_crowded(await here.say(LAST_GET))
        assert b"HTTP/1.1 200" in await here.say(alive)
    async with town(caps=edge.Caps(requests_each=1, burst_each=6)) as here:
        for _ in range(10):
            await here.say(LAST_GET)
        assert b"HTTP/1.1 200" in await here.say(alive)


async def test_who_is_refused_puts_out_nobody() -> None:
    """An address that has all it may can't make space for itself among others."""
    async with town(caps=edge.Caps(connections=4, connections_each=1)) as here:
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
    """So many at once, so many a second, refused keys included; who comes too fast is told, and others are not."""
    caps = edge.Caps(requests_each=10, burst_each=20)
    async with town(caps=caps) as here:
        answers = [is_crowded(await here.say(LAST_GET)) for _ in range(50)]
        assert answers == [False] * 10 + [True] * 40
        assert not is_crowded(await here.say(LAST_GET, ANOTHER))
        await trio.sleep(1)
        assert not is_crowded(await here.say(LAST_GET))


async def test_a_flood_of_requests_on_one_connection_is_served_at_a_pace() -> None:
    """Keeping the connection gains nothing."""
    async with town(caps=edge.Caps(requests_each=10, burst_each=20)) as here:
        answer = await here.say(GET * 100)
        assert answer.count(b"HTTP/1.1 200") == 19
        assert is_crowded(answer[answer.index(b"HTTP/1.1 503") :])


async def test_a_flood_of_lines_is_served_at_a_pace() -> None:
    """Over plain HTTP it is the same: a line is a connection."""

    def get(line: str, has: int = 0) -> bytes:
        return (
            f"GET /rooms/plaza/one HTTP/1.1\r\nHost: x\r\nConnection: close\r\nEdge-Line: {line}\r\nEdge-Has: {has}\r\n"
            "Edge-Mode: poll\r\nEdge-Protocol: edge.1.json\r\n\r\n"
        ).encode()

    def post(line: str) -> bytes:
        body = record(json.dumps(["$hello", {"client": line}]))
        head = get(line).replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nEdge-First: 0\r\n")
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    async with town(caps=edge.Caps(connections_each=5)) as here:
        for n in range(4):
            assert (await here.say(post(f"a-line-of-an-attacker-{n}"))).startswith(b"HTTP/1.1 200")
        assert is_crowded(await here.say(post("a-line-of-an-attacker-5"))), "four lines, and the connection it came on"
    async with town(caps=edge.Caps(requests_each=10, burst_each=20)) as here:
        gone = [await here.say(get(f"a-line-that-is-not-there-{n}", has=5)) for n in range(30)]
        assert sum(map(is_crowded, gone)) >= 20
    async with town(caps=edge.Caps(requests_each=10, burst_each=20)) as here:
        junk = b"GET /rooms/plaza/one HTTP/1.1\r\nHost: x\r\nEdge-Line: x\r\n\r\n"
        assert (await here.say(junk * 100)).count(b"HTTP/1.1 400") == 19


# --- slowness


async def slowly(stream: trio.abc.Stream, data: bytes, seconds: float) -> None:
    """Write a byte now and then."""
    for at in range(len(data)):
        await stream.send_all(data[at : at + 1])
        await trio.sleep(seconds)


@pytest.mark.parametrize("before", [b"", GET], ids=["at once", "kept alive"])
async def test_a_slow_head(before: bytes) -> None:
    """A request that drips in is given ten seconds, on a connection that was kept alive, too."""
    async with town() as here, await here.connects(ATTACKER)() as stream:
        if before:
            await stream.send_all(before)
            await stream.receive_some()
            await trio.sleep(30)
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await slowly(stream, b"GET / HTTP/1.1\r\nX: " + b"x" * 100, 1)
        assert b"HTTP/1.1 408" in await everything(stream)
        assert trio.current_time() - began == pytest.approx(11, abs=1)


async def test_a_silent_connection() -> None:
    """Who says nothing at all is let go after ten seconds, without a word."""
    async with town() as here:
        began = trio.current_time()
        assert await here.say(b"") == b""
        assert trio.current_time() - began == pytest.approx(10, abs=0.1)


async def test_a_slow_body() -> None:
    """A body has thirty seconds, and holds up no drain."""
    head = b"POST /session HTTP/1.1\r\nHost: x\r\nEdge-Session: tab\r\nContent-Length: 500\r\n\r\n"
    async with town() as here, await here.connects(ATTACKER)() as stream:
        await stream.send_all(head)
        with pytest.raises(trio.BrokenResourceError):
            await slowly(stream, b"x" * 500, 1)
        assert b"HTTP/1.1 408" in await everything(stream)
    async with open_network(edge.App({})) as network:
        late = await network.connect()
        await late.send_all(head + b"xxx")
        await wait_all_tasks_blocked()
        began = trio.current_time()
        network.server.drain()
        answer = await everything(late)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"edge-code: 4100" in answer
        assert trio.current_time() - began <= 1


@pytest.mark.parametrize("drip", [False, True])
async def test_a_slow_hello(drip: bool) -> None:
    """A WebSocket without a hello is let go after ten seconds, whether it says nothing or drips."""
    async with town() as here:
        raw = await here.websocket(hello=False)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            if drip:
                nursery.start_soon(
                    slowly, raw.stream, frame(["$hello", {"name": "x" * 100, "client": CLIENT}])[:-20], 1
                )
            assert (await raw.until("$bye"))[1]["code"] == Code.LATE
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began == pytest.approx(10, abs=0.1)


async def test_bodies_are_kept_up_to_a_cap() -> None:
    """An address can't fill the memory with bodies that never end; what ends is given back."""

    def post(size: int) -> bytes:
        head = f"POST /session HTTP/1.1\r\nHost: x\r\nEdge-Session: tab\r\nContent-Length: {size + 1}\r\n\r\n"
        return head.encode() + b"x" * size

    caps = edge.Caps(body_bytes=3_000_000, body_bytes_each=2_000_000)
    async with town(caps=caps) as here, AsyncExitStack() as stack:

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
        assert is_crowded(await here.say(post(900_000), FRIEND)), "all together have a cap, too"
        await first.send_all(b"x")
        assert (await first.receive_some()).startswith(b"HTTP/1.1 200")
        await begin(ATTACKER)


# --- too many events


async def test_a_burst_waits_and_loses_nothing() -> None:
    """A thousand events at once are heard in order, at the pace that one connection has; others are heard at once."""
    async with town() as here, here.join(ATTACKER, client=CLIENT) as eve:
        began = trio.current_time()
        for n in range(1000):
            eve.send(Say(str(n)))
        await here.check_friend()
        heard = await eve.request(Know(), Heard)
        assert heard.texts == 1000
        assert trio.current_time() - began == pytest.approx((1000 - 100) / 50, abs=0.5)
        await here.check_friend()
    assert here.server.app.directory.tally.held_back == 1


async def test_what_was_kept_while_away_comes_at_once() -> None:
    """A client that kept to the pace is not held back for what it could not say meanwhile."""
    async with town() as here:
        link = link_from(here.server, ATTACKER)
        async with joined(link.connect, "/rooms/plaza/two", speaks=Speaks, hears=Heard, client=CLIENT) as eve:
            await eve.request(Know(), Heard)
            await trio.sleep(5)
            link.offline = "refused"
            link.cut()
            for n in range(120):
                eve.send(Say(str(n)))
                await trio.sleep(1 / 30)
            link.offline = ""
            await eve.wait_state(edge.State.OPEN)
            with trio.fail_after(0.1):
                assert (await eve.request(Know(), Heard)).texts == 120


async def test_who_leaves_behind_a_burst_leaves() -> None:
    """What they said before is read when they have gone, and their seat does not wait for the pace."""
    async with town() as here:
        async with here.join(ATTACKER, "/rooms/plaza/two", client=CLIENT) as eve:
            for _ in range(600):
                eve.send(Say("more"))
        await trio.sleep(5)
        room = here.server.app.directory.find("plaza", "two")
        assert room is not None
        assert room.players == ()


async def test_who_is_too_fast_is_told() -> None:
    """Once, when it has lasted for a second: a developer should know."""
    async with town() as here, here.join(ATTACKER, client=CLIENT) as eve:
        for _ in range(600):
            eve.send(Say("more"))
        await eve.request(Know(), Heard)
        assert [(error.problem, error.about) for error in eve.errors] == [("too_fast", "")]


async def test_who_is_too_fast_for_too_long_is_put_out() -> None:
    """For longer than any client has to catch up: also if it has gone meanwhile, and only its bytes are still there."""
    async with town() as here:
        raw = await here.websocket()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.flood, frame(["say", {"text": "more"}]) * 100)
            assert (await raw.until("$bye"))[1]["code"] == Code.FLOODING
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began == pytest.approx(2048 / 50, abs=1)
        gone = await here.websocket(ANOTHER, "/rooms/plaza/two")
        await gone.send(*[frame(["say", {"text": "more"}])] * 5000)
        await gone.stream.aclose()
        await trio.sleep(120)
        assert here.server.app.directory.find("plaza", "two") is None


async def test_what_may_be_dropped_is_refused_when_it_comes_too_fast() -> None:
    """Of volatile events the excess is refused, and of latest ones kept but not heard; far beyond, those wait, too."""
    async with town() as here:
        raw = await here.websocket()
        await raw.send(*[frame(["~point", {"x": n}]) for n in range(150)])
        assert (await raw.until("!too_fast"))[1]["about"] == "point"
        await raw.send(*[frame(["~steer", {"x": n}]) for n in range(20)])
        await raw.send(frame(["know", {}, 1]))
        heard = (await raw.until("=heard"))[1]
        assert heard == {"texts": 0, "points": 99, "steered": 0, "wanted": 19}, "a burst of 100, the hello included"
        began = trio.current_time()
        flood = b"".join(frame(["~point", {"x": n}]) for n in range(5000)) + frame(["know", {}, 2])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.stream.send_all, flood)
            await here.check_friend()
            await raw.until("=heard")
        assert trio.current_time() - began > 5, "a flood is read no faster than its pace"


async def test_a_steady_stream_just_above_the_pace_does_not_grow_old() -> None:
    """Steering 60 times a second: what is heard is never older than a moment, however long it goes on."""
    async with town() as here:
        raw = await here.websocket()
        for n in range(60 * 60):
            await raw.send(frame(["~steer", {"x": n}]))
            await trio.sleep(1 / 60)
        await raw.send(frame(["know", {}, 1]))
        with trio.fail_after(0.1):
            heard = (await raw.until("=heard"))[1]
        assert heard["wanted"] == 60 * 60 - 1
        assert heard["steered"] == pytest.approx(60 * 50 + 100, abs=5)


@pytest.mark.parametrize("what", ["$ping", "$ack", "-", "=heard", "nonsense"])
async def test_messages_that_are_no_events_have_the_same_pace(what: str) -> None:
    """Control messages, answers to nothing, and what can't be used come no faster than events."""
    messages: dict[str, Callable[[int], list[Any]]] = {
        "$ping": lambda n: ["$ping", 0, n],
        "$ack": lambda n: ["$ack", 0],
        "-": lambda n: ["-", None, n],
        "=heard": lambda n: ["=heard", {}, n],
        "nonsense": lambda n: ["nonsense", n],
    }
    async with town() as here:
        raw = await here.websocket()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                raw.stream.send_all, b"".join(frame(messages[what](n)) for n in range(600)) + frame(["know", {}, 1])
            )
            await here.check_friend()
            await raw.until("=heard")
        assert trio.current_time() - began == pytest.approx((600 - 100) / 50, abs=0.5)


# --- too much in one message


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


BOMBS: dict[str, tuple[Any, str]] = {
    "too large": (["say", {"text": "x" * 70_000}], "!too_large"),
    "nested": (b'["say",' + b"[" * 30_000 + b"]" * 30_000 + b"]", "!too_deep"),
    "nested a little too deep": (["say", {"text": nested(40)}], "!too_deep"),
    "nested objects": (b'["say",' + b'{"a":' * 9_000 + b"1" + b"}" * 9_000 + b"]", "!too_deep"),
    "a long number": (b'["say",{"text":' + b"9" * 60_000 + b"}]", "!malformed"),
    "a large exponent": (b'["say",{"text":1e99999}]', "!malformed"),
    "many keys": (["say", {f"k{n}": n for n in range(4000)}], "!invalid"),
    "one key many times": (b'["say",{' + b'"text":"a",' * 5000 + b'"text":"b"}]', ""),
    "a pollution": (b'["say",{"__proto__":{"admin":true},"text":"a"}]', "!invalid"),
    "a long name": (["x" * 60_000, {}], "!unknown_event"),
    "an empty name": (["", {}], "!malformed"),
    "a null": (b'["say",{"text":"a\\u0000b"}]', ""),
    "a lone surrogate": (b'["say",{"text":"\\ud800"}]', "!malformed"),
    "not a number": (b'["say",{"text":NaN}]', "!malformed"),
    "half of it": (b'["say",{"text":"a', "!malformed"),
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_costs_a_message(bomb: str) -> None:
    """It is refused by what is wrong with it, and the connection goes on."""
    payload, answer = BOMBS[bomb]
    async with town() as here:
        raw = await here.websocket()
        await raw.send(frame(payload), frame(["know", {}, 1]))
        if answer:
            assert (await raw.until(answer, "=heard", "$bye", "close"))[0] == answer
        assert (await raw.until("=heard", "$bye", "close"))[0] == "=heard"


# --- frames


async def test_pings_without_end() -> None:
    """Each is answered, what waits is bounded, and who sends nothing else is put out."""
    async with town() as here:
        raw = await here.websocket()
        ping = frame(b"", first=0x89)
        await raw.send(ping * 250)
        for _ in range(250):
            assert await raw.next() == ["pong"]
        await here.check_friend()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.flood, ping * 10_000)
            assert (await raw.until("$bye"))[1]["code"] == Code.FLOODING
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("hello", [False, True])
async def test_fragments_without_end(hello: bool) -> None:
    """Empty fragments make no message, however many: before the hello sooner, and later, too."""
    async with town() as here:
        raw = await here.websocket(hello=hello)
        await raw.send(frame(b"", first=0x01))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.flood, frame(b"", first=0x00) * 5000)
            assert (await raw.until("$bye"))[1]["code"] == Code.FLOODING
            nursery.cancel_scope.cancel()


async def test_a_message_in_many_fragments_is_a_message() -> None:
    """Only what never ends is put out."""
    async with town() as here:
        raw = await here.websocket()
        payload = json.dumps(["know", {}, 1]).encode()
        pieces = [frame(payload[at : at + 1], first=0x00) for at in range(1, len(payload) - 1)]
        for _ in range(50):
            await raw.send(frame(payload[:1], first=0x01), *pieces, frame(payload[-1:], first=0x80))
            assert (await raw.until("=heard"))[2] == 1
            await trio.sleep(1)


BROKEN_FRAMES: dict[str, tuple[bytes, int]] = {
    "bytes that are not UTF-8": (frame(b"\xff\xfe"), 1007),
    "a surrogate in UTF-8": (frame(b"\xed\xa0\x80"), 1007),
    "not masked": (frame(["say", {"text": "a"}], masked=False), 1002),
    "a reserved bit": (frame(["say", {"text": "a"}], first=0xC1), 1002),
    "an opcode that is none": (frame(b"", first=0x83), 1002),
    "a ping in fragments": (frame(b"", first=0x09), 1002),
    "a long ping": (bytes([0x89, 0xFE, 0, 126]) + MASK + b"\0" * 126, 1002),
    "a continuation of nothing": (frame(b"x", first=0x80), 1002),
    "a message inside a message": (frame(b"[", first=0x01) + frame(b"]", first=0x81), 1002),
    "a length in too many bytes": (bytes([0x81, 0xFE, 0, 5]) + MASK + b"\0" * 5, 1002),
    "a length that is negative": (bytes([0x81, 0xFF]) + b"\xff" * 8 + MASK, 1002),
    "a frame that is too large": (frame(b"x" * 300_000), 1009),
    "fragments that are too large": (frame(b"x" * 200_000, first=0x01) + frame(b"x" * 200_000, first=0x80), 1009),
}


@pytest.mark.parametrize("name", BROKEN_FRAMES)
async def test_a_broken_frame_ends_the_connection(name: str) -> None:
    """With the code of RFC 6455; nothing that follows is heard."""
    data, code = BROKEN_FRAMES[name]
    async with town() as here:
        raw = await here.websocket()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.flood, data + frame(["know", {}, 1]))
            assert await raw.until("close", "=heard") == ["close", code]
            nursery.cancel_scope.cancel()


# --- HTTP

SMUGGLED: dict[str, tuple[bytes, bytes]] = {
    "a length and chunks": (b"Content-Length: 4\r\nTransfer-Encoding: chunked", b"411"),
    "chunks": (b"Transfer-Encoding: chunked", b"411"),
    "chunks by another name": (b"Transfer-Encoding: xchunked", b"501"),
    "two lengths": (b"Content-Length: 4\r\nContent-Length: 5", b"400"),
    "one length twice": (b"Content-Length: 4\r\nContent-Length: 4", b"400"),
    "one length twice in one": (b"Content-Length: 4, 4", b"400"),
    "two lengths in one": (b"Content-Length: 4, 5", b"400"),
    "a length with a sign": (b"Content-Length: +4", b"400"),
    "a length in letters": (b"Content-Length: four", b"400"),
    "a length without end": (b"Content-Length: " + b"9" * 30, b"400"),
    "a space before the colon": (b"Content-Length : 4", b"400"),
    "a folded line": (b"X: a\r\n b", b"400"),
    "a bare line feed": (b"X: a\nY: b", b"400"),
    "a bare carriage return": (b"X: a\rY: b", b"400"),
    "a null": (b"X: a\0b", b"400"),
    "no host": (b"", b"400"),
    "two hosts": (b"Host: x\r\nHost: y", b"400"),
    "too many headers": (b"\r\n".join(b"X%d: x" % n for n in range(200)), b"431"),
    "a long header": (b"X: " + b"x" * 20_000, b"431"),
    "a long name": (b"x" * 20_000 + b": x", b"431"),
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_a_request_that_others_would_read_otherwise(name: str) -> None:
    """It is refused, and the connection with it: nothing behind it is taken for a request."""
    headers, status = SMUGGLED[name]
    host = b"" if b"ost" in name.encode() else b"Host: x\r\n"
    async with town() as here:
        answer = await here.say(b"POST /session HTTP/1.1\r\n" + host + headers + b"\r\n\r\nAAAA" + GET)
    assert answer.startswith(b"HTTP/1.1 " + status), answer
    assert answer.count(b"HTTP/1.1") == 1


async def test_who_does_not_read_is_let_go() -> None:
    """A large file that nobody reads is given ten seconds a piece, and holds up nobody."""
    app_route = b"x" * 1_000_000
    async with town() as here:

        @here.server.app.route("/large")
        async def large(request: edge.Request) -> edge.Response:
            return edge.Response(body=app_route)

        async with await here.connects(ATTACKER)() as stream:
            await stream.send_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await here.check_friend()
            await trio.sleep(60)
            assert len(await everything(stream)) < len(app_route)


# --- guessing, and rooms without end


async def test_rooms_without_end() -> None:
    """An address opens so many rooms, and is refused the next; others open theirs, and a closed one is free again."""
    async with town(max_rooms_each=3, idle=5) as here:
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
    """Every key that is not one is refused alike, however near it is, and no faster than anything else."""
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
    async with town(keys=keys, caps=edge.Caps(requests_each=10, burst_each=50)) as here:
        told = set()
        for guess in near:
            raw = await here.websocket(hello=False)
            await raw.send(frame(["$hello", {"client": CLIENT, "key": guess}]))
            bye = (await raw.until("$bye"))[1]
            told.add((bye["code"], bye["reason"]))
        assert told == {(Code.KEY_INVALID, "the session's key is not one of ours")}
        answers = [await here.say(LAST_GET) for _ in range(50)]
        assert sum(map(is_crowded, answers)) > 20


# --- what others read


async def test_a_name_forges_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """What a client says of itself is quoted: no line of the log begins where it wants, and no terminal obeys it."""

    class Crashing(edge.Room[Say, Heard]):
        async def player(self, player: edge.Player[Say, Heard]) -> None:
            raise ValueError("on purpose")

    forged = "eve\r\n2012-01-01 ERROR edge: all is lost\x1b[2J"
    caplog.set_level(logging.DEBUG)
    async with town() as here:
        here.server.app.directory.add_kinds({"crashing": Crashing})
        raw = await here.websocket(path="/rooms/crashing/one", hello=False)
        await raw.send(frame(["$hello", {"name": forged, "client": CLIENT}]))
        assert (await raw.until("$bye"))[1]["code"] == Code.CRASHED
        await here.say(b"GET /%0d%0a2012-01-01%20ERROR%20edge:%20all%20is%20lost HTTP/1.1\r\nHost: x\r\n\r\n")
        await here.say(b"GET /rooms/a%0d%0a2012-01-01/b HTTP/1.1\r\nHost: x\r\n\r\n")
    said = [record.getMessage() for record in caplog.records if record.name.startswith("edge")]
    assert any("all is lost" in message for message in said)
    assert not any(line.startswith("2012") for message in said for line in message.splitlines())
    assert not any("\x1b" in message for message in said)


async def test_a_crowd_costs_nobody_the_seat() -> None:
    """Who comes back to a seat while the server is crowded tries again, and resumes with all that it said."""
    async with town(caps=edge.Caps(connections_each=1)) as here:
        link = link_from(here.server, ATTACKER)
        async with joined(link.connect, "/rooms/plaza/two", speaks=Speaks, hears=Heard, client=CLIENT) as eve:
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


async def test_a_request_says_where_it_comes_from() -> None:
    """For routes of an app, and in the scope of what is mounted in it: the address, not what it is counted as."""
    app_seen: list[Any] = []

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            app_seen.append(scope["client"])
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    async with town(mount=mounted, caps=edge.Caps(proxies=("10.0.0.0/8",))) as here:
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
        lambda: edge.Caps(connections=0),
        lambda: edge.Caps(requests_each=-1),
        lambda: edge.Caps(proxies=("everywhere",)),
    ],
)
def test_caps_that_make_no_sense(make: Callable[[], object]) -> None:
    """A mistake in a cap is found when it is made, not at the first connection."""
    with pytest.raises(ValueError, match=r"must be > 0|does not appear to be"):
        make()
