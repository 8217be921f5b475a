"""Lanes on real sockets: one reader for all of them, and writes that are never cut."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from edge.protocol.limits import Limits
from edge.testing import TRANSPORT_CONFORMANCE
from edge.testing.conformance import Check
from edge.transports.http import HttpConnection
from edge.transports.lane import Lane
from edge.transports.lanes import Lanes, framed, open_lanes
from edge.transports.transport import Transport
from edge.transports.websocket import accept_websocket, open_websocket

pytestmark = pytest.mark.real_time


@asynccontextmanager
async def pair(lanes: Lanes) -> AsyncIterator[tuple[Transport, Transport]]:
    """A client's and a server's end of one WebSocket over loopback, the server's on these lanes."""
    ready: trio.MemorySendChannel[Transport]
    ready, accepted = trio.open_memory_channel(1)

    async def accept(stream: trio.SocketStream) -> None:
        connection = HttpConnection(stream)
        assert await connection.next_request(seconds=5) is not None
        async with accept_websocket(
            stream, connection.head, subprotocol="edge.1.json", limits=Limits(), lanes=lanes
        ) as server:
            await ready.send(server)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, accept, 0)
        stream = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
        async with open_websocket(stream, "localhost", "/rooms/a/b", subprotocol="edge.1.json") as client:
            server = await accepted.receive()
            yield client, server
            await client.close()
            await server.close()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("check", TRANSPORT_CONFORMANCE, ids=lambda check: check.__name__)
async def test_conformance(check: Check) -> None:
    """Both ways, with one reader for all."""
    with trio.fail_after(30):
        async with open_lanes() as lanes:
            assert lanes is not None
            async with pair(lanes) as (client, server):
                await check(client, server)
            async with pair(lanes) as (client, server):
                await check(server, client)


async def test_a_frame_too_large_is_told_before_the_end() -> None:
    """Who sends on and on hears 1009, although much of what they sent was never read."""
    with trio.fail_after(30):
        async with open_lanes() as lanes:
            assert lanes is not None
            async with pair(lanes) as (client, server), trio.open_nursery() as nursery:

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


@asynccontextmanager
async def raw_pair(lanes: Lanes) -> AsyncIterator[tuple[Lane, trio.SocketStream]]:
    """A lane, and the other end of its socket."""
    left, right = (trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in socket.socketpair())
    lane = Lane(left, b"", b"", max_bytes=1000, lanes=lanes)
    async with right, lane:
        yield lane, right


async def test_a_cancelled_write_leaves_no_half_frame() -> None:
    """What the socket did not take stays, in order, and nothing gets in between: not even trio-websocket's pong."""
    words = [f"{number}" + "x" * 5000 for number in range(500)]
    with trio.fail_after(30):
        async with open_lanes() as lanes:
            assert lanes is not None
            async with raw_pair(lanes) as (lane, peer), trio.open_nursery() as nursery:
                assert not lane.send_nowait(words)
                with trio.move_on_after(0.01) as scope:
                    await lane.flush()
                assert scope.cancelled_caught
                nursery.start_soon(lane.send_all, b"\x8a\x00")
                nursery.start_soon(lane.flush)
                expected = framed(words) + b"\x8a\x00"
                came = b""
                while len(came) < len(expected):
                    came += bytes(await peer.receive_some())
                assert came == expected


async def test_what_is_sent_to_many_is_framed_once() -> None:
    """The same bytes object goes out on every lane."""
    async with open_lanes() as lanes:
        assert lanes is not None
        async with raw_pair(lanes) as (one, _), raw_pair(lanes) as (other, _):
            one.send_nowait(["said", "again"])
            first = lanes.framed
            other.send_nowait(["said", "again"])
            assert lanes.framed is first
            other.send_nowait(["said", "anew"])
            assert lanes.framed == framed(["said", "anew"])


async def test_a_fault_on_one_lane_costs_no_other_its_reader(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, that connection is over, and the reader reads on."""

    class Fragile:
        def __init__(self) -> None:
            self.fault: Exception | None = None
            self.failed = trio.Event()

        def read(self, now: float) -> None:
            raise KeyError("a fault of ours")

        def fail(self, fault: Exception) -> None:
            self.fault = fault
            lanes.remove(ours.fileno())
            self.failed.set()

    with trio.fail_after(30), caplog.at_level(logging.ERROR):
        async with open_lanes() as opened:
            assert opened is not None
            lanes = opened
            ours, theirs = socket.socketpair()
            with ours, theirs:
                fragile = Fragile()
                lanes.add(ours.fileno(), fragile)
                theirs.send(b"x")
                await fragile.failed.wait()
                async with pair(lanes) as (client, server):
                    await client.send(["still read"])
                    assert await server.receive() == "still read"
    assert isinstance(fragile.fault, KeyError)
    assert "could not be taken in" in caplog.text
