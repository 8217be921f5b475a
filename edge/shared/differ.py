"""Find what has changed in a document since the previous patch.

A `Differ` compares a document with its *shadow*, a copy in lists and dicts, and updates the shadow. Nothing is recorded
when the author's code changes the document, so a change costs nothing until the next comparison.

For each class, a function is generated that compares the fields one after the other without a loop. `patches.py` has
the form of a patch.
"""

from __future__ import annotations

import enum
import functools
import math
import operator
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs

from ..protocol.field_kinds import (
    REGISTERED,
    Rename,
    fields_of,
    is_object,
    is_union,
    quantised_by,
    resolve,
    unwrap,
    wire_name,
)
from ..protocol.field_types import holds_itself, is_frozen
from ..protocol.unstructure import unstructure, unstructurer

# A list whose first items are gone and which has new items at its end, such as a log of bounded length, is sent as two
# splices if at most this many items are gone.
MAX_SHIFT = 8
SCALARS = (int, float, str, bool, bytes, type(None), None)


class Differ:
    """Compares documents of one class.

    Args:
      cls: the class of the document, which `check_type` has accepted.
      rename: the names of fields on the wire: see `event`.
    """

    def __init__(self, cls: type[Any], rename: Rename) -> None:
        self._cls = cls
        self._rename = rename
        self._node = _object(cls, rename)
        self._bottomless = holds_itself(cls)

    def shadow(self, document: object) -> Any:
        """Return a shadow of a document, for `diff`.

        Raises:
          TypeError, ValueError: see `unstructure`.
        """
        self.whole(document)
        return self._node.shadow(document)

    def plain(self, shadow: Any) -> Any:
        """Return the document of which this is the shadow, as plain data."""
        return self._node.plain(shadow)

    def whole(self, document: object) -> Any:
        """Return the whole document as plain data.

        Raises:
          TypeError, ValueError: see `unstructure`.
        """
        return unstructure(document, self._cls, self._rename)

    def diff(self, document: object, shadow: Any) -> Any | None:
        """Return the patch from a shadow to its document, and update the shadow. Return None if nothing has changed.

        After an error, the shadow is of no use.

        Raises:
          TypeError, ValueError: see `unstructure`.
        """
        assert self._node.diff is not None
        if type(document) is not self._cls:
            raise TypeError(f"expected a {self._cls.__name__}, not {document!r:.64}")
        try:
            patch = self._node.diff(document, shadow)
        except Exception:
            self.whole(document)  # raises the same error with the path of the fault
            raise
        if patch is not None and self._bottomless:
            self.whole(document)  # checks the depth, which a patch does not show
        return patch


@attrs.frozen
class _Node:
    """How values of one type are compared."""

    whole: Callable[[Any], Any]
    """Checks a value, and returns it as plain data."""
    shadow: Callable[[Any], Any]
    """Returns a copy of a checked value. Later changes of the value do not change the copy."""
    plain: Callable[[Any], Any]
    """Returns a shadow as plain data."""
    diff: Callable[[Any, Any], Any | None] | None = None
    """Returns the patch from a shadow to a value, and updates the shadow; None for a type whose values are sent whole.
    """
    is_leaf: bool = False
    """True if a value is its own shadow."""
    may_be_none: bool = False
    """True if a value may also be None, which has no patch."""


def same(one: object, other: object) -> bool:
    """Return whether two plain values are equal and have the same types: 1, 1.0 and True are different."""
    if one is other:
        return True
    if one.__class__ is not other.__class__:
        return False
    if isinstance(one, list):
        assert isinstance(other, list)
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(same(each, other[name]) for name, each in one.items())
    return not _differs(one, other)


def _differs(value: object, other: object) -> bool:
    """Return whether two scalars are different, also if Python calls them equal: 1 and True, or 0.0 and -0.0."""
    if value != other or value.__class__ is not other.__class__:
        return True
    return value == 0 and isinstance(value, float) and math.copysign(1, value) != math.copysign(1, other)  # type: ignore[arg-type]


