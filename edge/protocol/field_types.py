"""Which types the fields of an event may have: checked when a room is defined."""

from __future__ import annotations

import enum
import types
import typing
from typing import Any, Literal, Union

import attrs

# Types whose values travel as arrays.
LISTED = (list, set, frozenset, tuple)


def check_type(cls: type[Any]) -> None:
    """Check a class, so that a field which can't travel is found when a room is defined, not when an event comes.

    Raises:
      TypeError: naming the class, the field, and what is wrong with its type.
    """
    _check_fields(cls, set())


def check_key(cls: type[Any], field: str) -> None:
    """Check that the values of a field can tell events apart: see `event`. The class has been checked.

    Raises:
      TypeError: they can't be the key of a dict.
    """
    kind = attrs.fields_dict(cls)[field].type
    if typing.get_origin(kind) in (list, set, dict) or attrs.has(kind):  # type: ignore[arg-type]  # has takes anything
        raise TypeError(f"{cls.__name__}.{field} can't be a key: text, numbers, Literal or Enum can")


def _check_fields(cls: type[Any], seen: set[type[Any]]) -> None:
    if cls in seen:
        return
    seen.add(cls)
    try:
        attrs.resolve_types(cls)
    except NameError as exc:
        raise TypeError(f"{cls.__name__} can't travel: {exc}") from exc
    for attribute in attrs.fields(cls):
        fault = _type_fault(attribute.type, seen)
        if fault:
            raise TypeError(f"{cls.__name__}.{attribute.name} can't travel: {fault}")


def _type_fault(cls: Any, seen: set[type[Any]]) -> str:
    """Say why values of a type cannot be sent; empty if they can."""
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    if cls in (int, float, str, bool, bytes, None, type(None)) or origin is Literal:
        return ""
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return ""
    if attrs.has(cls):
        _check_fields(cls, seen)
        return ""
    if origin in (Union, types.UnionType):
        objects = sum(attrs.has(member) or typing.get_origin(member) is dict for member in args)
        lists = sum(typing.get_origin(member) in LISTED for member in args)
        if objects > 1 or lists > 1 or {bytes, str} <= set(args):
            return f"the members of {cls} can't be told apart"
    elif origin is dict and args[0] is not str:
        return f"only text can be a key, as in JSON, not {args[0].__name__}"
    elif origin not in (*LISTED, dict):
        name = getattr(cls, "__name__", cls)
        return f"{name} is not one of numbers, text, bool, bytes, Literal, Enum, list[...], set[...], frozenset[...], \
tuple[...], dict[str, ...], unions and attrs classes of these"
    return next(filter(None, (_type_fault(arg, seen) for arg in args if arg is not Ellipsis)), "")
