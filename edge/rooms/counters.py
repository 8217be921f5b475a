"""Counters of all rooms in a directory. Their values never decrease."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter

import attrs

from ..codes import Code
from .rate_limited_log import RateLimitedLog

# Upper bounds of the histogram buckets for late ticks, in seconds. One more bucket, the last, has no upper bound.
LATE_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)


@attrs.define(eq=False)
class Counters:
    """Totals since the directory was created, over all its rooms, including closed rooms."""

    requests: int = 0
    """HTTP requests, including those of HTTP transports and of a mounted app. WebSocket upgrades do not count."""

    opened: int = 0
    """Rooms that were opened."""

    rounds: int = 0
    """Rounds that were opened."""

    admitted: int = 0
    """Applicants that got a seat."""

    refused: Counter[Code] = attrs.field(factory=Counter)
    """Connections that got no seat, by the code of the refusal."""

    ended: Counter[Code] = attrs.field(factory=Counter)
    """Players that left, by the code of `Player.ending`."""

    crashes: int = 0
    """Exceptions raised by the author's code in rooms."""

    throttled: int = 0
    """Connections that have ended and that the server had throttled for more than one second."""

    received: int = 0
    """Events from players that the room's code took, and ``latest`` events that were stored."""

    turned_away: Counter[str] = attrs.field(factory=Counter)
    """Refused messages from players, by the problem that the error reports."""

    unusable: int = 0
    """Messages to players that clients reported as unusable."""

    outdated: int = 0
    """Welcomes sent to clients whose event classes differ from those of the room."""

    sent: int = 0
    """Messages to players: events, requests, replies, cancels and errors. A broadcast counts once for each player."""

    patches: int = 0
    """Patches and whole documents sent to clients. One that all clients of a room get counts once for each client."""

    patches_unfit: int = 0
    """Connections that clients ended because a patch did not fit their mirror, as far as they said so."""

    late: list[int] = attrs.field(factory=lambda: [0] * (len(LATE_BOUNDS) + 1))
    """The number of ticks in each bucket of the histogram of lateness: see `LATE_BOUNDS`."""

    late_seconds: float = 0.0
    """The total lateness of all ticks, in seconds."""

    skipped: int = 0
    """Ticks that were skipped, because too many were late."""

    refusals: RateLimitedLog = attrs.field(factory=lambda: RateLimitedLog(logging.getLogger("edge.rooms")), repr=False)
    """The log of refused messages and seats."""

    _known: set[tuple[object, ...]] = attrs.field(factory=set)

    def is_first(self, *key: object) -> bool:
        """Return True for the first call with this key. Use few different keys, because every key is stored."""
        known = key in self._known
        self._known.add(key)
        return not known

    def note_tick(self, late: float, skipped: int) -> None:
        """Count a tick that began `late` seconds after its deadline, after `skipped` skipped ticks."""
        self.late[bisect_left(LATE_BOUNDS, late)] += 1
        self.late_seconds += late
        self.skipped += skipped
