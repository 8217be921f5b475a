"""The lease of a room: the right to run the room on this server until a deadline. Renewals extend the deadline."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio


class Lease:
    """The right to run one room on this server. If the server belongs to no cluster, a lease never ends.

    Args:
      until: the time at which the lease ends, on Trio's clock.
      give_back: called once, with the lease, after the room has closed.
      fence: a number higher than the fence of every earlier lease of this room.
    """

    def __init__(
        self, until: float = math.inf, give_back: Callable[[Lease], object] = lambda lease: None, *, fence: int = 0
    ) -> None:
        self.fence = fence
        self.until: float = until
        """The end of the lease, on Trio's clock. From then on, the server sends and records nothing for the room."""
        self.continues_without_broker: bool = False
        """True if the room continues while its server cannot reach the broker: see `Room.when_cut_off`."""
        self.done_with: bool = False
        """True once the room has closed for good, so that no other server may restore it."""
        self._give_back = give_back
        self._scope = trio.CancelScope()

    @property
    def over(self) -> bool:
        """True once the lease has ended."""
        return self.until < math.inf and trio.current_time() >= self.until

    def enter(self) -> trio.CancelScope:
        """Return the cancel scope in which the room runs. The scope is cancelled when the lease ends."""
        self._scope = trio.CancelScope(deadline=self.until)
        return self._scope

    def continue_without_broker(self) -> None:
        """Remove the deadline, so that the lease ends only when `lose` is called. Call this before the room runs."""
        self.continues_without_broker, self.until = True, math.inf

    def renew(self, until: float) -> None:
        """Set a new deadline. This has no effect if the lease has ended or continues without the broker."""
        if not (self.over or self.continues_without_broker):
            self.until = self._scope.deadline = until

    def conclude(self) -> None:
        """Record that the room has closed for good."""
        self.done_with = True

    def lose(self) -> None:
        """End the lease and cancel the room, because another server has the room or may claim it."""
        self.until = -math.inf
        self._scope.cancel("this server has lost the lease")

    def end(self) -> None:
        """Give the lease back, after the last task of the room has ended."""
        self._give_back(self)
