"""Statistics: frozen snapshots of rooms, players and seats, as plain values."""

from __future__ import annotations

import attrs


@attrs.frozen
class SeatStatistics:
    """The messages on their way to and from one seat."""

    round_trip: float | None = None
    """The newest round trip, in seconds; None before the first, or without a connection."""
    waiting_frames: int = 0
    """Messages that wait to be written to the connection."""
    waiting_bytes: int = 0
    """The same in bytes."""
    unacked: int = 0
    """The frames that the client has not acknowledged."""


@attrs.frozen
class TurnStatistics:
    """An open turn."""

    number: int
    """The session of the player."""
    remaining: float | None
    """The seconds left; None without a limit."""


@attrs.frozen
class PlayerStatistics:
    """One player."""

    number: int
    name: str
    session: str
    guest: bool
    """True if nobody has vouched for them: see `Session.guest`."""
    state: str
    """See `PlayerState`."""
    remaining: float | None
    """While away: how many seconds the seat waits yet."""
    inbox: int
    """The events of the player that wait for the room."""
    seat: SeatStatistics


@attrs.frozen
class RoundStatistics:
    """An open round."""

    players: list[int]
    """The numbers of those who play and have not left."""
    remaining: float | None
    """The seconds left; None without a limit."""


@attrs.frozen
class RoomStatistics:
    """One room, and who is in it."""

    name: str
    """``<kind>/<name>``."""
    age: float
    """The seconds since the room opened."""
    maximum: int
    """The number of seats."""
    locked: bool
    round: RoundStatistics | None
    turns: list[TurnStatistics]
    players: list[PlayerStatistics]
