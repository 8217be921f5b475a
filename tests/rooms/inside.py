"""Functions for tests that need internals of edge, which authors can't access."""

from __future__ import annotations

import math
from typing import Any

import edge
from edge.rooms.player import member_of
from edge.rooms.rounds_runtime import TurnRuntime
from edge.seats.held_seat import HeldSeat


def open_turn(
    player: edge.Player[Any, Any], seconds: float, max_absence: float = math.inf, *, pauses: bool = False
) -> edge.Turn:
    """Return a turn of this player that belongs to no round."""
    return edge.Turn._create(TurnRuntime(member_of(player), seconds, max_absence, pauses=pauses))


def held_seat(player: edge.Player[Any, Any]) -> HeldSeat:
    """Return the seat of a player that is a client, not a bot."""
    seat = member_of(player).seat
    assert isinstance(seat, HeldSeat)
    return seat
