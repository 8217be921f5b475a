"""The events of a board, and what everybody sees."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

import edge

Column: TypeAlias = Literal["todo", "doing", "done"]

MAX_TEXT = 300
MAX_CARDS = 500


def _check_text(card: object, field: object, text: str) -> None:
    if not 0 < len(text.strip()) <= MAX_TEXT:
        raise ValueError(f"a card has between 1 and {MAX_TEXT} letters")


@attrs.frozen
class Card:
    """One card of a board."""

    id: str
    column: Column
    place: float
    """The order of the cards of a column."""
    text: str
    by: str
    """The name of the person who wrote the card."""


@edge.event("add")
class Add:
    """Write a new card, at the end of a column."""

    column: Column
    text: str = attrs.field(validator=_check_text)


@edge.event("edit")
class Edit:
    """Change the text of a card."""

    id: str
    text: str = attrs.field(validator=_check_text)


@edge.event("move")
class Move:
    """Put a card into a column, before the card that has the next higher place."""

    id: str
    column: Column
    place: float


@edge.event("remove")
class Remove:
    """Remove a card."""

    id: str


@edge.event("point", delivery="latest")
class Point:
    """Where a person points, as fractions of the board's width and height. None if the pointer has left the board."""

    at: tuple[float, float] | None


@attrs.frozen
class Person:
    """A person at the board."""

    number: int
    name: str
    connected: bool


@attrs.define
class Shown:
    """What everybody at a board sees."""

    cards: dict[str, Card] = attrs.field(factory=dict)
    """The cards, by their ids."""
    people: list[Person] = attrs.field(factory=list)
    cursors: dict[str, tuple[float, float]] = attrs.field(factory=dict)
    """Where people point, by their numbers."""


@edge.event("done")
class Done:
    """The answer to a change that the board has accepted."""


Change: TypeAlias = Add | Edit | Move | Remove
FromPerson: TypeAlias = Change | Point
ToPerson: TypeAlias = Done
Player: TypeAlias = edge.Player[FromPerson, ToPerson]
