"""The messages that a seat stores, and its behaviour with slow clients and slow rooms."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.client.client import Status
from edge.protocol.codec import MESSAGEPACK
from edge.testing import EdgeRoom
from tests.rooms.inside import held_seat
from tests.rooms.quiet import Choose, Guess, Player, Quiet, Verdict


async def test_backpressure_returns_when_the_acks_have_come(edge_room: EdgeRoom) -> None:
    """After a client has acknowledged a burst, a full inbox delays the client's events again, and none of them is
    refused."""

    class Slow(Quiet):
        async def player(self, player: Player) -> None:
            async for _ in player.listen(Guess):
                await trio.sleep(1)

    room = await edge_room(Slow)
    (ana,) = await room.join("ana", limits=edge.Limits(inbox=2, outbox_frames=14))
    ana.drop()
    await wait_all_tasks_blocked()
    for _ in range(20):
        room.room.broadcast(Verdict(True))
    await ana.resume()
    await trio.sleep(5)
    for number in range(8):
        ana.send(Guess(str(number)))
    await trio.sleep(20)
    assert list(ana.errors) == []


async def test_a_client_that_only_sends_still_hears_the_acks(edge_room: EdgeRoom) -> None:
    """A client whose inbox is full, because its code reads no events, still receives the acks of the events that it
    sends, and stays connected."""

    class Listening(Quiet):
        async def player(self, player: Player) -> None:
            for _ in range(4):
                player.send(Verdict(True))
            async for _ in player.listen(Guess):
                pass

    room = await edge_room(Listening)
    (ana,) = await room.join("ana", limits=edge.Limits(outbox_frames=8))
    ana._capacity = 4
    for _ in range(50):
        ana.send(Guess("x"))
        await trio.sleep(1)
    assert ana.status is Status.OPEN


async def test_a_slow_room_keeps_a_client_that_acks(edge_room: EdgeRoom) -> None:
    """A client that acknowledges its messages stays connected, however long the room takes for each event."""

    class Slow(Quiet):
        async def player(self, player: Player) -> None:
            async for _ in player.listen(Guess):
                await trio.sleep(1000)

    room = await edge_room(Slow)
    limits = edge.Limits(inbox=2, outbox_frames=20)
    (ana,) = await room.join("ana", limits=limits)
    for _ in range(5):
        ana.send(Guess("x"))
    for _ in range(200):
        room.room.broadcast(Verdict(True))
        await trio.sleep(0.1)
    assert room.room.players[0].connected
    assert len(ana._inbox) == 200


async def test_a_long_replay_arrives(edge_room: EdgeRoom) -> None:
    """A resume is possible even if it repeats more messages than an outbox may have, and even if the room sends at that
    moment."""

    class Talkative(Quiet):
        async def run(self) -> None:
            while True:
                await self.seats.wait_change()
                self.broadcast(Verdict(False))

    room = await edge_room(Talkative)
    (ana,) = await room.join("ana", limits=edge.Limits(outbox_frames=8))
    ana.drop()
    await wait_all_tasks_blocked()
    for _ in range(12):
        room.room.broadcast(Verdict(True))
    await ana.resume()
    verdicts = [(await ana.receive(Verdict)).right for _ in range(14)]
    assert verdicts.count(True) == 12
    assert room.room.players[0].connected


async def test_what_cant_be_encoded_is_sent_to_nobody(edge_room: EdgeRoom) -> None:
    """A broadcast of an event that can't be encoded raises ValueError, and is sent to no client."""
    room = await edge_room(Quiet)
    clients = [*(await room.join("ana")), *(await room.join("ben", codec=MESSAGEPACK))]
    with pytest.raises(ValueError, match=r"Choose\..*\[0\]: .* is a lone surrogate"):
        room.room.broadcast(Choose(["\ud800"]))
    room.room.broadcast(Verdict(True))
    assert [await client.receive() for client in clients] == [Verdict(True), Verdict(True)]


async def test_nothing_is_kept_for_one_who_has_gone(edge_room: EdgeRoom) -> None:
    """Events that are sent to a player that has left are not stored."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    ana.leave()
    await wait_all_tasks_blocked()
    for _ in range(100):
        player.send(Verdict(True))
    assert held_seat(player).counts.unacked() == []


async def test_what_seats_keep_is_shared(edge_room: EdgeRoom) -> None:
    """Seats without a connection share one object for a broadcast, and store no copies."""
    room = await edge_room(Quiet)
    clients = await room.join("ana", "ben", "cyn")
    for client in clients:
        client.drop()
    await wait_all_tasks_blocked()
    room.room.broadcast(Verdict(True))
    kept = []
    for player in room.room.players:
        kept += held_seat(player).counts.unacked()
    assert len(kept) == 3
    assert len(set(map(id, kept))) == 1
