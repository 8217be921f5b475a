"""`Quiet`, a room that listens to no events, and `StubSeat`, a seat without a client, for the tests of rooms."""

from __future__ import annotations

import logging
from typing import Any

import edge
from edge.rooms.seat import Seat


@edge.event
class Choose:
    options: list[str]


@edge.event
class Chosen:
    option: str


@edge.event
class Guess:
    word: str


@edge.event
class Verdict:
    right: bool


FromPlayer = Chosen | Guess
ToPlayer = Choose | Verdict
Player = edge.Player[FromPlayer, ToPlayer]


class Quiet(edge.Room[FromPlayer, ToPlayer]):
    """Listens to no events."""

    seats = edge.Seats(minimum=1, maximum=3, grace=5)


class StubSeat(Seat):
    """A seat without a client."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.session = edge.Session(name)
        self.ended: list[edge.Code] = []

    def send(self, message: Any) -> None:
        logging.getLogger("tests").debug("%r", message)

    def end(self, code: edge.Code, reason: str) -> None:
        self.ended.append(code)
