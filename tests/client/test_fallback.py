"""Tests that the Python client connects within a time limit and loses no event behind proxies that block, buffer or cut
traffic."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import edge
from edge.client.client import Status
from edge.client.fallback import MAX_UPWARD_SECONDS, UPWARD_SECONDS, TransportFallback, TransportKind
from edge.client.url import UrlConnector
from edge.testing.network import Wire
from tests.hostile import Deed, Hostile
from tests.network import joined, open_network


@edge.event("say")
class Say:
    number: int
    filler: str = ""


@edge.event("said")
class Said:
    number: int
    filler: str = ""


class Echo(edge.Room[Say, Said]):
    seats = edge.Seats(grace=60)

    async def player(self, player: edge.Player[Say, Said]) -> None:
        async for event in player.listen(Say):
            player.send(Said(event.number, event.filler))


def kind_of(client: edge.Client[Any, Any]) -> TransportKind:
    """Return the transport that a client uses, or is trying to open."""
    assert isinstance(client._connector, UrlConnector)
    return client._connector.kind


SETTLED = {
    None: (TransportKind.WEBSOCKET, 0.1),
    Deed.BUFFER: (TransportKind.POLL, 11),
    Deed.CUT: (TransportKind.WEBSOCKET, 1),
    Deed.POSTS: (TransportKind.WEBSOCKET, 0.1),
    Deed.KILL: (TransportKind.WEBSOCKET, 0.1),
    Deed.STRIP: (TransportKind.STREAM, 1),
    Deed.REFUSE: (TransportKind.POLL, 6),
}
"""For each kind of proxy, the transport over which a client gets its first welcome, and the seconds within which this
welcome arrives."""


@pytest.mark.parametrize("deed", SETTLED, ids=str)
async def test_a_client_gets_through(deed: Deed | None) -> None:
    """A client connects within the time limit, and receives each of 120 events exactly once, in order, in the next
    minutes."""
    async with open_network(edge.App({"echo": Echo})) as network, trio.open_nursery() as nursery:

        async def dial() -> trio.abc.Stream:
            if deed is None:
                return await network.connect()
            wire = Wire(network)
            nursery.start_soon(Hostile(deed, network.connect).serve, wire.server)
            return wire.client

        kind, bound = SETTLED[deed]
        async with joined(dial, "/rooms/echo/one", sends=Say, receives=Said) as client:
            with trio.fail_after(bound):
                await client.wait_status(Status.OPEN)
            assert kind_of(client) is kind
            heard: list[int] = []
            for number in range(120):
                client.send(Say(number, "x" * 20))
                await trio.sleep(2)
            with trio.fail_after(40):
                while len(heard) < 120:
                    heard.append((await client.receive(Said)).number)
            assert heard == list(range(120))
            assert client.welcome is not None
        nursery.cancel_scope.cancel()


async def test_answers_that_are_all_cut_off_are_progress() -> None:
    """A poll transport stays open as long as every request transfers some data, even if a proxy cuts off every
    response."""
    async with open_network(edge.App({"echo": Echo})) as network, trio.open_nursery() as nursery:

        async def dial() -> trio.abc.Stream:
            wire = Wire(network)
            nursery.start_soon(Hostile(Deed.CUT, network.connect).serve, wire.server)
            return wire.client

        async with joined(dial, "/rooms/echo/one", TransportKind.POLL, sends=Say, receives=Said) as client:
            await client.wait_status(Status.OPEN)
            for number in range(40):
                client.send(Say(number, "x" * 500))
            assert [(await client.receive(Said)).number for _ in range(40)] == list(range(40))
            assert client._hellos == 1
        nursery.cancel_scope.cancel()


async def test_what_is_not_the_transports_fault_does_not_change_it() -> None:
    """A client still uses WebSocket while its server is down or its key is missing, and returns to WebSocket after a
    captive portal has answered in the server's place."""
    down: list[str] = ["down"]

    class Portal(trio.abc.Stream):
        """Answers every request with a web page."""

        async def send_all(self, data: object) -> None:
            await trio.lowlevel.checkpoint()

        async def wait_send_all_might_not_block(self) -> None:
            await trio.lowlevel.checkpoint()

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            await trio.lowlevel.checkpoint()
            return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async with open_network(edge.App({"echo": Echo})) as network:

        async def dial() -> trio.abc.Stream:
            if "down" in down:
                raise OSError("connection refused")
            return Portal() if "portal" in down else await network.connect()

        async def find_key() -> str:
            if "no key" in down:
                raise RuntimeError("no key")
            return network.server.site.sessions.keys.issue("u1")

        async with joined(dial, "/rooms/echo/one", sends=Say, receives=Said, key=find_key) as client:
            for trouble in ("down", "no key"):
                down[:] = [trouble]
                await trio.sleep(3)
                assert kind_of(client) is TransportKind.WEBSOCKET
            down[:] = ["portal"]
            await trio.sleep(3)
            down.clear()
            with trio.fail_after(60):
                await client.wait_status(Status.OPEN)
                await trio.sleep(2 * UPWARD_SECONDS)
            assert kind_of(client) is TransportKind.WEBSOCKET


