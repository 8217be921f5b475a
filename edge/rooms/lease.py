"""The lease of a room: its right to be open on this server until a time, which renewals move on."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio


class Lease:
    """The right of one room to be open here. Without other servers it lasts for ever.

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
        """The time, on Trio's clock, from which nothing is written for the room."""
        self.continues_without_broker = False
        """True if the room continues while the broker cannot be reached: see `Room.when_cut_off`."""
        self.done_with = False
        """True once the room has closed for good: no other server may restore it."""
        self._give_back = give_back
        self._scope = trio.CancelScope()

    @property
    def over(self) -> bool:
        """True once it has run out."""
        return self.until < math.inf and trio.current_time() >= self.until

    def enter(self) -> trio.CancelScope:
        """Return a scope for the life of the room. It is cancelled when the lease runs out."""
        self._scope = trio.CancelScope(deadline=self.until)
        return self._scope

    def continue_without_broker(self) -> None:
        """Let it last until another server is known to have the room. Call this before the room runs."""
        self.continues_without_broker, self.until = True, math.inf

    def renew(self, until: float) -> None:
        """Move the end. No effect once it has run out."""
        if not (self.over or self.continues_without_broker):
            self.until = self._scope.deadline = until

    def conclude(self) -> None:
        """Note that the room has closed for good."""
        self.done_with = True

    def lose(self) -> None:
        """End it: another server has the room."""
        self.until = -math.inf
        self._scope.cancel("the lease is another server's")

    def end(self) -> None:
        """End it after the room has closed."""
        self._give_back(self)
