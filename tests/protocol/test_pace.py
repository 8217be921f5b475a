"""The pace: a burst, a long-term rate, and an allowance for messages that could not be sent."""

from __future__ import annotations

import math

import pytest

import edge
from edge.protocol.codec import JSON
from edge.protocol.connection import Connection, Side
from edge.protocol.pace import Pace


def at_once(pace: Pace, now: float) -> int:
    """Return how many messages the pace allows at this time."""
    count = 0
    while pace.allows(now) and count < 10_000:
        pace.take(now)
        count += 1
    return count


@pytest.mark.parametrize("rate", [0.3, 3, 50, 1000 / 7])
@pytest.mark.parametrize("burst", [1, 7, 100])
def test_a_burst_and_then_the_rate(rate: float, burst: int) -> None:
    """A pace allows exactly `burst` messages at once. Afterwards it allows the messages that the rate has added since
    then, at most `burst`."""
    pace, began = Pace(rate, burst), 1e6
    assert at_once(pace, began) == burst
    assert at_once(pace, began + 1.01 / rate) == 1
    assert at_once(pace, began + 1e6) == burst
    assert pace.at_rest(began + 2e6)


def test_when_the_next_is_wanted() -> None:
    """Within the burst, the next message is due at once. Each message beyond the burst delays the next one by one
    period of the rate, and `give_back` undoes that for one message."""
    pace = Pace(10, 5)
    assert all(pace.take(100.0) <= 100.0 for _ in range(4))
    waits = [pace.take(100.0) - 100.0 for _ in range(3)]
    assert waits == pytest.approx([0.05, 0.15, 0.25])
    assert pace.give_back() - 100.0 == pytest.approx(0.15)


@pytest.mark.parametrize(("seconds", "besides"), [(0, 0), (1, 10), (1000, 64)])
def test_what_could_not_come_may_come_besides(seconds: float, besides: int) -> None:
    """After an interruption, a pace allows the burst and, up to a bound, the messages that the rate would have allowed
    during the interruption."""
    pace = Pace(10, 5)
    pace.allow(100.0 - seconds, 100.0, 64)
    assert at_once(pace, 100.0) == 5 + besides


def test_coming_back_again_and_again_gains_nothing() -> None:
    """A client that reconnects ten times per second may send as many messages as a client that stays connected, and no
    more."""
    pace, count = Pace(10, 5), 0
    for step in range(200):
        now = 100.0 + step / 10
        pace.allow(now - 0.1, now, 64)
        while pace.allows(now):
            pace.take(now)
            count += 1
    assert count == pytest.approx(20 * 10 + 5, abs=2)


def test_without_a_pace_anything_goes() -> None:
    """With an infinite rate, a pace allows any number of messages, even on a second connection at the same instant."""
    limits = edge.Limits(events_per_second=math.inf)
    first, second = (Connection(Side.SERVER, JSON, now=5.0, limits=limits) for _ in range(2))
    second.follow(first, now=5.0)
    assert at_once(second._pace, 5.0) == 10_000
