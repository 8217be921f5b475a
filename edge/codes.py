"""Why a connection or a seat ended, and whether to come back: the one table, shared by `bye` and WebSocket's close.

The hundreds say what the client does next:

* 40xx: the seat is still held: connect again and resume it.
* 41xx: what was under way is lost: connect again and start fresh.
* 42xx: do not connect again by yourself.

Before a welcome, a code says nothing of the seat: whoever is told a 41xx then resumes it, too, or hears why not.
"""

from __future__ import annotations

import enum


class Retry(enum.Enum):
    """The reaction of a client to a `Code`."""

    RESUME = "resume"
    FRESH = "fresh"
    NEVER = "never"


class Code(enum.IntEnum):
    """The codes of `bye`, also WebSocket close codes: RFC 6455 section 7.4.2 leaves 4000 to 4999 to applications."""

    LOST = 4000
    """The transport broke or closed without a word. Never sent: it is what the other side notices."""

    OVERFLOW = 4001
    """More was waiting for this connection than its outbox holds."""

    SILENT = 4002
    """Nothing was heard for longer than the heartbeat allows."""

    STALLED = 4003
    """A write did not finish in time."""

    KEY_EXPIRED = 4004
    """The session's key has expired: come back with a new one of the same session."""

    CROWDED = 4005
    """Too many connections or requests, of this address or of all: come back later."""

    MOVED = 4006
    """The room is on another server, or is about to be."""

    CUT_OFF = 4007
    """The servers can't reach what they share: come back later."""

    INTERNAL_ERROR = 4008
    """An error in the server, which its log has: come back."""

    DRAINING = 4100
    """The server is shutting down."""

    MISCOUNT = 4101
    """The two sides disagree on how many frames were sent."""

    BEHIND = 4102
    """More went unacknowledged than the seat can replay."""

    ROOM_CRASHED = 4103
    """The room's `run` raised."""

    LATE = 4104
    """The hello did not come in time."""

    CLOSING = 4105
    """The room is closing."""

    EXPIRED = 4106
    """The seat waited for its connection as long as its grace allows."""

    LEFT = 4200
    """The player left, or its `player()` returned."""

    VERSION = 4201
    """The protocol version is not spoken here."""

    MALFORMED = 4202
    """The peer broke a rule of the protocol."""

    TOO_LARGE = 4203
    """A frame was larger than a connection will read."""

    NO_ROOM = 4204
    """There is no room of that kind or name."""

    KEY_INVALID = 4205
    """The session's key is not one of this server's: forged, foreign or damaged."""

    REVOKED = 4206
    """The session was revoked."""

    REPLAYED = 4207
    """The hello is a copy of an earlier one."""

    FOREIGN_ORIGIN = 4208
    """Pages of this site may not connect."""

    FLOODING = 4209
    """More came than is heard of one connection, for too long; or much that made no message."""

    FULL = 4210
    """Every seat is taken, or the server will not open another room."""

    LOCKED = 4211
    """The room is locked."""

    REFUSED = 4213
    """The room's own `admit` said no."""

    REPLACED = 4220
    """Another page or connection of the same session took the seat."""

    KICKED = 4221
    """The room put the player out."""

    CRASHED = 4222
    """The player's `player()` raised."""

    ROOM_CLOSED = 4223
    """The room's `run` returned, or the room was closed."""

    @property
    def retry(self) -> Retry:
        """The client's next step, by the hundreds of the code."""
        return {40: Retry.RESUME, 41: Retry.FRESH}.get(self // 100, Retry.NEVER)

    @classmethod
    def of(cls, number: int | None) -> Code:
        """The code of a number from the wire, or of none. One that is not known here stands for its hundred."""
        try:
            return cls(number or cls.LOST)
        except ValueError:
            # RFC 6455 section 7.4.1: 1009 is "message too big"
            return {10: cls.TOO_LARGE if number == 1009 else cls.LOST, 41: cls.DRAINING, 42: cls.MALFORMED}.get(
                (number or 0) // 100, cls.LOST
            )
