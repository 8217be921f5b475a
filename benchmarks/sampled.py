"""Run the `edge` command with a sampler: ``python -m benchmarks.sampled FILE run module:app``.

The sampler counts the running line after every half millisecond of CPU time. SIGUSR2 writes the counts to FILE. The
time of a system call counts for the line that makes the call.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from types import FrameType

from edge.cli import main

INTERVAL = 0.0005

samples: Counter[tuple[str, int]] = Counter()


def note(signum: int, frame: FrameType | None) -> None:
    """Count the line that the main thread runs now."""
    if frame is not None:
        samples[frame.f_code.co_filename, frame.f_lineno or 0] += 1  # `f_lineno` is None for code without a source line


def begin(signum: int, frame: FrameType | None) -> None:
    """Start the sampler, and delete earlier counts, so that the start-up and the joins are not counted."""
    samples.clear()
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)


def finish(signum: int, frame: FrameType | None) -> None:
    """Write the counts to FILE, and exit."""
    signal.setitimer(signal.ITIMER_PROF, 0)
    with open(sys.argv[1], "w") as file:
        json.dump([[*where, count] for where, count in samples.items()], file)
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, note)
    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, finish)
    sys.exit(main(sys.argv[2:]))
