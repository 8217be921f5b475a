"""A room's lease: its right to be open here, which runs out at an instant unless it is renewed."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio


class Lease:
    """Held by one room at a time. Where nobody shares the rooms, it lasts for ever.

    Args:
      until: when it runs out, on Trio's clock.
      give_back: called once, when nobody needs it any more.
      fence: higher than that of any lease of this room before.
    """

    def __init__(
        self, until: float = math.inf, give_back: Callable[[Lease], object] = lambda lease: None, *, fence: int = 0
    ) -> None:
        self.fence = fence
        self.until = until
        """From then on nothing is written for the room."""
        self.goes_on = False
        """Whether the room goes on while nobody can say whose it is: then it is over only when it is known."""
        self.done_with = False
        """Whether its room has closed for good, so that nobody is to go on with it."""
        self._give_back = give_back
        self._scope = trio.CancelScope()

    @property
    def over(self) -> bool:
        """Whether it has run out."""
        return self.until < math.inf and trio.current_time() >= self.until

    def enter(self) -> trio.CancelScope:
        """A scope for the life of the room: it is cancelled when the lease runs out."""
        self._scope = trio.CancelScope(deadline=self.until)
        return self._scope

    def go_on(self) -> None:
        """Let it last until it is known to be somebody else's; before its room lives."""
        self.goes_on, self.until = True, math.inf

    def renew(self, until: float) -> None:
        """Let it last longer; too late, if it has run out."""
        if not (self.over or self.goes_on):
            self.until = self._scope.deadline = until

    def conclude(self) -> None:
        """Its room has closed for good."""
        self.done_with = True

    def lose(self) -> None:
        """It is somebody else's."""
        self.until = -math.inf
        self._scope.cancel("the lease is another server's")

    def end(self) -> None:
        """The room is closed, and no other follows here."""
        self._give_back(self)
