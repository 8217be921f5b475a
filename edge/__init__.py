"""edge: realtime rooms on Trio. The names that an author types."""

from .client.client import Client, State
from .client.join import join
from .codes import Code
from .errors import (
    Disconnected,
    EdgeError,
    Gone,
    InvalidEvent,
    LocalProtocolError,
    ProtocolError,
    Refused,
    RemoteProtocolError,
    RequestFailed,
)
from .protocol.codec import JSON, MESSAGEPACK
from .protocol.events import event
from .protocol.limits import Limits
from .rooms.directory import Directory
from .rooms.player import Player
from .rooms.room import Room
from .rooms.rounds import Outcome, Round, Turn
from .rooms.seat import Applicant, Seat
from .rooms.seats import Presence, Seats
from .rooms.ticks import Step
from .server.app import App
from .server.http import Request, Response, json_response, redirect
from .server.serve import serve

__all__ = [
    "JSON",
    "MESSAGEPACK",
    "App",
    "Applicant",
    "Client",
    "Code",
    "Directory",
    "Disconnected",
    "EdgeError",
    "Gone",
    "InvalidEvent",
    "Limits",
    "LocalProtocolError",
    "Outcome",
    "Player",
    "Presence",
    "ProtocolError",
    "Refused",
    "RemoteProtocolError",
    "Request",
    "RequestFailed",
    "Response",
    "Room",
    "Round",
    "Seat",
    "Seats",
    "State",
    "Step",
    "Turn",
    "event",
    "join",
    "json_response",
    "redirect",
    "serve",
]
