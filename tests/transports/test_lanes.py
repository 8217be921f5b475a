"""Lanes on real sockets: one reader for all of them, and writes that are never cut."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge.transports.websocket.fast_path import Lane
from edge.transports.websocket.framing import frames_of_server
from edge.transports.websocket.reader import Lanes, open_lanes
from tests.websockets import websocket_pair

pytestmark = pytest.mark.real_time


@asynccontextmanager
async def raw_pair(lanes: Lanes) -> AsyncIterator[tuple[Lane, trio.SocketStream]]:
    """A lane, and the other end of its socket."""
    left, right = (trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in socket.socketpair())
    lane = Lane(left, b"", max_bytes=1000, lanes=lanes)
    async with right, lane:
        yield lane, right


async def test_a_cancelled_write_leaves_no_half_frame() -> None:
    """What the socket did not take stays, in order, and nothing gets in between: not even trio-websocket's pong."""
    words = [f"{number}" + "x" * 5000 for number in range(500)]
    with trio.fail_after(30):
        async with open_lanes() as lanes, raw_pair(lanes) as (lane, peer), trio.open_nursery() as nursery:
            assert not lane.send_nowait(words)
            with trio.move_on_after(0.01) as scope:
                await lane.flush()
            assert scope.cancelled_caught
            nursery.start_soon(lane.send_all, b"\x8a\x00")
            nursery.start_soon(lane.flush)
            expected = frames_of_server(words) + b"\x8a\x00"
            came = b""
            while len(came) < len(expected):
                came += bytes(await peer.receive_some())
            assert came == expected


async def test_what_waits_for_a_slow_reader_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write of it is given a view of what waits, so that its cost grows with its size, and not with the square."""
    write, given = os.write, list[object]()

    def note(fd: int, data: bytes | memoryview) -> int:
        given.append(type(data))
        return write(fd, data)

    monkeypatch.setattr("edge.transports.websocket.fast_path.os.write", note)
    with trio.fail_after(30):
        async with open_lanes() as lanes, raw_pair(lanes) as (lane, peer), trio.open_nursery() as nursery:
            data = bytes(range(256)) * 20_000
            assert not lane.write_nowait(data)
            assert given == [bytes]
            given.clear()
            nursery.start_soon(lane.flush)
            came = b""
            while len(came) < len(data):
                came += bytes(await peer.receive_some())
            assert came == data
    assert len(given) > 1
    assert set(given) == {memoryview}


async def test_what_is_sent_to_many_is_framed_once() -> None:
    """The same bytes object goes out on every lane."""
    async with open_lanes() as lanes, raw_pair(lanes) as (one, _), raw_pair(lanes) as (other, _):
        one.send_nowait(["said", "again"])
        cache = lanes.frame_cache
        first = cache.frame(["said", "again"])
        other.send_nowait(["said", "again"])
        assert cache.frame(["said", "again"]) is first
        other.send_nowait(["said", "anew"])
        assert cache.frame(["said", "again"]) is not first
        assert cache.frame(["said", "anew"]) == frames_of_server(["said", "anew"])


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
        async with open_lanes() as lanes:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                fragile = Fragile()
                lanes.add(ours.fileno(), fragile)
                theirs.send(b"x")
                await fragile.failed.wait()
                async with websocket_pair(lanes) as (client, server):
                    await client.send(["still read"])
                    assert await server.receive() == "still read"
    assert isinstance(fragile.fault, KeyError)
    assert "could not be taken in" in caplog.text


async def test_trio_websocket_begins_with_something_unusual() -> None:
    """Until then a connection has no task of its own."""

    def tasks() -> int:
        return trio.lowlevel.current_statistics().tasks_living

    with trio.fail_after(30):
        async with open_lanes() as lanes, websocket_pair(lanes) as (client, server):
            before = tasks()
            await client.send(["usual"])
            assert await server.receive() == "usual"
            assert tasks() == before
            await client._websocket.ping()
            assert tasks() == before + 2
            await server.close()
            await trio.testing.wait_all_tasks_blocked()
            assert tasks() <= before


async def test_a_connection_that_its_peer_has_closed_is_closed_without_waiting() -> None:
    """Not before the peer has, nor while an answer is left to write; and once only."""
    with trio.fail_after(30):
        async with open_lanes() as lanes, websocket_pair(lanes) as (client, server), trio.open_nursery() as nursery:
            assert not server.close_nowait()
            nursery.start_soon(client.close, 1001, "away")
            with pytest.raises(trio.EndOfChannel):
                await server.receive()
            assert (server.close_code, server.close_reason) == (1001, "away")
            unwritten = server._stream._kept
            unwritten += b"more"
            assert not server.close_nowait()
            unwritten.clear()
            assert server.close_nowait()
            assert server.closed
            assert not server.close_nowait()
            with pytest.raises(trio.ClosedResourceError):
                server.send_nowait(["late"])
