"""Statistics: frozen snapshots of rooms, players and seats, as plain values."""

from __future__ import annotations

import attrs


@attrs.frozen
class SeatStatistics:
    """The connection of one seat, and the messages on their way to the client."""

    round_trip: float | None = None
    """The newest round trip, in seconds; None before the first measurement, or without a connection."""
    waiting_frames: int = 0
    """Messages that wait to be written to the connection."""
    waiting_bytes: int = 0
    """The size of these messages, in bytes."""
    unacked: int = 0
    """Sent messages that the client has not acknowledged."""


@attrs.frozen
class TurnStatistics:
    """An open turn."""

    number: int
    """The number of the player's seat."""
    remaining: float | None
    """The seconds left; None without a limit."""


@attrs.frozen
class PlayerStatistics:
    """One player."""

    number: int
    name: str
    session: str
    guest: bool
    """True if the app's code has not verified the player: see `Session.guest`."""
    state: str
    """The value of the player's `PlayerState`."""
    remaining: float | None
    """While away: the seconds left of the grace; None otherwise, and for an infinite grace."""
    inbox: int
    """The number of events in the player's inbox."""
    seat: SeatStatistics


@attrs.frozen
class RoundStatistics:
    """An open round."""

    players: list[int]
    """The numbers of the round's players who have not left."""
    remaining: float | None
    """The seconds left; None without a limit."""


@attrs.frozen
class RoomStatistics:
    """One room and its players."""

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
