"""The table of types in docs/types.md. ``python -m tests.protocol.type_table`` prints it."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import attrs

import edge
from edge.protocol.codec import JSON
from edge.protocol.structure import structure
from edge.protocol.unstructure import unstructure

T = TypeVar("T")
Meters = NewType("Meters", float)


class Tool(enum.Enum):
    PEN = "pen"


class Size(NamedTuple):
    width: int
    height: int


class Note(TypedDict):
    text: str


@attrs.frozen
class Circle:
    radius: float


@attrs.frozen
class Line:
    length: float


@attrs.frozen
class Box(Generic[T]):
    content: T


@dataclasses.dataclass(frozen=True)
class Place:
    name: str


# The types, each as it is written in an annotation, with an example and what a reader should know.
ROWS: list[tuple[str, Any, Any, str]] = [
    ("`bool`, `str`, `None`", bool, True, "text must be well-formed: no lone surrogates"),
    ("`int`", int, 7, "at most 2⁵³ - 1 in magnitude, as in JavaScript"),
    ("`float`", float, 0.5, "finite; a whole number is accepted, too"),
    ("`bytes`", bytes, b"hi", "base64 in JSON, bytes in MessagePack"),
    ("`datetime`", datetime, datetime(2026, 1, 31, 12, 30, tzinfo=UTC), "ISO 8601 with an offset from UTC"),
    ("`date`", date, date(2026, 1, 31), "ISO 8601"),
    ("`timedelta`", timedelta, timedelta(minutes=1, milliseconds=500), "seconds; at most 272 years"),
    ("`UUID`", UUID, UUID(int=7), "the canonical text"),
    ("`Decimal`", Decimal, Decimal("12.50"), "text of at most 64 characters; an exponent of at most 99; finite"),
    ("`Enum`", Tool, Tool.PEN, "the value of the member: text, a whole number or a bool"),
    ('`Literal["pen", 7]`', Literal["pen", 7], "pen", "text, whole numbers, bools and None"),
    ("`list[int]`, `set[int]`, `frozenset[int]`, `tuple[int, ...]`", list[int], [1, 2], ""),
    ("`tuple[int, str]`", tuple[int, str], (1, "a"), ""),
    ("`Sequence[int]`", Sequence[int], (1, 2), "a list or a tuple is sent; the receiver gets a tuple"),
    ("`dict[str, int]`, `Mapping[str, int]`", Mapping[str, int], {"a": 1}, "keys are text; the receiver gets a dict"),
    ("a `NamedTuple`", Size, Size(1, 2), "all its items, in order"),
    ("a `TypedDict`", Note, Note(text="hi"), "`NotRequired` items may be missing"),
    ("an attrs class, a dataclass", Place, Place("here"), "the fields, by their names or aliases"),
    ("a generic class: `Box[int]`", Box[int], Box(1), ""),
    ("`Circle | None`", Circle | None, Circle(0.5), "the same for all optional types"),
    ("several classes: `Circle | Line`", Circle | Line, Circle(0.5), "`type` is the name of the class"),
    ("`int | str`", int | str, 7, "types that look different on the wire"),
    ("`Annotated[int, ...]`, a `NewType`", Annotated[Meters, "m"], Meters(0.5), "as the type that it stands for"),
    (
        "`Annotated[float, edge.quantised(0.25)]`",
        Annotated[float, edge.quantised(0.25)],
        1.5,
        "the nearest multiple of 0.25: see [below](#numbers-with-a-resolution)",
    ),
    ("`edge.Json`", edge.Json, {"any": [1, None]}, "a JSON value without a schema, at most 32 levels deep"),
]


def table() -> str:
    """Return the table as Markdown. Each example makes the trip to the wire and back."""
    lines = ["| type | an example on the wire | remarks |", "|---|---|---|"]
    for written, kind, value, remarks in ROWS:
        cls = attrs.make_class("Made", {"value": attrs.field(type=kind)}, frozen=True)
        text = JSON.encode(unstructure(cls(value)))
        assert structure(JSON.decode(text), cls) == cls(value)
        plain = json.dumps(json.loads(text)["value"], ensure_ascii=False)
        lines.append(f"| {written.replace('|', chr(92) + '|')} | `{plain}` | {remarks} |".replace("|  |", "| |"))
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
