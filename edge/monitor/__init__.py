"""What goes on in an edge app: `mount` a live dashboard and Prometheus metrics. Needs the extra ``monitor``.

The layer above the server: it looks at rooms from outside, and is itself a room.
"""

from .counters import counters_of
from .mount import mount
from .process import ProcessStatistics, ProcessWatch

__all__ = ["ProcessStatistics", "ProcessWatch", "counters_of", "mount"]
