"""Convert typed values into plain data, by the rules that `structure` uses to read them.

This module rejects a value that the receiver would reject, or would read as another value. The error is therefore
raised in the code with the mistake. The hooks stop at the first fault and do not know its path. Only after a fault does
`_find_fault` search for the path.
"""

from __future__ import annotations

import enum
import functools
import itertools
import math
import operator
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

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
    quantised_by,
    required_items,
    resolve,
    tag_of,
    tagged_members,
    unwrap,
    wire_name,
)
from .field_types import LISTED, MAX_DEPTH, MAX_INTEGER, deeper_than, holds_itself, is_hashable

Hook = Callable[[Any], Any]
Inner = Callable[[Any], Hook]


def unstructure(value: object, cls: Any = None, rename: Rename = "") -> Any:
    """Convert a typed value into plain data.

    Args:
      cls: the type that the value should have; by default, its own type.
      rename: the names of fields on the wire: see `event`.

    Raises:
      TypeError: a value is not of the type that its field declares. The message begins with the path.
      ValueError: a value can't be encoded: a number that JSON or JavaScript can't represent, text that is not
        well-formed, or more levels than a reader accepts; or a validator rejects it. The message begins with the path.
    """
    cls = cls or type(value)
    hook, bottomless = _hook_of(cls, rename)
    try:
        plain = hook(value)
    except RecursionError:
        raise ValueError(f"{cls.__name__}: more than {MAX_DEPTH} levels deep") from None
    except Exception as exc:
        raise _find_fault(value, cls, cls.__name__, exc) from None
    if bottomless and deeper_than(plain, MAX_DEPTH):
        raise ValueError(f"{cls.__name__}: more than {MAX_DEPTH} levels deep")
    return plain


def _find_hook(cls: Any, rename: Rename) -> tuple[Hook, bool]:
    return _make_hook(cls, rename), holds_itself(cls)


# A cache, because making a hook compiles code and is slow.
_hook_of: Callable[[Any, Rename], tuple[Hook, bool]] = functools.cache(_find_hook)


def unstructurer(cls: Any, rename: Rename) -> Hook:
    """Return the function that converts values of a type into plain data. Its errors have no path.

    `check_type` must have accepted the type, or a class with such a field.
    """
    return _hook_of(cls, rename)[0]


def _make_hook(declared: Any, rename: Rename) -> Hook:
    def inner_of(inner: Any) -> Hook:
        if holds_itself(inner):  # the hook of `inner` may not exist yet
            return lambda value: _hook_of(inner, rename)[0](value)
        return _hook_of(inner, rename)[0]

    cls = resolve(UNTYPED.get(declared, declared))
    if typing.get_origin(unwrap(declared)) is Sequence:
        return _sequence(cls, inner_of)
    if typing.get_origin(unwrap(declared)) is Mapping:
        return _mapping(cls, inner_of, Mapping)
    if cls is float and (resolution := quantised_by(declared)) is not None:
        nearest = resolution.nearest
        return lambda value: nearest(_float(value))
    if cls in SCALARS:
        return SCALARS[cls]
    if cls in REGISTERED:
        return _registered(REGISTERED[cls], inner_of)
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return _enum(cls)
    if is_object(cls):
        return _object(cls, inner_of, rename)
    if is_named_tuple(cls):
        return _named_tuple(cls, inner_of)
    if is_typed_dict(cls):
        return _typed_dict(cls, inner_of)
    if typing.get_origin(cls) in BY_ORIGIN:
        return BY_ORIGIN[typing.get_origin(cls)](cls, inner_of)
    return functools.partial(_refuse, cls)


def _refuse(cls: Any, value: object) -> Any:
    plain = "dict[str, ...], list[...], text, numbers, bool, bytes, None, Enum and attrs classes"
    raise TypeError(f"{value!r:.64} is a {cls.__name__}, which can't be encoded: use {plain}")


