"""Convert plain data into typed values with cattrs, without any coercion. `unstructure` is the inverse.

By default, cattrs converts "12" into 12 and a string into a list of letters. Every hook in this file rejects a value
that does not have the right type already. The converter stops at the first fault and does not report the fault's path,
because cattrs' detailed validation would make a hostile payload cost 200 times as much. Only after a fault does
`_find_fault` search for the path.
"""

from __future__ import annotations

import base64
import enum
import functools
import itertools
import math
import operator
import types
import typing
from collections.abc import Callable, Container, Iterable
from typing import Any, Literal, TypeVar, Union

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from ..errors import InvalidEvent
from .field_kinds import (
    REGISTERED,
    TAG,
    Json,
    RegisteredType,
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
from .field_types import LISTED, MAX_DEPTH, MAX_INTEGER, deeper_than, holds_itself

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]
Inner = Callable[[Any], Hook]

# The maximum number of members of one set with the same hash. A sender can choose tuples, numbers and attrs instances
# with equal hashes, and adding n of them to a set takes n² comparisons. Even two or
# three ordinary values rarely share a hash.
MAX_SAME_HASH = 16

# Types whose hashes a sender can't choose. Hashes of text and bytes are salted, and whole numbers are bounded.
SALTED = (str, bytes, int, bool)


class Mismatch(ValueError):
    """The error for a value that does not fit its type. The text describes the expected value."""


