"""Bounds on the messages that a room or a client sends. A call that exceeds a bound gets an error, and other messages
are not lost.

These tests detect a message that exceeds a bound, is sent, and is refused only by the receiver.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.client.client import Status
from edge.errors import SendOverflow
from edge.protocol.codec import JSON, MESSAGEPACK
from edge.testing import EdgeRoom
from edge.testing.harness import MemoryClient


@edge.event
class Say:
    text: str


@edge.event
class Said:
    text: str


@edge.event(delivery="latest")
class At:
    text: str


Player = edge.Player[Say, Said | At]


class Talk(edge.Room[Say, Said | At]):
    seats = edge.Seats(grace=30)

    async def player(self, player: Player) -> None:
        async for said in player.listen(Say):
            player.reply(said, Said(said.text))


SMALL = edge.Limits(outbox_frames=8, outbox_bytes=4096)
MAX = 1024 * 1024


async def test_a_burst_of_one_step_reaches_a_client_that_reads(edge_room: EdgeRoom) -> None:
    """All events of a burst in one step of the event loop reach a client that reads, even if the burst is larger than
    the outbox and the window."""

    class Chatty(Talk):
        def greet(self, player: Player) -> None:
            for number in range(1500):
                player.send(Said(f"{number}".ljust(400)))

    room = await edge_room(Chatty)
    (ana,) = await room.join("ana")
    heard = [await ana.receive(Said) for _ in range(1500)]
    assert [int(said.text) for said in heard] == list(range(1500))
    assert ana.lost is None


async def test_too_much_in_one_step_is_an_error_where_it_is_sent(edge_room: EdgeRoom, caplog: Any) -> None:
    """If a room sends too much to a player in one step of the event loop, the call raises SendOverflow. Events of
    earlier calls and of later steps arrive."""
    room = await edge_room(Talk)
    (ana,) = await room.join("ana", limits=SMALL)
    (ben,) = await room.join("ben")
    (player, other) = room.room.players
    sent = 0
    with contextlib.suppress(SendOverflow):
        for sent in range(1000):
            player.send(Said(f"{sent}"))
    assert sent == 257
    with pytest.raises(SendOverflow):
        room.room.broadcast(Said("all"))
    with pytest.raises(SendOverflow):
        await player.ask(Said("?"), Say)
    other.send(Said("ben alone"))
    await wait_all_tasks_blocked()
    player.send(Said("the end"))
    assert [(await ana.receive(Said)).text for _ in range(sent)] == [f"{number}" for number in range(sent)]
    assert (await ana.receive(Said)).text == "the end"
    assert [(await ben.receive(Said)).text for _ in range(2)] == ["all", "ben alone"]
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == 1
    assert "were sent to 'ana' without a pause" in warned[0].getMessage()


async def test_a_message_larger_than_any_is_an_error_where_it_is_sent(edge_room: EdgeRoom) -> None:
    """Every method of a room that sends raises ValueError for a message that is too large. Smaller messages arrive."""
    faults: list[ValueError] = []

    class Answers(Talk):
        async def player(self, player: Player) -> None:
            async for said in player.listen(Say):
                with player.answering(said) as answering:
                    for attempt in (lambda: answering.send(Said("x" * MAX)), lambda: answering.reply(Said("x" * MAX))):
                        try:
                            answered = attempt()
                            if not isinstance(answered, bool):
                                await answered
                        except ValueError as exc:
                            faults.append(exc)
                    try:
                        player.reply(said, Said("x" * MAX))
                    except ValueError as exc:
                        faults.append(exc)
                    answering.reply(Said("small"))

    room = await edge_room(Answers)
    ana, ben = await room.join("ana", "ben")
    (player, _) = room.room.players
    for send in (player.send, room.room.broadcast):
        with pytest.raises(ValueError, match=r"Said has \d+ bytes, but at most 1048576 are allowed: send it in parts"):
            send(Said("x" * MAX))
        with pytest.raises(ValueError, match="at most 1048576 are allowed"):
            send(At("x" * MAX))
    with pytest.raises(ValueError, match="at most 1048576 are allowed"):
        await player.ask(Said("x" * MAX), Say)
    assert await ana.request(Say("hi"), Said) == Said("small")
    assert len(faults) == 3
    room.room.broadcast(Said("y" * (MAX - 30)))
    assert [len((await client.receive(Said)).text) for client in (ana, ben)] == [MAX - 30] * 2


async def test_a_client_is_told_at_its_call_what_the_room_does_not_read(edge_room: EdgeRoom) -> None:
    """`send` and `request` of a client raise ValueError for a message that is longer than the limit in the welcome."""
    room = await edge_room(Talk)
    (ana,) = await room.join("ana", limits=edge.Limits(message_bytes=1000))
    (packed,) = await room.join("ben", codec=MESSAGEPACK)
    assert ana.welcome is not None
    assert (ana.welcome.message_bytes, ana.welcome.sent_bytes) == (1000, MAX)
    for client, size in ((ana, 1000), (packed, 64 * 1024)):
        with pytest.raises(ValueError, match=f"the room reads {size} at most: send it in parts"):
            client.send(Say("x" * size))
        with pytest.raises(ValueError, match=f"the room reads {size} at most"):
            await client.request(Say("x" * size), Said)
        assert len((await client.request(Say("x" * (size - 50)), Said)).text) == size - 50
        assert list(client.errors) == []


def _say_much(client: MemoryClient, count: int) -> None:
    for number in range(count):
        client.send(Say(f"{number}"))


async def test_much_said_while_away_is_given_up_and_told(edge_room: EdgeRoom) -> None:
    """A client that sends too much without a connection drops these messages and reports one error. Messages that the
    client sends later arrive after a reconnect."""
    room = await edge_room(Talk)
    (ana,) = await room.join("ana", limits=attrs.evolve(SMALL, events_per_second=1e6, events_burst=10_000))
    ana.drop()
    await wait_all_tasks_blocked()
    _say_much(ana, 16)
    assert ana.waiting == 16
    ana.send(Say("one too many"))
    assert ana.waiting == 0
    assert [(error.problem, error.message) for error in ana.errors] == [
        ("behind", "17 messages were not acknowledged, which is too many: they are not sent again, and may be lost")
    ]
    ana.send(Say("after"))
    assert ana.waiting == 1
    with trio.CancelScope() as scope:
        scope.deadline = trio.current_time() + 1
        await ana.wait_acknowledged()
    assert scope.cancelled_caught
    await ana.resume()
    assert ana.welcome is not None
    assert not ana.welcome.resumed
    await ana.wait_acknowledged()
    assert ana.waiting == 0
    assert await ana.request(Say("hi"), Said) == Said("hi")
    assert len(ana.errors) == 1


async def test_a_request_that_is_given_up_fails(edge_room: EdgeRoom) -> None:
    """If a client without a connection drops too many messages, the requests among these messages fail."""
    room = await edge_room(Talk)
    (ana,) = await room.join("ana", limits=SMALL)
    ana.drop()
    await wait_all_tasks_blocked()
    problems: list[str] = []

    async def ask() -> None:
        try:
            await ana.request(Say("hi"), Said)
        except edge.RequestFailed as exc:
            problems.append(exc.problem)

    async with trio.open_nursery() as nursery:
        for _ in range(17):
            nursery.start_soon(ask)
    assert problems == ["gone"] * 17


async def test_much_said_before_the_first_welcome(edge_room: EdgeRoom) -> None:
    """A client that drops too many messages before its first welcome still gets its first seat, and its later messages
    arrive."""
    room = await edge_room(Talk)
    client = MemoryClient(room, "ana", JSON, SMALL, 100, None, None, None)
    _say_much(client, 17)
    client.send(Say("after"))
    assert (client.waiting, len(client.errors)) == (1, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        await client.wait_status(Status.OPEN)
        assert await client.request(Say("hi"), Said) == Said("hi")
        client.leave()


async def test_much_said_at_once_while_connected(edge_room: EdgeRoom) -> None:
    """A connected client that sends too much reports an error, does not close, and can continue after a reconnect."""
    room = await edge_room(Talk)
    (ana,) = await room.join("ana", limits=attrs.evolve(SMALL, events_per_second=5, events_burst=2))
    _say_much(ana, 17)
    assert [error.problem for error in ana.errors] == ["behind"]
    await wait_all_tasks_blocked()
    await ana.resume()
    assert ana.status is Status.OPEN
    assert await ana.request(Say("hi"), Said) == Said("hi")


async def test_leaving_with_something_unsaid_is_told(edge_room: EdgeRoom, caplog: Any) -> None:
    """A client that leaves before all its messages are acknowledged logs the number of the others."""
    room = await edge_room(Talk)
    ana, ben = await room.join("ana", "ben")
    ana.drop()
    await wait_all_tasks_blocked()
    _say_much(ana, 3)
    ben.send(Say("this is written before the goodbye"))
    for client in (ana, ben):
        client.leave()
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned == ["the client left with 3 messages that were not sent, or not acknowledged"]


async def test_a_connection_that_is_cut_off_is_told_once(edge_room: EdgeRoom, caplog: Any) -> None:
    """If the server ends two connections of one kind of room with the same code, only the first end is logged."""
    room = await edge_room(Talk)
    for name in ("ana", "ben"):
        (client,) = await room.join(name, limits=SMALL, buffer=1)
        client._transport.receive = trio.sleep_forever  # type: ignore[union-attr, method-assign]
        (player,) = [player for player in room.room.players if player.name == name]
        for _ in range(300):
            player.send(Said("x" * 100))
            await trio.lowlevel.checkpoint()
        await trio.sleep(40)
    (told,) = [record.getMessage() for record in caplog.records if "was ended as" in record.getMessage()]
    assert "the connection of 'ana' in Talk was ended as OVERFLOW" in told
