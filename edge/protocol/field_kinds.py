"""The kinds of types that fields may have: which are objects, their fields, and the types that authors register.

`check_type`, `structure`, `unstructure` and `fingerprint` see each type through this module.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union
from uuid import UUID

import attrs

T = TypeVar("T")
Rename = Literal["", "camel"]

# The field that names the class of an object whose declared type is a union of classes.
TAG = "type"

# The longest text of a Decimal, and its largest exponent: enough for money and measurements. Arithmetic with larger
# exponents could take minutes.
MAX_DECIMAL_TEXT, MAX_DECIMAL_EXPONENT = 64, 99
DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# The largest timedelta that a float of seconds represents to the microsecond: about 272 years.
MAX_TIMEDELTA = timedelta(seconds=2**33)

if TYPE_CHECKING:
    Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
    """Any JSON value, for a field without a schema."""
else:

    class Json:
        """The type of a field without a schema: any JSON value."""


@attrs.frozen
class Field:
    """A field of an object."""

    name: str
    """The attribute of the object."""
    wire_name: str
    """The name on the wire."""
    argument: str
    """The argument of the class."""
    type: Any
    required: bool
    default: Any
    """The default value, if there is one that is not made by a function; else None."""
    init: bool
    kw_only: bool
    has_validator: bool


@attrs.frozen(eq=False)
class RegisteredType:
    """A class whose values are sent as values of another type."""

    cls: type[Any]
    plain: Any
    """The type of the value that is sent."""
    to_plain: Callable[[Any], Any]
    from_plain: Callable[[Any], Any]
    expected: str = ""
    """The expected value in an error message; empty if `from_plain` raises errors for the sender."""


def unwrap(cls: Any) -> Any:
    """Return the type that a type stands for: without `NewType`, `Annotated`, `Required` and aliases."""
    while (inner := _unwrap_once(cls)) is not cls:
        cls = inner
    return cls


def _unwrap_once(cls: Any) -> Any:
    if isinstance(cls, typing.NewType):
        return cls.__supertype__
    if typing.get_origin(cls) in (typing.Annotated, typing.Required, typing.NotRequired):
        return typing.get_args(cls)[0]
    if type(cls).__name__ == "TypeAliasType":  # a `type` statement, in Python 3.12 and later
        return cls.__value__
    return cls


@attrs.frozen
class Quantised:
    """The resolution of a number on the wire, as a fraction: the result of `quantised`."""

    numerator: int
    denominator: int

    def nearest(self, value: float) -> float:
        """Return the nearest multiple of the resolution: an int if it is a whole number, because that is shorter."""
        if abs(value) > 2**53 * self.numerator / self.denominator:
            return value  # its own precision is less
        units = round(value * self.denominator / self.numerator) * self.numerator
        return units / self.denominator if units % self.denominator else units // self.denominator


def quantised(resolution: float) -> Quantised:
    """Give a field a resolution: ``x: Annotated[float, edge.quantised(0.01)]``.

    The value is sent as the nearest multiple, so that it is short, and a smaller change in a shared document is not
    sent. The room's own object keeps its value; what is restored from a journal is rounded.

    Args:
      resolution: a positive decimal number of at most 9 digits after the point, such as 0.01, 0.25 or 1.

    Raises:
      ValueError: the resolution is not such a number.
    """
    is_number = type(resolution) in (int, float) and math.isfinite(resolution) and abs(resolution) < 2**53
    exact = Decimal(str(resolution)) if is_number else Decimal(0)
    if not (exact > 0 and exact == round(exact, 9)):
        raise ValueError(f"quantised({resolution!r}): give a positive number with at most 9 digits after the point")
    return Quantised(*exact.as_integer_ratio())


def quantised_by(cls: Any) -> Quantised | None:
    """Return the resolution of a type; None if it has none."""
    return next((each for each in _annotations(cls) if isinstance(each, Quantised)), None)


def is_mistaken(cls: Any) -> bool:
    """Return whether a type has two resolutions, or `quantised` itself instead of a resolution."""
    found = list(_annotations(cls))
    return quantised in found or sum(isinstance(each, Quantised) for each in found) > 1


def _annotations(cls: Any) -> Iterator[Any]:
    """Yield what the `Annotated` layers of a type carry, from the outermost layer to the innermost."""
    while (inner := _unwrap_once(cls)) is not cls:
        if typing.get_origin(cls) is typing.Annotated:
            yield from typing.get_args(cls)[1:]
        cls = inner


def resolve(cls: Any) -> Any:
    """Return the type as which values of a type are read: a tuple for a `Sequence`, a dict for a `Mapping`."""
    cls = unwrap(cls)
    if typing.get_origin(cls) is Sequence:
        return tuple[(typing.get_args(cls)[0], ...)]  # type: ignore[misc]  # the argument is a type
    if typing.get_origin(cls) is Mapping:
        return dict[typing.get_args(cls)]  # type: ignore[misc]  # the arguments are types
    return cls


def wire_name(field: Field, rename: Rename) -> str:
    """Return the name of a field on the wire."""
    return camel_case(field.name) if rename == "camel" and field.wire_name == field.name else field.wire_name


def camel_case(name: str) -> str:
    """Return a name in camel case: ``drawnBy`` for ``drawn_by``."""
    first, *others = name.strip("_").split("_")
    return first + "".join(each[:1].upper() + each[1:] for each in others)


def is_object(cls: Any) -> bool:
    """Return whether a type is an attrs class or a dataclass, also with type arguments."""
    made = typing.get_origin(cls) or cls
    return isinstance(made, type) and (attrs.has(made) or dataclasses.is_dataclass(made))


def is_named_tuple(cls: Any) -> bool:
    """Return whether a type is a `NamedTuple` class."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def is_typed_dict(cls: Any) -> bool:
    """Return whether a type is a `TypedDict` class."""
    return typing.is_typeddict(cls)


