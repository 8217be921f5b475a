"""Gives a room access to the counters of its server."""

from __future__ import annotations

from typing import Any

from ..rooms.counters import Counters
from ..rooms.room import Room, runtime_of


def counters_of(room: Room[Any, Any]) -> Counters:
    """Return the counters of this room's server, which count for all its rooms. Their values never decrease."""
    return runtime_of(room).counters
