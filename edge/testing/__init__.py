"""Tools to test rooms in virtual time, under seeded schedules. `edge.testing.plugin` is the pytest plugin."""

from .app import AppClient, AppUnderTest, Browser, EdgeApp, Page, open_apps
from .brokers import BROKER_CONFORMANCE
from .clients import ClientUnderTest, Seen
from .conformance import TRANSPORT_CONFORMANCE
from .harness import Crashed, EdgeRoom, Leaked, MemoryClient, RoomUnderTest, open_rooms
from .network import Conditions, Network
from .oracle import InvariantBroken
from .scripts import simulated
from .seeds import seeds
from .simulation import simulate
from .soak import soak
from .virtual import Deadlock, run_virtual

__all__ = [
    "BROKER_CONFORMANCE",
    "TRANSPORT_CONFORMANCE",
    "AppClient",
    "AppUnderTest",
    "Browser",
    "ClientUnderTest",
    "Conditions",
    "Crashed",
    "Deadlock",
    "EdgeApp",
    "EdgeRoom",
    "InvariantBroken",
    "Leaked",
    "MemoryClient",
    "Network",
    "Page",
    "RoomUnderTest",
    "Seen",
    "open_apps",
    "open_rooms",
    "run_virtual",
    "seeds",
    "simulate",
    "simulated",
    "soak",
]
