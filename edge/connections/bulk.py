"""What the connections of one address send in bulk: at one pace for all of them."""

from __future__ import annotations

from ..protocol.pace import Pace

# What each connection may send beside that pace, in bytes a second and at once: more than a game sends whose players
# steer thirty times a second, and too little to cost a server much.
LIGHT_BYTES_PER_SECOND, LIGHT_BURST = 8 * 1024, 8 * 1024


class Bulk:
    """One connection's share of the pace of its address.

    Args:
      shared: the pace in bytes of all connections of the address; None for none.
    """

    __slots__ = ("_light", "_shared")

    def __init__(self, shared: Pace | None) -> None:
        self._shared = shared
        self._light = Pace(LIGHT_BYTES_PER_SECOND, LIGHT_BURST)

    def reserve(self, size: int, now: float) -> float:
        """Make room for so many bytes that have come.

        Returns: when they may be read; now or before, if that is at once.
        """
        if self._shared is None:
            return now
        if size <= LIGHT_BURST and self._light.allows(now):
            self._light.take(now, size)
            return now
        return self._shared.reserve(now, size)
