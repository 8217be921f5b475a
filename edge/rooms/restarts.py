"""Restarts: new rooms after a crash of `Room.run`."""

from __future__ import annotations

from collections import deque

import attrs


@attrs.frozen(kw_only=True)
class Restarts:
    """The restart policy of a room after a crash of `run`, like the restart intensity of an Erlang supervisor.

    A crash closes the room with `Code.ROOM_CRASHED`, after which clients connect again. A new room is opened at once
    if the crashed room had players, otherwise when a client connects. After too many crashes the name stays closed for
    a while: clients are refused with `Code.ROOM_CRASHED`, and try again later.
    """

    most: int = 3
    """The maximum number of restarts within `seconds`; 0 for none."""

    seconds: float = 60
    """The seconds for which a crash counts, and for which the name is closed after too many crashes."""


@attrs.define(eq=False)
class Crashes:
    """The crashes of the rooms of one name."""

    policy: Restarts
    times: deque[float] = attrs.field(factory=deque)

    def note(self, now: float) -> bool:
        """Record a crash at `now`. Return true if a new room may be opened."""
        while self.times and self.times[0] + self.policy.seconds <= now:
            self.times.popleft()
        self.times.append(now)
        return len(self.times) <= self.policy.most

    @property
    def over_at(self) -> float:
        """The time from which no crash counts any more."""
        return self.times[-1] + self.policy.seconds

    def shut(self, now: float) -> bool:
        """Return True while the name is closed after too many crashes."""
        return len(self.times) > self.policy.most and now < self.over_at
