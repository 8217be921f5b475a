"""Patches: a mirror that applies the patches of a document equals the document, whatever the author's code changes."""

from __future__ import annotations

import copy
import dataclasses
import json
import types
import typing
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st

import edge
from edge.protocol.codec import JSON, MESSAGEPACK
from edge.protocol.field_types import check_type
from edge.protocol.structure import structure
from edge.shared.differ import Differ, same
from edge.shared.patches import UnfitPatch, apply_patch
from edge.testing.scripts import values_of
from tests.shared.documents import Card, Circle, Disc, Line, Log, Suit

Hundredths = Annotated[float, edge.quantised(0.01)]
Quarters = Annotated[float, edge.quantised(0.25)]
LEAVES = st.sampled_from(
    [
        Hundredths,
        Quarters | None,
        int,
        float,
        str,
        bool,
        bytes,
        int | bool,
        float | None,
        Literal["a", "b"],
        Literal[1, True],
        Suit,
        Suit | None,
    ]
)


@attrs.frozen
class Terrain:
    heights: tuple[Hundredths, ...] = ()
    start: Circle = Circle()


OTHERS = st.sampled_from([Terrain, datetime, Decimal, tuple[int, str], Circle | Line, Circle, Card, Disc])


def made(name: str, prefix: str, kinds: list[Any]) -> Any:
    fields = {f"{prefix}_{number}": attrs.field(type=kind, kw_only=True) for number, kind in enumerate(kinds)}
    return attrs.make_class(name, fields)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def build(kinds: list[Any]) -> Any:
        fields: dict[str, Any] = {
            f"field_{number}": attrs.field(type=kind, kw_only=True) for number, kind in enumerate(kinds)
        }
        return attrs.make_class("Made", fields)

    return st.one_of(
        inner.map(lambda item: types.GenericAlias(list, (item,))),
        inner.map(lambda item: types.GenericAlias(dict, (str, item))),
        st.lists(inner, min_size=1, max_size=4).map(build),
        st.lists(inner, min_size=1, max_size=3).map(build).map(lambda cls: cls | None),
    )


TYPES = st.recursive(LEAVES | OTHERS, containers, max_leaves=6)
DOCUMENTS = st.lists(TYPES, min_size=1, max_size=4).map(lambda kinds: made("Document", "part", kinds))


def change(value: Any, draw: Any, cls: Any) -> Any:
    """Change a value of this type in place, if it has parts, or return another value."""
    origin, args = typing.get_origin(cls), typing.get_args(cls)

    def fresh(kind: Any) -> Any:
        return draw(values_of(kind))

    if draw(st.integers(0, 5)) == 0:
        return fresh(cls)
    if attrs.has(type(value)) and type(value) not in (Circle, Line, Terrain):
        field = draw(st.sampled_from(attrs.fields(attrs.resolve_types(type(value)))))
        setattr(value, field.name, change(getattr(value, field.name), draw, field.type))
        return value
    if origin is list:
        match draw(st.integers(0, 6)):
            case 0:
                value.append(fresh(args[0]))
            case 1 if value:
                value.append(fresh(args[0]))
                del value[: draw(st.integers(1, 2))]
            case 2 if value:
                del value[draw(st.integers(0, len(value) - 1))]
            case 3:
                value.insert(draw(st.integers(0, len(value))), fresh(args[0]))
            case 4:
                value.reverse()
            case 5 if value:
                value.append(value[0])  # the same object twice
            case _ if value:
                at = draw(st.integers(0, len(value) - 1))
                value[at] = change(value[at], draw, args[0])
        return value
    if origin is dict:
        match draw(st.integers(0, 3)):
            case 0:
                value[draw(st.sampled_from("abcd"))] = fresh(args[1])
            case 1 if value:
                del value[draw(st.sampled_from(sorted(value)))]
            case _ if value:
                name = draw(st.sampled_from(sorted(value)))
                value[name] = change(value[name], draw, args[1])
        return value
    return fresh(cls)


