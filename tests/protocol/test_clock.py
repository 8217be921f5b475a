"""The estimate of the other side's clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.protocol.clock import JUMP, SLEW, Clock

delays = st.floats(0, 0.4)


@given(st.floats(-1e6, 1e6), st.lists(st.tuples(delays, delays), min_size=1, max_size=20))
def test_the_error_is_half_of_the_best_round_trip_at_most(offset: float, trips: list[tuple[float, float]]) -> None:
    """Once the clock has settled, its error is at most half of the shortest of the last eight round trips, however
    different the two directions of a round trip are."""
    clock, now = Clock(), 1000.0
    for there, back in trips:
        clock.note(now, now + there + offset, now + there + back)
        now += 1
    clock.at(now)
    now += JUMP / SLEW
    best = min(there + back for there, back in trips[-8:])
    assert clock.at(now) == pytest.approx(now + offset, abs=best / 2 + 1e-6)
    assert clock.round_trip == pytest.approx(sum(trips[-1]))


@given(st.lists(st.tuples(st.floats(0, 1), delays, delays), min_size=2, max_size=30))
def test_it_goes_on_evenly(steps: list[tuple[float, float, float]]) -> None:
    """While the estimates differ by less than a second, the clock runs at most a tenth too fast or too slow."""
    clock, now = Clock(), 0.0
    clock.note(0, 100, 0.4)
    shown, at = clock.at(0.4), 0.4
    now = 0.4
    for wait, there, back in steps:
        now += wait + there + back
        clock.note(now - there - back, now - back + 99.8, now)
        told = clock.at(now)
        assert told - shown == pytest.approx(now - at, abs=SLEW * (now - at) + 1e-9)
        shown, at = told, now


def test_a_clock_that_began_anew_is_followed_at_once() -> None:
    """If the newest answer contradicts earlier ones, because the other side's clock was set, the estimate follows the
    newest answer at once."""
    clock = Clock()
    clock.note(0, 500, 0)
    assert clock.at(1) == 501
    clock.note(2, 0, 2.5)
    assert clock.at(3) == pytest.approx(0.75)
