"""The statistics of a room, and the counters."""

from __future__ import annotations

import math

import pytest
import trio

import edge
from edge.client.client import Status
from edge.protocol.messages import Event
from edge.protocol.outgoing import Outgoing
from edge.rooms.player import member_of
from edge.rooms.statistics import RoundStatistics, TurnStatistics
from edge.testing import EdgeRoom
from tests.rooms.inside import open_turn
from tests.rooms.quiet import Chosen, Guess, Player, Quiet, Verdict


async def test_the_tree_of_a_room(edge_room: EdgeRoom) -> None:
    """The statistics of a room list its round, turns and players, with their remaining times."""
    room = await edge_room(Quiet)
    ana, _ = await room.join("ana", "ben")
    await trio.sleep(2)
    async with room.room.open_round(seconds=30) as round:
        with round.turn(round.players[1], seconds=8):
            ana.drop()
            await trio.sleep(1)
            seen = room.runtime.statistics()
            assert (seen.name, seen.age, seen.maximum, seen.locked) == ("room/0", 3, 3, False)
            assert seen.round == RoundStatistics([0, 1], 29)
            assert seen.turns == [TurnStatistics(1, 7)]
            first, second = seen.players
            assert (first.name, first.state, first.remaining) == ("ana", "away", 4)
            assert (second.name, second.state, second.remaining) == ("ben", "here", None)
            assert first.seat.round_trip is None
            await trio.sleep(5)
            assert room.runtime.statistics().round == RoundStatistics([1], 24)
        with open_turn(round.players[1], float("inf")):
            assert room.runtime.statistics().turns == [TurnStatistics(1, None)]
    assert room.runtime.statistics().round is None


async def test_what_is_on_the_way(edge_room: EdgeRoom) -> None:
    """The statistics of a seat have the number of queued and of unacknowledged frames and, after `measure`, the round
    trip."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    assert member_of(player).statistics().seat.round_trip is None
    player.send(Verdict(True))
    seat = member_of(player).statistics().seat
    assert (seat.waiting_frames, seat.waiting_bytes > 10, seat.unacked) == (1, True, 1)
    member_of(player).seat.measure()
    await trio.sleep(1)
    seat = member_of(player).statistics().seat
    assert (seat.round_trip, seat.waiting_frames, seat.waiting_bytes, seat.unacked) == (0, 0, 0, 0)
    ana.drop()
    await trio.sleep(0.1)
    assert member_of(player).statistics().seat.round_trip is None


async def test_the_tally(edge_room: EdgeRoom) -> None:
    """The counters count opened rooms, admitted players, refusals and ends of seats by code, received and sent events,
    and refused messages by problem."""
    room = await edge_room(Quiet)
    ana, ben, cyn = await room.join("ana", "ben", "cyn")
    with pytest.raises(edge.Disconnected):
        await room.join("dan")
    listener = room.room.listen(Guess)
    ana.send(Guess("x"))
    await listener.receive()
    ben.send(Chosen("nobody asked"))
    await trio.sleep(0.1)
    room.room.broadcast(Verdict(True))
    cyn.leave()
    room.room.players[1].kick()
    await trio.sleep(0.1)
    counters = room.runtime.counters
    assert (counters.opened, counters.admitted, counters.received, counters.sent, counters.crashes) == (1, 3, 1, 4, 0)
    assert counters.refused == {edge.Code.FULL: 1}
    assert counters.ended == {edge.Code.LEFT: 1, edge.Code.KICKED: 1}
    assert counters.turned_away == {"not_now": 1}
    ana._send_buffer.send(Outgoing.of(Event("nonsense", {})))
    ana._send_buffer.send(Outgoing.of(Event("Guess", {"word": 5})))
    await trio.sleep(0.1)
    assert counters.turned_away == {"not_now": 1, "unknown_event": 1, "invalid": 1}
    assert counters.received == 1


async def test_a_seat_that_waits_for_ever_can_be_shown(edge_room: EdgeRoom) -> None:
    """If a seat's grace is infinite, its remaining time is None in the statistics."""

    class Patient(Quiet):
        seats = edge.Seats(grace=math.inf)

    room = await edge_room(Patient)
    (ana,) = await room.join("ana")
    ana.drop()
    await trio.sleep(1)
    (player,) = room.runtime.statistics().players
    assert (player.state, player.remaining) == ("away", None)


class Crashing(Quiet):
    async def player(self, player: Player) -> None:
        raise ValueError("on purpose")


async def test_crashes_are_counted(edge_room: EdgeRoom) -> None:
    """The counters count a crash of a player, and the end of its seat as CRASHED."""
    room = await edge_room(Crashing)
    room.expect_crash("on purpose")
    (ana,) = await room.join("ana")
    await ana.wait_status(Status.CLOSED)
    assert room.runtime.counters.crashes == 1
    assert room.runtime.counters.ended == {edge.Code.CRASHED: 1}


async def test_late_ticks_are_counted(edge_room: EdgeRoom) -> None:
    """The counters count ticks by lateness, and skipped ticks."""
    room = await edge_room(Quiet)
    steps = 0
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    async for step in room.room.ticks(hz=10, catch_up=1):
        steps += 1
        if steps == 3:
            clock.jump(0.45)  # the loop's body takes longer than one step
        if steps == 6:
            break
        assert step.number == steps
    counters = room.runtime.counters
    assert sum(counters.late) == 6
    assert counters.skipped == 2
    assert counters.late_seconds == pytest.approx(0.15 + 0.05)
