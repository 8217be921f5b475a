"""Tests that in a room that broadcasts every event, no sender makes another member lose a message or a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio

import edge
from edge.client.client import Client, Status
from edge.client.fallback import TransportKind
from edge.rooms.room import runtime_of
from edge.server.serve import open_server
from edge.testing import EdgeRoom
from edge.testing.network import Conditions, Network
from tests.network import joined
from tests.small_rooms import Said, Say

KIB = 1024


class Hall(edge.Room[Say, Said]):
    seats = edge.Seats(minimum=1, maximum=100, grace=30)

    async def run(self) -> None:
        async for _, event in self.listen(Say):
            self.broadcast(Said(event.text))


@asynccontextmanager
async def hall(
    *kinds: TransportKind, friends: int = 3, **conditions: Any
) -> AsyncIterator[tuple[Hall, list[Client[Any, Any]]]]:
    """Join a room with one client and `friends` other clients over these transports. Check at the end that no client
    reconnected."""
    app = edge.App({"hall": Hall})
    async with open_server(app) as server, AsyncExitStack() as stack:
        network = Network(server.serve_connection, server.connections, conditions=Conditions(**conditions))
        clients = []
        for number in range(friends + 1):
            path, name = "/rooms/hall/one", f"client-number-{number:05}"
            joining = joined(network.link().connect, path, *kinds, sends=Say, receives=Said, client=name)
            clients.append(await stack.enter_async_context(joining))
        for client in clients:
            await client.wait_status(Status.OPEN)
        room = app.directory.find("hall", "one")
        assert isinstance(room, Hall)
        yield room, clients
        assert [client._hellos for client in clients] == [1] * len(clients), "no client had to reconnect"
        await stack.aclose()
        server.drain()


@pytest.mark.parametrize("kind", [*TransportKind])
async def test_others_hear_all_that_one_member_says(kind: TransportKind) -> None:
    """Thirty messages of 20 KiB reach every other member, and no member has to reconnect."""
    async with hall(kind, latency=0.05) as (_, (eve, *friends)):
        texts = [f"{number:04}" + "x" * 20 * KIB for number in range(30)]
        began = trio.current_time()
        for text in texts[:20]:  # more would exceed the client's window
            eve.send(Say(text))
        await trio.sleep(5)
        for text in texts[20:]:
            eve.send(Say(text))
        for friend in friends:
            assert [(await friend.receive()).text for _ in texts] == texts
        assert trio.current_time() - began == pytest.approx((600 - 256) / 64, abs=1.5)


@pytest.mark.parametrize("kind", [*TransportKind])
async def test_all_may_speak_at_once(kind: TransportKind) -> None:
    """If ten members each send four messages of 60 KiB at the same time, all members receive all messages and stay
    connected."""
    async with hall(kind, friends=9, latency=0.02) as (_, clients):
        for number, client in enumerate(clients):
            for _ in range(4):
                client.send(Say(str(number) * 60 * KIB))
        for client in clients:
            heard = [(await client.receive()).text[0] for _ in range(40)]
            assert sorted(heard) == sorted("0123456789" * 4)


async def test_who_sends_much_waits_for_those_who_have_yet_to_acknowledge() -> None:
    """While another member has many unacknowledged messages, the server reads only half of a sender's burst of bytes at
    once."""
    async with hall(friends=1) as (room, (eve, ben)):
        runtime = runtime_of(room)
        assert ben.welcome is not None
        (busy,) = (player for player in runtime.players if player.number == ben.welcome.number)
        runtime.note_strain(busy, strained=True)
        for _ in range(4):
            eve.send(Say("x" * 60 * KIB))
        await trio.sleep(0.1)
        assert len(ben._inbox) == 3, "three messages of 60 KiB exceed half of the burst of 256 KiB"
        runtime.note_strain(busy, strained=False)
        await trio.sleep(0.1)
        assert len(ben._inbox) == 4
        runtime.note_strain(busy, strained=True)
        eve.send(Say("x"))
        await trio.sleep(3)
        assert len(ben._inbox) == 5, "the server must read eve's event at the long-term rate"


class Slow(edge.Room[Say, Say]):
    """Takes a second to clean up after a player."""

    async def player(self, player: edge.Player[Say, Say]) -> None:
        try:
            async for event in player:
                self.broadcast(event)
        finally:
            with player.shielded_cleanup():
                await trio.sleep(1)


async def test_who_is_put_out_while_others_are_slow_is_read_on(edge_room: EdgeRoom) -> None:
    """After a kick, the player always has space for messages, even while other members are slow, so that its reader
    does not wait in vain."""
    room = await edge_room(Slow)
    eve, ben = await room.join("eve", "ben")
    one, other = room.runtime.players
    room.runtime.note_strain(other, strained=True)
    for _ in range(4):
        eve.send(Say("x" * 60 * KIB))
    await trio.sleep(0.1)
    assert not one.has_space
    one.facade.kick("out with you")
    assert one.has_space
    await trio.sleep(2)
    assert eve.ending is not None
    assert ben.ending is None
