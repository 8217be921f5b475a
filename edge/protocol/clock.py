"""An estimate of the peer's clock and of the round-trip time, from the peer's answers to the hello and to pings."""

from __future__ import annotations

# The number of stored samples. Fewer samples may include no short round trip. More samples would follow a drifting
# clock too slowly.
SAMPLES = 8
# The seconds per second by which `at` approaches a better estimate. At this rate, animations show no jump.
SLEW = 0.1
# `at` jumps to a better estimate that differs by more than this many seconds.
JUMP = 1.0
# Seconds by which two samples may contradict each other, because clocks drift. A larger contradiction means that a
# clock was set or a machine was suspended.
DRIFT = 0.02


class Clock:
    """An estimate of the peer's clock. As in NTP, the estimate comes from the sample with the shortest round trip.

    The error is at most half of this round trip. Samples that contradict the newest sample are dropped.
    """

    def __init__(self) -> None:
        self.round_trip: float | None = None
        """The newest round-trip time in seconds; None before the first sample."""
        self._samples: list[tuple[float, float]] = []
        self._offset: float | None = None
        self._read_at = 0.0

    def restart(self) -> None:
        """Drop all samples, because the peer has changed, or its clock has restarted."""
        self.round_trip = self._offset = None
        self._samples.clear()

    def note(self, asked: float, told: float, now: float) -> None:
        """Add a sample. All times are in seconds.

        Args:
          asked: the time at which a ping or the hello was sent.
          told: the peer's time in the answer.
          now: the time at which the answer arrived.
        """
        took, offset = max(0.0, now - asked), told - (asked + now) / 2
        agreeing = [each for each in self._samples if abs(each[1] - offset) <= (each[0] + took) / 2 + DRIFT]
        self.round_trip = took
        self._samples = [*agreeing[1 - SAMPLES :], (took, offset)]

    def at(self, now: float) -> float:
        """Return the estimated time of the peer's clock in seconds; 0 without samples.

        After a better estimate, the result changes slowly. It jumps only if the difference is more than a second.
        """
        if not self._samples:
            return 0.0
        best = min(self._samples)[1]
        if self._offset is None or abs(best - self._offset) > JUMP:
            self._offset = best
        else:
            most = SLEW * max(0.0, now - self._read_at)
            self._offset += min(most, max(-most, best - self._offset))
        self._read_at = now
        return now + self._offset
