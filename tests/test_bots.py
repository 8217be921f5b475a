"""Players who are code: through the front door, and out again by whatever way."""

from __future__ import annotations

import pytest
import trio

import edge
from edge.testing import EdgeRoom, seeds


@edge.event("say")
class Say:
    text: str


@edge.event("said")
class Said:
    by: str
    text: str


Player = edge.Player[Say, Said]


class Chat(edge.Room[Say, Said]):
    """Everybody hears everybody; "robot" is always somebody else."""

    seats = edge.Seats(maximum=3, grace=5)

    def admit(self, applicant: edge.Applicant) -> None:
        if applicant.name in self.names:
            raise edge.Refused("taken")

    async def player(self, player: Player) -> None:
        async for event in player:
            self.broadcast(Said(player.name, event.text))


@seeds(50)
async def test_a_bot_is_a_player_like_others(edge_room: EdgeRoom, edge_seed: int) -> None:
    """It is admitted, seen, heard and hears; when its block ends it has left, and its seat is free."""
    room = await edge_room(Chat)
    (ana,) = await room.join("ana")
    async with edge.open_bot(room.room, name="robby", claims={"team": 1}) as bot:
        assert [player.name for player in room.room.players] == ["ana", "robby"]
        assert room.room.players[1].session.claims == {"bot": True, "team": 1}
        ana.send(Say("hello"))
        assert await bot.receive() == Said("ana", "hello")
        bot.send(Say("beep"))
        assert [await ana.receive() for _ in range(2)] == [Said("ana", "hello"), Said("robby", "beep")]
        assert bot.now() == pytest.approx(room.room.now())
    assert [player.name for player in room.room.players] == ["ana"]
    assert room.room.tally.ended == {edge.Code.LEFT: 1}


@seeds(50)
async def test_a_cancelled_bot_has_left(edge_room: EdgeRoom, edge_seed: int) -> None:
    """Wherever it was, when its scope is over its seat is free, and nobody is said to be shutting down."""
    room = await edge_room(Chat)
    for seconds in (0, 0.1, 1):
        with trio.move_on_after(seconds):
            async with edge.open_bot(room.room, name="robby") as bot:
                while True:
                    bot.send(Say("beep"))
                    await bot.receive()
                    await trio.sleep(0.03)
        assert room.room.players == ()
    assert set(room.room.tally.ended) <= {edge.Code.LEFT}
    assert room.room.tally.crashes == 0


async def test_a_refused_bot(edge_room: EdgeRoom) -> None:
    """Refusals are the same for everybody."""
    room = await edge_room(Chat)
    async with edge.open_bot(room.room, name="robby"):
        with pytest.raises(edge.Disconnected, match="taken"):
            async with edge.open_bot(room.room, name="robby"):
                pytest.fail("there was no seat")
    assert room.room.tally.refused == {edge.Code.REFUSED: 1}


async def test_a_kicked_bot_and_one_whose_room_closes(edge_room: EdgeRoom) -> None:
    """It is told why, as others are."""
    room = await edge_room(Chat)
    async with edge.open_bot(room.room, name="robby") as bot:
        room.room.players[0].kick("too loud")
        assert [event async for event in bot] == []
        assert bot.ending is not None
        assert (bot.ending.code, bot.ending.reason) == (edge.Code.KICKED, "too loud")
    async with edge.open_bot(room.room, name="robby") as bot:
        room.room.close("good night")
        assert [event async for event in bot] == []
        assert bot.ending is not None
        assert bot.ending.code == edge.Code.ROOM_CLOSED


class Crewed(Chat):
    """Opens its bot itself."""

    async def run(self) -> None:
        async with edge.open_bot(self, name="house") as bot:
            async for event in bot:
                if event.by != "house":
                    bot.send(Say(event.text.upper()))


@seeds(50)
async def test_a_room_with_a_bot_of_its_own(edge_room: EdgeRoom, edge_seed: int) -> None:
    """The bot lives in the room's run, and does not keep it from closing."""
    room = await edge_room(Crewed)
    (ana,) = await room.join("ana")
    ana.send(Say("hello"))
    while (said := await ana.receive()).by != "house":
        pass
    assert said.text == "HELLO"
    room.room.close()
    await room.room.wait_closed()
