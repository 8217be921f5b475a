"""Statistics: frozen snapshots of rooms, players and seats, as plain values."""

from __future__ import annotations

from typing import Literal

import attrs

MAX_TEXT = 4000


@attrs.frozen
class SeatStatistics:
    """The statistics of one seat: its connection, and its messages that wait or are not acknowledged."""

    round_trip: float | None = None
    """The newest round trip, in seconds; None before the first measurement, or without a connection."""
    waiting_frames: int = 0
    """The number of messages that wait to be written to the connection."""
    waiting_bytes: int = 0
    """The size, in bytes, of the messages that wait to be written to the connection."""
    unacked: int = 0
    """The number of sent messages that the client has not acknowledged."""


@attrs.frozen
class TurnStatistics:
    """The statistics of an open turn."""

    number: int
    """The number of the player's seat."""
    remaining: float | None
    """The seconds until the turn's deadline; None if the turn has no time limit."""


@attrs.frozen
class PlayerStatistics:
    """The statistics of one player."""

    number: int
    name: str
    session: str
    guest: bool
    """True if the app's code has not verified the player: see `Session.guest`."""
    state: str
    """The value of the player's `PlayerState`."""
    remaining: float | None
    """The seconds until the grace ends; None unless the player is away, and None for an infinite grace."""
    inbox: int
    """The number of events in the player's inbox."""
    seat: SeatStatistics


@attrs.frozen
class RoundStatistics:
    """The statistics of an open round."""

    players: list[int]
    """The seat numbers of the round's players who have not left."""
    remaining: float | None
    """The seconds until the round's deadline; None if the round has no time limit."""


@attrs.frozen
class DocumentStatistics:
    """One shared document of a room."""

    name: str
    seen: Literal["whole", "views", "each"]
    """Whether all players mirror it whole, each player a view of it, or each player has a document of its own."""
    text: str
    """The document as JSON, at most `MAX_TEXT` letters of it; empty unless all players mirror it whole."""


@attrs.frozen
class RoomStatistics:
    """The statistics of one room and its players."""

    name: str
    """The kind and the name of the room, as ``<kind>/<name>``."""
    age: float
    """The seconds since the room opened."""
    maximum: int
    """The number of seats."""
    locked: bool
    round: RoundStatistics | None
    turns: list[TurnStatistics]
    players: list[PlayerStatistics]
    documents: list[DocumentStatistics] = attrs.field(factory=list)
    """The shared documents."""
