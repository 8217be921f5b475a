"""The other side's clock: what its answers to pings say of it, and how long they took."""

from __future__ import annotations

# How many answers are remembered: enough for one good one among them, few enough to follow a clock that drifts.
SAMPLES = 8
# How fast what is shown follows a better guess, in seconds a second: slow enough not to be seen in what moves.
SLEW = 0.1
# A guess that is this much better, in seconds, is taken at once.
JUMP = 1.0
# By how many seconds two answers may contradict each other, because clocks drift; by more, and one was set, or slept.
DRIFT = 0.02


class Clock:
    """The peer's clock, guessed as NTP does it: the answer that took least time tells it best.

    The error is half of what that answer took, at most. Answers that the newest contradicts are forgotten.
    """

    def __init__(self) -> None:
        self.round_trip: float | None = None
        """The newest round trip, in seconds; None before the first."""
        self._samples: list[tuple[float, float]] = []
        self._offset: float | None = None
        self._read_at = 0.0

    def restart(self) -> None:
        """Forget what is known: the peer is another, or its clock started again."""
        self.round_trip = self._offset = None
        self._samples.clear()

    def note(self, asked: float, told: float, now: float) -> None:
        """The peer was asked at `asked`, and says at `now` that its clock showed `told`."""
        took, offset = max(0.0, now - asked), told - (asked + now) / 2
        agreeing = [each for each in self._samples if abs(each[1] - offset) <= (each[0] + took) / 2 + DRIFT]
        self.round_trip = took
        self._samples = [*agreeing[1 - SAMPLES :], (took, offset)]

    def at(self, now: float) -> float:
        """What the peer's clock shows now. It goes on evenly, whatever is learned, unless it was wrong by more than a
        second. Before anything is known, 0."""
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
