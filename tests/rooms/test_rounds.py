"""Rounds and turns, in addition to the tests of test_rules.py."""

from __future__ import annotations

import math

import pytest
import trio

import edge
from edge.client.client import Status
from edge.protocol.outgoing import outgoing_error
from edge.testing import EdgeRoom
from tests.rooms.inside import open_turn
from tests.rooms.quiet import Choose, Chosen, Guess, Quiet


async def test_a_round_needs_its_own_players(edge_room: EdgeRoom) -> None:
    """A round ends if too few of the round's players are left, even if other players are in the room."""
    room = await edge_room(Quiet)
    ana, ben, _ = await room.join("ana", "ben", "cyn")
    async with room.room.open_round(room.room.players[:2], minimum=2) as round:
        ana.leave()
        await trio.sleep_forever()
    assert round.outcome is edge.Outcome.TOO_FEW
    assert round.reason == "1 of 2 players"
    assert ben.status is Status.OPEN


async def test_a_reset_inside_a_nursery_of_a_turn(edge_room: EdgeRoom) -> None:
    """If code in a nursery inside a turn resets the round, the outcome of the turn is RESET."""
    room = await edge_room(Quiet)
    await room.join("ana")
    async with room.room.open_round() as round:
        turn = round.turn(round.players[0], seconds=10)
        with turn:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                room.room.reset()
                await trio.sleep_forever()
    assert turn.outcome is edge.Outcome.RESET


async def test_a_refusal_inside_a_nursery_of_a_turn(edge_room: EdgeRoom) -> None:
    """If a request in a nursery inside a turn is refused, the outcome of the turn is REFUSED, and the room does not
    crash."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    async with trio.open_nursery() as outer:

        @outer.start_soon
        async def refuse() -> None:
            await ana.receive(Choose)
            ana._send(outgoing_error("not_now", "no thanks", "", 1))

        with open_turn(player, 10) as turn:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(player.ask, Choose([]), Chosen)
    assert turn.outcome is edge.Outcome.REFUSED


async def test_a_second_round_is_refused(edge_room: EdgeRoom) -> None:
    """A room plays one round at a time: `open_round` raises RuntimeError if a round is open."""
    room = await edge_room(Quiet)
    await room.join("ana")
    async with room.room.open_round():
        with pytest.raises(RuntimeError, match="open already"):
            async with room.room.open_round():
                pass


async def test_what_a_round_raises_comes_out(edge_room: EdgeRoom) -> None:
    """An exception in a round is raised in an ExceptionGroup, because a round has a nursery. The outcome of the round
    is None."""
    room = await edge_room(Quiet)
    await room.join("ana")
    with pytest.raises(ExceptionGroup) as caught:
        async with room.room.open_round() as round:
            raise KeyError("mine")
    assert isinstance(caught.value.exceptions[0], KeyError)
    assert round.outcome is None
    assert not room.room.reset()


async def test_an_hour_of_play_is_a_moment(edge_room: EdgeRoom) -> None:
    """An hour of turns that time out takes an hour of virtual time."""

    class Turns(Quiet):
        played = 0

        async def run(self) -> None:
            await self.seats.wait_minimum()
            while True:
                async with self.open_round() as round:
                    for player in round.players:
                        with round.turn(player, seconds=30) as turn:
                            await player.receive(Guess)
                        assert turn.outcome is edge.Outcome.TIMEOUT
                        self.played += 1

    room = await edge_room(Turns)
    await room.join("ana", "ben")
    await trio.sleep(3600)
    assert room.room.played >= 119
    assert math.isclose(trio.current_time(), 3600, abs_tol=1)


async def test_a_turn_waits_for_the_absent_as_long_as_its_patience(edge_room: EdgeRoom) -> None:
    """A turn ends as ABSENT after `max_absence` seconds without a connection, and otherwise waits for its deadline."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    async with room.room.open_round() as round:
        with round.turn(player, seconds=60, max_absence=2) as skipped:
            ana.drop()
            await trio.sleep_forever()
        assert (skipped.outcome, trio.current_time()) == (edge.Outcome.ABSENT, 2)
        with round.turn(player, seconds=60, max_absence=2) as away_from_the_start:
            await trio.sleep_forever()
        assert (away_from_the_start.outcome, trio.current_time()) == (edge.Outcome.ABSENT, 4)
        await ana.resume()
        with round.turn(player, seconds=10, max_absence=2) as flaky:
            ana.drop()
            await trio.sleep(1.5)
            await ana.resume()
            await trio.sleep_forever()
        assert flaky.outcome is edge.Outcome.TIMEOUT
        with round.turn(player, seconds=3) as patient:
            ana.drop()
            await trio.sleep_forever()
        assert patient.outcome is edge.Outcome.TIMEOUT
        player.kick("absent")
    assert room.room.players == ()
