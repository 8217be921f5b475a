"""`structure`, which makes events from decoded payloads, is strict and reports each fault with its path."""

from __future__ import annotations

import enum
import math
import re
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge
from edge.errors import InvalidEvent
from edge.protocol.codec import JSON, MESSAGEPACK
from edge.protocol.field_types import MAX_INTEGER
from edge.protocol.structure import structure
from edge.protocol.unstructure import unstructure


class Tool(enum.Enum):
    PEN = "pen"
    BRUSH = 2


@attrs.frozen
class Stroke:
    width: float = attrs.field(validator=attrs.validators.gt(0))
    points: list[tuple[int, int]]


@attrs.frozen
class Drawing:
    strokes: list[Stroke] = attrs.field(factory=list)
    by: dict[str, int] | None = None


@edge.event("drew")
class Drew:
    drawing: Drawing
    mode: Literal["ink", 7] = "ink"
    tool: Tool = Tool.PEN
    tag: int | str = 0
    flags: frozenset[str] = frozenset()
    raw: bytes = b""
    on: bool = False


def good() -> dict[str, Any]:
    return {"drawing": {"strokes": [{"width": 1, "points": [[1, 2]]}, {"width": 2.5, "points": []}]}}


def test_a_good_payload() -> None:
    """In a valid payload, a whole number is accepted for a float field, missing fields get their defaults, and lists
    become the declared types."""
    event = structure({**good(), "tool": 2, "flags": ["a"], "raw": "aGk=", "on": True, "tag": "t"}, Drew)
    assert event.drawing.strokes[0] == Stroke(1.0, [(1, 2)])
    expected = (Tool.BRUSH, frozenset({"a"}), b"hi", True, "t")
    assert (event.tool, event.flags, event.raw, event.on, event.tag) == expected


PATH = ("drawing", "strokes", 1)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ((*PATH, "width"), "2", "drawing.strokes[1].width: expected a number"),
        ((*PATH, "width"), True, "drawing.strokes[1].width: expected a number"),
        ((*PATH, "width"), math.nan, "drawing.strokes[1].width: expected a number"),
        ((*PATH, "width"), math.inf, "drawing.strokes[1].width: expected a number"),
        ((*PATH, "width"), -1, "drawing.strokes[1]: 'width' must be > 0: -1.0"),
        ((*PATH, "points"), "ab", "drawing.strokes[1].points: expected a list"),
        ((*PATH, "points"), {"0": 1}, "drawing.strokes[1].points: expected a list"),
        ((*PATH, "points"), [[1, 2], [1]], "drawing.strokes[1].points[1]: expected a list of 2"),
        ((*PATH, "points"), [[1, 2.0]], "drawing.strokes[1].points[0][1]: expected a whole number"),
        ((*PATH, "points"), [[1, 2**53]], "drawing.strokes[1].points[0][1]: expected a whole number"),
        ((*PATH, "colour"), 1, "drawing.strokes[1]: unknown field 'colour'"),
        (PATH, {"width": 1}, "drawing.strokes[1]: missing field 'points'"),
        (PATH, [], "drawing.strokes[1]: expected an object"),
        (("drawing", "by"), {"ana": "1"}, "drawing.by.ana: expected a whole number"),
        (("drawing",), None, "drawing: expected an object"),
        (("mode",), "INK", "mode: expected one of 'ink', 7"),
        (("mode",), 7.0, "mode: expected one of 'ink', 7"),
        (("tool",), 2.0, "tool: expected one of 'pen', 2"),
        (("tool",), [], "tool: expected one of 'pen', 2"),
        (("tag",), 1.5, "tag: expected a whole number or text"),
        (("flags",), "abc", "flags: expected a list"),
        (("raw",), "not base64!", "raw: expected bytes, in base64"),
        (("on",), 1, "on: expected true or false"),
    ],
)
def test_a_bad_payload_is_named_by_its_path(path: tuple[Any, ...], value: Any, sentence: str) -> None:
    """The error for an invalid payload is one sentence that begins with the path of the fault."""
    payload = good()
    place: Any = payload
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(InvalidEvent) as caught:
        structure(payload, Drew)
    assert str(caught.value) == sentence
    assert caught.value.problem == "invalid"


def test_too_deep() -> None:
    """Nesting of a hundred thousand levels is refused as `too_deep`, without a RecursionError."""
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidEvent) as caught:
        structure({"drawing": deep}, Drew)
    assert caught.value.problem == "too_deep"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["drawing", "strokes", "by", "x"]), inner)
        ),
        max_leaves=20,
    )
)
def test_whatever_comes_is_an_event_or_invalid(payload: Any) -> None:
    """`structure` returns an event or raises `InvalidEvent` for every payload. The event is equal after it was encoded
    and decoded."""
    try:
        event = structure(payload, Drew)
    except InvalidEvent:
        return
    assert structure(JSON.decode(JSON.encode(unstructure(event))), Drew) == event


points = st.lists(st.tuples(st.integers(-MAX_INTEGER, MAX_INTEGER), st.integers(-5, 5)), max_size=4)
strokes = st.lists(st.builds(Stroke, st.floats(1, 1e9), points), max_size=3)
events = st.builds(
    Drew,
    st.builds(Drawing, strokes, st.none() | st.dictionaries(st.text(max_size=5), st.integers(-9, 9))),
    st.sampled_from(["ink", 7]),
    st.sampled_from(Tool),
    st.integers(-9, 9) | st.text(max_size=5),
    st.frozensets(st.text(max_size=3), max_size=3),
    st.binary(max_size=8),
    st.booleans(),
)


@given(events)
def test_what_travels_arrives(event: Drew) -> None:
    """An event is equal after it was encoded and decoded, with JSON and with MessagePack."""
    for codec in (JSON, MESSAGEPACK):
        arrived = structure(codec.decode(codec.encode(unstructure(event))), Drew)
        assert arrived == event
        assert all(type(stroke.width) is float for stroke in arrived.drawing.strokes)


def test_a_number_that_json_lacks_is_not_sent() -> None:
    """Encoding NaN raises an error, because NaN would arrive as null in JSON."""

    @edge.event
    class Moved:
        x: float

    with pytest.raises(ValueError, match="nan can't be encoded"):
        unstructure(Moved(math.nan))


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (complex, "complex is not one of the types that can be sent, which docs/types.md lists; register_type"),
        (list, "list is not one of"),
        (dict[int, str], "only text can be a key, as in JSON, not int"),
        (list[set[Any]], "Any is not one of the types that can be sent, which docs/types.md lists; use edge.Json"),
        (bytes | str, "can't be told apart"),
    ],
)
def test_a_field_that_cant_travel_is_found_at_once(kind: Any, fault: str) -> None:
    """If a field of an event can't be encoded, the definition of the room raises TypeError with the field's name."""
    odd: Any = edge.event("odd")(type("Odd", (), {"__annotations__": {"what": kind}}))
    with pytest.raises(TypeError, match=r"^Odd\.what can't be encoded: .*" + re.escape(fault)):

        class Room(edge.Room[odd, None]):
            pass
