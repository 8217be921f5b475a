"""Run the benchmarks: ``python -m benchmarks full``, ``quick`` or ``profile``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from . import report, scenarios
from .profile import profile
from .scenarios import FULL, QUICK, Profile
from .table import build

Write = Callable[..., object]


def measure(size: Profile, write: Write) -> None:
    """Measure the sections of docs/performance.md, and write each section as soon as it is measured."""
    peers = build()
    kinds = {peer.name: peer.kind for peer in peers}
    write("machine", report.machine(size.rounds))
    echo = scenarios.echo(peers, size)
    chart = report.bars("performance-echo", "Echo: messages a second, one core", echo, kinds)
    write("echo", report.comparison(echo, "messages"), chart)
    for seats in (100, 1000):
        rows = scenarios.broadcast(peers, size, seats)
        title = f"Broadcast to {seats:,}: deliveries a second, one core"
        chart = report.bars(f"performance-broadcast-{seats}", title, rows, kinds)
        write(f"broadcast {seats}", report.comparison(rows, "deliveries"), chart)
    for section, seats in (("broadcast alone", 100), ("broadcast alone 1000", 1000)):
        write(section, report.comparison(scenarios.broadcast(peers, size, seats, depth=1), "deliveries"))
    write("tails", report.latencies(scenarios.tails(peers, size)))
    write("states", report.delivery(scenarios.states(peers, size)))
    for section, rows in zip(("visits to a room", "visits for an echo"), scenarios.visits(peers, size), strict=True):
        write(section, report.comparison(rows, "visits"))
    write("crowd", report.crowds(scenarios.crowd(peers, size)))

    grown = scenarios.grow_seats(size)
    labels = ("seats", "µs a delivery")
    chart = report.line("performance-seats", "Seats in one room", grown, lambda point: 1e6 / point.rate, labels)
    write("seats", report.points(grown, "seats"), chart)
    grown = scenarios.grow_rooms(size)
    labels = ("rooms of ten", "% of one core")
    chart = report.line("performance-rooms", "Rooms", grown, lambda point: 100 * point.cpu, labels)
    write("rooms", report.points(grown, "rooms"), chart)
    grown = scenarios.grow_load(size, echo[0].rate)
    labels = ("offered load, as a share of the highest rate", "p99 in ms")
    chart = report.line("performance-load", "From idle to saturation", grown, lambda point: point.p99 / 1000, labels)
    slow = scenarios.slow_seats(size)
    text = (
        "In a room of a hundred clients, of which ten do not read, the other ninety received "
        f"{slow.rate:,.0f} messages a second in all, p99 {slow.p99 / 1000:.2f} ms. The server ended {slow.more:.0f} of "
        f"the ten connections that do not read, and its memory grew by {slow.swollen / 2**20:.1f} MiB.\n"
    )
    write("load", report.points(grown, "offered") + "\n" + text, chart)


def main(asked: str) -> None:
    """Run benchmarks, and write the results into docs/performance.md (`full`, `profile`), or only print them
    (`quick`)."""
    if asked == "full":
        measure(FULL, report.write)
    elif asked == "quick":
        measure(QUICK, lambda section, text, *charts: print(f"## {section}\n\n{text}"))
    else:
        build()
        text = profile()
        print(text)
        report.write("profile", text)


if __name__ == "__main__":
    main(sys.argv[1])
