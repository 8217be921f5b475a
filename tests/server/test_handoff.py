"""The handoff of connections between two servers on real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import edge
from edge.cluster.broker.memory import MemoryBroker
from edge.cluster.node import Node
from edge.protocol.codec import MESSAGEPACK
from edge.server.handoff import TAKEN
from edge.server.limiter import AddressLimits
from edge.server.serve import serve
from edge.testing.flaky import FlakyBroker
from tests.abuse.town import frame
from tests.cluster.servers import node_of
from tests.small_rooms import Said, Say

pytestmark = pytest.mark.real_time

TEXT = "t" * 500
HANDSHAKE = (
    b"GET /rooms/chat/one HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: edge.1.json\r\n\r\n"
)


class Chat(edge.Room[Say, Said]):
    """A room that sends what a player says to all players."""

    seats = edge.Seats(minimum=1, maximum=20, grace=5)

    async def player(self, player: edge.Player[Say, Said]) -> None:
        async for event in player:
            self.broadcast(Said(event.text))


@attrs.frozen
class Worker:
    """One of the servers. It has a port of its own, so that a test can choose the server of a connection."""

    port: int
    app: edge.App
    broker: FlakyBroker
    node: Node

    @property
    def seated(self) -> int:
        """The number of seats in this server's rooms."""
        return sum(len(room.ledger) for room in self.app.directory.runtimes)

    def join(self, **options: Any) -> Any:
        """Join the room through this server."""
        return edge.join(f"ws://127.0.0.1:{self.port}/rooms/chat/one", sends=Say, receives=Said, **options)


def is_empty(directory: Path) -> bool:
    """Return whether a directory has no files, or does not exist."""
    return not any(directory.glob("*"))


@asynccontextmanager
async def open_workers(directory: Path, count: int = 2, **limits: Any) -> AsyncIterator[list[Worker]]:
    """Run servers that share a broker and a directory for their sockets."""
    shared = MemoryBroker(lease_seconds=2)
    async with trio.open_nursery() as asking, trio.open_nursery() as nursery:
        workers = []
        for _ in range(count):
            broker = FlakyBroker(shared, asking)
            app = edge.App(
                {"chat": Chat},
                cluster=edge.Cluster(broker),
                sessions=edge.Sessions(keys=edge.Keys("the secret of these tests")),
                address_limits=AddressLimits(**limits),
            )
            (listener,) = await nursery.start(partial(serve, app, port=0, worker_directory=directory))
            workers.append(Worker(listener.socket.getsockname()[1], app, broker, node_of(app)))
        yield workers
        nursery.cancel_scope.cancel()
    assert is_empty(directory), "the sockets must be deleted"


async def talk(client: Any, *others: Any) -> None:
    """Send to the room from one client. This client and the others must receive it."""
    for text in (TEXT, "small"):
        client.send(Say(text))
        assert {(await each.receive(Said)).text for each in (client, *others)} == {text}


async def test_a_connection_is_handed_off(tmp_path: Path) -> None:
    """A connection that lands at the wrong server is served by the room's server, and nothing is relayed."""
    async with open_workers(tmp_path) as (one, two), one.join() as ana, one.join() as ben:
        await talk(ana, ben)
        async with two.join() as cyn:
            await talk(cyn, ben)
            assert (one.seated, two.seated, two.node.carried) == (3, 0, 0)


@pytest.mark.parametrize("piece", [1, 60, 10_000])
async def test_all_received_bytes_are_handed_off(tmp_path: Path, piece: int) -> None:
    """The hello and the frames that arrive with it reach the room's server, for each size of the pieces."""
    hello, say = frame(["$hello", {"client": "a-client-of-this-test"}]), frame(["say", {"text": TEXT}])
    async with open_workers(tmp_path) as (one, two), one.join() as ana:
        await talk(ana)
        async with await trio.open_tcp_stream("127.0.0.1", two.port) as stream:
            sent = HANDSHAKE + hello + say
            for at in range(0, len(sent), piece):
                await stream.send_all(sent[at : at + piece])
            assert (await ana.receive(Said)).text == TEXT
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
        assert two.node.carried == 0


async def test_connections_of_a_large_room_are_relayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections to a large room stay at the server at which they land, so that it writes a part of the broadcasts."""
    async with open_workers(tmp_path) as (one, two), one.join() as ana:
        await talk(ana)
        lease = await two.broker.lease("chat/one")
        while lease is None or not lease.about:  # until the first server has told the number of seats
            await trio.sleep(0.02)
            lease = await two.broker.lease("chat/one")
        monkeypatch.setattr("edge.cluster.node.LARGE_SEATS", 1)
        async with two.join() as cyn:
            await talk(cyn, ana)
            assert (one.seated, two.node.carried) == (2, 1)


async def test_a_connection_is_handed_off_only_once(tmp_path: Path) -> None:
    """A connection does not circle between servers: if it is handed off to the wrong server, that server relays it."""
    async with open_workers(tmp_path, 3) as (one, two, three), one.join() as ana:
        await talk(ana)
        (tmp_path / one.node.id).unlink()
        os.symlink(three.node.id, tmp_path / one.node.id)
        async with two.join() as ben:
            await talk(ben, ana)
            assert (one.seated, two.node.carried, three.node.carried) == (2, 0, 1)


@pytest.mark.parametrize("fault", ["no socket", "nobody listens", "too long"])
async def test_a_connection_that_cannot_be_handed_off_is_relayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """If the room's server takes no connections, such as one on another machine, the connection is relayed."""
    async with open_workers(tmp_path) as (one, two), one.join() as ana:
        await talk(ana)
        path = tmp_path / one.node.id
        if fault == "too long":
            monkeypatch.setattr("edge.server.handoff.MAX_BYTES", 10)
        else:
            path.unlink()
        if fault == "nobody listens":
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as closed:
                closed.bind(str(path))
        async with two.join() as cyn:
            await talk(cyn, ana)
            assert (one.seated, two.node.carried) == (2, 1)
        assert fault == "too long" or not path.exists(), "a socket on which nobody listens must be deleted"


