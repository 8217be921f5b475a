"""Restarts: fresh rooms after a crash of `Room.run`."""

from __future__ import annotations

from collections import deque

import attrs


@attrs.frozen(kw_only=True)
class Restarts:
    """How often a fresh room takes the place of one that crashed. As of a supervisor in Erlang: so many in so long.

    A crash closes the room; its players are told to come back, and come to the fresh one, which is open already. Where
    nobody sat, there is a fresh one when somebody comes. One crash too many, and the name is shut for a while: whoever
    comes is refused with `Code.ROOM_CRASHED`, and tries again by and by.
    """

    most: int = 3
    """The most fresh rooms within `seconds`; 0 for none."""

    seconds: float = 60
    """The seconds for which a crash counts, and for which the name is closed after too many."""


@attrs.define(eq=False)
class Crashes:
    """The times at which rooms of one name have crashed."""

    policy: Restarts
    times: deque[float] = attrs.field(factory=deque)

    def note(self, now: float) -> bool:
        """One has. Returns: whether a fresh one may follow."""
        while self.times and self.times[0] + self.policy.seconds <= now:
            self.times.popleft()
        self.times.append(now)
        return len(self.times) <= self.policy.most

    @property
    def over_at(self) -> float:
        """The time at which no crash counts any more."""
        return self.times[-1] + self.policy.seconds

    def shut(self, now: float) -> bool:
        """True if there were too many, not long ago."""
        return len(self.times) > self.policy.most and now < self.over_at
