"""A pace: a token bucket, stored as one number."""

from __future__ import annotations


class Pace:
    """A limit for items: `rate` items a second in the long run, and `burst` items at once.

    The state is one point in time. Each item moves this point forward by ``1 / rate`` seconds. The point may be ahead
    of the clock by the duration of the burst (the generic cell rate algorithm). The current time is an argument.

    Args:
      rate: items a second, in the long run; `math.inf` for no limit.
      burst: items at once.
    """

    __slots__ = ("_each", "_free", "_paid", "_slack")

    def __init__(self, rate: float, burst: float) -> None:
        self._each = 1 / rate
        self._slack = (burst - 0.5) * self._each  # half an item less, so that rounding errors change no result
        self._paid = 0.0
        self._free = 0

    @property
    def unlimited(self) -> bool:
        """True if there is no limit."""
        return self._each == 0

    def allow(self, since: float, now: float, most: int) -> None:
        """Allow free items for the time from `since` to `now`, in which the sender could send nothing.

        The free items do not expire. They exclude the time in which the burst was refilled, which would count twice.

        Args:
          most: the maximum number of free items.
        """
        unused = max(0.0, now - max(since, self._paid))
        self._free = int(min(most, unused / self._each)) if self._each else 0

    def take(self, now: float, count: int = 1) -> float:
        """Charge `count` items, even if they exceed the pace.

        Returns: the time from which the next item is within the pace; `now` or earlier if no wait is needed.
        """
        if self._free:
            free = min(self._free, count)
            self._free -= free
            count -= free
            if not count:
                return now
        self._paid = (self._paid if self._paid > now else now) + count * self._each
        return self._paid - self._slack

    def reserve(self, now: float, count: int) -> float:
        """Charge `count` items. Return the time from which these items are within the pace; it may be before `now`."""
        at = self._paid - self._slack
        self.take(now, count)
        return at

    def give_back(self) -> float:
        """Refund one item. Return the time from which the next item is within the pace."""
        self._paid -= self._each
        return self._paid - self._slack

    def allows(self, now: float) -> bool:
        """Return whether one more item is within the pace now."""
        return self._paid - self._slack <= now or self._free > 0

    def half_free_at(self) -> float:
        """Return the time from which half of the burst is available."""
        return self._paid - self._slack / 2

    def at_rest(self, now: float) -> bool:
        """Return whether the full burst is available."""
        return self._paid <= now
