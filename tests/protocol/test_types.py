"""Every value of an accepted field type survives both codecs, and no other value is sent.

These tests detect different rules in the check at the definition of an event, in the encoder and in the decoder.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import edge
from edge.errors import InvalidEvent
from edge.protocol.codec import JSON, MESSAGEPACK
from edge.protocol.field_kinds import REGISTERED, RegisteredType, fields_of, is_object
from edge.protocol.field_types import MAX_DEPTH, MAX_INTEGER, check_type, is_hashable
from edge.protocol.structure import structure
from edge.protocol.unstructure import unstructure
from tests.protocol.type_table import table


class Plain(enum.Enum):
    RED = "red"
    TWO = 2
    YES = True


class Text(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Mixed(str, enum.Enum):  # noqa: UP042  # the older form of a StrEnum
    A = "a"


@attrs.frozen
class Point:
    x: int
    y: float = 0.0
    _label: str = ""
    derived: int = attrs.field(init=False, default=7)


@attrs.define
class Shape:
    points: list[Point] = attrs.field(factory=list)
    colour: Text | None = None


@attrs.frozen
class Tree:
    name: str
    children: list[Tree] = attrs.field(factory=list)
    by_name: dict[str, Tree] = attrs.field(factory=dict)


@attrs.frozen
class Link:
    value: int
    next: Link | None = None


@attrs.frozen
class Pair:
    parts: tuple[Pair, ...] = ()
    other: Link | None = None


T = TypeVar("T")
Name = NewType("Name", str)


@attrs.frozen
class Box(Generic[T]):
    content: T
    spare: list[T] = attrs.field(factory=list)


@attrs.frozen
class NumberBox(Box[int]):
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Place:
    name: str
    at: datetime
    tags: list[str] = dataclasses.field(default_factory=list)


class Size(NamedTuple):
    width: int
    height: float = 1.0


class Loose(TypedDict):
    id: UUID
    note: NotRequired[str]


@attrs.frozen
class Circle:
    radius: float


@attrs.frozen
class Line:
    ends: tuple[Size, Size]


@attrs.frozen
class Group:
    shapes: list[Circle | Line | Group] = attrs.field(factory=list)
    extra: edge.Json = None


class Money:
    """A class without attrs, which is registered as a type of fields."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    def __hash__(self) -> int:
        return hash(self.cents)

    def __repr__(self) -> str:
        return f"Money({self.cents})"


def read_money(text: str) -> Money:
    if not text.endswith(" ct"):
        raise ValueError("money ends with ct")
    return Money(int(text.removesuffix(" ct")))


edge.register_type(Money, lambda money: f"{money.cents} ct", read_money)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["constructor", "__proto__"])
integers = st.integers(-MAX_INTEGER, MAX_INTEGER)
points = st.builds(Point, integers, st.floats(allow_nan=False, allow_infinity=False), text)
trees = st.recursive(
    st.builds(Tree, text),
    lambda inner: st.builds(Tree, text, st.lists(inner, max_size=2), st.dictionaries(text, inner, max_size=2)),
    max_leaves=5,
)

links = st.lists(integers, min_size=1, max_size=4).map(
    lambda values: functools.reduce(lambda rest, value: Link(value, rest), values, None)
)
pairs = st.recursive(
    st.builds(Pair), lambda inner: st.builds(Pair, st.lists(inner, max_size=2).map(tuple), links), max_leaves=4
)

