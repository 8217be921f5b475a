"""Limit the bytes that connections receive.

Each connection has a small allowance, and all connections of an address share a pace.
"""

from __future__ import annotations

from ..protocol.pace import Pace

# The allowance of each connection: a long-term rate, in bytes per second, and a burst, in bytes. The allowance covers
# the events of a player that sends thirty inputs per second. Other bytes are charged to the pace of the address.
LIGHT_BYTES_PER_SECOND, LIGHT_BURST = 8 * 1024, 8 * 1024


class Bulk:
    """Limits the bytes that are received from one connection.

    Args:
      shared: the pace of all connections of the address, in bytes; None for no limit.
    """

    __slots__ = ("_light", "_shared", "limited")

    def __init__(self, shared: Pace | None) -> None:
        self._shared = shared
        self.limited: bool = shared is not None
        """False if `reserve` never delays a frame."""
        self._light = Pace(LIGHT_BYTES_PER_SECOND, LIGHT_BURST)

    def reserve(self, size: int, now: float) -> float:
        """Charge received bytes to the limits.

        Args:
          size: the number of bytes of a received frame.

        Returns: the time from which the frame may be delivered, on Trio's clock: `now` or earlier without a delay.
        """
        if self._shared is None:
            return now
        if size <= LIGHT_BURST and self._light.allows(now):
            self._light.take(now, size)
            return now
        return self._shared.reserve(now, size)
