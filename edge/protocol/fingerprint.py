"""The fingerprint in hello and welcome: a short text that differs if the two sides know different events."""

from __future__ import annotations

import enum
import hashlib
import json
import typing
from collections.abc import Iterable
from typing import Any, Literal

from .events import Vocabulary
from .field_kinds import (
    REGISTERED,
    Rename,
    fields_of,
    is_named_tuple,
    is_object,
    is_typed_dict,
    is_union,
    items_of,
    required_items,
    resolve,
    tag_of,
    tagged_members,
    wire_name,
)


def fingerprint(from_player: Vocabulary, to_player: Vocabulary, documents: Iterable[tuple[str, type[Any]]] = ()) -> str:
    """Return 16 hexadecimal digits, a hash of the events' names, deliveries, keys, fields, types and mandatory fields,
    and of the names and fields of the shared documents.

    Args:
      documents: the names on the wire and the classes of the documents.

    Defaults, validators and class names are not part of the hash, because they change nothing on the wire.
    """
    nested: dict[Any, int] = {}
    described = [_vocabulary(from_player, nested), _vocabulary(to_player, nested)]
    by_name = dict(documents)
    if by_name:
        described.append([[name, _type(cls, to_player.rename, nested)] for name, cls in sorted(by_name.items())])
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _vocabulary(vocabulary: Vocabulary, nested: dict[Any, int]) -> Any:
    return [
        [name, kind.delivery, kind.key, _type(kind.cls, kind.rename, nested)]
        for name, kind in sorted(vocabulary.by_name.items())
    ]


def _type(declared: Any, rename: Rename, nested: dict[Any, int]) -> Any:
    """Return a description of a type as JSON data. The description is the same in every process."""
    cls = resolve(declared)
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    if cls in REGISTERED:
        return [cls.__name__, _type(REGISTERED[cls].plain, rename, nested)]
    if is_object(cls):
        if (cls, rename) in nested:
            return nested[cls, rename]
        nested[cls, rename] = len(nested)
        fields = [each for each in fields_of(cls) if each.init]
        return [[wire_name(each, rename), each.required, _type(each.type, rename, nested)] for each in fields]
    if is_typed_dict(cls):
        return [[name, name in required_items(cls), _type(kind, rename, nested)] for name, kind in items_of(cls)]
    if is_named_tuple(cls):
        return ["tuple", [_type(kind, rename, nested) for _, kind in items_of(cls)]]
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return ["one of", sorted(repr(member.value) for member in cls)]
    if origin is Literal:
        return ["one of", sorted(map(repr, args))]
    if is_union(cls):
        tagged = tagged_members(cls)
        members = [[tag_of(arg) if arg in tagged else "", _type(arg, rename, nested)] for arg in map(resolve, args)]
        return ["or", sorted(members, key=json.dumps)]
    if origin is None:
        return "null" if cls in (None, type(None)) else cls.__name__
    return [origin.__name__, ["..." if arg is Ellipsis else _type(arg, rename, nested) for arg in args]]