def _text(value: Any) -> str:
    if type(value) is not str:
        if not isinstance(value, str):
            raise _wrong("text", value)
        value = str.__str__(value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise ValueError(f"{value[exc.start]!r} is a lone surrogate, which can't be encoded") from None
    return value  # type: ignore[no-any-return]  # a str; `cast` would cost a call


def _int(value: Any) -> int:
    if type(value) is not int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong("a whole number", value)
        value = int(value)
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise ValueError(f"{value} can't be encoded: it is beyond JavaScript's safe integers")
    return value  # type: ignore[no-any-return]  # an int; `cast` would cost a call


def _float(value: Any) -> float:
    if type(value) is not float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _wrong("a number", value)
        if type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER:
            return value
        try:
            value = float(value)
        except OverflowError:
            raise ValueError("a whole number that is too large for a float can't be encoded") from None
    if not math.isfinite(value):
        raise ValueError(f"{value} can't be encoded: JSON has no such number")
    return value  # type: ignore[no-any-return]  # a float; `cast` would cost a call


def _exactly(cls: type[Any], expected: str) -> Hook:
    def hook(value: Any) -> Any:
        if type(value) is not cls:
            raise _wrong(expected, value)
        return value

    return hook


def _registered(registered: RegisteredType, inner_of: Inner) -> Hook:
    cls, inner, to_plain = registered.cls, inner_of(registered.plain), registered.to_plain
    expected = f"a {cls.__name__}"

    def hook(value: Any) -> Any:
        if type(value) is not cls:
            raise _wrong(expected, value)
        return inner(to_plain(value))

    return hook


def _untyped(value: Any) -> Any:
    """Convert a value without a declared type. Values of registered types are refused, because a reader could not
    convert them back."""
    if type(value) in REGISTERED:
        _refuse(type(value), value)
    return unstructure(value)


def _json(value: Any) -> Any:
    if type(value) is list:
        return [_json(each) for each in value]
    if type(value) is dict:
        return {_text(name): _json(each) for name, each in value.items()}
    if type(value) in (str, int, float, bool, type(None)):
        return SCALARS[type(value)](value)
    raise _wrong("a JSON value", value)


def _named_tuple(cls: Any, inner_of: Inner) -> Hook:
    inner = [inner_of(kind) for _, kind in items_of(cls)]

    def hook(value: Any) -> list[Any]:
        if type(value) is not cls:
            raise _wrong(f"a {cls.__name__}", value)
        return list(map(operator.call, inner, value))

    return hook


def _typed_dict(cls: Any, inner_of: Inner) -> Hook:
    inner, required = {name: inner_of(kind) for name, kind in items_of(cls)}, required_items(cls)

    def hook(value: Any) -> dict[str, Any]:
        if type(value) is not dict or not required <= value.keys() <= inner.keys():
            raise _wrong(f"a {cls.__name__}", value)
        return {name: inner[name](each) for name, each in value.items()}

    return hook


def _listed(origin: type[Any], cls: Any, inner_of: Inner) -> Hook:
    inner = inner_of(typing.get_args(cls)[0])
    expected = f"a {origin.__name__}"

    def hook(value: Any) -> list[Any]:
        if not isinstance(value, origin):
            raise _wrong(expected, value)
        return [inner(each) for each in value]

    return hook


def _sequence(cls: Any, inner_of: Inner) -> Hook:
    inner = inner_of(typing.get_args(cls)[0])

    def hook(value: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise _wrong("a list or a tuple", value)
        return [inner(each) for each in value]

    return hook


def _tuple(cls: Any, inner_of: Inner) -> Hook:
    items = typing.get_args(cls)
    if len(items) == 2 and items[1] is Ellipsis:
        return _listed(tuple, cls, inner_of)
    inner = [inner_of(item) for item in items]

    def hook(value: Any) -> list[Any]:
        if not isinstance(value, tuple) or len(value) != len(inner):
            raise _wrong(f"a tuple of {len(inner)}", value)
        return list(map(operator.call, inner, value))

    return hook


def _mapping(cls: Any, inner_of: Inner, kind: type[Any] = dict) -> Hook:
    inner, expected = inner_of(typing.get_args(cls)[1]), f"a {kind.__name__.lower()}"

    def hook(value: Any) -> dict[str, Any]:
        if not isinstance(value, kind):
            raise _wrong(expected, value)
        return {_text(name): inner(each) for name, each in value.items()}

    return hook


def _choice(allowed: dict[Any, Any], expected: str) -> Hook:
    def hook(value: Any) -> Any:
        try:
            return allowed[type(value), value]
        except (KeyError, TypeError):
            raise _wrong(expected, value) from None

    return hook


def _literal(cls: Any, _: Inner) -> Hook:
    values = typing.get_args(cls)
    return _choice({(type(value), value): value for value in values}, "one of " + ", ".join(map(repr, values)))


def _enum(cls: Any) -> Hook:
    return _choice({(cls, member): member.value for member in cls}, f"a member of {cls.__name__}")


def _union(cls: Any, inner_of: Inner) -> Hook:
    """Return a hook that tries the union's members of the value's exact type. Without such a member, it tries all."""
    members, tagged = typing.get_args(cls), tagged_members(cls)
    hooks = [
        (member, _tagged(resolve(member), inner_of(member)) if resolve(member) in tagged else inner_of(member))
        for member in members
    ]
    by_type: dict[type[Any], list[Hook]] = {}
    for member, write in hooks:
        for kind in _own_types(member):
            by_type.setdefault(kind, []).append(write)
    if len(members) == 2 and type(None) in members:
        (only,) = (write for member, write in hooks if member is not type(None))
        return lambda value: None if value is None else only(value)
    expected = " or ".join(str(getattr(member, "__name__", member)) for member in members)
    others = [write for _, write in hooks]

    def hook(value: Any) -> Any:
        for write in by_type.get(type(value), others):
            try:
                return write(value)
            except Exception:  # noqa: S112  # this member does not fit; the error below names all members
                continue
        raise _wrong(expected, value)

    return hook


def _tagged(cls: Any, write: Hook) -> Hook:
    """Return a hook that adds the name of the class to an object, so that a reader of a union can tell the classes
    apart."""
    tag = tag_of(cls)
    return lambda value: {TAG: tag, **write(value)}


def _own_types(cls: Any) -> set[type[Any]]:
    cls = resolve(cls)
    origin = typing.get_origin(cls)
    if origin is Literal:
        return {type(value) for value in typing.get_args(cls)}
    return {float, int} if cls is float else {origin or cls}


def _object(cls: Any, inner_of: Inner, rename: Rename) -> Hook:
    fields, made = fields_of(cls), typing.get_origin(cls) or cls
    hooks: dict[str, Any] = {
        each.name: override(unstruct_hook=inner_of(each.type), rename=wire_name(each, rename)) for each in fields
    }
    write: Hook = make_dict_unstructure_fn(cls, _converter, **hooks)
    # Mutable values with validators are validated again, because they may have changed since their creation.
    changeable = not is_hashable(cls) and any(each.has_validator for each in fields)

    def hook(value: Any) -> Any:
        if type(value) is not made:
            raise _wrong(f"a {made.__name__}", value)
        if changeable:
            attrs.validate(value)
        return write(value)

    return hook


_converter = cattrs.Converter()

SCALARS: dict[Any, Hook] = {
    bool: _exactly(bool, "true or false"),
    int: _int,
    float: _float,
    str: _text,
    bytes: _exactly(bytes, "bytes"),
    type(None): _exactly(type(None), "None"),
    None: _exactly(type(None), "None"),
    Any: _untyped,
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
# The types that apply to values without a declared type, as in a snapshot of plain data.
UNTYPED: dict[type[Any], Any] = {dict: dict[str, Any], list: list[Any]}


def _wrong(expected: str, value: object) -> TypeError:
    return TypeError(f"expected {expected}, not {value!r:.64}")


def _find_fault(value: Any, cls: Any, path: str, fault: Exception) -> Exception:
    """Find the first part of a value that does not fit its type. Return an error with the part's path and fault."""
    for step, child, kind in _children(value, resolve(cls)):
        try:
            _hook_of(kind, "")[0](child)
        except RecursionError:
            return ValueError(f"{path}{step}: more than {MAX_DEPTH} levels deep")
        except Exception as exc:
            return _find_fault(child, kind, path + step, exc)
    return (TypeError if isinstance(fault, TypeError) else ValueError)(f"{path}: {fault}")


def _children(value: Any, cls: Any) -> Iterator[tuple[str, object, Any]]:
    """Yield the path, value and type of each direct part of a value. A value that is not a `cls` has no parts."""
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    if cls in REGISTERED:
        return
    if is_object(cls):
        if type(value) is (origin or cls):
            yield from ((f".{each.name}", getattr(value, each.name), each.type) for each in fields_of(cls) if each.init)
    elif is_named_tuple(cls) and type(value) is cls:
        yield from ((f".{name}", getattr(value, name), kind) for name, kind in items_of(cls))
    elif is_typed_dict(cls) and isinstance(value, dict):
        yield from ((f".{name}", value[name], kind) for name, kind in items_of(cls) if name in value)
    elif origin in LISTED and (isinstance(value, origin) or (origin is tuple and isinstance(value, list))):
        kinds = args if origin is tuple and Ellipsis not in args else itertools.repeat(args[0])
        yield from ((f"[{index}]", each, kind) for index, (each, kind) in enumerate(zip(value, kinds, strict=False)))
    elif origin is dict and isinstance(value, dict):
        for name, each in value.items():
            yield from ((f": the key {name!r:.64}", name, str), (f".{name!s:.64}", each, args[1]))
    elif is_union(cls) and value is not None:
        members = [member for member in args if member is not type(None)]
        if len(members) > 1:
            members = [member for member in members if (typing.get_origin(member) or member) is type(value)]
        if len(members) == 1:
            yield from _children(value, resolve(members[0]))
