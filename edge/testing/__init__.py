"""Test rooms in virtual time, under seeded schedules. `edge.testing.plugin` is the pytest plugin that brings it."""

from .conformance import TRANSPORT_CONFORMANCE
from .harness import Crashed, EdgeRoom, Leaked, MemoryClient, RoomUnderTest, open_rooms
from .seeds import seeds
from .virtual import Deadlock, run_virtual

__all__ = [
    "TRANSPORT_CONFORMANCE",
    "Crashed",
    "Deadlock",
    "EdgeRoom",
    "Leaked",
    "MemoryClient",
    "RoomUnderTest",
    "open_rooms",
    "run_virtual",
    "seeds",
]
