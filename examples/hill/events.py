"""What travels: changes of intent one way, and the facts that follow from them the other."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

import edge

from .physics import Disc

# How many intents one event tells, and how many bots there may be.
MAX_PLAN = 8
MAX_BOTS = 30

Phase: TypeAlias = Literal["playing", "won"]
Intent: TypeAlias = tuple[int, int, int]
"""At which tick, and where to: the two parts of the force, in hundredths."""


def _plan(_: object, __: object, plan: list[Intent]) -> None:
    if not 1 <= len(plan) <= MAX_PLAN or [tick for tick, _, _ in plan] != sorted({tick for tick, _, _ in plan}):
        raise ValueError(f"a plan has 1 to {MAX_PLAN} intents, each for a later tick")
    if not all(x * x + y * y <= 101 * 101 for _, x, y in plan):
        raise ValueError("no force is stronger than 100")


@edge.event("steer", delivery="latest")
class Steer:
    """The newest intents, oldest first: enough that nothing is missed when only the newest event comes through."""

    plan: list[Intent] = attrs.field(validator=_plan)


@edge.event("bots")
class Bots:
    """How many bots there should be."""

    count: int = attrs.field(validator=[attrs.validators.ge(0), attrs.validators.le(MAX_BOTS)])


@edge.event("look")
class Look:
    """I have lost track: show me the whole board."""


@edge.event("board")
class Board:
    """The whole board, after a tick."""

    tick: int
    at: float
    """When that tick was due, on the room's clock."""
    begins: bool
    """True if everybody was put back to the start, with this tick."""
    discs: list[Disc]
    names: list[tuple[int, str]]


@edge.event("joined")
class Joined:
    """A new disc, at rest, before this tick."""

    tick: int
    number: int
    name: str
    x: float
    y: float


@edge.event("left")
class Left:
    """A disc is gone, before this tick."""

    tick: int
    number: int


@edge.event("facts")
class Facts:
    """What is new with this tick. A tick without news is not told."""

    tick: int
    moved: list[tuple[int, int, int, int]]
    """Whose intent changes before it, and where to; and how many ticks later than they had planned."""
    collided: list[tuple[int, int]]
    """Who bounced off each other in it."""
    still: list[tuple[int, float, float]]
    """Who came to rest in it, and where."""


@edge.event("score", delivery="latest")
class Score:
    """How the round stands."""

    phase: Phase
    until: float
    """When this phase ends, on the room's clock."""
    points: list[tuple[int, int]]
    """Of each disc."""
    winner: str
    bots: int


FromPlayer: TypeAlias = Steer | Bots | Look
ToPlayer: TypeAlias = Board | Joined | Left | Facts | Score
Player: TypeAlias = edge.Player[FromPlayer, ToPlayer]