def _find_node(declared: Any, rename: Rename) -> _Node:
    cls = resolve(declared)
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    whole = unstructurer(declared, rename)
    if _is_leaf(declared):
        return _Node(whole, _itself, whole, is_leaf=True)
    if holds_itself(cls) or cls in REGISTERED:
        return _Node(whole, whole, _itself)
    if is_object(cls):
        return _object(cls, rename)
    if is_union(cls):
        others = [each for each in args if each is not type(None)]
        if len(others) == 1 and len(args) == 2:
            inner = _node_of(others[0], rename)
            if inner.diff is not None and not inner.may_be_none:
                return attrs.evolve(inner, whole=whole, plain=_or_none(inner.plain), may_be_none=True)
        return _Node(whole, whole, _itself)
    if origin is dict:
        return _dict(whole, _node_of(args[1], rename), strict=_is_mixed(args[1]))
    if origin is list and typing.get_origin(unwrap(declared)) is not Sequence:
        return _list(whole, _node_of(args[0], rename), strict=_is_mixed(args[0]))
    if origin in (set, frozenset):
        members = _sorted(whole)
        return _Node(members, members, _itself)
    return _Node(whole, whole, _itself)


_node_of: Callable[[Any, Rename], _Node] = functools.cache(_find_node)


def _is_leaf(declared: Any) -> bool:
    cls = resolve(declared)
    if quantised_by(declared) is not None:
        return False
    if is_union(cls):
        return all(map(_is_leaf, typing.get_args(cls)))
    return cls in SCALARS or typing.get_origin(cls) is Literal or (isinstance(cls, type) and issubclass(cls, enum.Enum))


def _is_mixed(cls: Any) -> bool:
    """Return whether values of a type may be equal for Python, and different in JSON."""
    return resolve(cls) not in (int, str, bool, bytes)


def _itself(value: Any) -> Any:
    return value


