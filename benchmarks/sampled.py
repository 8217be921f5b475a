"""The `edge` command with a sampler inside: ``python -m benchmarks.sampled FILE run module:app``.

Every half millisecond of CPU it notes the line that runs; when told to stop it writes the counts to FILE. The time of a
call into the kernel counts for the line that makes it.
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
    """One sample."""
    if frame is not None:
        samples[frame.f_code.co_filename, frame.f_lineno or 0] += 1  # what a compiler made up has no line


def begin(signum: int, frame: FrameType | None) -> None:
    """Start over: what was before was starting up, and joining."""
    samples.clear()
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)


def finish(signum: int, frame: FrameType | None) -> None:
    """Write what was noted, and be gone."""
    signal.setitimer(signal.ITIMER_PROF, 0)
    with open(sys.argv[1], "w") as file:
        json.dump([[*where, count] for where, count in samples.items()], file)
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, note)
    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, finish)
    sys.exit(main(sys.argv[2:]))
