"""Every transport passes the same conformance suite, `TRANSPORT_CONFORMANCE`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed
from wsproto.utilities import LocalProtocolError

from edge.protocol.limits import Limits
from edge.testing import TRANSPORT_CONFORMANCE
from edge.testing.conformance import Check
from edge.transports.http.client import open_http_transport
from edge.transports.http.http import HttpConnection, Response
from edge.transports.http.served import ServedHttpTransport, TransportOver
from edge.transports.http.transport import BODY, FIRST, HAS, MODE, Mode
from edge.transports.linger import linger
from edge.transports.memory import open_memory_transports
from edge.transports.transport import Transport
from edge.transports.websocket.reader import open_socket_reader
from edge.transports.websocket.websocket import ServedWebSocket
from tests.websockets import websocket_pair


@asynccontextmanager
async def open_websocket_pair(reader: str = "one for all") -> AsyncIterator[tuple[Transport, ServedWebSocket]]:
    """Open a WebSocket over loopback, and yield the client's end and the server's end."""
    async with open_socket_reader() as socket_reader:
        socket_reader.can_read = reader == "one for all"
        async with websocket_pair(socket_reader) as (client, server):
            yield client, server


@asynccontextmanager
async def line_pair(mode: Mode) -> AsyncIterator[tuple[Transport, Transport]]:
    """Open an HTTP transport over streams in memory, and yield the client's end and the server's end."""
    served = ServedHttpTransport(Limits())

    async def serve(stream: trio.abc.Stream) -> None:
        connection = HttpConnection(stream)
        with suppress(trio.BrokenResourceError, TransportOver):
            while request := await connection.next_request(idle=1000, seconds=1000):
                request = await connection.read_body(request)
                has = int(request.headers[HAS])
                if request.method == "GET":
                    await served.get(connection, Mode(request.headers[MODE]), has, {})
                else:
                    count = await served.post(int(request.headers[FIRST]), has, request.body)
                    await connection.respond(Response(200, str(count).encode()))
        await stream.aclose()

    async with trio.open_nursery() as nursery:

        async def connect() -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(serve, theirs)
            return ours

        nursery.start_soon(served.watch)
        async with open_http_transport(
            connect, "edge.test", "/rooms/a/b", "a-line-of-tests", mode, subprotocol="edge.1.json", limits=Limits()
        ) as client:
            yield client, served
            with trio.move_on_after(20):
                await client.close()
            with trio.move_on_after(20):
                await served.close()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("check", TRANSPORT_CONFORMANCE, ids=lambda check: check.__name__)
async def test_line_transport(check: Check, mode: Mode) -> None:
    """The HTTP transport passes the suite in both modes and directions, in virtual time."""
    async with line_pair(mode) as (client, server):
        await check(client, server)
    async with line_pair(mode) as (client, server):
        await check(server, client)


async def test_a_closed_client_pauses_between_its_requests() -> None:
    """A client that has closed its transport, and has not read all frames, pauses between GET requests that bring
    nothing new, even if the server answers each of them at once."""
    asked, closing = 0, trio.Event()

    async def serve(stream: trio.abc.Stream) -> None:
        nonlocal asked
        connection = HttpConnection(stream)
        with suppress(trio.BrokenResourceError):
            while request := await connection.next_request(idle=1000, seconds=1000):
                if request.method == "POST":
                    await trio.sleep_forever()
                if request.headers[HAS] != "0":
                    await closing.wait()
                asked += 1
                await connection.respond(Response(200, b"t2\n[]", BODY))

    async with trio.open_nursery() as nursery:

        async def connect() -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(serve, theirs)
            return ours

        async with open_http_transport(
            connect, "edge.test", "/rooms/a/b", "a-line-of-tests", Mode.POLL, subprotocol="edge.1.json", limits=Limits()
        ) as client:
            await trio.sleep(1)
            assert asked == 1
            with trio.move_on_after(5):
                nursery.start_soon(client.close)
                closing.set()
                await trio.sleep_forever()
        nursery.cancel_scope.cancel()
    assert 2 <= asked <= 30


@pytest.mark.parametrize("check", TRANSPORT_CONFORMANCE, ids=lambda check: check.__name__)
async def test_memory_transport(check: Check) -> None:
    """The memory transport passes the suite in both directions, in virtual time."""
    left, right = open_memory_transports()
    await check(left, right)
    left, right = open_memory_transports(buffer=1)
    await check(right, left)


READERS = pytest.mark.parametrize("reader", ["one for all", "one each"])


@READERS
@pytest.mark.real_time
@pytest.mark.parametrize("check", TRANSPORT_CONFORMANCE, ids=lambda check: check.__name__)
async def test_websocket_transport(check: Check, reader: str) -> None:
    """The WebSocket transport passes the suite in both directions, over loopback."""
    with trio.fail_after(30):
        async with open_websocket_pair(reader) as (client, server):
            await check(client, server)
        async with open_websocket_pair(reader) as (client, server):
            await check(server, client)


@pytest.mark.real_time
async def test_websocket_ping_that_crosses_a_close_is_no_crash() -> None:
    """If a ping arrives while the connection closes, the pong makes trio-websocket raise LocalProtocolError. The
    transport handles that as a closed connection."""
    with trio.fail_after(30):
        async with open_websocket_pair() as (client, server):
            websocket = await server._start_slow_path().begun()  # because only trio-websocket can send pings
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.close, 4200, "bye")
                for _ in range(5):
                    with trio.move_on_after(0.05), suppress(ConnectionClosed, LocalProtocolError):
                        await websocket.ping()
            with pytest.raises((trio.EndOfChannel, trio.BrokenResourceError)):
                await server.receive()


@READERS
@pytest.mark.real_time
async def test_websocket_too_large_a_frame_closes_with_1009(reader: str) -> None:
    """A WebSocket frame that is larger than the server reads closes the connection with 1009, even if the client
    continues to send."""
    with trio.fail_after(30):
        async with open_websocket_pair(reader) as (client, server), trio.open_nursery() as nursery:

            async def flood() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await client.send(["x" * 300_000] * 100)

            nursery.start_soon(flood)
            with pytest.raises(trio.EndOfChannel):
                await server.receive()
            assert server.close_code == 1009
            nursery.start_soon(server.close)
            with pytest.raises(trio.EndOfChannel):
                await client.receive()
            assert client.close_code == 1009


async def test_lingering_beside_another_reader() -> None:
    """`linger` raises no exception if another task reads the same stream."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        await linger(ours)
        await theirs.aclose()
