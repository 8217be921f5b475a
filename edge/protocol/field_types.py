"""Check the types of an event's fields when a room is defined.

A type is accepted if each of its values can be written as JSON and MessagePack and read back as the same value.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import attrs

from .field_kinds import (
    REGISTERED,
    TAG,
    Json,
    Rename,
    fields_of,
    is_mistaken,
    is_named_tuple,
    is_object,
    is_typed_dict,
    is_union,
    items_of,
    quantised_by,
    resolve,
    tag_of,
    tagged_members,
    unwrap,
    wire_name,
)

# The largest safe integer of JavaScript. With larger integers, a sender could also choose values with equal hashes.
MAX_INTEGER = 2**53 - 1

# The maximum number of levels of nesting. Real events need fewer levels. Python's stack allows far more.
MAX_DEPTH = 32

# Types whose values are encoded as arrays.
LISTED = (list, set, frozenset, tuple)

# Types of the constants of a Literal or an Enum. Constants are compared by type and value: 1 is not True.
CONSTANTS = (str, int, bool)


def check_type(cls: Any, rename: Rename = "") -> None:
    """Check that every field of a class has a type whose values can be encoded.

    Args:
      rename: see `event`.

    Raises:
      TypeError: a field has no such type. The message names the class, the field, and the fault.
    """
    _check_fields(cls, rename, set())


def check_key(cls: type[Any], field: str) -> None:
    """Check that the values of a field can be the key of a ``latest`` event: see `event`.

    `check_type` must have accepted the class.

    Raises:
      TypeError: the values are not hashable by value, or are objects.
    """
    (kind,) = (each.type for each in fields_of(cls) if each.name == field)
    if not is_hashable(kind) or is_object(resolve(kind)):
        raise TypeError(f"{cls.__name__}.{field} can't be a key: use text, a number, a Literal or an Enum")


@functools.cache
def is_hashable(cls: Any) -> bool:
    """True if every value of a checked type can be hashed by its content, and is therefore immutable."""
    return _is_hashable(cls, ())


def _is_hashable(cls: Any, above: tuple[Any, ...]) -> bool:
    cls = resolve(cls)
    if typing.get_origin(cls) in (list, set, dict) or is_typed_dict(cls) or cls is Json:
        return False
    if cls in above:  # a recursive type: its other parts decide
        return True
    if cls in REGISTERED:
        return getattr(cls, "__hash__", None) is not None and cls.__eq__ is not object.__eq__
    if is_object(cls):
        made = typing.get_origin(cls) or cls
        by_value = getattr(made, "__hash__", None) is not None and made.__eq__ is not object.__eq__
        return by_value and all(_is_hashable(each.type, (*above, cls)) for each in fields_of(cls))
    return all(_is_hashable(each, (*above, cls)) for each in _parts(cls))


def _parts(cls: Any) -> list[Any]:
    """Return the types of the direct parts of a value of a resolved type."""
    if cls in REGISTERED:
        return [REGISTERED[cls].plain]
    if is_object(cls):
        return [each.type for each in fields_of(cls)]
    if is_named_tuple(cls) or is_typed_dict(cls):
        return [kind for _, kind in items_of(cls)]
    if typing.get_origin(cls) is Literal:
        return []
    return [each for each in typing.get_args(cls) if each is not Ellipsis]


def is_frozen(cls: Any) -> bool:
    """True if no object of a checked class can change: the class and the classes of its parts are frozen."""
    return is_hashable(cls) and _is_frozen(cls, ())


def _is_frozen(cls: Any, above: tuple[Any, ...]) -> bool:
    if typing.get_origin(unwrap(cls)) in (Sequence, Mapping):  # the value may be a list or a dict
        return False
    cls = resolve(cls)
    if cls in above or cls in REGISTERED:
        return True
    if is_object(cls) and not _rejects_assignment(typing.get_origin(cls) or cls):
        return False
    return all(_is_frozen(each, (*above, cls)) for each in _parts(cls))


def _rejects_assignment(made: type[Any]) -> bool:
    if dataclasses.is_dataclass(made):
        return bool(made.__dataclass_params__.frozen)  # type: ignore[attr-defined]  # of each dataclass
    try:
        setattr(object.__new__(made), "any", None)  # noqa: B010  # `made` may have slots
    except attrs.exceptions.FrozenInstanceError:
        return True
    except AttributeError:  # a class with slots, which is not frozen
        pass
    return False


def parts_of(cls: Any) -> set[Any]:
    """Return the resolved types of a value and of all its parts, at any depth."""
    found: set[Any] = set()
    waiting = [cls]
    while waiting:
        each = resolve(waiting.pop())
        if each not in found:
            found.add(each)
            waiting += _parts(each)
    return found


def holds_itself(cls: Any, above: tuple[Any, ...] = ()) -> bool:
    """True if a type is recursive or contains a recursive type, so that its values may nest to any depth."""
    cls = resolve(cls)
    if cls is Json or cls in above:
        return True
    return any(holds_itself(each, (*above, cls)) for each in _parts(cls))


def deeper_than(value: object, levels: int) -> bool:
    """Return whether lists and dicts nest deeper than `levels`. Use no recursion, which could exhaust the stack."""
    layer: list[Any] = [value] if type(value) in (dict, list) else []
    while layer and levels >= 0:
        parts = (each.values() if type(each) is dict else each for each in layer if each)
        layer = [child for child in itertools.chain.from_iterable(parts) if type(child) in (dict, list)]
        levels -= 1
    return bool(layer)


def _check_fields(cls: Any, rename: Rename, seen: set[Any]) -> None:
    if cls in seen:
        return
    seen.add(cls)
    made = typing.get_origin(cls) or cls
    try:
        fields = fields_of(cls)
    except NameError as exc:
        raise TypeError(f"{made.__name__} can't be encoded: {exc}: import the types of fields at run time") from exc
    _check_order(made, cls)
    names: dict[str, str] = {}
    for field in fields:
        fault = "it has no type" if field.type is None else _type_fault(field.type, rename, seen)
        if not _is_immutable(field.default):
            made_by = type(field.default).__name__ if type(field.default) in (list, dict, set) else "lambda: ..."
            fault = f"all instances share its default: use attrs.field(factory={made_by})"
        if field.init and names.setdefault(name := wire_name(field, rename), field.name) != field.name:
            fault = f"{names[name]} has the same name on the wire, {name!r}"
        if fault:
            raise TypeError(f"{made.__name__}.{field.name} can't be encoded: {fault}")


def _is_immutable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _check_order(made: type[Any], cls: Any) -> None:
    """Check that no positional mandatory field follows a keyword-only field, because cattrs would pass it by position
    after a keyword."""
    mandatory = [each for each in fields_of(cls) if each.init and each.required]
    for first, second in itertools.pairwise(mandatory):
        if first.kw_only and not second.kw_only:
            text = f"make it keyword-only, because it comes after {first.name}, which is keyword-only"
            raise TypeError(f"{made.__name__}.{second.name} can't be decoded: {text}")


def _type_fault(declared: Any, rename: Rename, seen: set[Any], inside: tuple[Any, ...] = ()) -> str:
    """Return the reason why values of a type can't be encoded; empty if they can be encoded.

    Args:
      inside: the registered types, TypedDicts and NamedTuples that directly contain this type.
    """
    cls = resolve(declared)
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    if is_mistaken(declared):
        return "give a number one resolution: Annotated[float, edge.quantised(0.01)]"
    if quantised_by(declared) is not None and cls is not float:
        return "only a float has a resolution: use Annotated[float, edge.quantised(...)]"
    if cls in (int, float, str, bool, bytes, None, type(None), Json):
        return ""
    if cls in inside:
        return f"{cls.__name__} contains itself: only attrs classes and dataclasses can"
    if cls in REGISTERED:
        return _type_fault(REGISTERED[cls].plain, rename, seen, (*inside, cls))
    if origin is Literal:
        return _constants_fault([arg for arg in args if arg is not None])
    if _is_enum(cls):
        if issubclass(cls, enum.Flag):
            return f"members of the Flag {cls.__name__} can be combined: use set[...] of an Enum instead"
        return _constants_fault([member.value for member in cls])
    if is_object(cls):
        if origin is None and getattr(cls, "__parameters__", None):
            return f"{cls.__name__} is generic: name its type arguments, as in {cls.__name__}[int]"
        _check_fields(cls, rename, seen)
        return ""
    if isinstance(cls, typing.TypeVar):
        return f"the type variable {cls.__name__} is not bound to a type"
    if is_union(cls):
        others = [each for each in _members(cls) if resolve(each) is not type(None)]
        if len(others) > 1 and any(map(quantised_by, others)):
            return "a number with a resolution can only be in a union with None"
        if any(_alike(one, other) for one, other in itertools.combinations(args, 2)):
            return f"the members of {cls} can't be told apart once they are encoded"
        if fault := _tags_fault(tagged_members(cls), rename):
            return fault
    elif origin is dict and resolve(args[0]) is not str:
        return f"only text can be a key, as in JSON, not {getattr(args[0], '__name__', args[0])}"
    elif not (origin in (*LISTED, dict) or is_named_tuple(cls) or is_typed_dict(cls)):
        name = getattr(cls, "__name__", cls)
        hint = "use edge.Json for a value without a schema" if cls is Any else "register_type adds a class of yours"
        return f"{name} is not one of the types that can be sent, which docs/types.md lists; {hint}"
    if any(part is None and is_named_tuple(cls) for part in _parts(cls)):
        return f"an item of {cls.__name__} has no type"
    if is_named_tuple(cls) or is_typed_dict(cls):
        inside = (*inside, cls)
    fault = next(filter(None, (_type_fault(part, rename, seen, inside) for part in _parts(cls))), "")
    if not fault and origin in (set, frozenset) and not is_hashable(args[0]):
        return f"values of {args[0]} can't be in a set: they are not hashable"
    return fault


def _tags_fault(members: tuple[Any, ...], rename: Rename) -> str:
    """Return the reason why a tag can't tell these classes apart; empty if it can."""
    for one, other in itertools.combinations(members, 2):
        if tag_of(one) == tag_of(other):
            return f"two classes of the union are called {tag_of(one)}, and can't be told apart once they are encoded"
    for member in members:
        if any(wire_name(field, rename) == TAG for field in fields_of(member)):
            name = (typing.get_origin(member) or member).__name__
            return f"{name} has a field {TAG!r}, in which a union of classes is sent: call the field something else"
    return ""


