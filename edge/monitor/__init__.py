"""The monitor of an edge app: `mount` adds a live dashboard and Prometheus metrics. Needs the extra ``monitor``.

This layer is above the server. It reads the state of rooms from outside. The dashboard is itself a room.
"""

from .counters import counters_of
from .mount import mount
from .process import ProcessStatistics, ProcessWatch

__all__ = ["ProcessStatistics", "ProcessWatch", "counters_of", "mount"]
