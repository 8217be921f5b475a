"""Records of players and their seats, from which another server restores them."""

from __future__ import annotations

from typing import Any

import attrs

from ..protocol.outgoing import Outgoing


@attrs.frozen
class SeatRecord:
    """The record of a seat: its client and its message counts."""

    client: str
    """The client that has the seat."""
    attempt: int
    """The number of the client's newest connection."""
    since: int
    """The number of the connection with which the client last started fresh."""
    why: str
    """The reason for the last fresh start: see `Welcome.why`."""
    former: list[str]
    """Clients that had the seat before, the oldest first."""
    sent: int
    acked: int
    received: int
    """`sent`, `acked` and `received` are the numbers of counted messages since the last fresh start: messages to the
    client, messages that the client has acknowledged, and messages from the client."""
    behind: bool
    """True if the client cannot resume, because it has left more messages unacknowledged than the seat stores."""
    whole: bool
    """True if `unacked` has all unacknowledged messages; False if it has only those sent since the previous record."""
    unacked: list[int]
    """The indices of unacknowledged messages in the `MessageTable`, the oldest first."""
    latest: list[int]
    """The indices of the latest values in the `MessageTable`, the oldest first."""
    dropped: bool
    """True if the client cannot resume, because a latest value was dropped."""


@attrs.frozen
class PlayerRecord:
    """The record of a player, with the record of the seat."""

    session: str
    session_name: str
    claims: dict[str, Any]
    guest: bool
    name: str
    number: int
    asked: int
    """The number of requests that the room has sent."""
    unanswered: list[int]
    """The numbers of the client's requests that the room's code has taken but not answered."""
    pending: list[Any]
    """Messages that the server has received but the room's code has not taken, as plain data."""
    seat: SeatRecord
    options: Any = None
    """The join options, as plain data."""


@attrs.frozen
class RecoveredPlayer:
    """A player that was read from a journal, with the messages of the seat."""

    record: PlayerRecord
    unacked: list[Outgoing]
    """Sent messages that the client has not acknowledged, the oldest first."""
    latest: list[Any]
    """The latest values, as plain messages, the oldest first."""


class MessageTable:
    """The messages of one journal entry. Each message is stored once, even if several seats refer to it."""

    def __init__(self) -> None:
        self.plain: list[Any] = []
        self._indices: dict[int, int] = {}

    def index(self, message: Outgoing) -> int:
        """Return the index of a message; add the message if the table does not have it."""
        if id(message) not in self._indices:
            self._indices[id(message)] = len(self.plain)
            self.plain.append(message.plain)
        return self._indices[id(message)]
