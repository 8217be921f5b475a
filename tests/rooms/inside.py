"""What tests of edge itself look at, and authors can't."""

from __future__ import annotations

import math
from typing import Any

import edge
from edge.rooms.player import member_of
from edge.rooms.rounds_runtime import TurnRuntime
from edge.seats.held_seat import HeldSeat


def open_turn(player: edge.Player[Any, Any], seconds: float, max_absence: float = math.inf) -> edge.Turn:
    """A turn of this player, without a round."""
    return edge.Turn._create(TurnRuntime(member_of(player), seconds, max_absence))


def held_seat(player: edge.Player[Any, Any]) -> HeldSeat:
    """The seat of a player who has a client."""
    seat = member_of(player).seat
    assert isinstance(seat, HeldSeat)
    return seat
