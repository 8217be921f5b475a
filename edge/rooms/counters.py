"""Counters of the rooms of a directory. They only grow."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter

import attrs

from ..codes import Code
from .rate_limited_log import RateLimitedLog

# Upper bounds, in seconds, by which late ticks are told apart; the last class has none.
LATE_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)


@attrs.define(eq=False)
class Counters:
    """Everything since the directory began, over all its rooms, those that have closed included."""

    requests: int = 0
    """HTTP requests that were answered beside the rooms, those of HTTP transports and of a mounted app included."""

    opened: int = 0
    """Rooms."""

    admitted: int = 0
    """Applicants who got a seat."""

    refused: Counter[Code] = attrs.field(factory=Counter)
    """Connections that said hello, or should have, and got no seat, by why."""

    ended: Counter[Code] = attrs.field(factory=Counter)
    """Players who left, by why."""

    crashes: int = 0
    """Times that code of a room raised."""

    held_back: int = 0
    """Connections that sent faster than their pace for more than a second, so that some of it had to wait."""

    received: int = 0
    """Events from players that reached their room."""

    turned_away: Counter[str] = attrs.field(factory=Counter)
    """Messages from players that did not, by what was wrong with them."""

    unusable: int = 0
    """Messages to players that their clients say they could not use."""

    outdated: int = 0
    """Welcomes of clients that know other events than their room."""

    sent: int = 0
    """Messages to players: events, answers, refusals. A broadcast counts once for each."""

    late: list[int] = attrs.field(factory=lambda: [0] * (len(LATE_BOUNDS) + 1))
    """Ticks, by how late they began: see `LATE_BOUNDS`."""

    late_seconds: float = 0.0
    """The sum of it."""

    skipped: int = 0
    """Ticks that were given up, because too many were late."""

    refusals: RateLimitedLog = attrs.field(factory=lambda: RateLimitedLog(logging.getLogger("edge.rooms")), repr=False)
    """The log of what was refused: messages, and seats."""

    _known: set[tuple[object, ...]] = attrs.field(factory=set)

    def is_first(self, *key: object) -> bool:
        """True if this is the first time that it is asked of this. There may not be many keys."""
        known = key in self._known
        self._known.add(key)
        return not known

    def note_tick(self, late: float, skipped: int) -> None:
        """A tick began so many seconds after its deadline, and so many before it were given up."""
        self.late[bisect_left(LATE_BOUNDS, late)] += 1
        self.late_seconds += late
        self.skipped += skipped
