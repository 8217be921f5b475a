"""Plain data into typed values and back, through cattrs, without any coercion.

cattrs by itself turns "12" into 12 and a string into a list of letters; every hook here refuses what is not
already the right shape. The converter stops at the first fault and says nothing of where it was, which keeps a hostile
payload cheap (cattrs' own detailed validation costs 200 times as much); only then `_find_fault` looks for the path.
"""

from __future__ import annotations

import base64
import enum
import functools
import itertools
import math
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar, Union

import attrs
import cattrs

from ..errors import InvalidEvent
from .field_types import LISTED

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]

# JavaScript's safe integers; larger ones also make Python's hashes collide on demand.
MAX_INTEGER = 2**53 - 1

# Deeper than any drawing, shallower than any stack.
MAX_DEPTH = 32

# Members of one set with the same hash. A sender can choose tuples, numbers and attrs instances that hash alike, and
# adding n of them to a set takes n² comparisons. Honest values reach two or three.
MAX_SAME_HASH = 16

# The hashes of these can't be chosen: text and bytes are salted, whole numbers are bounded.
SALTED = (str, bytes, int, bool)

# Keys that poison objects in JavaScript when somebody merges them carelessly.
POISON_KEYS = frozenset({"__proto__", "constructor", "prototype"})


class Mismatch(ValueError):
    """A value is not what its type says; the text says what was expected."""


def structure(value: object, cls: type[T]) -> T:
    """Make a `cls` of plain data, or say why not.

    Raises:
      InvalidEvent: with the path of the first fault, and a sentence.
    """
    hook, bottomless = _hook_of(cls)
    if bottomless:
        _check_depth(value)
    try:
        made: T = hook(value, cls)
        return made
    except Exception:  # an attrs validator may raise anything; all of it means the payload is refused
        _check_depth(value)
        fault = _find_fault(value, cls)
        raise InvalidEvent("invalid", fault.sentence, fault.path.removeprefix(".")) from None


def unstructure(value: object) -> Any:
    """The plain data of a typed value.

    Raises:
      ValueError: a float is NaN or infinite, which JSON can't carry.
    """
    return _unhook_of(type(value))(value)


def _find_hook(cls: Any) -> tuple[Hook, bool]:
    """What structures a class, and whether its values may nest without end: only then their depth has to be looked at
    before, since a value that fits any other class is as deep as the class is."""
    return _converter.get_structure_hook(cls), _bottomless(cls)


def _find_unhook(cls: Any) -> Callable[[Any], Any]:
    return _converter.get_unstructure_hook(cls)


# cattrs finds these by several steps at each call, which cost as much as the hook of a small event.
_hook_of: Callable[[Any], tuple[Hook, bool]] = functools.cache(_find_hook)
_unhook_of: Callable[[Any], Callable[[Any], Any]] = functools.cache(_find_unhook)


def _bottomless(cls: Any, above: tuple[Any, ...] = ()) -> bool:
    """Whether a type holds itself, or one that does."""
    if cls in above:
        return True
    if attrs.has(cls):
        above, below = (*above, cls), [each.type for each in attrs.fields(attrs.resolve_types(cls))]
    else:
        below = list(typing.get_args(cls))
    return any(_bottomless(each, above) for each in below)


def _check_depth(value: object) -> None:
    if _deeper_than(value, MAX_DEPTH):
        raise InvalidEvent("too_deep", f"more than {MAX_DEPTH} levels deep")


def _exactly(cls: type[Any], expected: str) -> Hook:
    def hook(value: Any, _: Any) -> Any:
        if type(value) is not cls:
            raise Mismatch(expected)
        return value

    return hook


def _int(value: Any, _: Any) -> int:
    if type(value) is not int or not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise Mismatch("a whole number")
    return value


def _float(value: Any, _: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise Mismatch("a number")
    return float(value)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} can't travel: JSON has no such number")
    return value


def _safe_integer(value: int) -> int:
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise ValueError(f"{value} can't travel: JavaScript has no such integer")
    return value


def _bytes(value: Any, _: Any) -> bytes:
    if type(value) is bytes:
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise Mismatch("bytes, in base64") from None


