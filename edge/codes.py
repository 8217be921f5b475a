"""The codes for the ends of connections and seats. A goodbye has such a code, and so does a WebSocket close frame.

The first two digits of a code determine what the client does next:

* 40xx: the server still holds the seat. Connect again and resume.
* 41xx: the undelivered messages are lost. Connect again and start fresh.
* 42xx: do not connect again automatically.

A code that ends a connection before its welcome does not describe the seat. After a code 41xx before the welcome, the
client tries to resume, and the next welcome reports a resume or a fresh start.
"""

from __future__ import annotations

import enum


class Retry(enum.Enum):
    """A client's reaction to the end of a connection: resume the seat, start fresh, or never connect again."""

    RESUME = "resume"
    FRESH = "fresh"
    NEVER = "never"


class Code(enum.IntEnum):
    """The codes of goodbyes and of WebSocket close frames. RFC 6455 reserves 4000 to 4999 for private use."""

    LOST = 4000
    """The transport broke, or was closed without a code. Neither side sends this code: each side sets it locally."""

    OVERFLOW = 4001
    """The connection's outbox was full for too long."""

    SILENT = 4002
    """The peer sent nothing for longer than the heartbeat allows."""

    STALLED = 4003
    """A write did not finish in time."""

    KEY_EXPIRED = 4004
    """The session key has expired: connect again with a new key of the same session."""

    CROWDED = 4005
    """The address, or the server, has too many connections or requests: connect again later."""

    MOVED = 4006
    """The room has moved to another server, or is about to move."""

    CUT_OFF = 4007
    """The server cannot reach the broker: connect again later."""

    INTERNAL_ERROR = 4008
    """The server had an internal error, which is in its log: connect again."""

    DRAINING = 4100
    """The server is shutting down."""

    MISCOUNT = 4101
    """The two sides disagree on how many frames were sent."""

    BEHIND = 4102
    """One side had sent more unacknowledged messages than its window holds."""

    ROOM_CRASHED = 4103
    """The room's `setup` or `run` raised an exception, or the room could not be opened, restored or continued."""

    LATE = 4104
    """The hello did not arrive in time."""

    CLOSING = 4105
    """The room is closing."""

    EXPIRED = 4106
    """The seat's grace expired before its player connected again."""

    LEFT = 4200
    """The player left, or the room's `player()` returned for this player."""

    VERSION = 4201
    """The server does not support the client's protocol version."""

    MALFORMED = 4202
    """The peer broke a rule of the protocol."""

    TOO_LARGE = 4203
    """A frame was larger than the receiver's limit."""

    NO_ROOM = 4204
    """The server has no room of the requested kind or name."""

    KEY_INVALID = 4205
    """The session key is missing, forged, damaged, or signed for another app; or it is a guest's, and guests are not
    admitted."""

    REVOKED = 4206
    """The session was revoked."""

    REPLAYED = 4207
    """The hello is a copy of an earlier one."""

    FOREIGN_ORIGIN = 4208
    """Pages of this origin may not connect, or the server does not answer for this host name."""

    FLOODING = 4209
    """The peer exceeded the pace of one connection for too long, or sent too many fragments and control frames."""

    FULL = 4210
    """Every seat is taken, or the server does not open another room."""

    LOCKED = 4211
    """The room is locked."""

    ROOM_EXISTS = 4212
    """The client wants to open a new room, and a room of this name is open already."""

    REFUSED = 4213
    """The room's own code refused the client: `setup`, `authorize` or `admit`."""

    BAD_OPTIONS = 4214
    """The join options do not fit the class of the room's `join_options`."""

    REPLACED = 4220
    """Another page or connection of the same session took the seat."""

    KICKED = 4221
    """The room removed the player."""

    CRASHED = 4222
    """The room's `player()` raised an exception for this player."""

    ROOM_CLOSED = 4223
    """The room's `run` returned, or the room was closed."""

    @property
    def retry(self) -> Retry:
        """The client's reaction to the code, which depends on the first two digits."""
        return {40: Retry.RESUME, 41: Retry.FRESH}.get(self // 100, Retry.NEVER)

    @classmethod
    def of(cls, number: int | None) -> Code:
        """Return the code for a number from the wire. None becomes `LOST`. An unknown number becomes a known code to
        which clients react in the same way."""
        try:
            return cls(number or cls.LOST)
        except ValueError:
            # RFC 6455 section 7.4.1: 1009 is "message too big"
            return {10: cls.TOO_LARGE if number == 1009 else cls.LOST, 41: cls.DRAINING, 42: cls.MALFORMED}.get(
                (number or 0) // 100, cls.LOST
            )