offsets = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
datetimes = st.datetimes(datetime(2, 1, 2), datetime(9998, 1, 1), timezones=offsets)  # with a zone
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9)
json_values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=5,
)
sizes = st.builds(Size, integers, st.floats(allow_nan=False, allow_infinity=False))
circles = st.builds(Circle, st.floats(allow_nan=False, allow_infinity=False))
lines = st.builds(Line, st.tuples(sizes, sizes))
groups = st.recursive(
    st.builds(Group, st.lists(circles | lines, max_size=2), json_values),
    lambda inner: st.builds(Group, st.lists(circles | lines | inner, max_size=2)),
    max_leaves=3,
)

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    datetime: datetimes,
    date: st.dates(),
    timedelta: st.timedeltas(timedelta(days=-99_420), timedelta(days=99_420)),
    UUID: st.uuids(),
    Decimal: decimals,
    Money: st.builds(Money, integers),
    Name: text,
    Annotated[int, "seconds"]: integers,
    Size: sizes,
    Loose: st.fixed_dictionaries({"id": st.uuids()}, optional={"note": text}),
    Place: st.builds(Place, text, datetimes, st.lists(text, max_size=2)),
    Box[int]: st.builds(Box, integers, st.lists(integers, max_size=2)),
    Box[Box[str]]: st.builds(Box, st.builds(Box, text)),
    NumberBox: st.builds(NumberBox, integers, st.lists(integers, max_size=2), text),
    Circle: circles,
    Group: groups,
    edge.Json: json_values,
    Sequence[int]: st.lists(integers, max_size=3).map(tuple),
    Mapping[str, Size]: st.dictionaries(text, sizes, max_size=2),
    int: integers,
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: text,
    bool: st.booleans(),
    bytes: st.binary(max_size=8),
    type(None): st.none(),
    Plain: st.sampled_from(Plain),
    Text: st.sampled_from(Text),
    Number: st.sampled_from(Number),
    Mixed: st.sampled_from(Mixed),
    Literal["red", 1, True, None]: st.sampled_from(["red", 1, True, None]),
    Literal["green", 7]: st.sampled_from(["green", 7]),
    Point: points,
    Shape: st.builds(Shape, st.lists(points, max_size=2), st.none() | st.sampled_from(Text)),
    Tree: trees,
    Link: links,
    Pair: pairs,
}


@st.composite
def types(draw: st.DrawFn, depth: int = 3) -> tuple[Any, st.SearchStrategy[Any]]:
    """Draw a type, and a strategy for its values. Events accept only some of these types for a field."""
    if depth == 0 or draw(st.booleans()):
        kind = draw(st.sampled_from([*SCALARS]))
        return kind, SCALARS[kind]
    inner, values = draw(types(depth=depth - 1))
    match draw(st.integers(0, 6)):
        case 0:
            return list[inner], st.lists(values, max_size=3)  # type: ignore[valid-type]
        case 1:
            return tuple[inner, ...], st.lists(values, max_size=3).map(tuple)  # type: ignore[valid-type]
        case 2:
            return dict[str, inner], st.dictionaries(text, values, max_size=3)  # type: ignore[valid-type]
        case 3:
            assume(_hashes(inner))
            return frozenset[inner], st.frozensets(values, max_size=3)  # type: ignore[valid-type]
        case 4:
            assume(_hashes(inner))
            return set[inner], st.sets(values, max_size=3)  # type: ignore[valid-type]
        case 5:
            other, others = draw(types(depth=depth - 1))
            return tuple[inner, other], st.tuples(values, others)  # type: ignore[valid-type]
        case _:
            other, others = draw(types(depth=depth - 1))
            union: Any = Union[inner, other]  # noqa: UP007  # a union that is made at run time
            return (Annotated[union, "nested"] if draw(st.booleans()) else union), values | others


def _hashes(kind: Any) -> bool:
    """Return whether values of this type can be in a set. Another test covers the other types."""
    return is_hashable(kind)


