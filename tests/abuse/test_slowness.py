"""Tests of slow requests, bodies and hellos, and of clients that do not read."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge import Code
from tests.abuse.town import ATTACKER, CLIENT, GET, everything, frame, town
from tests.network import open_network


async def slowly(stream: trio.abc.Stream, data: bytes, seconds: float) -> None:
    """Write `data` one byte at a time, with a pause of `seconds` after each byte."""
    for at in range(len(data)):
        await stream.send_all(data[at : at + 1])
        await trio.sleep(seconds)


@pytest.mark.parametrize("before", [b"", GET], ids=["at once", "kept alive"])
async def test_a_slow_head(before: bytes) -> None:
    """A request head that arrives byte by byte is refused after ten seconds, also on a kept-alive connection."""
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
    """A connection on which nothing arrives is closed after ten seconds, without a response."""
    async with town() as here:
        began = trio.current_time()
        assert await here.say(b"") == b""
        assert trio.current_time() - began == pytest.approx(10, abs=0.1)


async def test_a_slow_body() -> None:
    """A body that arrives too slowly is refused with status 408. A drain refuses an incomplete body within a second."""
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
    """A WebSocket without a complete hello is closed after ten seconds, even if bytes of the hello arrive."""
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


async def test_who_does_not_read_is_let_go() -> None:
    """A client that does not read a large response is disconnected within a minute, and delays no other client."""
    app_route = b"x" * 1_000_000
    async with town() as here:

        @here.server.site.route("/large")
        async def large(request: edge.Request) -> edge.Response:
            return edge.Response(body=app_route)

        async with await here.connects(ATTACKER)() as stream:
            await stream.send_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await here.check_friend()
            await trio.sleep(60)
            assert len(await everything(stream)) < len(app_route)
