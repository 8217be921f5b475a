"""What servers that share rooms say of themselves, and of their rooms. Whoever reads it may be older or newer, so that
nothing in it can be relied on."""

from __future__ import annotations

import logging

import attrs

from ..errors import InvalidEvent
from ..protocol.codec import MESSAGEPACK
from ..protocol.structure import structure
from ..protocol.unstructure import unstructure

log = logging.getLogger("edge.servers")


@attrs.frozen
class ServerStatus:
    """The status of a server."""

    address: str = ""
    """The address at which clients reach it; empty if they should not go there."""
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
    """The description of a room by its server."""

    seated: int
    maximum: int
    locked: bool


UNKNOWN = ServerStatus(draining=True)
"""The status of a server whose status cannot be read. No rooms are sent there."""


def pack(status: ServerStatus | RoomStatus) -> bytes:
    """As the broker keeps it; of a room in few bytes, for there are many."""
    packed = MESSAGEPACK.encode([*attrs.astuple(status)] if isinstance(status, RoomStatus) else unstructure(status))
    assert isinstance(packed, bytes)
    return packed


def read_server(said: bytes) -> ServerStatus:
    """What a server has said of itself.

    Raises:
      InvalidEvent: that can't be read.
    """
    return structure(MESSAGEPACK.decode(said), ServerStatus, ignore_extra=True)


def read_room(said: bytes) -> RoomStatus:
    """Read the description of a room; zeros if it cannot be read."""
    try:
        plain = MESSAGEPACK.decode(said)
        return RoomStatus(*structure(plain[:3] if isinstance(plain, list) else plain, tuple[int, int, bool]))
    except InvalidEvent as exc:
        log.debug("a server says of a room what can't be read: %s", exc)
        return RoomStatus(0, 0, locked=False)
