"""The lease of a room: the right to run the room on this server until a deadline, which renewals extend."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio


class Lease:
    """The right to run one room on this server. With a single server a lease never ends.

    Args:
      until: the end of the lease, on Trio's clock.
      give_back: called once, with the lease, after the room has closed.
      fence: a number higher than the fence of every earlier lease of this room.
    """

    def __init__(
        self, until: float = math.inf, give_back: Callable[[Lease], object] = lambda lease: None, *, fence: int = 0
    ) -> None:
        self.fence = fence
        self.until: float = until
        """The time, on Trio's clock, from which nothing is written for the room."""
        self.continues_without_broker: bool = False
        """True if the room continues while its server cannot reach the broker: see `Room.when_cut_off`."""
        self.done_with: bool = False
        """True once the room has closed for good: no other server may restore it."""
        self._give_back = give_back
        self._scope = trio.CancelScope()

    @property
    def over(self) -> bool:
        """True once the lease has run out."""
        return self.until < math.inf and trio.current_time() >= self.until

    def enter(self) -> trio.CancelScope:
        """Return a scope for the life of the room. It is cancelled when the lease runs out."""
        self._scope = trio.CancelScope(deadline=self.until)
        return self._scope

    def continue_without_broker(self) -> None:
        """Make the lease last until another server is known to have the room. Call this before the room runs."""
        self.continues_without_broker, self.until = True, math.inf

    def renew(self, until: float) -> None:
        """Set a new end. This has no effect once the lease has run out."""
        if not (self.over or self.continues_without_broker):
            self.until = self._scope.deadline = until

    def conclude(self) -> None:
        """Record that the room has closed for good."""
        self.done_with = True

    def lose(self) -> None:
        """End the lease, and cancel the room: another server has the room, or may claim it."""
        self.until = -math.inf
        self._scope.cancel("this server has lost the lease")

    def end(self) -> None:
        """Give the lease back after the room has closed."""
        self._give_back(self)
