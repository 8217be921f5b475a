"""The counters of this server, for a room that shows them."""

from __future__ import annotations

from typing import Any

from ..rooms.counters import Counters
from ..rooms.room import Room, runtime_of


def counters_of(room: Room[Any, Any]) -> Counters:
    """The counts of everything that has happened in the rooms of this room's server. They only go up."""
    return runtime_of(room).counters
