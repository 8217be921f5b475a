"""A pace: so many a second in the long run, and a burst at once. A token bucket, kept as one number."""

from __future__ import annotations


class Pace:
    """How fast something may come.

    Kept as the time up to which all that came is paid for, at `rate` a second: it may run ahead of the clock by as long
    as the burst takes (the generic cell rate algorithm). Time is an argument.

    Args:
      rate: how many a second, in the long run; `math.inf` for any number.
      burst: how many at once.
    """

    __slots__ = ("_each", "_free", "_paid", "_slack")

    def __init__(self, rate: float, burst: float) -> None:
        self._each = 1 / rate
        self._slack = (burst - 0.5) * self._each  # half of one, so that rounding decides nothing
        self._paid = 0.0
        self._free = 0

    def allow(self, since: float, now: float, most: int) -> None:
        """Add an allowance for the time between two instants, in which nothing could be sent.

        The allowance may be used at any time. It leaves out the time that has refilled the burst, which would otherwise
        count twice.

        Args:
          most: the largest allowance.
        """
        unused = max(0.0, now - max(since, self._paid))
        self._free = int(min(most, unused / self._each)) if self._each else 0

    def take(self, now: float, count: int = 1) -> float:
        """Count so many, whether or not they were in time.

        Returns: from when on one more would be; not after now, if it may come at once.
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
        """Count so many that have come. Returns: when they are in time; not after now, if they are already."""
        at = self._paid - self._slack
        self.take(now, count)
        return at

    def give_back(self) -> float:
        """The last one that came does not count. Returns: see `take`."""
        self._paid -= self._each
        return self._paid - self._slack

    def allows(self, now: float) -> bool:
        """True if one may come now."""
        return self._paid - self._slack <= now or self._free > 0

    def half_free_at(self) -> float:
        """The time at which half of the burst may come at once."""
        return self._paid - self._slack / 2

    def at_rest(self, now: float) -> bool:
        """True once the full burst may come at once."""
        return self._paid <= now
