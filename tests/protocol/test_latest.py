"""`LatestValues`, which stores the latest value of each key within bounds of count and size."""

from __future__ import annotations

from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from edge.protocol.latest import LatestValues


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50))))
def test_the_newest_values_are_stored_within_the_bounds(puts: list[tuple[int, int]]) -> None:
    """`LatestValues` has the newest value of each key, drops the oldest values beyond its bounds, and reports only the
    first drop."""
    dropped: list[tuple[Hashable, str]] = []
    latest: LatestValues[str] = LatestValues(5, 100, lambda key, value: dropped.append((key, value)))
    expected: dict[int, tuple[str, int]] = {}
    first: list[tuple[Hashable, str]] = []
    for position, (key, size) in enumerate(puts):
        latest.put(key, str(position), size)
        expected.pop(key, None)
        expected[key] = str(position), size
        while len(expected) > 5 or (sum(each for _, each in expected.values()) > 100 and len(expected) > 1):
            oldest = next(iter(expected))
            first = first or [(oldest, expected[oldest][0])]
            del expected[oldest]
    assert latest.values() == [value for value, _ in expected.values()]
    assert latest.size == sum(size for _, size in expected.values())
    assert [latest.get(key) for key in range(10)] == [expected.get(key, (None, 0))[0] for key in range(10)]
    assert dropped == first
    latest.clear()
    assert (len(latest), latest.size, latest.values()) == (0, 0, [])