def normal(value: Any) -> str:
    """Return a plain value as text that is equal only for equal values of equal types."""
    return json.dumps(value, sort_keys=True, default=bytes.hex)


@hypothesis.given(DOCUMENTS, st.sampled_from(["", "camel"]), st.data())
@hypothesis.settings(max_examples=300, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_a_mirror_equals_its_document(cls: Any, rename: Any, data: st.DataObject) -> None:
    """After any changes of a document of any class, the mirror equals the document, in both encodings."""
    check_type(cls, rename)
    document = data.draw(values_of(cls))
    differ = Differ(cls, rename)
    shadow = differ.shadow(document)
    whole = differ.whole(document)
    mirrors = {codec: codec.decode(codec.encode(whole)) for codec in (JSON, MESSAGEPACK)}
    for _ in range(data.draw(st.integers(1, 5))):
        for _ in range(data.draw(st.integers(0, 3))):
            field = data.draw(st.sampled_from(attrs.fields(attrs.resolve_types(cls))))
            setattr(document, field.name, change(getattr(document, field.name), data.draw, field.type))
        patch = differ.diff(document, shadow)
        whole = differ.whole(document)
        for codec, mirror in mirrors.items():
            before = copy.deepcopy(mirror)
            if patch is not None:
                mirrors[codec] = apply_patch(mirror, codec.decode(codec.encode(patch)))
            assert same(mirror, before), "the previous mirror must not change"
            assert normal(mirrors[codec]) == normal(codec.decode(codec.encode(whole)))
            structure(mirrors[codec], cls, rename=rename)
        assert differ.diff(document, shadow) is None


def patch_of(log: Log, change: Any) -> Any:
    """Return the patch for a change of a document, after a check that it has the expected effect."""
    differ = Differ(Log, "")
    shadow, before = differ.shadow(log), differ.whole(log)
    change(log)
    patch = differ.diff(log, shadow)
    mirror = before if patch is None else apply_patch(before, patch)
    assert structure(mirror, Log) == log
    return patch


def test_a_patch_has_only_what_has_changed() -> None:
    """Patches have the documented form, and are small."""
    log = Log(["a", "b", "c", "d"], [Disc("x"), Disc("y"), Disc("z")], {"x": Disc("x"), "y": Disc("y")})
    assert patch_of(log, lambda log: None) is None
    assert patch_of(log, lambda log: setattr(log, "ratio", 2.5)) == [{"ratio": 2.5}]
    assert patch_of(log, lambda log: log.lines.append("e")) == [{}, {"lines": [4, 0, ["e"]]}]
    assert patch_of(log, lambda log: setattr(log.discs[1], "alive", False)) == [
        {},
        {"discs": [{"1": [{"alive": False}]}]},
    ]
    assert patch_of(log, lambda log: log.discs.pop(0)) == [{}, {"discs": [0, 1, []]}]
    assert patch_of(log, lambda log: log.by_name.pop("x")) == [{}, {"by_name": [{}, {}, ["x"]]}]
    assert patch_of(log, lambda log: setattr(log.by_name["y"], "at_x", 4.0)) == [
        {},
        {"by_name": [{}, {"y": [{"at_x": 4.0}]}]},
    ]
    assert patch_of(log, lambda log: setattr(log, "leader", Disc("z"))) == [
        {"leader": {"name": "z", "at_x": 0.0, "alive": True, "top": None}}
    ]
    assert patch_of(log, lambda log: setattr(log.leader, "top", Card())) == [
        {},
        {"leader": [{"top": {"suit": "hearts", "rank": 1}}]},
    ]
    assert patch_of(log, lambda log: setattr(log, "leader", None)) == [{"leader": None}]
    assert patch_of(log, lambda log: log.seen.update("ab")) == [{"seen": ["a", "b"]}]


def test_a_log_that_shifts_sends_only_the_new_line() -> None:
    """A list that loses its first items and gets new ones at the end is not sent whole, of values and of objects."""

    def shift(log: Log) -> None:
        log.lines.append("new")
        del log.lines[0]
        log.discs.append(Disc("new"))
        del log.discs[0]
        log.discs[3].at_x = 1.0

    log = Log([f"line {number}" for number in range(40)], [Disc(str(number)) for number in range(40)])
    new = {"name": "new", "at_x": 0.0, "alive": True, "top": None}
    assert patch_of(log, shift) == [
        {},
        {"lines": [0, 1, [], 39, 0, ["new"]], "discs": [0, 1, [], 39, 0, [new], {"3": [{"at_x": 1.0}]}]},
    ]


@attrs.define
class Body:
    at_x: Hundredths = 0.0
    at_y: Annotated[float, edge.quantised(5)] | None = None
    trail: list[Quarters] = attrs.field(factory=list)


def test_a_number_with_a_resolution_is_sent_as_a_multiple() -> None:
    """Smaller changes are not sent, the object of the author keeps its value, and a whole number is sent as one."""
    body, differ = Body(1.2345), Differ(Body, "")
    shadow = differ.shadow(body)
    assert differ.whole(body) == {"at_x": 1.23, "at_y": None, "trail": []}
    body.at_x = 1.2349
    assert differ.diff(body, shadow) is None
    body.at_x, body.at_y, body.trail = 1.236, 12.6, [0.3, -0.01]
    patch = differ.diff(body, shadow)
    assert patch == [{"at_x": 1.24, "at_y": 15}, {"trail": [0, 0, [0.25, 0]]}]
    assert JSON.encode(patch[1]) == '{"trail":[0,0,[0.25,0]]}'
    assert structure(differ.whole(body), Body) == Body(1.24, 15.0, [0.25, 0.0])
    assert body.at_x == 1.236
    body.at_x = 1e300
    assert differ.diff(body, shadow) == [{"at_x": 1e300}]


@pytest.mark.parametrize("resolution", [0, -1, float("nan"), float("inf"), 1e-12, 1e300, True, None, "1"])
def test_a_resolution_is_a_positive_decimal_number(resolution: Any) -> None:
    """A resolution that no number of nine digits after the point represents is refused."""
    with pytest.raises(ValueError, match="give a positive number with at most 9 digits"):
        edge.quantised(resolution)


@pytest.mark.parametrize(
    "kind",
    [
        Annotated[int, edge.quantised(5)],
        int | Hundredths,
        Annotated[float | None, edge.quantised(5)],
        Annotated[float, edge.quantised],
        Annotated[Hundredths, edge.quantised(5)],
    ],
)
def test_only_a_float_has_a_resolution(kind: Any) -> None:
    """A resolution of another type is refused at the definition."""
    with pytest.raises(TypeError, match="resolution"):
        check_type(made("Made", "field", [kind]))


@attrs.define
class Island:
    terrain: Terrain = Terrain()


def test_a_frozen_part_is_compared_by_its_identity() -> None:
    """A frozen object is compared with its shadow only if another object has taken its place."""
    differ = Differ(Island, "")
    island = Island(Terrain((0.5,)))
    shadow = differ.shadow(island)
    object.__setattr__(island.terrain, "heights", (1.5,))  # as no author may
    assert differ.diff(island, shadow) is None
    island.terrain = attrs.evolve(island.terrain, start=Circle(2.0))
    assert differ.diff(island, shadow) == [{}, {"terrain": [{"heights": [1.5]}, {"start": [{"radius": 2.0}]}]}]


@attrs.frozen
class NotDeeply:
    scores: list[int] = attrs.field(factory=list)


@attrs.define(unsafe_hash=True)
class Changeable:
    score: int = 0


@attrs.frozen
class HoldsChangeable:
    inner: Changeable = attrs.field(factory=Changeable)


@dataclasses.dataclass(unsafe_hash=True)
class ChangeableData:
    score: int = 0


@attrs.frozen
class HoldsSequence:
    scores: Sequence[int] = attrs.field(factory=list)


@pytest.mark.parametrize("cls", [NotDeeply, HoldsSequence, Changeable, HoldsChangeable, ChangeableData])
def test_a_part_that_can_change_is_compared_by_its_value(cls: Any) -> None:
    """A class that is hashable, or frozen with a part that can change, is not compared by its identity."""
    differ, part = Differ(made("Made", "field", [cls]), ""), cls()
    document: Any = differ._cls(field_0=part)
    shadow = differ.shadow(document)
    if cls in (NotDeeply, HoldsSequence):
        part.scores.append(1)
    elif cls is HoldsChangeable:
        part.inner.score = 1
    else:
        part.score = 1
    assert differ.diff(document, shadow) is not None


def test_a_list_of_new_equal_objects_is_compared_by_value() -> None:
    """A list that the author's code builds anew each time is sent as the changes of its items."""
    log = Log(discs=[Disc("x"), Disc("y")])
    assert patch_of(log, lambda log: setattr(log, "discs", [Disc("x"), Disc("y", 2.0)])) == [
        {},
        {"discs": [{"1": [{"at_x": 2.0}]}]},
    ]


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [([1], [True], [0, 1, [True]]), ([1, 2], [1, 2], None), ([False], [0], [0, 1, [0]])],
)
def test_values_that_python_calls_equal(before: list[Any], after: list[Any], patch: Any) -> None:
    """1 and True are different values, and equal values of equal types are not sent again."""
    made = patch_of(Log(numbers=before), lambda log: setattr(log, "numbers", after))
    assert made == (None if patch is None else [{}, {"numbers": patch}])
    assert str(made) == str(None if patch is None else [{}, {"numbers": patch}])


