"""Records of seats, from which another server restores them."""

from __future__ import annotations

from typing import Any

import attrs

from ..protocol.outgoing import Outgoing


@attrs.frozen
class SeatRecord:
    """One seat, and its player."""

    session: str
    session_name: str
    claims: dict[str, Any]
    guest: bool
    name: str
    number: int
    asked: int
    """How many requests the room has sent."""
    unanswered: list[int]
    """The numbers of the client's requests that the room has taken, and not answered."""
    pending: list[Any]
    """Messages that have come, and that the room has not taken."""
    held: dict[str, Any]
    """What the seat itself records."""


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
