"""The largest message arrives by every transport; a larger one is refused where it is sent.

The kind: each transport, and each end of it, had a limit of its own, which nobody had been told.
"""

from __future__ import annotations

from functools import partial

import pytest
import trio

import edge
from edge.client.fallback import TransportKind


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
@pytest.mark.parametrize("codec", [edge.JSON, edge.MESSAGEPACK], ids=["json", "msgpack"])
@pytest.mark.parametrize("sent_bytes", [64 * 1024, 1024 * 1024, 5 * 1024 * 1024])
async def test_the_largest_message_arrives(
    kind: TransportKind, codec: edge.protocol.codec.Codec, sent_bytes: int
) -> None:
    """Also where the server has other limits than its client: the welcome says them."""
    app = edge.App({"large": Large}, limits=edge.Limits(sent_bytes=sent_bytes))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            (listener, *_) = await nursery.start(partial(edge.serve, app, port=0))
            url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/rooms/large/one"
            async with edge.join(url, speaks=Give, hears=Given, codec=codec, transports=(kind,)) as client:
                envelope = len('["Given",{"text":""}]')
                room = (sent_bytes - envelope) // len("é".encode())
                for size in (room, room + 1, 1):
                    client.send(Give(size))
                heard = [(await client.receive()).text for _ in range(3)]
                assert [len(text) for text in heard] == [room, len(heard[1]), 1]
                too_many = envelope + len("é".encode()) * (room + 1)
                assert f"is {too_many} bytes, and may be {sent_bytes}" in heard[1]
                assert client.lost is None
            nursery.cancel_scope.cancel()
