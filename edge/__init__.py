"""edge: realtime rooms on Trio.

This module exports the names of an ordinary app. Import other names from the modules that define them.
"""

from .client.client import Client
from .client.join import join
from .cluster.cluster import Cluster
from .codes import Code
from .errors import Disconnected, Gone, Refused, RequestFailed, RequestRefused
from .protocol.events import event
from .protocol.field_kinds import Json, quantised, register_type
from .protocol.limits import Limits
from .rooms.documents import shared
from .rooms.player import Player
from .rooms.room import Room
from .rooms.rounds import Round, Turn
from .rooms.rounds_runtime import Outcome
from .rooms.seat import Applicant
from .rooms.seats import Seats
from .rooms.session import Session
from .rooms.wall_clock import utc_now
from .server.app import App
from .server.sessions import Sessions
from .sessions.keys import Keys
from .transports.http.http import Request, Response
from .transports.http.responses import json_response
from .version import __version__

__all__ = [
    "App",
    "Applicant",
    "Client",
    "Cluster",
    "Code",
    "Disconnected",
    "Gone",
    "Json",
    "Keys",
    "Limits",
    "Outcome",
    "Player",
    "Refused",
    "Request",
    "RequestFailed",
    "RequestRefused",
    "Response",
    "Room",
    "Round",
    "Seats",
    "Session",
    "Sessions",
    "Turn",
    "__version__",
    "event",
    "join",
    "json_response",
    "quantised",
    "register_type",
    "shared",
    "utc_now",
]
