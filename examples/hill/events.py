"""The events of king of the hill: players send changes of intent, and the room sends the resulting facts."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

import edge

from .physics import Disc

# The maximum number of intents in one `Steer`, and the maximum number of bots in a room.
MAX_PLAN = 8
MAX_BOTS = 30

Phase: TypeAlias = Literal["playing", "won"]
Intent: TypeAlias = tuple[int, int, int]
"""An intent: the tick from which it holds, and the x and y parts of the force, in hundredths of full force."""


def _plan(_: object, __: object, plan: list[Intent]) -> None:
    if not 1 <= len(plan) <= MAX_PLAN or [tick for tick, _, _ in plan] != sorted({tick for tick, _, _ in plan}):
        raise ValueError(f"a plan has 1 to {MAX_PLAN} intents, each for a later tick than the one before")
    if not all(x * x + y * y <= 101 * 101 for _, x, y in plan):
        raise ValueError("a force must not be stronger than 100")


@edge.event("steer", delivery="latest")
class Steer:
    """The newest intents, sorted by tick.

    The event has several intents, because a newer `Steer` replaces one that has not been sent yet.
    """

    plan: list[Intent] = attrs.field(validator=_plan)


@edge.event("bots")
class Bots:
    """Set the number of bots."""

    count: int = attrs.field(validator=[attrs.validators.ge(0), attrs.validators.le(MAX_BOTS)])


@edge.event("look")
class Look:
    """Ask for the whole board, because the client's copy is wrong or missing."""


@edge.event("board")
class Board:
    """The state of the whole board after a tick."""

    tick: int
    at: float
    """The time at which `tick` was due, in seconds on the room's clock."""
    begins: bool
    """True if a round begins with this tick, and all discs are at their start positions."""
    discs: list[Disc]
    names: list[tuple[int, str]]


@edge.event("joined")
class Joined:
    """A new disc, at rest, was added before this tick."""

    tick: int
    number: int
    name: str
    x: float
    y: float


@edge.event("left")
class Left:
    """A disc was removed before this tick."""

    tick: int
    number: int


@edge.event("facts")
class Facts:
    """The changes of one tick. The room sends nothing for a tick without changes."""

    tick: int
    moved: list[tuple[int, int, int, int]]
    """The intents that were applied in this tick: the number of the disc, x, y, and the number of ticks since the
    planned tick."""
    collided: list[tuple[int, int]]
    """The pairs of discs that collided in this tick."""
    still: list[tuple[int, float, float]]
    """The discs that came to rest in this tick, with their positions."""


@attrs.define
class Score:
    """The state of the round, which all pages mirror."""

    phase: Phase = "won"
    until: float = 0.0
    """The time at which this phase ends, in seconds on the room's clock."""
    points: dict[str, int] = attrs.field(factory=dict)
    """The points of each disc, by its number."""
    winner: str = ""
    bots: int = 0
    """The wanted number of bots while people play."""


FromPlayer: TypeAlias = Steer | Bots | Look
ToPlayer: TypeAlias = Board | Joined | Left | Facts
Player: TypeAlias = edge.Player[FromPlayer, ToPlayer]