def _typed(value: Any) -> Any:
    """Return a copy of the value that contains the type of each part, so that 1, True and 1.0 are not equal."""
    if is_object(type(value)):
        return type(value), [_typed(getattr(value, each.name)) for each in fields_of(type(value))]
    if isinstance(value, datetime):
        return datetime, value.astimezone(UTC)
    if isinstance(value, dict):
        return {name: _typed(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [_typed(each) for each in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(map(repr, map(_typed, value)))
    return type(value), repr(value)


def class_with(kind: Any) -> Any:
    return attrs.make_class("Made", {"value": attrs.field(type=kind)}, frozen=True)


def accepted(cls: Any) -> bool:
    try:
        check_type(cls)
    except TypeError:
        return False
    return True


def _trip(value: Any, cls: Any) -> list[Any]:
    return [structure(codec.decode(codec.encode(unstructure(value))), cls) for codec in (JSON, MESSAGEPACK)]


@settings(max_examples=4 * settings().max_examples)
@given(st.data())
def test_each_value_of_each_accepted_type_arrives_as_itself(data: st.DataObject) -> None:
    """Each value of each accepted type arrives equal and with the same types."""
    kind, values = data.draw(types())
    cls = class_with(kind)
    assume(accepted(cls))
    value = cls(data.draw(values))
    for arrived in _trip(value, cls):
        assert _typed(arrived) == _typed(value)


@settings(max_examples=4 * settings().max_examples)
@given(st.data())
def test_what_would_arrive_as_something_else_does_not_leave(data: st.DataObject) -> None:
    """If a field has a value of another type, encoding raises an error with the field's path, or the value arrives
    equal, a list for a `Sequence` as a tuple."""
    (kind, _), (_, values) = data.draw(types()), data.draw(types())
    cls = class_with(kind)
    assume(accepted(cls))
    value = cls(data.draw(values))
    try:
        unstructure(value)
    except (TypeError, ValueError) as exc:
        fault = str(exc)
    else:
        fault = ""
    if fault:
        assert fault.startswith("Made.value")
    elif "Sequence" in repr(kind):  # a list arrives as a tuple
        assert all(unstructure(arrived) == unstructure(value) for arrived in _trip(value, cls))
    else:
        assert all(arrived == value for arrived in _trip(value, cls))


@pytest.mark.parametrize("cls", [Text, Mixed, Number, Plain])
def test_an_enum_is_read_by_its_members_whatever_else_it_is(cls: Any) -> None:
    """A field with an enum type accepts only the enum's members, even if the enum is a subclass of str or int."""
    made = class_with(cls)
    for member in cls:
        assert structure({"value": member.value}, made).value is member
    for wrong in ("no such colour", 99, None, 2.0):
        with pytest.raises(InvalidEvent, match=r"^value: expected one of"):
            structure({"value": wrong}, made)


class Odd(enum.Enum):
    PAIR = (1, 2)


class Binary(enum.Enum):
    RAW = b"x"


class Float(enum.Enum):
    HALF = 0.5


class Huge(enum.IntEnum):
    BIG = 2**60


class Flags(enum.Flag):
    A = enum.auto()
    B = enum.auto()


class Empty(enum.Enum):
    pass


class Broken(enum.Enum):
    HALF = "\ud800"


@attrs.define
class Changeable:
    x: int


@attrs.frozen(eq=False)
class Identical:
    x: int


@attrs.frozen(kw_only=True)
class Keyword:
    a: int


@attrs.frozen
class Positional(Keyword):
    b: int


@attrs.frozen
class Typed:
    type: str


@attrs.frozen
class SharedBox:
    box: Changeable = Changeable(1)  # a mistake


@attrs.frozen
class SharedTuple:
    lists: tuple[list[int], ...] = ([],)  # a mistake


class Bush(TypedDict):
    below: list[Bush]


class Branch(NamedTuple):
    below: Sequence[Branch]


@attrs.frozen
class Shared:
    items: list[int] = []  # noqa: RUF008  # a mistake


class Stamp:
    pass


class Outline:
    pass


edge.register_type(Stamp, lambda stamp: 1, lambda plain: Stamp(), plain=int | str)
edge.register_type(Outline, lambda outline: Circle(1.0), lambda plain: Outline(), plain=Circle)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (Odd, "(1, 2) is not text, a whole number or a bool"),
        (Binary, "b'x' is not text"),
        (Float, "0.5 is not text"),
        (Huge, "beyond JavaScript's safe integers"),
        (Flags, "members of the Flag Flags can be combined"),
        (Empty, "it has no members"),
        (Broken, "is not well-formed text"),
        (Literal[b"x"], "b'x' is not text"),
        (Literal[Text.RED], "<Text.RED: 'red'> is not text"),
        (list[int] | set[int], "can't be told apart"),
        (tuple[int, int] | list[str], "can't be told apart"),
        (dict[str, int] | Point, "can't be told apart"),
        (Loose | Point, "can't be told apart"),
        (Size | list[int], "can't be told apart"),
        (datetime | str, "can't be told apart"),
        (datetime | date, "can't be told apart"),
        (Money | UUID, "can't be told apart"),
        (timedelta | int, "can't be told apart"),
        (Decimal | Text, "can't be told apart"),
        (edge.Json | int, "can't be told apart"),
        (Box[int] | Box[str], "two classes of the union are called Box"),
        (Circle | Typed, "Typed has a field 'type', in which a union of classes is sent"),
        (Box, "Box is generic: name its type arguments, as in Box[int]"),
        (Box[T], "the type variable T is not bound"),  # type: ignore[valid-type]
        (set[Group], "can't be in a set"),
        (set[edge.Json], "can't be in a set"),
        (Shared, "all instances share its default: use attrs.field(factory=list)"),
        (SharedBox, "all instances share its default: use attrs.field(factory=lambda: ...)"),
        (SharedTuple, "all instances share its default: use attrs.field(factory=lambda: ...)"),
        (Any, "use edge.Json for a value without a schema"),
        (Bush, "Bush contains itself: only attrs classes and dataclasses can"),
        (Branch, "Branch contains itself"),
        (str | Text, "can't be told apart"),
        (int | Number, "can't be told apart"),
        (float | Number, "can't be told apart"),
        (Text | Plain, "can't be told apart"),
        (Text | Literal["red"], "can't be told apart"),
        (date | Literal["2026-01-01", 3], "can't be told apart"),
        (Decimal | Literal["1", 2], "can't be told apart"),
        (timedelta | Literal[1, "a"], "can't be told apart"),
        (Annotated[int | str, "x"] | date, "can't be told apart"),
        (Annotated[int | list[int], "x"] | set[int], "can't be told apart"),
        (Annotated[Circle | int, "x"] | Line, "can't be told apart"),
        (Annotated[Text | None, "x"] | Literal["red"], "can't be told apart"),
        (Stamp | str, "can't be told apart"),
        (Outline | Circle | Line, "can't be told apart"),
        (Annotated[int | str, "x"] | Annotated[float, edge.quantised(1)], "resolution"),
        (bool | Plain, "can't be told apart"),
        (bytes | Text, "can't be told apart"),
        (bytes | Literal["abcd"], "can't be told apart"),
        (list[str | Text], "can't be told apart"),
        (set[Changeable], "can't be in a set"),
        (set[Identical], "can't be in a set"),
        (set[list[int]], "can't be in a set"),
        (frozenset[tuple[int, Shape]], "can't be in a set"),
        (dict[Text, int], "only text can be a key"),
        (None, "it has no type"),
    ],
)
def test_a_type_that_cant_make_the_trip_is_refused_at_the_definition(kind: Any, fault: str) -> None:
    """A type whose values would not survive the codecs is refused at the definition."""
    with pytest.raises(TypeError) as caught:
        check_type(class_with(kind))
    assert " can't be encoded: " in str(caught.value)
    assert fault in str(caught.value)


WIRE: list[tuple[Any, Any, Any]] = [
    (datetime, datetime(2026, 1, 31, 12, 30, tzinfo=UTC), "2026-01-31T12:30:00+00:00"),
    (date, date(2026, 1, 31), "2026-01-31"),
    (timedelta, timedelta(minutes=1, milliseconds=500), 60.5),
    (UUID, UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    (Decimal, Decimal("12.50"), "12.50"),
    (Money, Money(5), "5 ct"),
    (Size, Size(1, 2.0), [1, 2.0]),
    (Loose, {"id": UUID(int=7)}, {"id": "00000000-0000-0000-0000-000000000007"}),
    (Box[Decimal], Box(Decimal(1)), {"content": "1", "spare": []}),
    (Circle | Line, Circle(1.0), {"type": "Circle", "radius": 1.0}),
    (Circle | None, Circle(1.0), {"radius": 1.0}),
    (Sequence[int], (1, 2), [1, 2]),
    (Sequence[int], [1, 2], [1, 2]),
]


def test_the_page_about_types_has_the_table() -> None:
    """The table in docs/types.md is the output of ``python -m tests.protocol.type_table``."""
    page = (Path(__file__).parents[2] / "docs" / "types.md").read_text()
    assert table() in page


@pytest.mark.parametrize(("kind", "value", "plain"), WIRE)
def test_the_form_on_the_wire(kind: Any, value: Any, plain: Any) -> None:
    """Values of these types have a documented form on the wire, and arrive as themselves; a list of a `Sequence`
    arrives as a tuple."""
    cls = class_with(kind)
    assert unstructure(cls(value)) == {"value": plain}
    expected = tuple(value) if value == [1, 2] else value
    assert structure({"value": plain}, cls).value == expected


@pytest.mark.parametrize(
    ("kind", "plain", "fault"),
    [
        (datetime, "2026-01-31T12:30:00", "value: expected a time, as ISO 8601 with an offset from UTC"),
        (datetime, "yesterday", "value: expected a time, as ISO 8601 with an offset from UTC"),
        (date, 7, "value: expected a date, as in 2026-01-31"),
        (timedelta, "1", "value: expected a number of seconds"),
        (timedelta, 1e300, "value: expected a number of seconds"),
        (UUID, "{00000000-0000-0000-0000-000000000007}", "value: expected a UUID"),
        (Decimal, 1.5, "value: expected a decimal number, as text"),
        (Decimal, "1_0", "value: expected a decimal number, as text"),
        (Decimal, "NaN", "value: expected a decimal number, as text"),
        (Decimal, "1e999", "value: expected a decimal number, as text"),
        (Decimal, "1" * 65, "value: expected a decimal number, as text"),
        (Money, "5", "value: money ends with ct"),
        (Money, "x ct", "value: invalid literal for int() with base 10: 'x'"),
        (Size, [1], "value: expected a list of 2"),
        (Size, [1, "2"], "value[1]: expected a number"),
        (Loose, {"id": 7}, "value.id: expected a UUID"),
        (Loose, {}, "value: missing field 'id'"),
        (Loose, {"id": "00000000-0000-0000-0000-000000000007", "x": 1}, "value: unknown field 'x'"),
        (Box[int], {"content": "x"}, "value.content: expected a whole number"),
        (NumberBox, {"content": 1, "spare": ["x"]}, "value.spare[0]: expected a whole number"),
        (Place, {"name": "here"}, "value: missing field 'at'"),
        (Circle | Line, {"radius": 1.0}, "value: expected an object whose 'type' is one of 'Circle', 'Line'"),
        (Circle | Line, {"type": "Square"}, "value: expected an object whose 'type' is one of 'Circle', 'Line'"),
        (Circle | Line, {"type": "Circle", "radius": "x"}, "value.radius: expected a number"),
        (Circle | None, {"type": "Circle", "radius": 1.0}, "value: unknown field 'type'"),
        (edge.Json, {"a": [2**60]}, "value: expected a whole number"),
        (Sequence[int], [1, "x"], "value[1]: expected a whole number"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(kind: Any, plain: Any, fault: str) -> None:
    """A value that does not fit one of these types is refused with the path and the expected value."""
    with pytest.raises(InvalidEvent) as caught:
        structure({"value": plain}, class_with(kind))
    assert str(caught.value) == fault


@pytest.mark.parametrize(
    ("kind", "value", "fault"),
    [
        (datetime, datetime(2026, 1, 31), "Made.value: 2026-01-31 00:00:00 has no time zone"),
        (date, datetime(2026, 1, 31, tzinfo=UTC), "Made.value: expected a date"),
        (timedelta, timedelta.max, "Made.value: 999999999 days, 23:59:59.999999 can't be encoded"),
        (Decimal, Decimal("NaN"), "Made.value: NaN can't be encoded"),
        (Decimal, Decimal(1).scaleb(100), "Made.value: 1.000e+100 can't be encoded"),
        (Money, 5, "Made.value: expected a Money"),
        (Circle | Line, Size(1), "Made.value: expected Circle or Line"),
        (Circle | Line, Circle("x"), "Made.value.radius: expected a number"),  # type: ignore[arg-type]
        (Size, (1, 2.0), "Made.value: expected a Size"),
        (Size, Size("x"), "Made.value.width: expected a whole number"),  # type: ignore[arg-type]
        (Loose, {}, "Made.value: expected a Loose"),
        (Loose, {"id": 7}, "Made.value.id: expected a UUID"),
        (Box[int], Box("x"), "Made.value.content: expected a whole number"),
        (edge.Json, (1,), "Made.value: expected a JSON value"),
        (edge.Json, {1: 2}, "Made.value: expected text"),
    ],
)
def test_what_could_not_be_read_is_not_sent(kind: Any, value: Any, fault: str) -> None:
    """A value that a reader would refuse, or read as another value, is an error with its path where it is sent."""
    with pytest.raises((TypeError, ValueError)) as caught:
        unstructure(class_with(kind)(value))
    assert str(caught.value).startswith(fault)


def test_an_alias_is_the_name_on_the_wire() -> None:
    """A field with an alias of its own has the alias as its name on the wire; a private field keeps its name."""

    @attrs.frozen
    class Item:
        type_: str = attrs.field(alias="type")
        _secret: int = 0

    item = Item(type="pen", secret=3)
    assert unstructure(item) == {"type": "pen", "_secret": 3}
    assert structure({"type": "pen", "_secret": 3}, Item) == item
    with pytest.raises(InvalidEvent, match=r"^type: expected text"):
        structure({"type": 1}, Item)


@edge.event("moved", rename="camel")
class Moved:
    moved_by: str
    end_points: list[Line] = attrs.field(factory=list)
    last_size: Size | None = None
    _hidden_too: int = 0
    inner_box: Box[int] | None = None


@attrs.frozen
class ElsewhereToo:
    some_name: int = 0


@edge.event("kept")
class Kept:
    inner_thing: ElsewhereToo


@edge.event("renamed", rename="camel")
class Renamed:
    inner_thing: ElsewhereToo


def test_camel_case_on_the_wire() -> None:
    """``rename="camel"`` applies to the fields of an event and of the objects in it, in both directions, and not to
    other events with the same objects."""
    assert unstructure(Moved("ana"), rename="camel") == {
        "movedBy": "ana",
        "endPoints": [],
        "lastSize": None,
        "hiddenToo": 0,
        "innerBox": None,
    }
    for event, inner in ((Renamed(ElsewhereToo(3)), {"innerThing": {"someName": 3}}),):
        assert unstructure(event, rename="camel") == inner
        assert structure(inner, Renamed, rename="camel") == event
    assert unstructure(Kept(ElsewhereToo(3))) == {"inner_thing": {"some_name": 3}}
    with pytest.raises(InvalidEvent, match=r"^innerThing\.someName: expected a whole number"):
        structure({"innerThing": {"someName": "x"}}, Renamed, rename="camel")
    with pytest.raises(InvalidEvent, match=r"^unknown field 'inner_thing'"):
        structure({"inner_thing": {}}, Renamed, rename="camel")
    fields = {"a_b": attrs.field(type=int), "aB": attrs.field(type=int)}
    clashing: Any = edge.event("clashing", rename="camel")(attrs.make_class("Clashing", fields))
    with pytest.raises(TypeError, match="a_b has the same name on the wire, 'aB'"):

        class Room(edge.Room[clashing, None]):
            pass

    with pytest.raises(TypeError, match="rename must be 'camel' or empty"):
        edge.event("odd", rename="snake")(type("Odd", (), {}))  # type: ignore[call-overload]  # a mistake


def test_a_type_is_registered_once() -> None:
    """A second registration of a class, and a registration of something else, are errors."""
    with pytest.raises(TypeError, match="Money is registered already"):
        edge.register_type(Money, str, read_money)
    with pytest.raises(TypeError, match="needs a class"):
        edge.register_type("Money", str, read_money)  # type: ignore[arg-type]  # a mistake
    with pytest.raises(TypeError, match="int is a built-in class"):
        edge.register_type(int, str, int)


def test_a_registered_type_makes_values_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """If `from_plain` returns something else, the value is refused."""

    class Odd:
        pass

    monkeypatch.setitem(REGISTERED, Odd, RegisteredType(Odd, str, str, str))
    with pytest.raises(InvalidEvent, match="the value is not valid"):
        structure({"value": "x"}, class_with(Odd))


def test_a_value_without_a_type_can_not_be_a_registered_one() -> None:
    """A snapshot of plain data refuses a datetime, which would be restored as text."""
    with pytest.raises(TypeError, match="can't be encoded"):
        unstructure({"at": datetime.now(UTC)})


def test_a_mandatory_field_after_a_keyword_is_refused() -> None:
    """An event class with a mandatory positional field after a keyword-only field is refused, because the fields can't
    be passed in order."""
    with pytest.raises(
        TypeError, match=r"^Positional\.b can't be decoded: make it keyword-only, because it comes after a"
    ):
        check_type(class_with(list[Positional]))
    assert accepted(class_with(Keyword))


def test_facts_and_snapshots_are_checked_as_events_are() -> None:
    """A room class is refused if its facts have a field that can't be encoded in an event."""

    @edge.event
    class Fact:
        odd: Odd

    with pytest.raises(TypeError, match=r"^Fact\.odd can't be encoded"):

        class Room(edge.Room[None, None]):
            facts = Fact


@edge.event
class Said:
    text: str = ""
    scores: dict[str, int] = attrs.field(factory=dict)
    shapes: list[Shape] = attrs.field(factory=list)
    pair: tuple[int, int] = (0, 0)
    width: float = 1.0
    either: int | str = 0
    point: Point | None = None


class Point3(Point):
    pass


@attrs.define
class Bounded:
    items: list[int] = attrs.field(validator=attrs.validators.max_len(2))


@edge.event
class Holds:
    bounded: Bounded


@edge.event
class Grows:
    tree: Tree


def _grown() -> Tree:
    tree = Tree("leaf")
    for _ in range(MAX_DEPTH):
        tree = Tree("branch", [tree])
    return tree


def _endless() -> Tree:
    tree = Tree("snake")
    tree.children.append(tree)
    return tree


def _overgrown() -> Bounded:
    bounded = Bounded([1])
    bounded.items.extend([2, 3])
    return bounded


wrong: Any = Said  # mypy would refuse most calls below
WRONG = [
    (lambda: wrong(None), TypeError, "Said.text: expected text, not None"),
    (lambda: wrong("a\ud83d"), ValueError, r"Said.text: '\ud83d' is a lone surrogate, which can't be encoded"),
    (lambda: wrong(scores={1: 2}), TypeError, "Said.scores: the key 1: expected text, not 1"),
    (lambda: wrong(scores={"ana": "2"}), TypeError, "Said.scores.ana: expected a whole number, not '2'"),
    (lambda: wrong(scores={"ana": True}), TypeError, "Said.scores.ana: expected a whole number, not True"),
    (lambda: wrong(scores={"ana": 2**60}), ValueError, f"Said.scores.ana: {2**60} can't be encoded: it is"),
    (lambda: wrong(scores={"\udc00": 1}), ValueError, "lone surrogate"),
    (lambda: wrong(shapes=[Shape(), Shape([Point("1")])]), TypeError, "Said.shapes[1].points[0].x: expected a whole"),  # type: ignore[arg-type]
    (lambda: wrong(shapes=[Shape(colour="red")]), TypeError, "Said.shapes[0].colour: expected a member of Text"),  # type: ignore[arg-type]
    (lambda: wrong(shapes=(Shape(),)), TypeError, "Said.shapes: expected a list"),
    (lambda: wrong(pair=[1, 2]), TypeError, "Said.pair: expected a tuple of 2"),
    (lambda: wrong(pair=(1, 2, 3)), TypeError, "Said.pair: expected a tuple of 2"),
    (lambda: wrong(width=float("nan")), ValueError, "Said.width: nan can't be encoded"),
    (lambda: wrong(width=10**400), ValueError, "Said.width: a whole number that is too large for a float"),
    (lambda: wrong(either=1.5), TypeError, "Said.either: expected int or str, not 1.5"),
    (lambda: wrong(point=Point3(1)), TypeError, "Said.point: expected a Point, not Point3"),
    (lambda: wrong(point=Shape()), TypeError, "Said.point: expected a Point, not Shape"),
    (lambda: Holds(_overgrown()), ValueError, "Holds.bounded: Length of 'items' must be <= 2: 3"),
    (lambda: Grows(_grown()), ValueError, f"Grows: more than {MAX_DEPTH} levels deep"),
    (lambda: Grows(_endless()), ValueError, f"Grows: more than {MAX_DEPTH} levels deep"),
]


@pytest.mark.parametrize(("make", "error", "message"), WRONG)
def test_a_wrong_value_is_an_error_where_it_is_sent(make: Any, error: type[Exception], message: str) -> None:
    """A value that a field does not allow raises an error when it is encoded for sending, because the receiver would
    refuse it."""
    with pytest.raises(error) as caught:
        unstructure(make())
    assert type(caught.value) is error
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["constructor", "__proto__", "prototype", "toString", "", "ä", "a.b"])
def test_any_text_can_be_a_key(name: str) -> None:
    """Any text can be a key of a dict, because keys can be players' names."""
    said = Said(scores={name: 3})
    assert all(arrived == said for arrived in _trip(said, Said))


def test_subclasses_of_plain_values_travel_as_what_they_are() -> None:
    """In a field for text or a number, an enum member that is a str or an int arrives as plain text or a plain number,
    and is equal to what was sent."""
    said = wrong(Text.RED, {Mixed.A: Number.TWO})
    for arrived in _trip(said, Said):
        assert arrived == said
        assert [type(each) for each in itertools.chain([arrived.text], *arrived.scores.items())] == [str, str, int]


def test_ignoring_extra_fields_is_a_readers_choice() -> None:
    """With `ignore_extra`, unknown fields are ignored at every level, and other faults are still refused."""
    body = {"text": "hi", "new": 1, "shapes": [{"points": [], "newer": {}}]}
    with pytest.raises(InvalidEvent, match=r"shapes\[0\]: unknown field 'newer'"):
        structure(body, Said)
    assert structure(body, Said, ignore_extra=True) == Said("hi", shapes=[Shape()])
    with pytest.raises(InvalidEvent, match="text: expected text"):
        structure({**body, "text": 1}, Said, ignore_extra=True)
