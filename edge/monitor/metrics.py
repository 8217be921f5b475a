"""Metrics for Prometheus. No other file imports prometheus-client.

This file has no counters of its own. `Metrics.page` reads the counters and the rooms whenever Prometheus requests it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ..rooms.counters import LATE_BOUNDS, Counters
from ..rooms.directory import Directory
from ..rooms.ledger import PlayerState
from ..rooms.statistics import SeatStatistics

CONTENT_TYPE: str = CONTENT_TYPE_LATEST
QUANTILES = (0.5, 0.9, 1.0)


class Metrics:
    """The metrics page for the rooms of a directory."""

    def __init__(self, directory: Callable[[], Directory]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Rooms(directory))
        ProcessCollector(registry=self._registry)

    def page(self) -> bytes:
        """Return the metrics page, as text of `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _Rooms(Collector):
    def __init__(self, directory: Callable[[], Directory]) -> None:
        self._directory = directory

    def describe(self) -> Iterable[Metric]:
        return ()  # otherwise, `register` would call `collect`

    def collect(self) -> Iterable[Metric]:
        directory = self._directory()
        yield from _counted(directory.counters)
        rooms: Counter[str] = Counter()
        seats: Counter[tuple[str, PlayerState]] = Counter()
        seen: list[SeatStatistics] = []
        for room in directory.runtimes:
            rooms[room.kind_name] += 1
            for player in room.players:
                seats[room.kind_name, player.state] += 1
                seen.append(player.seat.statistics())
        open_rooms = GaugeMetricFamily("edge_rooms", "Open rooms.", labels=["kind"])
        for kind in directory.kinds:
            open_rooms.add_metric([kind], rooms[kind])
        yield open_rooms
        taken = GaugeMetricFamily("edge_seats", "Taken seats.", labels=["kind", "state"])
        for (kind, state), count in seats.items():
            taken.add_metric([kind, state.value], count)
        yield taken
        yield _spread(
            "edge_round_trip_seconds",
            "The newest round trip of each connection.",
            [seat.round_trip for seat in seen if seat.round_trip is not None],
        )
        yield _spread(
            "edge_outbox_frames", "Frames that wait to be written to each connection.", [s.waiting_frames for s in seen]
        )
        yield _spread(
            "edge_outbox_bytes", "Bytes that wait to be written to each connection.", [s.waiting_bytes for s in seen]
        )
        yield _spread(
            "edge_unacked_frames", "Sent messages that each client has not acknowledged.", [s.unacked for s in seen]
        )


def _counted(counters: Counters) -> Iterable[Metric]:
    plain: dict[str, tuple[str, Callable[[Counters], int]]] = {
        "edge_http_requests": ("HTTP requests.", lambda c: c.requests),
        "edge_rooms_opened": ("Rooms that were opened.", lambda c: c.opened),
        "edge_seats_given": ("Seats that were given to players.", lambda c: c.admitted),
        "edge_events_received": ("Events from players that were delivered to their room.", lambda c: c.received),
        "edge_throttled": (
            "Connections that were throttled for more than one second, counted when they end.",
            lambda c: c.throttled,
        ),
        "edge_messages_sent": (
            "Messages to players; a broadcast counts once for each player.",
            lambda c: c.sent,
        ),
        "edge_patches": (
            "Patches and whole shared documents to players; one for all players counts once for each.",
            lambda c: c.patches,
        ),
        "edge_patches_unfit": ("Connections that clients ended because of an unfit patch.", lambda c: c.patches_unfit),
        "edge_messages_unusable": ("Messages to players that clients reported as unusable.", lambda c: c.unusable),
        "edge_clients_outdated": ("Welcomes to clients whose events differ from their room's.", lambda c: c.outdated),
        "edge_crashes": ("Exceptions that the code of rooms raised.", lambda c: c.crashes),
        "edge_ticks_skipped": ("Ticks that were skipped, because too many were late.", lambda c: c.skipped),
    }
    for name, (text, count) in plain.items():
        yield CounterMetricFamily(name, text, value=count(counters))
    by_code = (
        ("edge_refused", "Connections that got no seat.", counters.refused),
        ("edge_left", "Players that left.", counters.ended),
    )
    for name, text, codes in by_code:
        family = CounterMetricFamily(name, text, labels=["code"])
        for code, number in codes.items():
            family.add_metric([code.name.lower()], number)
        yield family
    away = CounterMetricFamily("edge_messages_refused", "Refused messages from players.", labels=["problem"])
    for problem, number in counters.turned_away.items():
        away.add_metric([problem], number)
    yield away
    total, buckets = 0, []
    for bound, number in zip((*map(str, LATE_BOUNDS), "+Inf"), counters.late, strict=True):
        total += number
        buckets.append((bound, float(total)))
    yield HistogramMetricFamily(
        "edge_tick_late_seconds",
        "Seconds between the deadline of a tick and its start.",
        buckets=buckets,
        sum_value=counters.late_seconds,
    )


def _spread(name: str, text: str, values: Sequence[float]) -> Metric:
    """Return a gauge with the median, the 90th percentile and the maximum of these values."""
    family = GaugeMetricFamily(name, text, labels=["quantile"])
    ordered = sorted(values)
    for quantile in QUANTILES if ordered else ():
        family.add_metric([f"{quantile:g}"], ordered[math.ceil(quantile * len(ordered)) - 1])
    return family