def is_union(cls: Any) -> bool:
    """Return whether a type is a union."""
    return typing.get_origin(cls) in (Union, types.UnionType)


def _find_fields(cls: Any) -> tuple[Field, ...]:
    made = typing.get_origin(cls) or cls
    hints = typing.get_type_hints(made, include_extras=True)
    arguments = _type_arguments(cls)

    def kind_of(name: str, declared: Any) -> Any:
        (owner,) = [each for each in made.__mro__ if name in vars(each).get("__annotations__", ())][:1] or [made]
        return _substituted(hints.get(name, declared), arguments.get(owner, {}))

    if attrs.has(made):
        return tuple(_attrs_field(each, kind_of(each.name, each.type)) for each in attrs.fields(made))
    return tuple(_dataclass_field(each, kind_of(each.name, each.type)) for each in dataclasses.fields(made))


fields_of: Callable[[Any], tuple[Field, ...]] = functools.cache(_find_fields)
"""Return the fields of an attrs class or a dataclass, also with type arguments. `NameError` if a type is not known."""


def _type_arguments(cls: Any) -> dict[Any, dict[Any, Any]]:
    """Return the types of the type variables of a class and of each of its generic base classes."""
    made = typing.get_origin(cls) or cls
    arguments = dict(zip(getattr(made, "__parameters__", ()), typing.get_args(cls), strict=False))
    found = {made: arguments}
    for base in getattr(made, "__orig_bases__", ()):
        if typing.get_origin(base) not in (None, typing.Generic):
            found |= _type_arguments(_substituted(base, arguments))
    return found


def _attrs_field(each: attrs.Attribute[Any], kind: Any) -> Field:
    alias = each.alias or each.name
    own_alias = alias != each.name.lstrip("_")  # an alias of the author's
    made_by_function = isinstance(each.default, attrs.Factory)  # type: ignore[arg-type]  # a class, and not a function
    return Field(
        name=each.name,
        wire_name=alias if own_alias else each.name,
        argument=alias,
        type=kind,
        required=each.default is attrs.NOTHING,
        default=None if made_by_function or each.default is attrs.NOTHING else each.default,
        init=each.init,
        kw_only=each.kw_only,
        has_validator=each.validator is not None,
    )


def _dataclass_field(each: dataclasses.Field[Any], kind: Any) -> Field:
    has_default = each.default is not dataclasses.MISSING
    return Field(
        name=each.name,
        wire_name=each.name,
        argument=each.name,
        type=kind,
        required=not has_default and each.default_factory is dataclasses.MISSING,
        default=each.default if has_default else None,
        init=each.init,
        kw_only=bool(each.kw_only),
        has_validator=False,
    )


def _substituted(kind: Any, arguments: Mapping[Any, Any]) -> Any:
    """Return a type with its type variables replaced."""
    if isinstance(kind, TypeVar):
        return arguments.get(kind, kind)
    parameters = getattr(kind, "__parameters__", ())
    if parameters and arguments:
        return kind[tuple(arguments.get(each, each) for each in parameters)]
    return kind


