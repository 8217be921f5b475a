"""On every transport, the largest message arrives, and the sender refuses a larger message.

These tests detect different limits of transports, or of the two ends of a transport. With different limits, a sender
sends a message that the receiver refuses.
"""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.client.fallback import TransportKind
from edge.protocol.codec import JSON, MESSAGEPACK
from edge.protocol.records import record
from edge.server.serve import serve
from tests.network import open_network
from tests.server.http import ask


@edge.event
class Give:
    size: int


@edge.event
class Given:
    text: str


class Large(edge.Room[Give, Given]):
    async def player(self, player: edge.Player[Give, Given]) -> None:
        async for give in player.listen(Give):
            try:
                player.send(Given("é" * give.size))
            except ValueError as exc:
                player.send(Given(str(exc)))


@pytest.mark.real_time
@pytest.mark.parametrize("kind", TransportKind)
@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "msgpack"])
@pytest.mark.parametrize("sent_bytes", [64 * 1024, 1024 * 1024, 5 * 1024 * 1024])
async def test_the_largest_message_arrives(
    kind: TransportKind, codec: edge.protocol.codec.Codec, sent_bytes: int
) -> None:
    """A message that fills `sent_bytes`, except for at most one byte, arrives, because the welcome contains this limit.
    `send` raises ValueError for a longer message."""
    app = edge.App({"large": Large}, limits=edge.Limits(sent_bytes=sent_bytes))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            (listener, *_) = await nursery.start(partial(serve, app, port=0))
            url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/rooms/large/one"
            async with edge.join(url, sends=Give, receives=Given, codec=codec, transports=(kind,)) as client:
                envelope = len('["Given",{"text":""}]')
                room = (sent_bytes - envelope) // len("é".encode())
                for size in (room, room + 1, 1):
                    client.send(Give(size))
                heard = [(await client.receive()).text for _ in range(3)]
                assert [len(text) for text in heard] == [room, len(heard[1]), 1]
                too_many = envelope + len("é".encode()) * (room + 1)
                assert f"has {too_many} bytes, but at most {sent_bytes} are allowed" in heard[1]
                assert client.lost is None
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [4 * 64 * 1024 + 1, 4 * 64 * 1024 + 50, 5 * 64 * 1024])
@pytest.mark.parametrize("mode", ["stream", "poll"])
async def test_what_is_too_large_to_be_read_is_told_by_every_request(mode: str, size: int) -> None:
    """After a frame that is too large, the POST, the waiting GET and later requests of the HTTP transport are answered
    with TOO_LARGE."""
    app = edge.App({"large": Large})
    line = {"edge-connection": "x" * 20, "edge-protocol": "edge.1.json"}
    path, told = "/rooms/large/one", []
    async with open_network(app) as network:
        hello = record(JSON.encode(["$hello", {"client": "a-client-of-its-own"}]))
        await ask(network, "POST", path, {**line, "edge-first": "0", "edge-has": "0"}, hello)
        welcome = await ask(network, "GET", path, {**line, "edge-mode": "poll", "edge-has": "0"})
        assert b"$welcome" in welcome.body

        async def hold() -> None:
            held = await ask(network, "GET", path, {**line, "edge-mode": mode, "edge-has": "1"})
            told.append(held.body)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            await wait_all_tasks_blocked()
            posted = await ask(network, "POST", path, {**line, "edge-first": "1", "edge-has": "1"}, record("x" * size))
            assert posted.code == str(edge.Code.TOO_LARGE.value)
        assert [body.removeprefix(b"k0\n") for body in told] == [b"c4203\n"]
        again = await ask(network, "POST", path, {**line, "edge-first": "1", "edge-has": "1"}, record("x"))
        assert (again.status, again.code) == (410, str(edge.Code.TOO_LARGE.value))