class _Below(Exception):  # raised only in this file
    """An error in a part of a value."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause
        self.values: list[object] = []
        """The parts that contain the fault, the innermost first: items of lists and dicts, and values of recursive
        types. The fields of objects are missing."""


def _below(exc: Exception, value: object) -> _Below:
    """Return the error to raise because `exc` was raised for this part."""
    below = exc if isinstance(exc, _Below) else _Below(exc)
    below.values.append(value)
    return below


def _cause_of(exc: Exception) -> Exception:
    return exc.cause if isinstance(exc, _Below) else exc


@attrs.frozen
class Rules:
    """How objects are read."""

    ignore_extra: bool
    """True to ignore the fields that a class does not have."""
    rename: Rename
    """The names of fields on the wire: see `event`."""


def structure(value: object, cls: type[T], *, ignore_extra: bool = False, rename: Rename = "") -> T:
    """Convert plain data into an instance of `cls`.

    Args:
      ignore_extra: ignore the fields that a class does not have, also in nested classes.
      rename: the names of fields on the wire: see `event`.

    Raises:
      InvalidEvent: the data does not fit `cls`. The error has the path of the first fault, and a sentence.
    """
    hook, bottomless, rules = _outer_hook_of(cls, ignore_extra, rename)
    if bottomless:
        _check_depth(value)
    try:
        made: T = hook(value, cls)
        return made
    except Exception as exc:  # an attrs validator may raise any exception to reject the value
        if not bottomless:
            _check_depth(value)
        fault = _find_fault(value, cls, rules, exc)
        raise InvalidEvent("invalid", fault.sentence, fault.path.removeprefix(".")) from None


def _find_outer_hook(cls: Any, ignore_extra: bool, rename: Rename) -> tuple[Hook, bool, Rules]:
    rules = Rules(ignore_extra, rename)
    return *_hook_of(cls, rules), rules


def _find_hook(cls: Any, rules: Rules) -> tuple[Hook, bool]:
    """Return the hook of a type, and True if the type's values may nest to any depth.

    Only values of these types need a check of their depth: a value that fits another type is only as deep as that type.
    """
    return _make_hook(cls, rules), holds_itself(cls)


# Caches, because making a hook compiles code and is slow.
_hook_of: Callable[[Any, Rules], tuple[Hook, bool]] = functools.cache(_find_hook)
_outer_hook_of: Callable[[Any, bool, Rename], tuple[Hook, bool, Rules]] = functools.cache(_find_outer_hook)


def _make_hook(declared: Any, rules: Rules) -> Hook:
    def inner_of(inner: Any) -> Hook:
        return _recursive(inner, rules) if holds_itself(inner) else _hook_of(inner, rules)[0]

    cls = resolve(declared)
    if cls in SCALARS:
        return SCALARS[cls]
    if cls in REGISTERED:
        return _registered(REGISTERED[cls], inner_of)
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return _choice([member.value for member in cls], list(cls))
    if is_object(cls):
        return _object(cls, inner_of, rules)
    if is_named_tuple(cls):
        return _named_tuple(cls, inner_of)
    if is_typed_dict(cls):
        return _typed_dict(cls, inner_of, rules)
    return BY_ORIGIN[typing.get_origin(cls)](cls, inner_of)


def _recursive(cls: Any, rules: Rules) -> Hook:
    """Return a hook for a type whose own hook may not exist yet. Its errors name the values that contain the fault."""
    found: Hook | None = None

    def hook(value: Any, _: Any) -> Any:
        nonlocal found
        if found is None:
            found = _hook_of(cls, rules)[0]
        try:
            return found(value, cls)
        except Exception as exc:
            raise _below(exc, value) from None

    return hook


def _check_depth(value: object) -> None:
    if deeper_than(value, MAX_DEPTH):
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


def _bytes(value: Any, _: Any) -> bytes:
    if type(value) is bytes:
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise Mismatch("bytes, in base64") from None


def _listed(make: Callable[[list[Any]], Any], cls: Any, inner_of: Inner) -> Hook:
    (item,) = typing.get_args(cls)[:1]
    inner = inner_of(item)
    if make in (set, frozenset) and item not in SALTED:
        make = functools.partial(_set_of, make)

    def hook(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise Mismatch("a list")
        items = iter(value)
        try:
            made = [inner(each, item) for each in items]
        except Exception as exc:
            raise _below(exc, value[-1 - operator.length_hint(items)]) from None
        return make(made)

    return hook


def _set_of(make: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    """Make a set of values whose hashes a sender could choose."""
    same_hash: dict[int, list[Any]] = {}
    for item in items:
        others = same_hash.setdefault(hash(item), [])
        if item not in others:
            if len(others) == MAX_SAME_HASH:
                raise Mismatch(f"a set with at most {MAX_SAME_HASH} members of the same hash")
            others.append(item)
    return make(items)


def _registered(registered: RegisteredType, inner_of: Inner) -> Hook:
    cls, inner, plain, from_plain, expected = (
        registered.cls,
        inner_of(registered.plain),
        registered.plain,
        registered.from_plain,
        registered.expected,
    )

    def hook(value: Any, _: Any) -> Any:
        try:
            made = from_plain(inner(value, plain))
        except Exception as exc:
            if expected:
                raise Mismatch(expected) from None
            cause = _cause_of(exc)
            raise ValueError(str(cause) if isinstance(cause, ValueError) else "the value is not valid") from None
        if type(made) is not cls:
            raise ValueError("the value is not valid")
        return made

    return hook


def _json(value: Any, _: Any = None) -> Any:
    """Check a JSON value. Its depth is checked before."""
    if type(value) is list:
        for each in value:
            _json(each)
    elif type(value) is dict:
        for each in value.values():
            _json(each)
    elif type(value) is int:
        _int(value, int)
    elif type(value) is float:
        _float(value, float)
    elif type(value) not in (str, bool, type(None)):
        raise Mismatch("a JSON value")
    return value


def _named_tuple(cls: Any, inner_of: Inner) -> Hook:
    kinds = [kind for _, kind in items_of(cls)]
    inner = [inner_of(kind) for kind in kinds]

    def hook(value: Any, _: Any) -> Any:
        if type(value) is not list or len(value) != len(inner):
            raise Mismatch(f"a list of {len(inner)}")
        return cls(*map(operator.call, inner, value, kinds))

    return hook


def _typed_dict(cls: Any, inner_of: Inner, rules: Rules) -> Hook:
    kinds, required = dict(items_of(cls)), required_items(cls)
    inner = {name: inner_of(kind) for name, kind in kinds.items()}
    fields = f"an object with the fields {', '.join(kinds)}"

    def hook(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch("an object")
        if not required <= value.keys() or not (rules.ignore_extra or value.keys() <= inner.keys()):
            raise Mismatch(fields)
        return {name: inner[name](value[name], kinds[name]) for name in inner if name in value}

    return hook


def _tuple(cls: Any, inner_of: Inner) -> Hook:
    items = typing.get_args(cls)
    if len(items) == 2 and items[1] is Ellipsis:
        return _listed(tuple, cls, inner_of)
    inner = [inner_of(item) for item in items]

    def hook(value: Any, _: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(inner):
            raise Mismatch(f"a list of {len(inner)}")
        return tuple(map(operator.call, inner, value, items))

    return hook


def _mapping(cls: Any, inner_of: Inner) -> Hook:
    key, item = typing.get_args(cls)
    check, inner = inner_of(str), inner_of(item)

    def hook(value: Any, _: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise Mismatch("an object")
        items = iter(value.values())
        try:
            return {check(name, key): inner(each, item) for name, each in zip(value, items, strict=True)}
        except Exception as exc:
            raise _below(exc, [*value.values()][-1 - operator.length_hint(items)]) from None

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


def _union(cls: Any, inner_of: Inner) -> Hook:
    """Return a hook that tries only the union's members that match the value's plain type, `int` before `float`."""
    members = sorted(typing.get_args(cls), key=lambda member: member is float)
    optional = len(members) == 2 and type(None) in members
    expected = " or ".join(_expected(member) for member in members)
    candidates: dict[type[Any], list[tuple[Hook, Any]]] = {}
    tagged = {tag_of(member): member for member in tagged_members(cls)}
    if tagged:
        candidates[dict] = [(_tagged(tagged, inner_of), None)]
    for member in members:
        if resolve(member) not in tagged.values():
            for plain in _plain_types(member):
                candidates.setdefault(plain, []).append((inner_of(member), member))

    def hook(value: Any, _: Any) -> Any:
        fitting = candidates.get(type(value), ())
        if len(fitting) == 1 and (optional or type(value) is dict):
            return fitting[0][0](value, fitting[0][1])  # its error is more exact
        for structured, member in fitting:
            try:
                return structured(value, member)
            except Exception:  # noqa: S112  # this member does not fit; the error below names all members
                continue
        raise Mismatch(expected)

    return hook


def _tagged(members: dict[str, Any], inner_of: Inner) -> Hook:
    """Return a hook for an object whose class is named in the field `TAG`."""
    hooks = {tag: inner_of(member) for tag, member in members.items()}

    def hook(value: Any, _: Any) -> Any:
        fields = dict(value)
        tag = fields.pop(TAG, None)
        if type(tag) is not str or tag not in members:
            raise Mismatch(f"an object whose {TAG!r} is one of {', '.join(map(repr, members))}")
        return hooks[tag](fields, members[tag])

    return hook


def _plain_types(cls: Any) -> set[type[Any]]:
    """Return the plain types whose values the hook of this type may accept."""
    cls = resolve(cls)
    origin = typing.get_origin(cls)
    if cls in REGISTERED:
        return _plain_types(REGISTERED[cls].plain)
    if origin is Literal:
        return {type(value) for value in typing.get_args(cls)}
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return {type(member.value) for member in cls}
    if is_union(cls):
        return {plain for member in typing.get_args(cls) for plain in _plain_types(member)}
    if origin in LISTED or is_named_tuple(cls):
        return {list}
    if origin is dict or is_object(cls) or is_typed_dict(cls):
        return {dict}
    others: dict[Any, set[type[Any]]] = {float: {int, float}, bytes: {bytes, str}, None: {type(None)}}
    return others.get(cls, {cls})


def _expected(cls: Any) -> str:
    cls = resolve(cls)
    if cls in REGISTERED and REGISTERED[cls].expected:
        return REGISTERED[cls].expected
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    return names.get(cls, str(getattr(cls, "__name__", cls)))


def _literal(cls: Any, _: Inner) -> Hook:
    return _choice(list(typing.get_args(cls)), list(typing.get_args(cls)))


def _object(cls: Any, inner_of: Inner, rules: Rules) -> Hook:
    hooks: dict[str, Any] = {
        each.name: override(struct_hook=inner_of(each.type), rename=wire_name(each, rules.rename))
        for each in fields_of(cls)
        if each.init
    }
    read: Hook = make_dict_structure_fn(
        cls, _converter, _cattrs_forbid_extra_keys=not rules.ignore_extra, _cattrs_detailed_validation=False, **hooks
    )
    if any(each.required and each.init for each in fields_of(cls)):
        return read
    # nothing on the wire is smaller than an empty object, so a sender could ask for the most objects with it
    make = typing.get_origin(cls) or cls
    return lambda value, _: make() if value.__class__ is dict and not value else read(value, _)


_converter = cattrs.Converter(detailed_validation=False)

# Hooks by exact type. With a search by base class, the hook for text would apply to every StrEnum, and accept any text.
SCALARS: dict[Any, Hook] = {
    bool: _exactly(bool, "true or false"),
    int: _int,
    float: _float,
    str: _exactly(str, "text"),
    bytes: _bytes,
    type(None): _exactly(type(None), "null"),
    None: _exactly(type(None), "null"),
    Any: lambda value, _: value,
    Json: _json,
}
BY_ORIGIN: dict[Any, Callable[[Any, Inner], Hook]] = {
    list: functools.partial(_listed, list),
    set: functools.partial(_listed, set),
    frozenset: functools.partial(_listed, frozenset),
    tuple: _tuple,
    dict: _mapping,
    Union: _union,
    types.UnionType: _union,
    Literal: _literal,
}


class _Fault(Exception):  # raised only in this file
    """The first fault in a value."""

    def __init__(self, sentence: str, path: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.path = path


def _find_fault(value: object, cls: Any, rules: Rules, error: Exception) -> _Fault:
    """Find the first fault of a value that does not fit its type. The hook of the type has raised `error`."""
    try:
        _retrace(value, cls, rules, error.values if isinstance(error, _Below) else [])
    except _Fault as fault:
        return fault
    return _Fault("the value is not valid")


def _retrace(value: object, declared: Any, rules: Rules, below: list[object]) -> Any:
    """Structure a value again, one part after the other, to find the first fault.

    The cost grows with the size of the value and with the depth of its type. A value of a recursive type may be deeper
    than its type, and `below` leads to its fault.

    Args:
      below: the values of recursive types in this value that contain the fault: the innermost first. They are removed.

    Raises:
      _Fault: the first fault.
    """
    cls = resolve(declared)
    args, origin = typing.get_args(cls), typing.get_origin(cls)
    if cls in REGISTERED:
        pass
    elif is_object(cls):
        return _retrace_object(value, cls, rules, below)
    elif is_typed_dict(cls):
        return _retrace_typed_dict(value, cls, rules, below)
    elif is_named_tuple(cls) and isinstance(value, list) and len(value) == len(items_of(cls)):
        kinds = [kind for _, kind in items_of(cls)]
        children = _retrace_children("[{}]", range(len(value)), value, kinds, rules, below)
        return _made(lambda items: cls(*items), children)
    elif origin in LISTED and isinstance(value, list):
        fixed = origin is tuple and Ellipsis not in args
        if not fixed or len(args) == len(value):
            repeated = args if fixed else itertools.repeat(args[0])
            children = _retrace_children("[{}]", range(len(value)), value, repeated, rules, below)
            return _made(functools.partial(_set_of, origin) if origin in (set, frozenset) else origin, children)
    elif origin is dict and isinstance(value, dict):
        children = _retrace_children(".{:.64}", value, [*value.values()], itertools.repeat(args[1]), rules, below)
        return dict(zip(value, children, strict=True))
    elif is_union(cls) and value is not None:
        members = [member for member in args if member is not type(None)]
        if len(members) == 1:
            return _retrace(value, members[0], rules, below)
        tagged = {tag_of(member): member for member in tagged_members(cls)}
        if type(value) is dict and type(value.get(TAG)) is str and value[TAG] in tagged:
            fields = {name: each for name, each in value.items() if name != TAG}
            del below[-1:]  # a copy of the fields, without the tag
            return _retrace(fields, tagged[value[TAG]], rules, below)
    return _made(lambda plain: _hook_of(cls, rules)[0](plain, cls), value)


def _retrace_object(value: object, cls: Any, rules: Rules, below: list[object]) -> Any:
    if type(value) is not dict:
        raise _Fault("expected an object")
    fields = {wire_name(each, rules.rename): each for each in fields_of(cls) if each.init}
    known = {name: field for name, field in fields.items() if name in value}
    kinds = [field.type for field in known.values()]
    children = _retrace_children(".{}", known, [value[name] for name in known], kinds, rules, below)
    _check_names(value, fields, [name for name, field in fields.items() if field.required], rules)
    arguments = {field.argument: child for field, child in zip(known.values(), children, strict=True)}
    return _made(lambda arguments: cls(**arguments), arguments)


def _retrace_typed_dict(value: object, cls: Any, rules: Rules, below: list[object]) -> Any:
    if type(value) is not dict:
        raise _Fault("expected an object")
    known = {name: kind for name, kind in items_of(cls) if name in value}
    children = _retrace_children(".{}", known, [value[name] for name in known], known.values(), rules, below)
    _check_names(value, dict(items_of(cls)), sorted(required_items(cls)), rules)
    return dict(zip(known, children, strict=True))


def _check_names(value: dict[Any, Any], fields: Container[str], required: Iterable[str], rules: Rules) -> None:
    """Check that an object has no unknown field, and all required fields.

    Raises:
      _Fault: the first fault.
    """
    for name in value:
        if name not in fields and not rules.ignore_extra:
            raise _Fault(f"unknown field {name[:64]!r}")
    for name in required:
        if name not in value:
            raise _Fault(f"missing field {name!r}")


def _retrace_children(
    step: str, names: Iterable[object], parts: list[Any], kinds: Iterable[Any], rules: Rules, below: list[object]
) -> list[Any]:
    for name, part, cls in zip(names, parts, kinds, strict=False) if below else ():
        if part is below[-1]:
            inside = [*below]
            while inside and inside[-1] is part:  # the same part as an item, as a union, and as its member
                inside.pop()
            _retrace_child(step.format(name), part, cls, rules, inside)
    made: list[Any] = []
    known, hook = None, None
    for name, part, cls in zip(names, parts, kinds, strict=False):
        if hook is None or cls is not known:
            known, (hook, _) = cls, _hook_of(cls, rules)
        if len(made) + 1 == len(parts):  # the fault is here, if all others fit
            made.append(_retrace_child(step.format(name), part, cls, rules, below))
            continue
        try:
            made.append(hook(part, cls))
        except Exception as exc:
            fault = _find_fault(part, cls, rules, exc)
            raise _Fault(fault.sentence, step.format(name) + fault.path) from None
    return made


def _retrace_child(step: str, child: object, cls: Any, rules: Rules, below: list[object]) -> Any:
    try:
        return _retrace(child, cls, rules, below)
    except _Fault as fault:
        raise _Fault(fault.sentence, step + fault.path) from None


def _made(make: Callable[[Any], Any], plain: Any) -> Any:
    """Call a hook, or a class with its validators.

    Raises:
      _Fault: the call raised an error.
    """
    try:
        return make(plain)
    except Exception as exc:  # an attrs validator may raise any exception
        cause = _cause_of(exc)
        if isinstance(cause, Mismatch):
            raise _Fault(f"expected {cause}") from None
        raise _Fault(str(cause) if isinstance(cause, ValueError) else "the value is not valid") from None