def test_a_zero_with_another_sign_is_sent() -> None:
    """0.0 and -0.0 are different numbers in JavaScript."""
    (changes,) = patch_of(Log(ratio=0.0), lambda log: setattr(log, "ratio", -0.0))
    assert str(changes["ratio"]) == "-0.0"


def test_an_object_at_two_places_is_compared_at_each() -> None:
    """An object that is in a document twice is sent at both places."""
    disc = Disc("x")
    log = Log(discs=[disc, disc], by_name={"x": disc})
    edit = [{"at_x": 3.0}]
    assert patch_of(log, lambda log: setattr(disc, "at_x", 3.0)) == [
        {},
        {"discs": [{"0": edit, "1": edit}], "by_name": [{}, {"x": edit}]},
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda log: setattr(log, "ratio", "x"), "Log.ratio: expected a number, not 'x'"),
        (lambda log: setattr(log, "ratio", float("nan")), "Log.ratio: nan can't be encoded"),
        (lambda log: log.discs.append(Circle()), r"Log.discs\[1\]: expected a Disc"),
        (lambda log: log.by_name.update({1: Disc()}), "Log.by_name"),
        (lambda log: setattr(log, "discs", (Disc(),)), "Log.discs: expected a list"),
        (lambda log: setattr(log.discs[0], "alive", 1), r"Log.discs\[0\].alive: expected true or false"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_with_its_path(change: Any, text: str) -> None:
    """A value that does not fit its field is an error that names the field."""
    log = Log(discs=[Disc()])
    with pytest.raises((TypeError, ValueError), match=text):
        patch_of(log, change)


@pytest.mark.parametrize(
    ("plain", "patch"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, [{}, {"b": [{}]}]),
        ({"a": 1}, [{}, {}, ["b"]]),
        ({"a": 1}, [{}, {"a": [{}]}]),
        ({"a": 1}, [1]),
        ({"a": 1}, [{}, {}, [], 1]),
        ([1], [0, 2, []]),
        ([1], [-1, 0, []]),
        ([1], [0, True, []]),
        ([1], [{"1": [{}]}]),
        ([1], [{"x": [{}]}]),
        ([1], [0, 1]),
        (1, [{}]),
    ],
)
def test_a_patch_that_does_not_fit(plain: Any, patch: Any) -> None:
    """A patch that does not fit is an error, and changes nothing."""
    before = copy.deepcopy(plain)
    with pytest.raises(UnfitPatch):
        apply_patch(plain, patch)
    assert plain == before
