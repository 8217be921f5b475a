"""Every value of an accepted field type survives both codecs, and no other value is sent.

These tests detect different rules in the check at the definition of an event, in the encoder and in the decoder.
"""

from __future__ import annotations

import enum
import functools
import itertools
from typing import Any, Literal, Union

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import edge
from edge.errors import InvalidEvent
from edge.protocol.codec import JSON, MESSAGEPACK
from edge.protocol.field_types import MAX_DEPTH, MAX_INTEGER, check_type
from edge.protocol.structure import structure
from edge.protocol.unstructure import unstructure


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

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
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
            return Union[inner, other], values | others  # noqa: UP007  # a union that is made at run time


def _hashes(kind: Any) -> bool:
    """Return whether values of this type can be in a set. Another test covers the other types."""
    return not any(word in str(kind) for word in ("list", "dict", "set", "Shape", "Tree"))


def _typed(value: Any) -> Any:
    """Return a copy of the value that contains the type of each part, so that 1, True and 1.0 are not equal."""
    if attrs.has(type(value)):
        return type(value), [_typed(getattr(value, each.name)) for each in attrs.fields(type(value))]
    if isinstance(value, dict):
        return {name: _typed(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [_typed(each) for each in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(map(repr, value))
    return type(value), repr(value)


def _class_with(kind: Any) -> Any:
    return attrs.make_class("Made", {"value": attrs.field(type=kind)}, frozen=True)


def _accepted(cls: Any) -> bool:
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
    cls = _class_with(kind)
    assume(_accepted(cls))
    value = cls(data.draw(values))
    for arrived in _trip(value, cls):
        assert _typed(arrived) == _typed(value)


@settings(max_examples=4 * settings().max_examples)
@given(st.data())
def test_what_would_arrive_as_something_else_does_not_leave(data: st.DataObject) -> None:
    """If a field has a value of another type, encoding raises an error with the field's path, or the value arrives
    equal."""
    (kind, _), (_, values) = data.draw(types()), data.draw(types())
    cls = _class_with(kind)
    assume(_accepted(cls))
    value = cls(data.draw(values))
    try:
        unstructure(value)
    except (TypeError, ValueError) as exc:
        fault = str(exc)
    else:
        fault = ""
    if fault:
        assert fault.startswith("Made.value")
    else:
        assert all(arrived == value for arrived in _trip(value, cls))


@pytest.mark.parametrize("cls", [Text, Mixed, Number, Plain])
def test_an_enum_is_read_by_its_members_whatever_else_it_is(cls: Any) -> None:
    """A field with an enum type accepts only the enum's members, even if the enum is a subclass of str or int."""
    made = _class_with(cls)
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
        (str | Text, "can't be told apart"),
        (int | Number, "can't be told apart"),
        (float | Number, "can't be told apart"),
        (Text | Plain, "can't be told apart"),
        (Text | Literal["red"], "can't be told apart"),
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
        check_type(_class_with(kind))
    assert str(caught.value).startswith("Made.value can't be encoded: ")
    assert fault in str(caught.value)


def test_a_mandatory_field_after_a_keyword_is_refused() -> None:
    """An event class with a mandatory positional field after a keyword-only field is refused, because the fields can't
    be passed in order."""
    with pytest.raises(TypeError, match=r"^Positional\.b can't be encoded: it comes after a, which is keyword-only"):
        check_type(_class_with(list[Positional]))
    assert _accepted(_class_with(Keyword))


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