def _find_items(cls: Any) -> tuple[tuple[str, Any], ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    names = cls._fields if is_named_tuple(cls) else hints
    return tuple((name, hints.get(name)) for name in names)


def required_items(cls: Any) -> frozenset[str]:
    """Return the names of the items that each value of a `TypedDict` has.

    In a module with ``from __future__ import annotations``, `__required_keys__` ignores `NotRequired`.
    """
    origins = {name: typing.get_origin(kind) for name, kind in items_of(cls)}
    return frozenset(
        name
        for name, origin in origins.items()
        if origin is typing.Required or (origin is not typing.NotRequired and name in cls.__required_keys__)
    )


items_of: Callable[[Any], tuple[tuple[str, Any], ...]] = functools.cache(_find_items)
"""Return the names and types of the items of a `NamedTuple` or a `TypedDict`."""


def tag_of(cls: Any) -> str:
    """Return the name of a class in the field `TAG`: an event's name, or the name of the class."""
    made = typing.get_origin(cls) or cls
    event = getattr(made, "__edge_event__", None)
    return event.name if event is not None and event.cls is made else str(made.__name__)


def tagged_members(cls: Any) -> tuple[Any, ...]:
    """Return the members of a union that carry a tag: all objects, if there are at least two; else none."""
    objects = tuple(each for each in map(resolve, typing.get_args(cls)) if is_object(each) and each not in REGISTERED)
    return objects if len(objects) > 1 else ()


def register_type(
    cls: type[T],
    to_plain: Callable[[T], Any],
    from_plain: Callable[[Any], T],
    *,
    plain: Any = str,
) -> None:
    """Register a class of yours as the type of fields. Call this before you define a class with such a field.

    Args:
      cls: the class. Subclasses are not registered with it.
      to_plain: converts a value into a value of the type `plain`.
      from_plain: converts a value of the type `plain` back. An exception means that the value is not valid; the text of
        a `ValueError` is sent to the sender.
      plain: the type of the values that are sent, such as ``str`` or ``list[float]``.

    Raises:
      TypeError: `cls` is not a class, can be sent without registration, or is registered already.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_type needs a class, not {cls!r:.100}")
    if cls.__module__ == "builtins":
        raise TypeError(f"{cls.__name__} is a built-in class: register a class of yours")
    if cls in REGISTERED:
        raise TypeError(f"{cls.__name__} is registered already")
    REGISTERED[cls] = RegisteredType(cls, plain, to_plain, from_plain)


def _read_datetime(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.utcoffset() is None:
        raise ValueError("the time has no offset from UTC")
    return value


def _write_datetime(value: datetime) -> str:
    offset = value.utcoffset()
    if offset is None:
        raise ValueError(f"{value} has no time zone: use datetime.now(UTC), for example")
    if offset % timedelta(minutes=1):  # some historical offsets have seconds, which ISO 8601 does not have
        value = value.astimezone(UTC)
    return value.isoformat()


def _read_uuid(text: str) -> UUID:
    if not UUID_TEXT.fullmatch(text):
        raise ValueError("not a UUID")
    return UUID(text)


def _read_decimal(text: str) -> Decimal:
    if len(text) > MAX_DECIMAL_TEXT or not DECIMAL.fullmatch(text):
        raise ValueError("not a decimal number")
    value = Decimal(text)
    _check_decimal(value)
    return value


def _check_decimal(value: Decimal) -> None:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > MAX_DECIMAL_EXPONENT:
        raise ValueError(f"{value:.3e} can't be encoded: it is not finite, or its exponent is out of range")


def _write_decimal(value: Decimal) -> str:
    _check_decimal(value)
    text = str(value)
    if len(text) > MAX_DECIMAL_TEXT:
        raise ValueError(f"a Decimal of {len(text)} characters can't be encoded: {MAX_DECIMAL_TEXT} are allowed")
    return text


def _read_timedelta(seconds: float) -> timedelta:
    value = timedelta(seconds=seconds)
    _check_timedelta(value)
    return value


def _check_timedelta(value: timedelta) -> None:
    if abs(value) > MAX_TIMEDELTA:
        raise ValueError(f"{value} can't be encoded: it is longer than 272 years")


def _write_timedelta(value: timedelta) -> float:
    _check_timedelta(value)
    return value.total_seconds()


REGISTERED: dict[Any, RegisteredType] = {
    each.cls: each
    for each in (
        RegisteredType(datetime, str, _write_datetime, _read_datetime, "a time, as ISO 8601 with an offset from UTC"),
        RegisteredType(date, str, date.isoformat, date.fromisoformat, "a date, as in 2026-01-31"),
        RegisteredType(timedelta, float, _write_timedelta, _read_timedelta, "a number of seconds"),
        RegisteredType(UUID, str, str, _read_uuid, "a UUID"),
        RegisteredType(Decimal, str, _write_decimal, _read_decimal, "a decimal number, as text"),
    )
}
