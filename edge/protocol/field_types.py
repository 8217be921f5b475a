"""Check the types of an event's fields when a room is defined.

A type is accepted if each of its values can be written as JSON and MessagePack and read back as the same value.
"""

from __future__ import annotations

import enum
import functools
import itertools
import types
import typing
from typing import Any, Literal, Union

import attrs

# The largest safe integer of JavaScript. With larger integers, a sender could also choose values with equal hashes.
MAX_INTEGER = 2**53 - 1

# The maximum number of levels of nesting. Real events need fewer levels. Python's stack allows far more.
MAX_DEPTH = 32

# Types whose values are encoded as arrays.
LISTED = (list, set, frozenset, tuple)

# Types of the constants of a Literal or an Enum. Constants are compared by type and value: 1 is not True.
CONSTANTS = (str, int, bool)


def check_type(cls: type[Any]) -> None:
    """Check that every field of a class has a type whose values can be encoded.

    Raises:
      TypeError: a field has no such type. The message names the class, the field, and the fault.
    """
    _check_fields(cls, set())


def check_key(cls: type[Any], field: str) -> None:
    """Check that the values of a field can be the key of a ``latest`` event: see `event`.

    `check_type` must have accepted the class.

    Raises:
      TypeError: the values are not hashable by value, or are attrs objects.
    """
    kind = attrs.fields_dict(cls)[field].type
    if not is_hashable(kind) or attrs.has(kind):  # type: ignore[arg-type]  # attrs.has accepts any object
        raise TypeError(f"{cls.__name__}.{field} can't be a key: use text, a number, a Literal or an Enum")


@functools.cache
def is_hashable(cls: Any) -> bool:
    """Return whether every value of a checked type can be hashed by its content, and is therefore immutable."""
    return _is_hashable(cls, ())


def _is_hashable(cls: Any, above: tuple[Any, ...]) -> bool:
    origin = typing.get_origin(cls)
    if origin in (list, set, dict):
        return False
    if cls in above:  # a recursive type is hashable if its other parts are
        return True
    if attrs.has(cls):
        by_value = getattr(cls, "__hash__", None) is not None and cls.__eq__ is not object.__eq__
        return by_value and all(_is_hashable(each.type, (*above, cls)) for each in attrs.fields(cls))
    inner = typing.get_args(cls) if origin is not Literal else ()
    return all(_is_hashable(each, above) for each in inner if each is not Ellipsis)


def holds_itself(cls: Any, above: tuple[Any, ...] = ()) -> bool:
    """Return whether a type is recursive or contains a recursive type. Its values may then nest to any depth."""
    if cls in above:
        return True
    if attrs.has(cls):
        above, below = (*above, cls), [each.type for each in attrs.fields(attrs.resolve_types(cls))]
    else:
        below = list(typing.get_args(cls))
    return any(holds_itself(each, above) for each in below)


def deeper_than(value: object, levels: int) -> bool:
    """Return whether lists and dicts nest deeper than `levels`. Use no recursion, which could exhaust the stack."""
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


def _check_fields(cls: type[Any], seen: set[type[Any]]) -> None:
    if cls in seen:
        return
    seen.add(cls)
    try:
        attrs.resolve_types(cls)
    except NameError as exc:
        raise TypeError(f"{cls.__name__} can't be encoded: {exc}") from exc
    _check_order(cls)
    for attribute in attrs.fields(cls):
        fault = "it has no type" if attribute.type is None else _type_fault(attribute.type, seen)
        if fault:
            raise TypeError(f"{cls.__name__}.{attribute.name} can't be encoded: {fault}")


def _check_order(cls: type[Any]) -> None:
    """Check that no positional mandatory field follows a keyword-only field, because cattrs would pass it by position
    after a keyword."""
    mandatory = [each for each in attrs.fields(cls) if each.init and each.default is attrs.NOTHING]
    for first, second in itertools.pairwise(mandatory):
        if first.kw_only and not second.kw_only:
            text = f"it comes after {first.name}, which is keyword-only: make it keyword-only, too"
            raise TypeError(f"{cls.__name__}.{second.name} can't be encoded: {text}")


def _type_fault(cls: Any, seen: set[type[Any]]) -> str:
    """Return the reason why values of a type can't be encoded; empty if they can be encoded."""
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    if cls in (int, float, str, bool, bytes, None, type(None)):
        return ""
    if origin is Literal:
        return _constants_fault([arg for arg in args if arg is not None])
    if _is_enum(cls):
        if issubclass(cls, enum.Flag):
            return f"members of the Flag {cls.__name__} can be combined: use set[...] of an Enum instead"
        return _constants_fault([member.value for member in cls])
    if attrs.has(cls):
        _check_fields(cls, seen)
        return ""
    if origin in (Union, types.UnionType):
        if any(_alike(one, other) for one, other in itertools.combinations(args, 2)):
            return f"the members of {cls} can't be told apart once they are encoded"
    elif origin is dict and args[0] is not str:
        return f"only text can be a key, as in JSON, not {getattr(args[0], '__name__', args[0])}"
    elif origin not in (*LISTED, dict):
        name = getattr(cls, "__name__", cls)
        return f"{name} is not one of numbers, text, bool, bytes, Literal, Enum, list[...], set[...], frozenset[...], \
tuple[...], dict[str, ...], unions and attrs classes of these"
    fault = next(filter(None, (_type_fault(arg, seen) for arg in args if arg is not Ellipsis)), "")
    if not fault and origin in (set, frozenset) and not is_hashable(args[0]):
        return f"values of {args[0]} can't be in a set: they are not hashable"
    return fault


def _constants_fault(values: list[Any]) -> str:
    """Return the reason why one of these constants is not supported; empty if all are supported."""
    for value in values:
        if type(value) not in CONSTANTS:
            return f"{value!r} is not text, a whole number or a bool"
        if type(value) is int and abs(value) > MAX_INTEGER:
            return f"{value} is beyond JavaScript's safe integers"
        if type(value) is str and not _is_well_formed(value):
            return f"{value!r} is not well-formed text"
    return "" if values else "it has no members"


def _is_well_formed(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_enum(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, enum.Enum)


def _alike(one: Any, other: Any) -> bool:
    """Return whether a value of one type may have the same encoding as a value of the other type."""
    origins = (typing.get_origin(one), typing.get_origin(other))
    if all(origin in LISTED for origin in origins) or (_is_object(one) and _is_object(other)):
        return True
    for this, that in ((one, other), (other, one)):
        kinds = {type(value) for value in _constants(that)} or {that}
        if this is bytes and str in kinds:
            return True
        if _is_enum(this) and (set(map(_typed, _constants(this))) & set(map(_typed, _constants(that)))):
            return True
        if _is_enum(this) and any(
            type(value) is that or (type(value), that) == (int, float) for value in _constants(this)
        ):
            return True
    return False


def _is_object(cls: Any) -> bool:
    return attrs.has(cls) or typing.get_origin(cls) is dict


def _constants(cls: Any) -> list[Any]:
    """Return the encoded values of a Literal or an Enum; an empty list for other types."""
    if typing.get_origin(cls) is Literal:
        return list(typing.get_args(cls))
    return [member.value for member in cls] if _is_enum(cls) else []


def _typed(value: object) -> tuple[type[Any], object]:
    return type(value), value
