"""The wall clock, and schedules by it. In a test with virtual time, the wall clock moves with the virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, tzinfo

import trio

# The time at which a test with virtual time begins.
VIRTUAL_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
# The wall clock may be set, and does not advance while a machine sleeps: it is read again after this many seconds.
CHECK_SECONDS = 60.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """Return the time of the wall clock, in UTC.

    In a test with virtual time, it is midnight on 1 January 2026, plus the virtual time.
    """
    return VIRTUAL_EPOCH + timedelta(seconds=trio.current_time()) if is_virtual() else datetime.now(UTC)


def is_virtual() -> bool:
    """Return whether the running code is in a test with virtual time."""
    try:
        return hasattr(trio.lowlevel.current_clock(), "jump")  # only a mock clock can jump
    except RuntimeError:  # outside of Trio
        return False


class WallClockTimes:
    """An iterator that waits for times of the wall clock: ``async for due in room.every(60)``. See `Room.every`.

    Times that pass while the body of the loop runs are skipped, except the newest.

    Args:
      following: returns the first time after a given time.
    """

    def __init__(self, following: Callable[[datetime], datetime]) -> None:
        self._following = following
        self._last = utc_now()

    def __aiter__(self) -> WallClockTimes:
        return self

    async def __anext__(self) -> datetime:
        """Wait for the next time, and return it.

        *Cancellation*: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        due = self._following(self._last)
        while (later := self._following(due)) <= utc_now():
            due = later
        longest = math.inf if is_virtual() else CHECK_SECONDS
        while (left := (due - utc_now()).total_seconds()) > 0:  # noqa: ASYNC110  # no event tells that the clock was set
            await trio.sleep(min(left, longest))
        self._last = due
        return due


def every(seconds: float) -> WallClockTimes:
    """See `Room.every`."""
    if not 0 < seconds < math.inf:
        raise ValueError(f"every({seconds!r}): seconds must be a finite number above 0")
    step = timedelta(seconds=seconds)
    return WallClockTimes(lambda after: EPOCH + ((after - EPOCH) // step + 1) * step)


def at(time_of_day: time, tz: tzinfo) -> WallClockTimes:
    """See `Room.at`."""
    if not isinstance(time_of_day, time) or not isinstance(tz, tzinfo):  # type: ignore[redundant-expr]  # untyped code
        raise TypeError(f"at({time_of_day!r}, {tz!r}): pass a `datetime.time` and a `tzinfo`, such as a `ZoneInfo`")
    if time_of_day.tzinfo is not None:
        raise ValueError(f"at({time_of_day!r}): pass the time of day without a time zone, and the zone as `tz`")

    def following(after: datetime) -> datetime:
        day = after.astimezone(tz).date() - timedelta(days=1)
        while (due := datetime.combine(day, time_of_day, tz).astimezone(UTC)) <= after:
            day += timedelta(days=1)
        return due

    return WallClockTimes(following)