@pytest.mark.parametrize("fault", ["reads nothing", "answers nothing"])
async def test_a_stopped_worker_delays_a_handoff_until_the_time_limit(tmp_path: Path, fault: str) -> None:
    """If the other worker reads or answers nothing, connections are relayed after a time. If that worker continues, it
    learns that it may not serve them."""
    async with open_workers(tmp_path) as (one, two), one.join() as ana:
        await talk(ana)
        path = tmp_path / one.node.id
        path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stuck, socket.socket(stuck.family, stuck.type) as full:
            stuck.bind(str(path))
            full.setblocking(False)
            full.connect(str(path))
            with contextlib.suppress(BlockingIOError):
                while fault == "reads nothing":
                    full.send(b"x")
            async with two.join() as cyn:
                await talk(cyn, ana)
                assert (one.seated, two.node.carried) == (2, 1)
                if fault == "answers nothing":
                    about, descriptors, *_ = socket.recv_fds(stuck, 200_000, 2)
                    connection, answer = (socket.socket(fileno=number) for number in descriptors)
                    with connection, answer:
                        assert about
                        with pytest.raises(BrokenPipeError):
                            answer.send(TAKEN)
                await talk(cyn, ana)


async def test_an_answer_that_comes_too_late_is_known(tmp_path: Path) -> None:
    """A worker that cannot answer any more serves nothing and counts nothing."""
    async with open_workers(tmp_path, connections_each=2, proxies=()) as (one, two), one.join() as ana:
        await talk(ana)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, socket.create_server(("127.0.0.1", 0)) as port:
            sender.connect(str(tmp_path / one.node.id))
            for _ in range(3):
                client, (served, _) = socket.create_connection(port.getsockname()), port.accept()
                given, answer = socket.socketpair()
                answer.close()
                with client, served, given:
                    about = MESSAGEPACK.encode([b"", "edge.1.json", "chat", "one", "127.0.0.1", None])
                    assert isinstance(about, bytes)
                    socket.send_fds(sender, [about], [served.fileno(), given.fileno()])
                    served.close()
                    assert await trio.to_thread.run_sync(client.recv, 1) == b""
        async with two.join() as ben:
            await talk(ben, ana)
            assert two.node.carried == 0


@pytest.mark.parametrize("passed", [0, 1])
async def test_lost_descriptors(tmp_path: Path, passed: int) -> None:
    """If the kernel has closed descriptors, because a process has too many, the other worker learns of it."""
    async with open_workers(tmp_path) as (one, two), one.join() as ana:
        await talk(ana)
        answer, given = trio.socket.socketpair()
        with answer, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            with given:
                sender.connect(str(tmp_path / one.node.id))
                if passed:
                    socket.send_fds(sender, [b"a connection"], [given.fileno()])
                else:
                    sender.send(b"a connection")
            assert await answer.recv(1) == b""
        async with two.join() as ben:
            await talk(ben, ana)
            assert two.node.carried == 0


async def test_a_connection_that_cannot_be_read_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the workers run different versions, and cannot read what they tell each other, connections are relayed."""
    async with open_workers(tmp_path) as (one, two), one.join() as ana:
        await talk(ana)
        monkeypatch.setattr("edge.server.serve.attrs.astuple", lambda upgrade: ("", "", "of another version"))
        async with two.join() as ben:
            await talk(ben, ana)
            assert (one.seated, two.node.carried) == (2, 1)
    assert "could not be taken" in caplog.text


@pytest.mark.parametrize("limits", [{"connections_each": 2}, {"connections": 2}])
async def test_a_full_worker_takes_no_connection(tmp_path: Path, limits: dict[str, int]) -> None:
    """If a worker has too many connections, the other workers relay, as far as their own limits allow."""
    async with open_workers(tmp_path, proxies=(), **limits) as (one, two), one.join() as ana:
        await talk(ana)
        async with two.join() as ben:
            await talk(ben, ana)
            async with two.join() as cyn:
                await talk(cyn, ana)
                assert (one.seated, two.node.carried) == (3, 1)


async def test_an_ended_connection_counts_no_longer(tmp_path: Path) -> None:
    """Connections that were handed off count at their worker until they end, and are charged to the pace once."""
    limits: dict[str, Any] = {"connections_each": 4, "burst_each": 11, "requests_each": 0.001}
    async with open_workers(tmp_path, proxies=(), **limits) as (one, two), one.join() as ana:
        await talk(ana)
        for worker in 4 * [one] + 5 * [two]:  # a connection at its own worker is charged twice: also for its request
            async with worker.join() as ben:
                await talk(ben, ana)
                assert two.node.carried == 0


@pytest.mark.parametrize("fault", ["missing", "too long"])
async def test_a_directory_that_cannot_be_used(tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """If the sockets cannot be created, the server serves nevertheless, and relays."""
    path = tmp_path / ("x" * (200 if fault == "too long" else 2))
    async with open_workers(path) as (one, two), one.join() as ana:
        await talk(ana)
        async with two.join() as ben:
            await talk(ben, ana)
            assert (one.seated, two.node.carried) == (2, 1)
    assert "are relayed, not handed off" in caplog.text
