"""Documents for the tests of shared state, and random changes of one of them."""

from __future__ import annotations

import enum
from random import Random

import attrs


class Suit(enum.StrEnum):
    HEARTS = "hearts"
    SPADES = "spades"


@attrs.define
class Card:
    suit: Suit = Suit.HEARTS
    rank: int = 1


@attrs.frozen
class Circle:
    radius: float = 1.0


@attrs.frozen
class Line:
    length: float = 1.0


@attrs.define
class Disc:
    name: str = ""
    at_x: float = 0.0
    alive: bool = True
    top: Card | None = None


@attrs.define
class Log:
    lines: list[str] = attrs.field(factory=list)
    discs: list[Disc] = attrs.field(factory=list)
    by_name: dict[str, Disc] = attrs.field(factory=dict)
    numbers: list[int | bool] = attrs.field(factory=list)
    seen: set[str] = attrs.field(factory=set)
    ratio: float = 0.0
    leader: Disc | None = None


def change_log(log: Log, random: Random) -> None:
    """Change a part of a document."""
    discs = [*log.discs, *log.by_name.values()]
    match random.randrange(11):
        case 0:
            log.lines.append(f"line {random.randrange(99)}")
        case 1:
            log.lines[:] = [*log.lines[random.randrange(3) :], "new"]
        case 2:
            log.discs.insert(random.randint(0, len(log.discs)), Disc(f"disc {random.randrange(99)}"))
        case 3 if log.discs:
            del log.discs[random.randrange(len(log.discs))]
        case 4:
            random.shuffle(log.discs)
        case 5:
            log.by_name[random.choice("abc")] = Disc("named")
        case 6 if log.by_name:
            del log.by_name[random.choice([*log.by_name])]
        case 7 if discs:
            random.choice(discs).at_x = random.randrange(9) / 2
        case 8 if discs:
            disc = random.choice(discs)
            disc.top = None if disc.top is not None and random.random() < 0.5 else Card(random.choice([*Suit]))
        case 9:
            log.numbers = [random.choice([0, 1, True, False]) for _ in range(random.randrange(4))]
        case _:
            log.leader = random.choice([None, Disc("leader"), *discs])
