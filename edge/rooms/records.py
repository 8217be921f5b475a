"""Records of players and their seats, from which another server restores them."""

from __future__ import annotations

from typing import Any

import attrs

from ..protocol.outgoing import Outgoing


@attrs.frozen
class SeatRecord:
    """The record of a seat: its client and its counts."""

    client: str
    """The client that has the seat."""
    attempt: int
    """The number of the client's newest connection."""
    since: int
    """The number of the connection with which the client began to count."""
    why: str
    """Why it began to count then: see `Welcome.why`."""
    former: list[str]
    """Clients that had the seat before, the oldest first."""
    sent: int
    acked: int
    received: int
    """Counted messages since then: sent, acknowledged by the client, and received."""
    behind: bool
    """True if the client can't resume: more was unacknowledged than is stored."""
    whole: bool
    """True if `unacked` has all unacknowledged messages; False if it has those that the record before has not."""
    unacked: list[int]
    """The indices of these messages in the `MessageTable`, the oldest first."""
    latest: list[int]
    """The same of the latest values."""
    dropped: bool
    """True if a latest value was dropped, so that the client can't resume."""


@attrs.frozen
class PlayerRecord:
    """A player, and the player's seat."""

    session: str
    session_name: str
    claims: dict[str, Any]
    guest: bool
    name: str
    number: int
    asked: int
    """The number of requests that the room has sent."""
    unanswered: list[int]
    """The numbers of the client's requests that the room has taken, and not answered."""
    pending: list[Any]
    """Messages that have come, and that the room has not taken."""
    seat: SeatRecord


@attrs.frozen
class RecoveredPlayer:
    """A player as a journal describes them, with the messages."""

    record: PlayerRecord
    unacked: list[Outgoing]
    """Sent messages that the client has not acknowledged, the oldest first."""
    latest: list[Any]
    """The newest latest values, as plain messages, the oldest first."""


class MessageTable:
    """The messages of one journal entry, each of them once."""

    def __init__(self) -> None:
        self.plain: list[Any] = []
        self._indices: dict[int, int] = {}

    def index(self, message: Outgoing) -> int:
        """The index of a message in the table; it is added if need be."""
        if id(message) not in self._indices:
            self._indices[id(message)] = len(self.plain)
            self.plain.append(message.plain)
        return self._indices[id(message)]
