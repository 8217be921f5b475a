"""The monitor of an edge app: `mount` adds a live dashboard and Prometheus metrics. Needs the extra ``monitor``.

The monitor uses the server, but no other part of edge imports the monitor. The dashboard is itself a room.
"""

from .counters import counters_of
from .mount import mount
from .process import ProcessStatistics, ProcessWatch

__all__ = ["ProcessStatistics", "ProcessWatch", "counters_of", "mount"]
