"""Fast paths on real sockets, which share one socket reader and always write frames completely."""

from __future__ import annotations

import logging
import os
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from edge.transports.websocket.fast_path import FastPath
from edge.transports.websocket.framing import frames_of_server
from edge.transports.websocket.reader import ENDING, SocketReader, open_socket_reader
from tests.websockets import websocket_pair

pytestmark = pytest.mark.real_time


@asynccontextmanager
async def raw_pair(socket_reader: SocketReader) -> AsyncIterator[tuple[FastPath, trio.SocketStream]]:
    """Yield a fast path, and a stream at the other end of its socket."""
    left, right = (trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in socket.socketpair())
    fast_path = FastPath(left, b"", max_bytes=1000, socket_reader=socket_reader)
    async with right, fast_path:
        yield fast_path, right


async def test_a_cancelled_write_leaves_no_half_frame() -> None:
    """After a cancelled write, the rest of its frames is written before anything else, even before pongs."""
    words = [f"{number}" + "x" * 5000 for number in range(500)]
    with trio.fail_after(30):
        async with (
            open_socket_reader() as socket_reader,
            raw_pair(socket_reader) as (fast_path, peer),
            trio.open_nursery() as nursery,
        ):
            assert not fast_path.send_nowait(words)
            with trio.move_on_after(0.01) as scope:
                await fast_path.flush()
            assert scope.cancelled_caught
            nursery.start_soon(fast_path.send_all, b"\x8a\x00")
            nursery.start_soon(fast_path.flush)
            expected = frames_of_server(words) + b"\x8a\x00"
            came = b""
            while len(came) < len(expected):
                came += bytes(await peer.receive_some())
            assert came == expected


async def test_what_waits_for_a_slow_reader_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that wait for a slow peer are written from a memoryview, because a copy of the rest at each write would
    cost quadratic time."""
    write, given = os.write, list[object]()

    def note(fd: int, data: bytes | memoryview) -> int:
        given.append(type(data))
        return write(fd, data)

    monkeypatch.setattr("edge.transports.websocket.fast_path.os.write", note)
    with trio.fail_after(30):
        async with (
            open_socket_reader() as socket_reader,
            raw_pair(socket_reader) as (fast_path, peer),
            trio.open_nursery() as nursery,
        ):
            data = bytes(range(256)) * 20_000
            assert not fast_path.write_nowait(data)
            assert given == [bytes]
            given.clear()
            nursery.start_soon(fast_path.flush)
            came = b""
            while len(came) < len(data):
                came += bytes(await peer.receive_some())
            assert came == data
    assert len(given) > 1
    assert set(given) == {memoryview}


async def test_what_is_sent_to_many_is_framed_once() -> None:
    """The WebSocket frames for the same messages on several fast paths are built once."""
    async with (
        open_socket_reader() as socket_reader,
        raw_pair(socket_reader) as (one, _),
        raw_pair(socket_reader) as (other, _),
    ):
        one.send_nowait(["said", "again"])
        cache = socket_reader.frame_cache
        first = cache.frame(["said", "again"])
        other.send_nowait(["said", "again"])
        assert cache.frame(["said", "again"]) is first
        other.send_nowait(["said", "anew"])
        assert cache.frame(["said", "again"]) is not first
        assert cache.frame(["said", "anew"]) == frames_of_server(["said", "anew"])


async def test_a_fault_on_one_lane_costs_no_other_its_reader(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in the reading of one connection is logged and reported to this connection, and the reader continues
    with the others."""

    class Fragile:
        def __init__(self) -> None:
            self.fault: Exception | None = None
            self.failed = trio.Event()

        def read(self, now: float) -> None:
            raise KeyError("a fault of ours")

        def fail(self, fault: Exception) -> None:
            self.fault = fault
            socket_reader.remove(ours.fileno())
            self.failed.set()

    with trio.fail_after(30), caplog.at_level(logging.ERROR):
        async with open_socket_reader() as socket_reader:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                fragile = Fragile()
                socket_reader.add(ours.fileno(), fragile)
                theirs.send(b"x")
                await fragile.failed.wait()
                async with websocket_pair(socket_reader) as (client, server):
                    await client.send(["still read"])
                    assert await server.receive() == "still read"
    assert isinstance(fragile.fault, KeyError)
    assert "could not be read" in caplog.text


