"""What a room looks like at one instant: frozen, plain, and ready to travel."""

from __future__ import annotations

import attrs


@attrs.frozen
class SeatStatistics:
    """What is on the way to and from one seat."""

    round_trip: float | None = None
    """How many seconds the newest answer to a ping took; None before the first, and without a connection."""
    waiting_frames: int = 0
    """Messages that wait to be written to the connection."""
    waiting_bytes: int = 0
    """The same in bytes."""
    unacked: int = 0
    """How many frames its client has not acknowledged."""


@attrs.frozen
class TurnStatistics:
    """An open turn."""

    number: int
    """Whose."""
    remaining: float | None
    """How many seconds it has left; None for as long as it takes."""


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
    """How many events of theirs wait for the room."""
    seat: SeatStatistics


@attrs.frozen
class RoundStatistics:
    """An open round."""

    players: list[int]
    """The numbers of those who play and have not left."""
    remaining: float | None
    """How many seconds it has left; None for as long as it takes."""


@attrs.frozen
class RoomStatistics:
    """One room, and who is in it."""

    name: str
    """``<kind>/<name>``."""
    age: float
    """How many seconds ago it opened."""
    maximum: int
    """How many seats it has."""
    locked: bool
    round: RoundStatistics | None
    turns: list[TurnStatistics]
    players: list[PlayerStatistics]
