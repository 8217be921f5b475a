"""What the process takes of its machine, through psutil: the only file that knows it."""

from __future__ import annotations

import attrs
import psutil


@attrs.frozen
class ProcessStatistics:
    """What the process takes now."""

    cpu: float
    """How much of one core it took since the sample before: 1 is all of it."""
    memory_bytes: int
    """What it occupies of the machine's memory."""
    files: int
    """How many files and sockets it has open."""


class ProcessWatch:
    """Samples this process. Synchronous, and quick enough for a room: some tens of microseconds."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first one only begins to measure

    def sample(self) -> ProcessStatistics:
        """What it takes now."""
        with self._process.oneshot():
            return ProcessStatistics(
                self._process.cpu_percent() / 100, self._process.memory_info().rss, self._process.num_fds()
            )
