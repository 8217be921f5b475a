"""The statuses of servers and rooms, which servers publish through the broker.

Servers may run different versions of edge, so a server must handle statuses that it can't read.
"""

from __future__ import annotations

import logging

import attrs

from ..errors import InvalidEvent
from ..protocol.codec import MESSAGEPACK
from ..protocol.structure import structure
from ..protocol.unstructure import unstructure

log: logging.Logger = logging.getLogger("edge.servers")


@attrs.frozen
class ServerStatus:
    """The status of a server."""

    address: str = ""
    """The URL at which clients reach this server; empty if other servers have to relay connections to it."""
    pid: int = 0
    draining: bool = False
    full: bool = False
    rooms: int = 0
    seated: int = 0
    received: int = 0
    sent: int = 0
    crashes: int = 0


@attrs.frozen
class RoomStatus:
    """The description of a room that its server publishes."""

    seated: int
    maximum: int
    locked: bool


UNKNOWN = ServerStatus(draining=True)
"""The assumed status of a server whose status cannot be read. It is draining, so that no rooms move to the server."""


def pack(status: ServerStatus | RoomStatus) -> bytes:
    """Encode a status for the broker. The status of a room becomes a compact list, because there are many rooms."""
    packed = MESSAGEPACK.encode([*attrs.astuple(status)] if isinstance(status, RoomStatus) else unstructure(status))
    assert isinstance(packed, bytes)
    return packed


def read_server(said: bytes) -> ServerStatus:
    """Decode the status of a server.

    Raises:
      InvalidEvent: the status can't be read.
    """
    return structure(MESSAGEPACK.decode(said), ServerStatus, ignore_extra=True)


def read_room(said: bytes) -> RoomStatus:
    """Decode the description of a room. If it cannot be read, return that of an unlocked room without seats."""
    try:
        plain = MESSAGEPACK.decode(said)
        return RoomStatus(*structure(plain[:3] if isinstance(plain, list) else plain, tuple[int, int, bool]))
    except InvalidEvent as exc:
        log.debug("the description of a room by another server can't be read: %s", exc)
        return RoomStatus(0, 0, locked=False)
