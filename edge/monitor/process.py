"""The CPU, memory and files of this process, by psutil. No other file imports psutil."""

from __future__ import annotations

import attrs
import psutil


@attrs.frozen
class ProcessStatistics:
    """The CPU, memory and files of the process."""

    cpu: float
    """The share of one core since the previous sample: 1 is all of it."""
    memory_bytes: int
    """The resident memory, in bytes."""
    files: int
    """The number of open files and sockets."""


class ProcessWatch:
    """Samples this process. Synchronous, and fast enough for a room: some tens of microseconds."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only starts the measurement

    def sample(self) -> ProcessStatistics:
        """Take a sample."""
        with self._process.oneshot():
            return ProcessStatistics(
                self._process.cpu_percent() / 100, self._process.memory_info().rss, self._process.num_fds()
            )