def _listed(make: Callable[[list[Any]], Any], cls: Any, converter: cattrs.Converter) -> Hook:
    (item,) = typing.get_args(cls)[:1]
    inner = converter.get_structure_hook(item)
    if make in (set, frozenset) and item not in SALTED:
        make = functools.partial(_set_of, make)

    def hook(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise Mismatch("a list")
        return make([inner(each, item) for each in value])

    return hook


def _set_of(make: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    """A set of values whose hashes a sender could choose."""
    same_hash: dict[int, list[Any]] = {}
    for item in items:
        others = same_hash.setdefault(hash(item), [])
        if item not in others:
            if len(others) == MAX_SAME_HASH:
                raise Mismatch(f"a set with at most {MAX_SAME_HASH} members of one hash")
            others.append(item)
    return make(items)


def _tuple(cls: Any, converter: cattrs.Converter) -> Hook:
    items = typing.get_args(cls)
    if len(items) == 2 and items[1] is Ellipsis:
        return _listed(tuple, cls, converter)
    inner = [(converter.get_structure_hook(item), item) for item in items]

    def hook(value: Any, _: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(inner):
            raise Mismatch(f"a list of {len(inner)}")
        return tuple([structured(each, item) for each, (structured, item) in zip(value, inner, strict=True)])

    return hook


def _mapping(cls: Any, converter: cattrs.Converter) -> Hook:
    key, item = typing.get_args(cls)
    check, inner = converter.get_structure_hook(str), converter.get_structure_hook(item)

    def hook(value: Any, _: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise Mismatch("an object")
        if POISON_KEYS & value.keys():
            raise Mismatch("other keys than " + ", ".join(sorted(POISON_KEYS & value.keys())))
        return {check(name, key): inner(each, item) for name, each in value.items()}

    return hook


def _choice(values: list[Any], results: list[Any]) -> Hook:
    allowed = {(type(value), value): result for value, result in zip(values, results, strict=True)}
    expected = "one of " + ", ".join(repr(value) for value in values)

    def hook(value: Any, _: Any) -> Any:
        try:
            return allowed[type(value), value]
        except (KeyError, TypeError):
            raise Mismatch(expected) from None

    return hook


def _union(cls: Any, converter: cattrs.Converter) -> Hook:
    """Only the members that a value of its plain type could fit are tried; whole numbers before numbers."""
    members = sorted(typing.get_args(cls), key=lambda member: member is float)
    expected = " or ".join(_expected(member) for member in members)
    candidates: dict[type[Any], list[tuple[Hook, Any]]] = {}
    for member in members:
        for plain in _plain_types(member):
            candidates.setdefault(plain, []).append((converter.get_structure_hook(member), member))

    def hook(value: Any, _: Any) -> Any:
        for structured, member in candidates.get(type(value), ()):
            try:
                return structured(value, member)
            except Exception:  # noqa: S112  # this member does not fit; the last line speaks for all of them
                continue
        raise Mismatch(expected)

    return hook


def _plain_types(cls: Any) -> set[type[Any]]:
    """The types of the plain values that may be structured as this type, before a hook looks at them."""
    origin = typing.get_origin(cls)
    if origin is Literal:
        return {type(value) for value in typing.get_args(cls)}
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return {type(member.value) for member in cls}
    if origin in (Union, types.UnionType):
        return {plain for member in typing.get_args(cls) for plain in _plain_types(member)}
    if origin in LISTED:
        return {list}
    if origin is dict or attrs.has(cls):
        return {dict}
    others: dict[Any, set[type[Any]]] = {float: {int, float}, bytes: {bytes, str}, None: {type(None)}}
    return others.get(cls, {cls})


def _expected(cls: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    return names.get(cls, str(getattr(cls, "__name__", cls)))


def _origin_in(*origins: Any) -> Callable[[Any], bool]:
    return lambda cls: typing.get_origin(cls) in origins


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False, unstruct_collection_overrides={})
    converter.register_structure_hook(bool, _exactly(bool, "true or false"))
    converter.register_structure_hook(int, _int)
    converter.register_unstructure_hook(int, _safe_integer)
    converter.register_structure_hook(float, _float)
    converter.register_unstructure_hook(float, _finite)
    converter.register_structure_hook(str, _exactly(str, "text"))
    converter.register_structure_hook(bytes, _bytes)
    converter.register_structure_hook_func(lambda cls: cls in (None, type(None)), _exactly(type(None), "null"))
    for origin in (list, set, frozenset):
        converter.register_structure_hook_factory(_origin_in(origin), functools.partial(_listed, origin))
    converter.register_structure_hook_factory(_origin_in(tuple), _tuple)
    converter.register_structure_hook_factory(_origin_in(dict), _mapping)
    converter.register_structure_hook_factory(_origin_in(Union, types.UnionType), _union)
    converter.register_structure_hook_factory(
        _origin_in(Literal), lambda cls: _choice(list(typing.get_args(cls)), list(typing.get_args(cls)))
    )
    converter.register_structure_hook_factory(
        lambda cls: isinstance(cls, type) and issubclass(cls, enum.Enum),
        lambda cls: _choice([member.value for member in cls], list(cls)),
    )
    return converter


_converter = _make_converter()


class _Fault(Exception):  # it is raised in this file only
    """The first fault in a value."""

    def __init__(self, sentence: str, path: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.path = path


def _find_fault(value: object, cls: Any) -> _Fault:
    """Find the first fault of a value that does not fit its type."""
    try:
        _retrace(value, cls)
    except _Fault as fault:
        return fault
    return _Fault("not valid")


def _retrace(value: object, cls: Any) -> Any:
    """Structure a value once more, step by step where it does not fit.

    The cost grows with the size of the value and with the depth of its type. The values of a type that holds itself
    may be deeper: each part of those is structured once.

    Raises:
      _Fault: the first fault.
    """
    args, origin = typing.get_args(cls), typing.get_origin(cls)
    if attrs.has(cls):
        return _retrace_object(value, cls)
    if origin in LISTED and isinstance(value, list):
        fixed = origin is tuple and Ellipsis not in args
        if not fixed or len(args) == len(value):
            kinds = args if fixed else itertools.repeat(args[0])
            children = _retrace_children("[{}]", enumerate(value), kinds)
            return _made(functools.partial(_set_of, origin) if origin in (set, frozenset) else origin, children)
    elif origin is dict and isinstance(value, dict) and not POISON_KEYS & value.keys():
        children = _retrace_children(".{:.64}", value.items(), itertools.repeat(args[1]))
        return dict(zip(value, children, strict=True))
    elif origin in (Union, types.UnionType) and value is not None:
        members = [member for member in args if member is not type(None)]
        if len(members) == 1:
            return _retrace(value, members[0])
    return _made(lambda plain: _hook_of(cls)[0](plain, cls), value)


def _retrace_object(value: object, cls: Any) -> Any:
    if type(value) is not dict:
        raise _Fault("expected an object")
    fields = {attribute.name: attribute for attribute in attrs.fields(attrs.resolve_types(cls))}
    known = {name: attribute for name, attribute in fields.items() if name in value}
    steps = ((name, value[name]) for name in known)
    children = _retrace_children(".{}", steps, (attribute.type for attribute in known.values()))
    for name in value:
        if name not in fields:
            raise _Fault(f"unknown field {name[:64]!r}")
    for name, attribute in fields.items():
        if name not in value and attribute.default is attrs.NOTHING:
            raise _Fault(f"missing field {name!r}")
    arguments = {attribute.alias: child for attribute, child in zip(known.values(), children, strict=True)}
    return _made(lambda arguments: cls(**arguments), arguments)


def _retrace_children(step: str, children: Iterable[tuple[object, object]], kinds: Iterable[Any]) -> list[Any]:
    made, pairs = [], [*zip(children, kinds, strict=False)]
    for number, ((name, child), cls) in enumerate(pairs, 1):
        hook, bottomless = _hook_of(cls)
        step_in = bottomless or number == len(pairs)  # if the others fit, this is the one that does not
        try:
            made.append(_retrace(child, cls) if step_in else hook(child, cls))
        except Exception as exc:
            fault = exc if isinstance(exc, _Fault) else _find_fault(child, cls)
            raise _Fault(fault.sentence, step.format(name) + fault.path) from None
    return made


def _made(make: Callable[[Any], Any], plain: Any) -> Any:
    """Call a hook, or a class with its validators.

    Raises:
      _Fault: it raises.
    """
    try:
        return make(plain)
    except Mismatch as exc:
        raise _Fault(f"expected {exc}") from None
    except ValueError as exc:
        raise _Fault(str(exc)) from None
    except Exception:  # an attrs validator may raise anything
        raise _Fault("not valid") from None


def _deeper_than(value: object, levels: int) -> bool:
    """Whether lists and objects nest deeper than this, without recursing into them."""
    layer = [value]
    while layer and levels >= 0:
        below: list[object] = []
        for each in layer:
            if type(each) is dict:
                below.extend(child for child in each.values() if type(child) in (dict, list))
            elif type(each) is list:
                below.extend(child for child in each if type(child) in (dict, list))
        layer = below
        levels -= 1
    return bool(layer)
