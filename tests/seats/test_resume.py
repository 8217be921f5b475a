"""The messages of both sides arrive once and in order, with small limits and connections that are cut at random
times."""

from __future__ import annotations

import random
from typing import Any

import trio

import edge
from edge.client.client import Status
from edge.testing import EdgeRoom, MemoryClient, seeds


@edge.event
class Say:
    number: int


@edge.event
class Said:
    who: str
    number: int


@edge.event
class Double:
    number: int


@edge.event
class Doubled:
    number: int


FromPlayer = Say | Double
ToPlayer = Said | Doubled
Player = edge.Player[FromPlayer, ToPlayer]

MESSAGES = 30


class Chat(edge.Room[FromPlayer, ToPlayer]):
    seats = edge.Seats(maximum=3, grace=1000)

    async def player(self, player: Player) -> None:
        async for event in player.listen(Say, Double):
            match event:
                case Say(number):
                    self.broadcast(Said(player.name, number))
                case Double(number):
                    player.reply(event, Doubled(2 * number))


async def say(client: MemoryClient, chance: random.Random) -> None:
    for number in range(MESSAGES):
        client.send(Say(number))
        await trio.sleep(chance.random())


async def ask(client: MemoryClient, chance: random.Random) -> None:
    for number in range(MESSAGES):
        assert await client.request(Double(number), Doubled) == Doubled(2 * number)
        await trio.sleep(chance.random())


async def cut(client: MemoryClient, chance: random.Random) -> None:
    for _ in range(chance.randrange(8)):
        await trio.sleep(5 * chance.random())
        client.drop()
        await trio.sleep(3 * chance.random())
        with trio.move_on_after(20):  # another cut or an overflow can end this connection
            await client.resume()


async def hear(client: MemoryClient) -> list[Any]:
    return [await client.receive(Said) for _ in range(3 * MESSAGES)]


@seeds(200)
async def test_nothing_is_lost_doubled_or_reordered(edge_room: EdgeRoom, edge_seed: int) -> None:
    """All events and requests arrive once, and all clients receive the broadcasts in the same order, in spite of many
    cuts and small limits."""
    chance = random.Random(edge_seed)
    room = await edge_room(Chat)
    limits = edge.Limits(inbox=3, outbox_frames=24)
    clients = await room.join("ana", "ben", "cyn", limits=limits, buffer=chance.choice([1, 2, 5]))
    async with trio.open_nursery() as nursery:
        for client in clients:
            for act in (say, ask, cut):
                nursery.start_soon(act, client, chance)
    for client in clients:
        if client.status is not Status.OPEN:
            await client.resume()
    heard = [await hear(client) for client in clients]
    assert heard[0] == heard[1] == heard[2]
    for name in ("ana", "ben", "cyn"):
        assert [said.number for said in heard[0] if said.who == name] == list(range(MESSAGES))
    assert all(not client._inbox and not client.errors for client in clients)
