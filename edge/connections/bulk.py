"""Byte limits of connections: a small allowance for each, and one pace for all connections of an address."""

from __future__ import annotations

from ..protocol.pace import Pace

# The allowance of each connection, in bytes a second and in bytes at once. The allowance covers the events of a player
# that sends thirty inputs a second, and costs a server little. Other bytes are charged to the pace of the address.
LIGHT_BYTES_PER_SECOND, LIGHT_BURST = 8 * 1024, 8 * 1024


class Bulk:
    """Limits the bytes that are received from one connection.

    Args:
      shared: the pace, in bytes, of all connections of the address; None if there is no limit.
    """

    __slots__ = ("_light", "_shared")

    def __init__(self, shared: Pace | None) -> None:
        self._shared = shared
        self._light = Pace(LIGHT_BYTES_PER_SECOND, LIGHT_BURST)

    def reserve(self, size: int, now: float) -> float:
        """Charge received bytes to the limits.

        Returns: the time at which the frame may be delivered; not later than `now` if it may be delivered at once.
        """
        if self._shared is None:
            return now
        if size <= LIGHT_BURST and self._light.allows(now):
            self._light.take(now, size)
            return now
        return self._shared.reserve(now, size)
