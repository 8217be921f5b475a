"""Schedules by the wall clock, which moves with the virtual time of a test."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
import trio

import edge
from edge.rooms import wall_clock
from edge.testing import EdgeRoom
from edge.testing.virtual import run_virtual
from tests.small_rooms import Said, Say

EPOCH = wall_clock.VIRTUAL_EPOCH


class Scheduled(edge.Room[Say, Said]):
    def __init__(self) -> None:
        self.times: list[datetime] = []

    async def run(self) -> None:
        async for due in self.every(600):
            self.times.append(due)
            if len(self.times) == 2:
                await trio.sleep(1800 + 60)


async def test_every_ten_minutes(edge_room: EdgeRoom) -> None:
    """`every` runs at multiples of its seconds on the wall clock, which moves with the virtual time. Times that pass
    while the body runs are skipped, except the newest."""
    began = edge.utc_now()
    assert began == datetime(2026, 1, 1, tzinfo=UTC)
    await trio.sleep(60)
    room = await edge_room(Scheduled)
    await trio.sleep(4200)
    assert [(each - began) / timedelta(minutes=10) for each in room.room.times] == [1, 2, 5, 6, 7]


def test_every_day_at_half_past_two() -> None:
    """`at` runs each day at the time of day of its zone, also when clocks are put forward and back."""
    berlin = ZoneInfo("Europe/Berlin")
    found = []

    async def run() -> None:
        with trio.move_on_after(365 * 24 * 3600):
            async for due in wall_clock.at(time(2, 30), berlin):
                assert due == edge.utc_now()
                found.append(due.astimezone(berlin))

    run_virtual(run, hours=366 * 24)
    assert len(found) == 365
    odd = [each for each in found if (each.hour, each.minute) != (2, 30)]
    assert odd == [datetime(2026, 3, 29, 3, 30, tzinfo=berlin)]
    assert [each.date() for each in found] == [date(2026, 1, 1) + timedelta(days=day) for day in range(365)]


async def test_the_clock_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the wall clock is put forward, a schedule notices it within a minute; if it is put back, no time counts
    twice."""
    shift = timedelta()
    monkeypatch.setattr(wall_clock, "is_virtual", lambda: False)
    monkeypatch.setattr(wall_clock, "utc_now", lambda: EPOCH + timedelta(seconds=trio.current_time()) + shift)
    times = wall_clock.every(3600)

    async def put(after: float, by: timedelta) -> None:
        nonlocal shift
        await trio.sleep(after)
        shift += by

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, 100, timedelta(minutes=58))
        first = await anext(times)
        assert trio.current_time() == 120
        nursery.start_soon(put, 10, timedelta(minutes=-30))
        second = await anext(times)
        assert second - first == timedelta(hours=1)


def test_mistakes() -> None:
    """A length that is not positive, and a time of day with a zone, are errors at the call."""
    for seconds in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="finite number above 0"):
            wall_clock.every(seconds)
    with pytest.raises(ValueError, match="without a time zone"):
        wall_clock.at(time(4, tzinfo=UTC), UTC)
    for wrong in (("04:00", UTC), (time(4), "Africa/Nairobi"), (time(4), None)):
        with pytest.raises(TypeError, match=r"pass a `datetime.time` and a `tzinfo`"):
            wall_clock.at(*wrong)


def test_outside_of_trio_the_clock_is_real() -> None:
    """Outside of Trio, `utc_now` returns the time of the machine."""
    assert abs(edge.utc_now() - datetime.now(UTC)) < timedelta(minutes=1)
