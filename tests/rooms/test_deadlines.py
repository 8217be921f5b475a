"""Deadlines of turns and rounds that move, and turns that pause while their player is away."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

import edge
from edge import Outcome
from edge.testing import EdgeRoom, seeds
from tests.small_rooms import Said, Say

Player = edge.Player[Say, Said]
Act = Callable[[edge.Turn], object]


class Turns(edge.Room[Say, Said]):
    """Gives its first player one turn of ten seconds, and asks it a question."""

    seats = edge.Seats(grace=100)

    def __init__(self, *, pause: bool = False, max_absence: float = 1000) -> None:
        self.pause, self.max_absence = pause, max_absence
        self.turn: edge.Turn
        self.ended_at = 0.0

    async def run(self) -> None:
        await self.seats.wait_minimum()
        async with self.open_round(seconds=500) as round:
            self.opened = round
            while_away: Any = "pause" if self.pause else "run"
            turn = round.turn(round.players[0], seconds=10, max_absence=self.max_absence, while_away=while_away)
            with turn as self.turn:
                await self.players[0].ask(Said("?"), Say)
        self.ended_at = trio.current_time()
        await trio.sleep_forever()


async def open_turn(edge_room: EdgeRoom, **options: Any) -> tuple[Any, Any]:
    room = await edge_room(lambda: Turns(**options))
    (ana,) = await room.join("ana")
    await trio.sleep(1)
    return room.room, ana


@seeds(20)
async def test_a_turn_is_extended_and_its_client_is_told(edge_room: EdgeRoom) -> None:
    """`extend` moves the end of a turn, and the deadline of the question that the client answers."""
    room, ana = await open_turn(edge_room)
    question = await ana.receive(Said)
    with ana.answering(question):
        await trio.sleep(4)
        assert room.turn.remaining == pytest.approx(5)
        assert room.turn.extend(seconds=10) is True
        assert room.turn.deadline == pytest.approx(20)
        await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(20, abs=0.1)
    await trio.sleep(1)
    assert (room.turn.outcome, room.ended_at) == (Outcome.TIMEOUT, pytest.approx(20))
    assert room.turn.extend(seconds=10) is False


async def test_a_deadline_that_is_no_number_changes_nothing(edge_room: EdgeRoom) -> None:
    """NaN is an error, and the turn and the round keep their deadlines."""
    room, _ = await open_turn(edge_room)
    for of in (room.turn, room.opened):
        before = of.deadline
        for move in (partial(of.extend, seconds=math.nan), partial(of.end_at, math.nan)):
            with pytest.raises(ValueError, match="NaN"):
                move()
        assert of.deadline == before
        assert of.extend(seconds=1)


async def test_a_turn_is_shortened(edge_room: EdgeRoom) -> None:
    """A turn can end earlier, also at once."""
    room, ana = await open_turn(edge_room)
    with ana.answering(await ana.receive(Said)):
        assert room.turn.end_at(trio.current_time() + 2)
        await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(3, abs=0.1)
    assert room.turn.extend(seconds=-100) is False


async def test_a_round_is_moved(edge_room: EdgeRoom) -> None:
    """`end_at` and `extend` of a round move its end, until its time is up."""
    moved: list[Any] = []

    class Draw(edge.Room[Say, Said]):
        async def run(self) -> None:
            await self.seats.wait_minimum()
            async with self.open_round(seconds=80) as round:
                async for _ in self.listen(Say):
                    moved.append(round.end_at(trio.current_time() + 10))
                    moved.append(round.extend(seconds=1))
            moved.append((round.outcome, trio.current_time(), round.extend(seconds=5)))
            await trio.sleep_forever()

    room = await edge_room(Draw)
    (ana,) = await room.join("ana")
    await trio.sleep(5)
    ana.send(Say("owl"))
    await trio.sleep(60)
    assert moved == [True, True, (Outcome.TIMEOUT, 16, False)]


async def test_a_deadline_does_not_look_writable(edge_room: EdgeRoom) -> None:
    """An assignment to a deadline is an error that names the methods."""
    room, _ = await open_turn(edge_room)
    with pytest.raises(AttributeError, match=r"Turn\.deadline is a member of edge\.Turn: move it with extend"):
        room.turn.deadline = 5


@seeds(20)
async def test_a_turn_pauses_while_its_player_is_away(edge_room: EdgeRoom) -> None:
    """With ``while_away="pause"``, the time of a turn stands still while its player is away, and the client is told of
    the new deadline when it comes back."""
    room, ana = await open_turn(edge_room, pause=True)
    question = await ana.receive(Said)
    await trio.sleep(2)
    ana.drop()
    await trio.sleep(50)
    assert room.turn.paused
    assert room.turn.remaining == pytest.approx(7, abs=0.1)
    assert room.turn.extend(seconds=1)
    await ana.resume()
    await trio.sleep(0.1)
    assert not room.turn.paused
    with ana.answering(question):
        await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(61, abs=0.2)
    await trio.sleep(1)
    assert room.turn.outcome is Outcome.TIMEOUT


async def test_a_turn_does_not_pause_for_ever(edge_room: EdgeRoom) -> None:
    """A paused turn ends as absent after `max_absence`."""
    room, ana = await open_turn(edge_room, pause=True, max_absence=30)
    ana.drop()
    await trio.sleep(60)
    assert (room.turn.outcome, room.ended_at) == (Outcome.ABSENT, pytest.approx(31, abs=0.1))


async def test_a_turn_of_a_player_who_is_away_begins_paused(edge_room: EdgeRoom) -> None:
    """A turn whose player is already away begins paused, with its whole time."""

    class Late(Turns):
        async def run(self) -> None:
            await trio.sleep(5)
            await super().run()

    room = await edge_room(lambda: Late(pause=True))
    (ana,) = await room.join("ana")
    ana.drop()
    await trio.sleep(20)
    assert room.room.turn.paused
    await ana.resume()
    await trio.sleep(0.1)
    assert room.room.turn.remaining == pytest.approx(10, abs=0.2)


async def test_an_unknown_while_away(edge_room: EdgeRoom) -> None:
    """An unknown value of `while_away` is an error at the call."""
    room, _ = await open_turn(edge_room)
    with pytest.raises(ValueError, match='while_away is "run" or "pause"'):
        edge.Round.turn(room.turn, room.turn.player, seconds=1, while_away="stop")  # type: ignore[arg-type]  # a mistake