async def test_trio_websocket_begins_with_something_unusual() -> None:
    """A connection has no task of trio-websocket until an unusual frame arrives."""

    def tasks() -> int:
        return trio.lowlevel.current_statistics().tasks_living

    with trio.fail_after(30):
        async with open_socket_reader() as socket_reader, websocket_pair(socket_reader) as (client, server):
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
    """`close_nowait` closes a connection if the peer has closed it and no bytes wait to be written. Otherwise, and on a
    closed connection, `close_nowait` returns False."""
    with trio.fail_after(30):
        async with (
            open_socket_reader() as socket_reader,
            websocket_pair(socket_reader) as (client, server),
            trio.open_nursery() as nursery,
        ):
            assert not server.close_nowait()
            nursery.start_soon(client.close, 1001, "away")
            with pytest.raises(trio.EndOfChannel):
                await server.receive()
            assert (server.close_code, server.close_reason) == (1001, "away")
            unwritten = server._stream._unwritten
            unwritten += b"more"
            assert not server.close_nowait()
            unwritten.clear()
            assert server.close_nowait()
            assert server.closed
            assert not server.close_nowait()
            with pytest.raises(trio.ClosedResourceError):
                server.send_nowait(["late"])


class Noted:
    """A connection that notes the order in which connections are read. It reads two bytes at a time.

    Args:
      number: the file descriptor of its socket; by default, a free one.
    """

    def __init__(self, name: str, order: list[str], socket_reader: SocketReader, number: int = -1) -> None:
        self.name, self.order, self.socket_reader = name, order, socket_reader
        self.here, self.peer = socket.socketpair()
        if number >= 0:
            os.dup2(self.here.fileno(), number)
            self.here.close()
            self.here = socket.socket(fileno=number)
        self.here.setblocking(False)
        self.received = b""
        self.ended = trio.Event()
        socket_reader.add(self.here.fileno(), self)

    def read(self, now: float) -> None:
        """Read, and note the name if this is the end."""
        data = self.here.recv(2)
        self.received += data
        if not data:
            self.order.append(self.name)
            self.socket_reader.remove(self.here.fileno())
            self.here.close()
            self.ended.set()
        elif self.name == "speaker":
            self.order.append(self.name)

    def fail(self, fault: Exception) -> None:
        """Raise the error that `read` has raised."""
        raise fault


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs epoll")
async def test_a_thousand_ends_do_not_delay_the_others() -> None:
    """If many connections end at once, few of them end in each round of reading, and another connection is read before
    nearly all of them. Bytes that arrived before an end are read."""
    order: list[str] = []
    with trio.fail_after(30):
        async with open_socket_reader() as socket_reader:
            ending = [Noted(f"{number}", order, socket_reader) for number in range(1000)]
            speaker = Noted("speaker", order, socket_reader)
            for number, each in enumerate(ending):
                each.peer.sendall(b"goodbye"[: number % 8])
                each.peer.close()
            speaker.peer.sendall(b"hello")
            for each in ending:
                await each.ended.wait()
            assert order.index("speaker") <= ENDING
            assert all(each.received == b"goodbye"[: int(each.name) % 8] for each in ending)
            assert len(order) == 1000 + 3
            await trio.testing.wait_all_tasks_blocked()
            speaker.peer.close()
            await speaker.ended.wait()
            assert speaker.received == b"hello"


async def test_the_number_of_an_ended_connection_is_used_again() -> None:
    """If a connection is removed while it waits for its end to be read, another one with the same file descriptor is
    read as usual."""
    order: list[str] = []
    with trio.fail_after(30):
        async with open_socket_reader() as socket_reader:
            ending = [Noted(f"{number}", order, socket_reader) for number in range(100)]
            for each in ending:
                each.peer.close()
            await ending[0].ended.wait()
            last = next(each for each in reversed(ending) if not each.ended.is_set())
            number = last.here.fileno()
            socket_reader.remove(number)
            last.here.close()
            other = Noted("speaker", order, socket_reader, number)
            for each in ending:
                if each is not last:
                    await each.ended.wait()
            other.peer.sendall(b"hi")
            other.peer.close()
            await other.ended.wait()
            assert (other.received, last.ended.is_set()) == (b"hi", False)
