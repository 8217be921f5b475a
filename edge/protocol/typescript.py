"""TypeScript for the types that can travel: an interface for each class, with its names on the wire."""

from __future__ import annotations

import enum
import inspect
import json
import re
import typing
from collections.abc import Iterator
from typing import Any, Literal

import attrs

from .field_kinds import (
    REGISTERED,
    TAG,
    Field,
    Json,
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
from .field_types import parts_of

SCALARS: dict[Any, str] = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    bytes: "string",
    type(None): "null",
    None: "null",
    Json: "Json",
}
# Names that an interface cannot have, or that would hide a type of TypeScript.
TAKEN = frozenset(
    re.findall(
        r"\w+",
        """
        Json Rooms Array Boolean Date Function Map Number Object Promise Readonly ReadonlyArray Record Set String Symbol
        any arguments await bigint boolean break case catch class const continue debugger default delete do else enum
        eval export extends false finally for function if implements import in instanceof interface let never new null
        number object package private protected public return static string super switch symbol this throw true try type
        typeof undefined unknown var void while with yield
        """,
    )
)
JSON_TYPE = "export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };"


@attrs.define
class _Interface:
    name: str
    cls: Any
    rename: Rename
    sent: bool
    """True if clients send the objects. Then they may leave out fields with a default."""


class Interfaces:
    """Collects the interfaces of all classes to which a set of types refers.

    A class that clients receive and send has two interfaces if its objects have fields that may be left out.

    Args:
      twice: the classes with two interfaces, from an earlier collection. Their names end on ``ToSend`` and on nothing.
    """

    def __init__(self, twice: frozenset[tuple[Any, Rename]] = frozenset()) -> None:
        self._twice = twice
        self._found: dict[tuple[Any, Rename, bool], _Interface] = {}
        self._names: set[str] = set(TAKEN)
        self._uses_json = False

    def reserve(self, name: str) -> str:
        """Return a name for a declaration: the given name, with a number if it is taken."""
        free, number = name, 2
        while free in self._names:
            free, number = f"{name}{number}", number + 1
        self._names.add(free)
        return free

    def reference(self, declared: Any, rename: Rename, *, sent: bool) -> str:
        """Return the TypeScript of a type, and collect the classes to which it refers.

        Args:
          rename: the names of fields on the wire: see `event`.
          sent: True for a type whose values clients send.
        """
        cls = resolve(declared)
        origin, args = typing.get_origin(cls), typing.get_args(cls)
        if cls in SCALARS:
            self._uses_json |= cls is Json
            return SCALARS[cls]
        if cls in REGISTERED:
            return self.reference(REGISTERED[cls].plain, rename, sent=sent)
        if is_object(cls) or is_typed_dict(cls):
            return self._named(cls, rename, sent=sent)
        if is_named_tuple(cls):
            return self._tuple([kind for _, kind in items_of(cls)], rename, sent=sent)
        if isinstance(cls, type) and issubclass(cls, enum.Enum):
            return " | ".join(json.dumps(member.value) for member in cls)
        if origin is Literal:
            return " | ".join(json.dumps(value) for value in args)
        if is_union(cls):
            return " | ".join(self._members(cls, rename, sent=sent))
        if origin is dict:
            return f"Readonly<Record<string, {self.reference(args[1], rename, sent=sent)}>>"
        if origin is tuple and Ellipsis not in args:
            return self._tuple(args, rename, sent=sent)
        return f"ReadonlyArray<{self.reference(args[0], rename, sent=sent)}>"

    @property
    def twice(self) -> frozenset[tuple[Any, Rename]]:
        """The classes with two interfaces."""
        return frozenset((cls, rename) for cls, rename, sent in self._found if (cls, rename, not sent) in self._found)

    def declarations(self) -> list[str]:
        """Return the declarations of all collected classes, in alphabetical order."""
        written: dict[str, str] = {}
        while len(written) < len(self._found):  # writing an interface may collect further classes
            for each in [*self._found.values()]:
                if each.name not in written:
                    written[each.name] = self._declaration(each)
        return [*([JSON_TYPE] if self._uses_json else []), *(written[name] for name in sorted(written))]

    def _tuple(self, kinds: typing.Iterable[Any], rename: Rename, *, sent: bool) -> str:
        return f"readonly [{', '.join(self.reference(kind, rename, sent=sent) for kind in kinds)}]"

    def _members(self, cls: Any, rename: Rename, *, sent: bool) -> list[str]:
        tagged = tagged_members(cls)
        members = []
        for each in typing.get_args(cls):
            text = self.reference(each, rename, sent=sent)
            if resolve(each) in tagged:
                tag = f"{{ readonly {TAG}: {json.dumps(tag_of(resolve(each)))} }}"
                text = f"({tag} & {text})" if _fields(resolve(each), rename) else tag
            members.append(text)
        return members

    def _named(self, cls: Any, rename: Rename, *, sent: bool) -> str:
        sent = sent and _has_optional(cls)
        rename = rename if any(wire_name(each, rename) != wire_name(each, "") for each in _all_fields(cls)) else ""
        found = self._found.get((cls, rename, sent))
        if found is None:
            made = typing.get_origin(cls) or cls
            arguments = "".join(
                re.sub(r"\W", "", getattr(each, "__name__", str(each))).title() for each in typing.get_args(cls)
            )
            end = "ToSend" if sent and (cls, rename) in self._twice else ""
            name = self.reserve(made.__name__ + arguments + end)
            found = self._found[cls, rename, sent] = _Interface(name, cls, rename, sent)
            self._declaration(found)
        return found.name

    def _declaration(self, interface: _Interface) -> str:
        cls, rename, sent = interface.cls, interface.rename, interface.sent
        lines = [*comment_of(cls), f"export interface {interface.name} {{"]
        fields = _fields(cls, rename)
        for name, optional, kind in fields:
            key = name if re.fullmatch(r"[A-Za-z_$][\w$]*", name) else json.dumps(name)
            mark = "?" if optional and (sent or is_typed_dict(cls)) else ""
            lines.append(f"  readonly {key}{mark}: {self.reference(kind, rename, sent=sent)};")
        if not fields:  # otherwise, TypeScript would accept objects with any fields
            lines.append("  readonly [name: string]: never;")
        return "\n".join([*lines, "}"])


def _fields(cls: Any, rename: Rename) -> list[tuple[str, bool, Any]]:
    """Return the names on the wire of an object's fields, whether a sender may leave them out, and their types."""
    if is_typed_dict(cls):
        needed = required_items(cls)
        return [(name, name not in needed, kind) for name, kind in items_of(cls)]
    return [(wire_name(each, rename), not each.required, each.type) for each in fields_of(cls) if each.init]


def _has_optional(cls: Any) -> bool:
    """Return whether an object, or a part of it, is of a class with fields that a sender may leave out."""
    return any(not each.required for each in _all_fields(cls))


def _all_fields(cls: Any) -> Iterator[Field]:
    """Yield the fields of an object and of all objects in it."""
    for each in parts_of(cls):
        if is_object(each) and each not in REGISTERED:
            yield from (field for field in fields_of(each) if field.init)


def comment_of(cls: Any, indent: str = "") -> list[str]:
    """Return the lines of a comment with the docstring of a class; none if the class has no docstring of its own."""
    made = typing.get_origin(cls) or cls
    text = inspect.cleandoc(vars(made).get("__doc__") or "")
    if not text or text.startswith(f"{made.__name__}("):  # a dataclass gets a docstring by itself
        return []
    lines = text.replace("*/", "*\\/").split("\n")
    if len(lines) == 1:
        return [f"{indent}/** {lines[0]} */"]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */"]
