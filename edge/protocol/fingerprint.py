"""The fingerprint in hello and welcome: a short text that differs if the two sides know different events."""

from __future__ import annotations

import enum
import hashlib
import json
import types
import typing
from typing import Any, Literal, Union

import attrs

from .events import Vocabulary


def fingerprint(from_player: Vocabulary, to_player: Vocabulary) -> str:
    """Return 16 hexadecimal digits, a hash of the events' names, deliveries, keys, fields, types and mandatory fields.

    Defaults, validators and class names are not part of the hash, because they change nothing on the wire.
    """
    nested: dict[Any, int] = {}
    described = [_vocabulary(from_player, nested), _vocabulary(to_player, nested)]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _vocabulary(vocabulary: Vocabulary, nested: dict[Any, int]) -> Any:
    return [
        [name, kind.delivery, kind.key, _type(kind.cls, nested)] for name, kind in sorted(vocabulary.by_name.items())
    ]


def _type(cls: Any, nested: dict[Any, int]) -> Any:
    """Return a description of a type as JSON data. The description is the same in every process."""
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    if attrs.has(cls):
        if cls in nested:
            return nested[cls]
        nested[cls] = len(nested)
        fields = [each for each in attrs.fields(attrs.resolve_types(cls)) if each.init]
        return [[each.name, each.default is attrs.NOTHING, _type(each.type, nested)] for each in fields]
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return ["one of", sorted(repr(member.value) for member in cls)]
    if origin is Literal:
        return ["one of", sorted(map(repr, args))]
    if origin in (Union, types.UnionType):
        return ["or", sorted((_type(arg, nested) for arg in args), key=json.dumps)]
    if origin is None:
        return "null" if cls in (None, type(None)) else cls.__name__
    return [origin.__name__, ["..." if arg is Ellipsis else _type(arg, nested) for arg in args]]