def _constants_fault(values: list[Any]) -> str:
    """Return the reason why one of these constants is not supported; empty if all are supported."""
    for value in values:
        if type(value) not in CONSTANTS:
            return f"{value!r} is not text, a whole number or a bool"
        if type(value) is int and abs(value) > MAX_INTEGER:
            return f"{value} is beyond JavaScript's safe integers"
        if type(value) is str and not _is_well_formed(value):
            return f"{value!r} is not well-formed text"
    return "" if values else "it has no members"


def _is_well_formed(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_enum(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, enum.Enum)


def _members(declared: Any) -> Iterator[Any]:
    """Yield the members of a union, and of the unions for which its members stand; a type that is no union itself."""
    if is_union(cls := resolve(declared)):
        for each in typing.get_args(cls):
            yield from _members(each)
    else:
        yield declared


@attrs.frozen
class _Form:
    """The wire form of one member type of a union: what its values can be in JSON."""

    cls: Any
    """A resolved type: no union, no registered type, and a Literal of one value."""
    is_registered: bool
    """True if values of a registered type look like this."""
    has_tag: bool
    """True if an object carries a tag, because the union has this class itself as a member."""


def _forms(member: Any, registered: tuple[Any, ...] = ()) -> Iterator[_Form]:
    """Yield the forms of a member of a union. `registered`: the registered types whose values look like the member."""
    has_tag = not (is_union(resolve(member)) or registered)
    for each in map(resolve, _members(member)):
        if each in registered:
            continue  # it contains itself, which is a fault of its own
        if each in REGISTERED:
            yield from _forms(REGISTERED[each].plain, (*registered, each))
        elif typing.get_origin(each) is Literal:
            yield from (_Form(Literal[value], bool(registered), has_tag) for value in typing.get_args(each))
        else:
            yield _Form(each, bool(registered), has_tag)


def _alike(one: Any, other: Any) -> bool:
    """Return whether a value of one member of a union may have the same encoding as a value of the other member."""
    return any(_look_alike(this, that) for this, that in itertools.product(_forms(one), _forms(other)))


def _look_alike(one: _Form, other: _Form) -> bool:
    if Json in (one.cls, other.cls):
        return True
    if one.is_registered or other.is_registered:
        kinds = _plain_kinds(one.cls) | _plain_kinds(other.cls)
        if _plain_kinds(one.cls) & _plain_kinds(other.cls) or kinds == {int, float}:
            return True
    if is_object(one.cls) and is_object(other.cls):
        return not (one.has_tag and other.has_tag)
    if all(map(_is_listed, (one.cls, other.cls))) or all(map(_is_mapping, (one.cls, other.cls))):
        return True
    for this, that in ((one.cls, other.cls), (other.cls, one.cls)):
        if this is bytes and str in _plain_kinds(that):
            return True
        if _is_enum(this) and (set(map(_typed, _constants(this))) & set(map(_typed, _constants(that)))):
            return True
        if _is_enum(this) and any(
            type(value) is that or (type(value), that) == (int, float) for value in _constants(this)
        ):
            return True
    return False


def _plain_kinds(cls: Any) -> set[Any]:
    """Return the types of the encoded values of a Literal or an Enum; for other types, the type itself."""
    return {type(value) for value in _constants(cls)} or {cls}


def _is_listed(cls: Any) -> bool:
    return typing.get_origin(cls) in LISTED or is_named_tuple(cls)


def _is_mapping(cls: Any) -> bool:
    return is_object(cls) or typing.get_origin(cls) is dict or is_typed_dict(cls)


def _constants(cls: Any) -> list[Any]:
    """Return the encoded values of a Literal or an Enum; an empty list for other types."""
    if typing.get_origin(cls) is Literal:
        return list(typing.get_args(cls))
    return [member.value for member in cls] if _is_enum(cls) else []


def _typed(value: object) -> tuple[type[Any], object]:
    return type(value), value
