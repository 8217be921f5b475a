"""The policy for new rooms after a crash of `Room.run`, and the record of crashes."""

from __future__ import annotations

from collections import deque

import attrs


@attrs.frozen(kw_only=True)
class Restarts:
    """The restart policy of a room after a crash of `run`, like the restart intensity of an Erlang supervisor.

    A crash closes the room with `Code.ROOM_CRASHED`, and the clients connect again. If the crashed room had players,
    edge opens a new room at once; otherwise edge opens a new room when a client connects. After too many crashes, edge
    opens no room of this name for `seconds`: clients are refused with `Code.ROOM_CRASHED`, and try again later.
    """

    most: int = 3
    """The maximum number of restarts within `seconds`; 0 for no restarts."""

    seconds: float = 60
    """The number of seconds for which a crash counts. After too many crashes, no room opens for the same time."""


@attrs.define(eq=False)
class Crashes:
    """The recent crashes of rooms with the same kind and name."""

    policy: Restarts
    times: deque[float] = attrs.field(factory=deque)

    def note(self, now: float) -> bool:
        """Record a crash at `now`, on Trio's clock. Return True if a new room may be opened."""
        while self.times and self.times[0] + self.policy.seconds <= now:
            self.times.popleft()
        self.times.append(now)
        return len(self.times) <= self.policy.most

    @property
    def over_at(self) -> float:
        """The time, on Trio's clock, from which no recorded crash counts."""
        return self.times[-1] + self.policy.seconds

    def shut(self, now: float) -> bool:
        """Return True while no room may be opened, because of too many crashes."""
        return len(self.times) > self.policy.most and now < self.over_at