def _or_none(plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else plain(value)


def _sorted(whole: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: sorted(whole(value), key=_order)


def _order(plain: Any) -> tuple[str, str]:
    """Return a sort key for the plain members of a set, which have no order of their own."""
    return type(plain).__name__, repr(plain)


def _dict(whole: Callable[[Any], Any], item: _Node, *, strict: bool) -> _Node:
    def shadow(value: Any) -> dict[str, Any]:
        return {name: _shadow_of(item, each) for name, each in value.items()}

    inner = item.diff if not item.may_be_none else None

    def diff_parts(value: Any, old: dict[str, Any]) -> Any | None:
        if value.__class__ is not dict:
            whole(value)
        assert inner is not None
        changes, edits = {}, {}
        for name, each in value.items():
            shadow = old.get(name)
            if shadow is None:
                changes[_checked_name(name)], old[name] = item.whole(each), item.shadow(each)
            elif (edit := inner(each, shadow)) is not None:
                edits[name] = edit
        return _object_patch(changes, edits, _forget(value, old))

    def diff(value: Any, old: dict[str, Any]) -> Any | None:
        if value.__class__ is not dict:
            whole(value)
        if item.is_leaf and not strict and value == old:
            return None
        changes, edits = {}, {}
        for name, each in value.items():
            if name not in old:
                changes[_checked_name(name)], old[name] = item.whole(each), _shadow_of(item, each)
            else:
                old[name], change, edit = _compare(item, each, old[name])
                if change:
                    changes[name] = change[0]
                elif edit is not None:
                    edits[name] = edit
        return _object_patch(changes, edits, _forget(value, old))

    def plain(old: dict[str, Any]) -> dict[str, Any]:
        return {name: item.plain(each) for name, each in old.items()}

    return _Node(whole, shadow, plain, diff if inner is None else diff_parts)


def _forget(value: dict[str, Any], old: dict[str, Any]) -> list[str]:
    """Remove the names from a shadow that are gone, and return them."""
    gone = [name for name in old if name not in value] if len(old) != len(value) else []
    for name in gone:
        del old[name]
    return gone


def _checked_name(name: Any) -> Any:
    if type(name) is not str:
        raise TypeError(f"expected text, not {name!r:.64}")
    return unstructure(name)


def _shadow_of(item: _Node, value: Any) -> Any:
    return None if item.may_be_none and value is None else item.shadow(value)


def _compare(item: _Node, value: Any, old: Any) -> tuple[Any, tuple[Any, ...], Any | None]:
    """Compare a value with its shadow.

    Returns: the new shadow; a tuple with the whole value if it has to be sent whole, otherwise an empty tuple; and the
      patch, or None.
    """
    if item.is_leaf:
        if value is old or not _differs(value, old):
            return old, (), None
        return value, (item.whole(value),), None
    if item.diff is None:
        plain = item.whole(value)
        return (old, (), None) if same(plain, old) else (plain, (plain,), None)
    if item.may_be_none and (value is None or old is None):
        if value is None and old is None:
            return None, (), None
        return _shadow_of(item, value), (item.whole(value),), None
    return old, (), item.diff(value, old)


def _object_patch(changes: dict[str, Any], edits: dict[str, Any], gone: list[str]) -> Any | None:
    if gone:
        return [changes, edits, gone]
    if edits:
        return [changes, edits]
    return [changes] if changes else None


def _list(whole: Callable[[Any], Any], item: _Node, *, strict: bool) -> _Node:
    if item.diff is not None and not item.may_be_none:
        return _list_of_parts(whole, item)

    def shadow(value: Any) -> list[Any]:
        return [_shadow_of(item, each) for each in value] if item.is_leaf else [item.whole(each) for each in value]

    def diff(value: Any, old: list[Any]) -> Any | None:
        if value.__class__ is not list:
            whole(value)
        if item.is_leaf and not strict and value == old:
            return None
        new = list(value) if item.is_leaf else [item.whole(each) for each in value]
        equal = _leaves_equal if item.is_leaf else same
        splices = find_splices(old, new, equal)
        if not splices:
            return None
        for each in splices[2::3]:
            each[:] = map(item.whole, each) if item.is_leaf else each
        old[:] = new
        return splices

    def plain(old: list[Any]) -> list[Any]:
        return [item.plain(each) for each in old] if item.is_leaf else list(old)

    return _Node(whole, shadow, plain, diff)


def _leaves_equal(one: object, other: object) -> bool:
    return one is other or not _differs(one, other)


def find_splices(old: list[Any], new: list[Any], equal: Callable[[Any, Any], bool]) -> list[Any]:
    """Return the splices that turn one list into another: ``[at, drop, insert, at, drop, insert, ...]``."""
    begin, shorter = 0, min(len(old), len(new))
    while begin < shorter and equal(old[begin], new[begin]):
        begin += 1
    if begin == len(old) == len(new):
        return []
    end = 0
    while end < shorter - begin and equal(old[-1 - end], new[-1 - end]):
        end += 1
    if begin == 0 and end < len(old):
        for gone in range(1, min(len(old), MAX_SHIFT + 1)):
            kept = len(old) - gone
            if kept <= len(new) and equal(old[gone], new[0]) and all(map(equal, old[gone:], new)):
                return [0, gone, [], *((kept, 0, new[kept:]) if len(new) > kept else ())]
    return [begin, len(old) - begin - end, new[begin : len(new) - end]]


def _list_of_parts(whole: Callable[[Any], Any], item: _Node) -> _Node:
    """Return the node of a list of objects, lists or dicts. The shadow is a pair: the items, and their shadows.

    Items are recognized by their identity, so an item that only moves because others are removed is not sent again.
    """
    inner = item.diff
    assert inner is not None

    def shadow(value: Any) -> tuple[list[Any], list[Any]]:
        return list(value), [item.shadow(each) for each in value]

    def diff(value: Any, old: tuple[list[Any], list[Any]]) -> Any | None:
        if value.__class__ is not list:
            whole(value)
        items, shadows = old
        patch: list[Any] = []
        if len(items) != len(value) or not all(map(operator.is_, items, value)):
            patch = find_splices(items, value, operator.is_)
            if len(items) == len(value) and len(patch) == 3:
                patch = []  # items replaced one by one: they may have equal parts
            for at, drop, insert in zip(patch[::3], patch[1::3], patch[2::3], strict=True):
                shadows[at : at + drop] = [item.shadow(each) for each in insert]
                insert[:] = map(item.whole, insert)
            items[:] = value
        edits = {}
        for number, each in enumerate(value):
            edit = inner(each, shadows[number])
            if edit is not None:
                edits[str(number)] = edit
        return [*patch, edits] if edits else patch or None

    def plain(old: tuple[list[Any], list[Any]]) -> list[Any]:
        return [item.plain(each) for each in old[1]]

    return _Node(whole, shadow, plain, diff)


def _find_object(cls: Any, rename: Rename) -> _Node:
    """Generate the functions for the objects of a class."""
    whole = unstructurer(cls, rename)
    made = typing.get_origin(cls) or cls
    names: dict[str, Any] = {"differs": _differs, "same": same, "cls": made, "whole": whole}
    copied, compared, plain = [], [], []
    also: list[str] = []  # what a shadow has besides the fields
    fields = [each for each in fields_of(cls) if each.init]
    for index, field in enumerate(fields):
        node, wire = _node_of(field.type, rename), wire_name(field, rename)
        names |= {f"whole_{index}": node.whole, f"shadow_{index}": node.shadow, f"diff_{index}": node.diff}
        names[f"plain_{index}"] = node.plain
        plain.append(f"{wire!r}: plain_{index}(s[{index}])")
        value, old = f"o.{field.name}", f"s[{index}]"
        send = f"  if changes is None: changes = {{}}\n  changes[{wire!r}] = "
        edit = f"  if edits is None: edits = {{}}\n  edits[{wire!r}] = edit"
        if node.is_leaf:
            copied.append(value)
            compared.append(
                f" v = {value}; w = {old}\n"
                f" if v is not w and (v != w or v.__class__ is not w.__class__ or v == 0 and differs(v, w)):\n"
                f"{send}whole_{index}(v); {old} = v"
            )
        elif quantised_by(field.type) is not None:
            copied.append(f"whole_{index}({value})")
            unrounded = f"s[{len(fields) + len(also)}]"  # most comparisons find the same object there
            also.append(value)
            compared.append(
                f" v = {value}\n"
                f" if v is not {unrounded}:\n"
                f"  {unrounded} = v; v = whole_{index}(v)\n"
                f"  if v != {old}:\n"
                f"   if changes is None: changes = {{}}\n"
                f"   changes[{wire!r}] = v; {old} = v"
            )
        elif node.diff is None:
            copied.append(f"shadow_{index}({value})")
            compared.append(f" v = whole_{index}({value})\n if not same(v, {old}):\n{send}v; {old} = v")
        elif node.may_be_none:
            copied.append(f"None if {value} is None else shadow_{index}({value})")
            compared.append(
                f" v = {value}; w = {old}; edit = None\n"
                f" if v is None or w is None:\n"
                f"  if v is not w:\n"
                f"   if changes is None: changes = {{}}\n"
                f"   changes[{wire!r}] = whole_{index}(v); {old} = None if v is None else shadow_{index}(v)\n"
                f" else: edit = diff_{index}(v, w)\n"
                f" if edit is not None:\n{edit}"
            )
        else:
            copied.append(f"shadow_{index}({value})")
            compared.append(f" edit = diff_{index}({value}, {old})\n if edit is not None:\n{edit}")
    check = " if o.__class__ is not cls: whole(o)\n"
    if is_frozen(cls):  # the same object has not changed
        check += f" if o is s[{len(fields) + len(also)}]: return None\n s[{len(fields) + len(also)}] = o\n"
        also.append("o")
    source = (
        f"def shadow(o):\n return [{', '.join(copied + also)}]\n"
        f"def plain(s):\n return {{{', '.join(plain)}}}\n"
        f"def diff(o, s):\n{check} changes = edits = None\n"
        + "\n".join(compared)
        + "\n"
        + (" if changes or edits: whole(o)\n" if any(field.has_validator for field in fields_of(cls)) else "")
        + " if edits is not None: return [changes or {}, edits]\n"
        " return None if changes is None else [changes]\n"
    )
    exec(source, names)  # noqa: S102  # only names of fields of the author's classes are inserted
    return _Node(whole, names["shadow"], names["plain"], names["diff"])


_object: Callable[[Any, Rename], _Node] = functools.cache(_find_object)
