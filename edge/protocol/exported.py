"""The classes that an export describes, with one name for each: see `typescript.py` and `jsonschema.py`."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

import attrs

from .field_kinds import (
    REGISTERED,
    Field,
    Rename,
    fields_of,
    is_object,
    is_typed_dict,
    items_of,
    required_items,
    wire_name,
)
from .field_types import parts_of


@attrs.frozen(eq=False)
class ExportedClass:
    """A class that an export describes."""

    name: str
    cls: Any
    rename: Rename
    sent: bool
    """True if clients send the objects. Then they may leave out fields with a default."""
    tag: str
    """The name of the class in the field `TAG`, for an object in a union of classes; else empty."""


class ExportedClasses:
    """The classes that were found in a set of types.

    A class that clients receive and send has two entries if its objects have fields that may be left out.

    Args:
      taken: names that no class may have.
      twice: the classes with two entries, which an earlier search found. The name of the second ends in ``ToSend``.
    """

    def __init__(self, taken: frozenset[str], twice: frozenset[tuple[Any, Rename]]) -> None:
        self._names = set(taken)
        self._twice = twice
        self._found: dict[tuple[Any, Rename, bool, str], ExportedClass] = {}

    @property
    def twice(self) -> frozenset[tuple[Any, Rename]]:
        """The classes with two entries."""
        both = {(cls, rename, sent) for cls, rename, sent, _ in self._found}
        return frozenset((cls, rename) for cls, rename, sent in both if (cls, rename, not sent) in both)

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[ExportedClass]:
        return iter([*self._found.values()])

    def reserve(self, name: str) -> str:
        """Return a name that is free: the given name, with a number if it is taken."""
        free, number = name, 2
        while free in self._names:
            free, number = f"{name}{number}", number + 1
        self._names.add(free)
        return free

    def find(self, cls: Any, rename: Rename, *, sent: bool, tag: str = "") -> ExportedClass:
        """Return the entry of a class, after making it if necessary."""
        fields = [*_all_fields(cls)]
        sent = sent and any(not each.required for each in fields)
        rename = rename if any(wire_name(each, rename) != wire_name(each, "") for each in fields) else ""
        key = (cls, rename, sent, tag)
        if key not in self._found:
            made = typing.get_origin(cls) or cls
            arguments = "".join(
                re.sub(r"\W", "", getattr(each, "__name__", str(each))).title() for each in typing.get_args(cls)
            )
            ends = ("ToSend" if sent and (cls, rename) in self._twice else "") + ("WithType" if tag else "")
            name = self.reserve(made.__name__ + arguments + ends)
            self._found[key] = ExportedClass(name, cls, rename, sent, tag)
        return self._found[key]


def fields_on_the_wire(each: ExportedClass) -> list[tuple[str, bool, Any]]:
    """Return the names of an object's fields on the wire, whether they may be missing, and their types."""
    if is_typed_dict(each.cls):
        needed = required_items(each.cls)
        return [(name, name not in needed, kind) for name, kind in items_of(each.cls)]
    fields = [field for field in fields_of(each.cls) if field.init]
    return [(wire_name(field, each.rename), each.sent and not field.required, field.type) for field in fields]


def _all_fields(cls: Any) -> Iterator[Field]:
    """Yield the fields of an object and of all objects in it."""
    for each in parts_of(cls):
        if is_object(each) and each not in REGISTERED:
            yield from (field for field in fields_of(each) if field.init)


def docstring_of(cls: Any) -> str:
    """Return the docstring of a class; empty if the class has no docstring of its own."""
    made = typing.get_origin(cls) or cls
    text = inspect.cleandoc(vars(made).get("__doc__") or "")
    return "" if text.startswith(f"{made.__name__}(") else text  # a dataclass gets a docstring by itself
