"""Measure a storm of resumes: ``python -m benchmarks.storm [seats] [rounds]``.

All connections of a server break at once, except those of fifty players in another room. The clients of the broken
connections resume as fast as they can. The command prints how long this takes, and the latencies of the fifty players
meanwhile. It writes the results into docs/performance.md.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time

import attrs

from . import report
from .run import start_load
from .servers import Crowd, free_port, process
from .table import PYTHON, build

SEATS, ROOM_SEATS = 10_000, 20
# The latencies are measured for this number of seconds, which is less than the storm takes.
SECONDS = 2
COMMAND = (*PYTHON, "-m", "edge.cli", "run", "benchmarks.peers.with_edge:app", "--port")


@attrs.frozen
class Storm:
    """The measurements of one storm."""

    seconds: float
    """The time until all clients are back."""
    p50: float
    p99: float
    longest: float
    """The latencies of the other players, in milliseconds."""


def measure(seats: int) -> Storm:
    """Measure a storm of this number of seats."""
    port = free_port()
    with process([*COMMAND, str(port)], port):
        crowd = Crowd("room", [port], seats, seats // ROOM_SEATS)
        crowd.join()
        options: dict[str, float | str] = {
            "port": port,
            "dialect": "edge",
            "path": "/rooms/echo/%d",
            "mode": "echo",
            "seats": 50,
            "rooms": 1,
        }
        options |= {"rate": 5, "random": 1, "seconds": SECONDS, "warmup": 0}
        load = start_load(options)
        assert load.stdin is not None
        crowd.lose()
        began = time.monotonic()
        load.stdin.write("\n")
        load.stdin.flush()
        crowd.come_back()
        while not all(seat.welcomed for seat in crowd.seats):
            crowd.turn(0.05)
            crowd.come_back()
        took = time.monotonic() - began
        assert all(seat.resumed for seat in crowd.seats)
        crowd.leave()
        latency = json.loads(load.communicate()[0])["latency_us"]
    return Storm(took, *(latency[key] / 1000 for key in ("p50", "p99", "max")))


def main(seats: int = SEATS, rounds: int = 3) -> None:
    """Run the benchmark from the command line."""
    build()
    os.nice(10)  # the clients of the storm must not delay the load generator, which measures the latencies
    storms = [measure(seats) for _ in range(rounds)]
    found = Storm(*(statistics.median(column) for column in zip(*map(attrs.astuple, storms), strict=True)))
    latency = f"{found.p50:.1f} ms in the median, p99 {found.p99:.1f} ms, at most {found.longest:.1f} ms"
    text = f"{seats:,} clients have resumed after {found.seconds:.1f} s. Meanwhile, the latency was {latency}.\n"
    print(text)
    report.write("storm", text)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