GIVES_UP = {
    TransportKind.WEBSOCKET: [4.1, 8.2],
    TransportKind.STREAM: [5.0, 9.1, 13.2],
    TransportKind.POLL: [5.0, 9.1, 13.2],
}
"""The times at which a client gives up one connection after the other, in seconds after the cut. After a client has had
a welcome, each of its next two connections has four seconds to get a welcome. A client on an HTTP transport first waits
three seconds for a response on its open connection, and then up to two seconds for its last frames."""


@pytest.mark.parametrize("kind", TransportKind)
async def test_a_server_that_is_stopped_is_left_for_another(kind: TransportKind) -> None:
    """A client gives up connections that a stopped server accepts but does not answer, and resumes over the same
    transport later."""
    async with open_network(edge.App({"echo": Echo})) as network:
        kinds = (kind, *(other for other in TransportKind if other is not kind))
        async with joined(network.connect, "/rooms/echo/one", *kinds, sends=Say, receives=Said) as client:
            await client.wait_status(Status.OPEN)
            await trio.sleep(6)
            network.cut()
            network.offline = "silent"
            cut_at, before = trio.current_time(), client.lost
            for seconds in GIVES_UP[kind]:
                await trio.sleep_until(cut_at + seconds - 0.05)
                assert client.lost is before or seconds == GIVES_UP[kind][0]
                await trio.sleep(0.1)
                assert client.lost is not before
                assert client.lost is not None
                assert client.lost.code is edge.Code.SILENT
                before = client.lost
            network.offline = ""
            with trio.fail_after(0.2):
                await client.wait_status(Status.OPEN)
            assert kind_of(client) is kind
            assert client.welcome is not None
            assert client.welcome.resumed


async def test_a_client_that_fell_back_climbs_again() -> None:
    """Once the network lets WebSocket through, a probe detects this, and the client resumes its seat over a
    WebSocket."""
    deed: list[Deed] = [Deed.STRIP]
    async with open_network(edge.App({"echo": Echo})) as network, trio.open_nursery() as nursery:

        async def dial() -> trio.abc.Stream:
            if not deed:
                return await network.connect()
            wire = Wire(network)
            nursery.start_soon(Hostile(deed[0], network.connect).serve, wire.server)
            return wire.client

        async with joined(dial, "/rooms/echo/one", sends=Say, receives=Said) as client:
            await client.wait_status(Status.OPEN)
            assert kind_of(client) is TransportKind.STREAM
            deed.clear()
            await trio.sleep(2 * UPWARD_SECONDS + 1)
            client.send(Say(1))
            assert await client.receive(Said) == Said(1)
            assert kind_of(client) is TransportKind.WEBSOCKET
            assert client.welcome is not None
            assert client.welcome.resumed
        nursery.cancel_scope.cancel()


def test_the_fallback_between_transports() -> None:
    """`TransportFallback` replaces a transport at once if it got no welcome, and otherwise after two short connections
    in a row. The first transport follows the last one."""
    fallback = TransportFallback()
    assert (fallback.kind, fallback.ended(None), fallback.kind) == (TransportKind.WEBSOCKET, True, TransportKind.STREAM)
    assert (fallback.ended(1), fallback.ended(1), fallback.kind) == (False, True, TransportKind.POLL)
    assert (fallback.ended(1), fallback.ended(10), fallback.ended(1), fallback.kind) == (
        False,
        False,
        False,
        TransportKind.POLL,
    )
    assert (fallback.ended(1), fallback.kind) == (False, TransportKind.WEBSOCKET)
    assert fallback.upward_seconds == float("inf")
    fallback.ended(None)
    for _ in range(9):
        fallback.note_probe()
    assert fallback.upward_seconds == MAX_UPWARD_SECONDS
    fallback.climb()
    assert fallback.kind is TransportKind.WEBSOCKET
    fallback.ended(100)
    fallback.ended(None, opened=False)
    assert fallback.upward_seconds == UPWARD_SECONDS  # a long connection resets the interval between probes
    without = TransportFallback((TransportKind.STREAM, TransportKind.POLL))
    without.ended(None)
    assert (without.kind, without.upward_seconds) == (TransportKind.POLL, float("inf"))
