"""Bots, the players that are code, join and leave as other players do."""

from __future__ import annotations

import pytest
import trio

import edge
from edge.bots import open_bot
from edge.client.client import Status
from edge.rooms.directory import Directory
from edge.testing import EdgeRoom, seeds
from tests.small_rooms import Say


@edge.event("said")
class Said:
    by: str
    text: str


Player = edge.Player[Say, Said]


class Chat(edge.Room[Say, Said]):
    """Sends each player's text to all players, and refuses a name that another player has."""

    seats = edge.Seats(maximum=3, grace=5)

    def admit(self, applicant: edge.Applicant) -> None:
        if applicant.name in self.names:
            raise edge.Refused("taken")

    async def player(self, player: Player) -> None:
        async for event in player:
            self.broadcast(Said(player.name, event.text))


@seeds(50)
async def test_a_bot_is_a_player_like_others(edge_room: EdgeRoom, edge_seed: int) -> None:
    """A bot joins, is listed, sends and receives like any player, and its seat is free after its block has ended."""
    room = await edge_room(Chat)
    (ana,) = await room.join("ana")
    async with open_bot(room.room, name="robby") as bot:
        assert [player.name for player in room.room.players] == ["ana", "robby"]
        assert [player.session.bot for player in room.room.players] == [False, True]
        ana.send(Say("hello"))
        assert await bot.receive() == Said("ana", "hello")
        bot.send(Say("beep"))
        assert [await ana.receive() for _ in range(2)] == [Said("ana", "hello"), Said("robby", "beep")]
        assert bot.now() == pytest.approx(room.room.now())
    assert [player.name for player in room.room.players] == ["ana"]
    assert room.runtime.counters.ended == {edge.Code.LEFT: 1}


@seeds(50)
async def test_a_cancelled_bot_has_left(edge_room: EdgeRoom, edge_seed: int) -> None:
    """After a bot was cancelled at any of three times, its seat is free, and no ending except `LEFT` is counted."""
    room = await edge_room(Chat)
    for seconds in (0, 0.1, 1):
        with trio.move_on_after(seconds):
            async with open_bot(room.room, name="robby") as bot:
                while True:
                    bot.send(Say("beep"))
                    await bot.receive()
                    await trio.sleep(0.03)
        assert room.room.players == ()
    assert set(room.runtime.counters.ended) <= {edge.Code.LEFT}
    assert room.runtime.counters.crashes == 0


async def test_a_refused_bot(edge_room: EdgeRoom) -> None:
    """A bot whose name the room refuses gets `Disconnected` with the reason, and the refusal is counted."""
    room = await edge_room(Chat)
    async with open_bot(room.room, name="robby"):
        with pytest.raises(edge.Disconnected, match="taken"):
            async with open_bot(room.room, name="robby"):
                pytest.fail("the room has admitted a second bot with this name")
    assert room.runtime.counters.refused == {edge.Code.REFUSED: 1}


async def test_a_kicked_bot_and_one_whose_room_closes(edge_room: EdgeRoom) -> None:
    """A kicked bot receives the reason of the kick, and a bot whose room closes receives `ROOM_CLOSED`."""
    room = await edge_room(Chat)
    async with open_bot(room.room, name="robby") as bot:
        room.room.players[0].kick("too loud")
        assert [event async for event in bot] == []
        assert bot.ending is not None
        assert (bot.ending.code, bot.ending.reason) == (edge.Code.KICKED, "too loud")
    async with open_bot(room.room, name="robby") as bot:
        room.room.close("good night")
        assert [event async for event in bot] == []
        assert bot.ending is not None
        assert bot.ending.code == edge.Code.ROOM_CLOSED


async def test_a_bot_that_does_not_read_is_cut_off_like_anybody(edge_room: EdgeRoom) -> None:
    """A bot that does not read loses its connection when its bounded queue is full."""
    room = await edge_room(Chat)
    limits = edge.Limits(outbox_frames=50, inbox=8)
    async with open_bot(room.room, name="robby", limits=limits) as bot:
        for number in range(300):
            room.room.broadcast(Said("room", str(number)))
            await trio.sleep(0.001)
        await trio.sleep(30)
        assert bot.lost is not None
        assert bot.lost.code in (edge.Code.OVERFLOW, edge.Code.STALLED, edge.Code.LOST)


class Deaf(Chat):
    """Opens a bot that sends five hundred events, and reads none of them, so that the inbox is full."""

    ended_at = 0.0

    async def player(self, player: Player) -> None:
        await trio.sleep_forever()

    async def run(self) -> None:
        listener = self.listen(Say)
        async with self.open_round(minimum=0, seconds=5), open_bot(self, name="chatty") as bot:
            for number in range(500):
                bot.send(Say(str(number)))
            await trio.sleep_forever()
        self.ended_at = self.now()
        del listener
        await trio.sleep_forever()


async def test_a_full_inbox_does_not_hold_a_cancelled_bot(edge_room: EdgeRoom) -> None:
    """A cancelled bot whose seat has a full inbox ends within 2.5 seconds."""
    room = await edge_room(Deaf)
    await trio.sleep(60)
    assert 5 <= room.room.ended_at <= 7.5
    assert room.room.players == ()


async def test_bots_do_not_keep_a_room_open() -> None:
    """A room that has only bots closes after its idle time, like an empty room."""
    directory = Directory({"crewed": Crewed}, idle=60)
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        room = directory.open("crewed", "one")
        await trio.sleep(59)
        assert len(room.seats) == 1
        await trio.sleep(5)
        assert len(directory) == 0
        directory.close()


async def test_a_bot_whose_room_crashed_is_told(edge_room: EdgeRoom) -> None:
    """A bot whose room crashed is closed with `ROOM_CLOSED`, and the room admits no further bot."""
    room = await edge_room(Chat)
    async with open_bot(room.room, name="robby") as bot:
        room.room.close(code=edge.Code.ROOM_CRASHED)
        await bot.wait_status(Status.CLOSED)
        assert bot.ending is not None
        assert bot.ending.code is edge.Code.ROOM_CLOSED
    with pytest.raises(edge.Disconnected, match="has closed"):
        async with open_bot(room.room, name="robby"):
            pytest.fail("the closed room has admitted a bot")


class Crewed(Chat):
    """Opens a bot in its own `run`."""

    async def run(self) -> None:
        async with open_bot(self, name="house") as bot:
            async for event in bot:
                if event.by != "house":
                    bot.send(Say(event.text.upper()))


@seeds(50)
async def test_a_room_with_a_bot_of_its_own(edge_room: EdgeRoom, edge_seed: int) -> None:
    """A room can open a bot in its `run`, exchange events with it, and close while the bot is connected."""
    room = await edge_room(Crewed)
    (ana,) = await room.join("ana")
    ana.send(Say("hello"))
    while (said := await ana.receive()).by != "house":
        pass
    assert said.text == "HELLO"
    room.room.close()
    await room.room.wait_closed()
