"""TypeScript for the types that can travel: an interface for each class, with its names on the wire."""

from __future__ import annotations

import enum
import json
import re
import typing
from typing import Any, Literal

from .exported import ExportedClass, ExportedClasses, docstring_of, fields_on_the_wire
from .field_kinds import (
    REGISTERED,
    TAG,
    Json,
    Rename,
    fields_of,
    is_named_tuple,
    is_object,
    is_typed_dict,
    is_union,
    items_of,
    resolve,
    tag_of,
    tagged_members,
)

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
        typeof undefined unknown var vocabularies void while with yield
        """,
    )
)
JSON_TYPE = "export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };"


class Interfaces:
    """Collects the interfaces of all classes to which a set of types refers.

    Args:
      twice: see `ExportedClasses`.
    """

    def __init__(self, twice: frozenset[tuple[Any, Rename]] = frozenset()) -> None:
        self.classes: ExportedClasses = ExportedClasses(TAKEN, twice)
        self._uses_json = False

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
            return self.classes.find(cls, rename, sent=sent).name
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

    def declarations(self) -> list[str]:
        """Return the declarations of all collected classes, in alphabetical order."""
        written: dict[str, str] = {}
        while len(written) < len(self.classes):  # writing an interface may collect further classes
            for each in self.classes:
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
                text = f"({tag} & {text})" if _has_fields(resolve(each)) else tag
            members.append(text)
        return members

    def _declaration(self, each: ExportedClass) -> str:
        lines = [*comment_of(each.cls), f"export interface {each.name} {{"]
        fields = fields_on_the_wire(each)
        for name, optional, kind in fields:
            key = name if re.fullmatch(r"[A-Za-z_$][\w$]*", name) else json.dumps(name)
            mark = "?" if optional else ""
            lines.append(f"  readonly {key}{mark}: {self.reference(kind, each.rename, sent=each.sent)};")
        if not fields:  # otherwise, TypeScript would accept objects with any fields
            lines.append("  readonly [name: string]: never;")
        return "\n".join([*lines, "}"])


def _has_fields(cls: Any) -> bool:
    return any(each.init for each in fields_of(cls))


def comment_of(cls: Any) -> list[str]:
    """Return the lines of a comment with the docstring of a class; none if the class has no docstring of its own."""
    lines = docstring_of(cls).replace("*/", "*\\/").split("\n")
    if len(lines) == 1:
        return [f"/** {lines[0]} */"] if lines[0] else []
    return ["/**", *(f" * {line}".rstrip() for line in lines), " */"]
