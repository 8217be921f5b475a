"""Measure `edge run --workers N`: ``python -m benchmarks.workers [rounds]``.

All workers share one core, so the rates show what it costs to share rooms and a port. On as many cores as workers, the
rate is up to N times as high. The command writes the results into docs/performance.md.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time

import attrs
import psutil

from . import report
from .run import load_command
from .servers import EDGE_APP, FIRST_SECONDS, free_port, process, redis
from .table import build

WORKERS = (1, 2, 4)
SECONDS = 3
ROOMS, SEATS = 50, 4


@attrs.frozen
class Shared:
    """The measurements of one number of workers."""

    echoes: float
    """Echoes per second, of two hundred players in fifty rooms."""
    deliveries: float
    """Deliveries per second of broadcasts in the same rooms."""
    mib: float
    """The resident memory of all processes, in MiB. Memory that processes share counts for each of them."""


def rate(port: int, kind: str, mode: str) -> float:
    """Run the load generator in rooms of this kind, and return the received events per second."""
    options: dict[str, float | str] = {
        "port": port,
        "dialect": "edge",
        "path": f"/rooms/{kind}/%d",
        "mode": mode,
        "rooms": ROOMS,
    }
    options |= {"seats": SEATS, "seconds": SECONDS}
    ran = subprocess.run(load_command(options), check=True, capture_output=True, text=True)
    found = json.loads(ran.stdout)
    return float(found["received"] / found["seconds"])


def measure(workers: int) -> Shared:
    """Run so many workers, with their own Redis."""
    with redis() as url:
        port = free_port()
        filled = [part.replace("PORT", str(port)).replace("REDIS", url) for part in EDGE_APP]
        with process([*filled, "--workers", str(workers)], port) as started:
            time.sleep(FIRST_SECONDS)
            echoes, deliveries = rate(port, "echo", "echo"), rate(port, "room", "broadcast")
            parent = psutil.Process(started.pid)
            family = [parent, *parent.children(recursive=True)]
            memory = sum(each.memory_info().rss for each in family)
            for each in family[1:]:
                each.kill()
    return Shared(echoes, deliveries, memory / 2**20)


def table(found: dict[int, Shared]) -> str:
    """Return a table of the measurements, with the ratios to one worker."""
    one = found[WORKERS[0]]
    lines = ["| workers on one core | echoes a second | deliveries a second | memory |", "|---:|---:|---:|---:|"]
    for workers, each in found.items():
        echoes = f"{each.echoes:,.0f} ({each.echoes / one.echoes:.2f} ×)"
        deliveries = f"{each.deliveries:,.0f} ({each.deliveries / one.deliveries:.2f} ×)"
        lines.append(f"| {workers} | {echoes} | {deliveries} | {each.mib:.0f} MiB |")
    return "\n".join(lines) + "\n"


def main(rounds: int = 3) -> None:
    """Run the benchmark from the command line."""
    build()
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is missing: install Debian's package redis-server")
    runs: dict[int, list[Shared]] = {workers: [] for workers in WORKERS}
    for _ in range(rounds):
        for workers, measured in runs.items():
            measured.append(measure(workers))
    medians = {
        workers: Shared(*(statistics.median(column) for column in zip(*map(attrs.astuple, each), strict=True)))
        for workers, each in runs.items()
    }
    text = table(medians)
    print(text)
    report.write("workers", text)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
