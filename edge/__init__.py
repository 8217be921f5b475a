"""edge: realtime rooms on Trio. The names that an author types."""

from .bots import open_bot
from .client.client import Client, State
from .client.fallback import TransportKind
from .client.join import join
from .cluster.broker.broker import Broker
from .cluster.broker.memory import MemoryBroker
from .codes import Code
from .errors import (
    BrokerDown,
    Deaf,
    Disconnected,
    EdgeError,
    Gone,
    InvalidEvent,
    LocalProtocolError,
    ProtocolError,
    Refused,
    RemoteProtocolError,
    RequestFailed,
    SendOverflow,
)
from .protocol.codec import JSON, MESSAGEPACK
from .protocol.events import event
from .protocol.limits import Limits
from .requests.reply import Answering
from .requests.tracker import Replies
from .rooms.directory import Directory
from .rooms.player import Player
from .rooms.presence import Changes, Happening, Presence, PresenceChange
from .rooms.restarts import Restarts
from .rooms.room import Room
from .rooms.rounds import Round, Turn
from .rooms.rounds_runtime import Outcome
from .rooms.seat import Applicant, Seat
from .rooms.seats import Seats
from .rooms.session import Session
from .rooms.ticks import Step
from .server.app import App
from .server.door import Caps
from .server.logs import JsonFormatter
from .server.serve import serve
from .server.sessions import SessionCookie
from .server.static import STRICT_HEADERS
from .sessions.keys import Keys
from .transports.http.http import Request, Response
from .transports.http.responses import json_response, redirect

__all__ = [
    "JSON",
    "MESSAGEPACK",
    "STRICT_HEADERS",
    "Answering",
    "App",
    "Applicant",
    "Broker",
    "BrokerDown",
    "Caps",
    "Changes",
    "Client",
    "Code",
    "Deaf",
    "Directory",
    "Disconnected",
    "EdgeError",
    "Gone",
    "Happening",
    "InvalidEvent",
    "JsonFormatter",
    "Keys",
    "Limits",
    "LocalProtocolError",
    "MemoryBroker",
    "Outcome",
    "Player",
    "Presence",
    "PresenceChange",
    "ProtocolError",
    "Refused",
    "RemoteProtocolError",
    "Replies",
    "Request",
    "RequestFailed",
    "Response",
    "Restarts",
    "Room",
    "Round",
    "Seat",
    "Seats",
    "SendOverflow",
    "Session",
    "SessionCookie",
    "State",
    "Step",
    "TransportKind",
    "Turn",
    "event",
    "join",
    "json_response",
    "open_bot",
    "redirect",
    "serve",
]
