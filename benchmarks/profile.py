"""Measure the time of a message in each layer. A sampler inside the server counts the running lines during an echo of
fifty clients."""

from __future__ import annotations

import json
import linecache
import signal
import tempfile
import threading
from collections import Counter
from pathlib import Path

import attrs

from .run import serving
from .table import EDGE, PYTHON

STAGES = {
    "edge/transports": "frames (`edge.transports`)",
    "edge/connections": "the connection driver, and writing (`edge.connections`)",
    "edge/protocol/structure": "plain data to typed events, and back (cattrs)",
    "cattr": "plain data to typed events, and back (cattrs)",
    "edge/protocol": "messages, counts and JSON (`edge.protocol`)",
    "edge/requests": "listeners and requests (`edge.requests`)",
    "edge/seats": "seats (`edge.seats`)",
    "edge/rooms": "players and rooms (`edge.rooms`)",
    "edge/aio": "wake-ups (`edge.aio`)",
    "benchmarks": "the room's own code",
    "<attrs generated": "making small objects (attrs)",
    "trio_websocket": "trio-websocket",
    "trio": "tasks (Trio)",
    "outcome": "tasks (Trio)",
    "selectors": "which sockets are ready (selectors)",
}


def profile(seconds: float = 8) -> str:
    """Return a table of the microseconds that each stage takes for one message."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "samples.json"
        sampled = (*PYTHON, "-m", "benchmarks.sampled", str(file), *EDGE.command[3:])
        with serving(attrs.evolve(EDGE, command=sampled), "echo") as server:
            begin = threading.Timer(1, server.process.send_signal, (signal.SIGUSR1,))
            begin.start()
            run = server.measure("echo", {"mode": "echo", "seats": 50, "warmup": 2, "seconds": seconds})
            server.process.send_signal(signal.SIGUSR2)
            server.process.wait(10)
        counts: Counter[str] = Counter()
        for name, number, count in json.loads(file.read_text()):
            counts[_stage(name, number)] += count
    total, each = counts.total(), 1e6 / run.rate
    lines = ["| where | µs a message | share |", "|---|---:|---:|"]
    lines += [f"| {stage} | {each * n / total:.2f} | {n / total:.0%} |" for stage, n in counts.most_common()]
    return "\n".join([*lines, f"| all of it | {each:.2f} | |", ""])


def _stage(name: str, number: int) -> str:
    line = linecache.getline(name, number)
    if "os.write(" in line:
        return "the kernel: write"
    if "os.read(" in line:
        return "the kernel: read"
    short = name.partition("site-packages/")[2] or name.partition(str(Path(__file__).parent.parent) + "/")[2] or name
    return next((stage for start, stage in STAGES.items() if start in short), "the rest")
