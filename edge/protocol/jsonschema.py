"""JSON Schemas for the types that can travel: a schema for each class, with its names on the wire in JSON."""

from __future__ import annotations

import copy
import enum
import typing
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from .exported import ExportedClass, ExportedClasses, docstring_of, fields_on_the_wire
from .field_kinds import (
    DECIMAL,
    MAX_DECIMAL_TEXT,
    REGISTERED,
    TAG,
    Json,
    Rename,
    is_named_tuple,
    is_object,
    is_typed_dict,
    is_union,
    items_of,
    resolve,
    tag_of,
    tagged_members,
)
from .field_types import MAX_INTEGER

Schema = dict[str, Any]

SCALARS: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": -MAX_INTEGER, "maximum": MAX_INTEGER},
    float: {"type": "number"},
    str: {"type": "string"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    type(None): {"type": "null"},
    None: {"type": "null"},
    Json: {},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    timedelta: {"type": "number", "description": "seconds"},
    UUID: {"type": "string", "format": "uuid"},
    Decimal: {"type": "string", "maxLength": MAX_DECIMAL_TEXT, "pattern": f"^{DECIMAL.pattern}$"},
}


class Schemas:
    """Collects the schemas of all classes to which a set of types refers.

    Args:
      place: the address of the schemas in their document, such as ``#/$defs/``.
      draft: the draft of JSON Schema. 7 and 2020 describe tuples in different ways.
      twice: see `ExportedClasses`.
    """

    def __init__(self, place: str, draft: Literal[7, 2020], twice: frozenset[tuple[Any, Rename]] = frozenset()) -> None:
        self.classes: ExportedClasses = ExportedClasses(frozenset(), twice)
        self._place = place
        self._draft = draft

    def reference(self, declared: Any, rename: Rename, *, sent: bool) -> Schema:
        """Return the schema of a type, and collect the classes to which it refers.

        Args:
          rename: the names of fields on the wire: see `event`.
          sent: True for a type whose values clients send.
        """
        cls = resolve(declared)
        origin, args = typing.get_origin(cls), typing.get_args(cls)
        if cls in SCALARS:
            return copy.deepcopy(SCALARS[cls])
        if cls in REGISTERED:
            return self.reference(REGISTERED[cls].plain, rename, sent=sent)
        if is_object(cls) or is_typed_dict(cls):
            return self._named(cls, rename, sent=sent)
        if is_named_tuple(cls):
            return self.fixed_array(self.reference(kind, rename, sent=sent) for _, kind in items_of(cls))
        if isinstance(cls, type) and issubclass(cls, enum.Enum):
            return {"enum": [member.value for member in cls]}
        if origin is Literal:
            return {"enum": list(args)}
        if is_union(cls):
            return {"anyOf": [self._member(each, tagged_members(cls), rename, sent=sent) for each in args]}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.reference(args[1], rename, sent=sent)}
        if origin is tuple and Ellipsis not in args:
            return self.fixed_array(self.reference(each, rename, sent=sent) for each in args)
        return {"type": "array", "items": self.reference(args[0], rename, sent=sent)}

    def fixed_array(self, items: Iterable[Schema], *, optional: int = 0) -> Schema:
        """Return the schema of an array with these items, of which the last `optional` ones may be missing."""
        listed = list(items)
        sizes = {"minItems": len(listed) - optional, "maxItems": len(listed)}
        if not listed:
            return {"type": "array", **sizes}
        return {"type": "array", ("items" if self._draft == 7 else "prefixItems"): listed, **sizes}

    def definitions(self) -> Mapping[str, Schema]:
        """Return the schemas of all collected classes, by name, in alphabetical order."""
        written: dict[str, Schema] = {}
        while len(written) < len(self.classes):  # writing a schema may collect further classes
            for each in self.classes:
                if each.name not in written:
                    written[each.name] = self._definition(each)
        return dict(sorted(written.items()))

    def _member(self, declared: Any, tagged: tuple[Any, ...], rename: Rename, *, sent: bool) -> Schema:
        cls = resolve(declared)
        if cls in tagged:
            return self._named(cls, rename, sent=sent, tag=tag_of(cls))
        return self.reference(declared, rename, sent=sent)

    def _named(self, cls: Any, rename: Rename, *, sent: bool, tag: str = "") -> Schema:
        return {"$ref": self._place + self.classes.find(cls, rename, sent=sent, tag=tag).name}

    def _definition(self, each: ExportedClass) -> Schema:
        fields = fields_on_the_wire(each)
        properties = {name: self.reference(kind, each.rename, sent=each.sent) for name, _, kind in fields}
        required = [name for name, optional, _ in fields if not optional]
        if each.tag:
            properties, required = {TAG: {"const": each.tag}, **properties}, [TAG, *required]
        text = docstring_of(each.cls)
        described = {"description": text} if text else {}
        return {
            **described,
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }
