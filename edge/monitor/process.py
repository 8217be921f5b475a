"""Measures the CPU time, memory and files of this process with psutil. No other file imports psutil."""

from __future__ import annotations

import attrs
import psutil


@attrs.frozen
class ProcessStatistics:
    """One sample of the CPU time, memory and files of a process."""

    cpu: float
    """The CPU time since the previous sample, as a share of the elapsed time: 1 is one fully used core."""
    memory_bytes: int
    """The resident memory, in bytes."""
    files: int
    """The number of open files and sockets."""


class ProcessWatch:
    """Samples this process. A sample blocks for some tens of microseconds, which is short enough for a room's code."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only starts the measurement

    def sample(self) -> ProcessStatistics:
        """Return a new sample."""
        with self._process.oneshot():
            return ProcessStatistics(
                self._process.cpu_percent() / 100, self._process.memory_info().rss, self._process.num_fds()
            )
