"""Finds the type arguments that a class gives to a generic base class, directly or through other base classes."""

from __future__ import annotations

import typing
from typing import Any, TypeVar


def type_arguments(cls: type[Any], base: type[Any]) -> tuple[Any, ...]:
    """Return the type arguments that a class gives to `base`. An unbound parameter is returned as its type variable.

    With ``class Game(Room[F, T])`` and ``class Chess(Game[Move, Moved])``, the result for `Chess` and `Room` is
    ``(Move, Moved)``.
    """
    if cls is base:
        return _parameters(cls)
    for each in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin = typing.get_origin(each) or each
        if isinstance(origin, type) and issubclass(origin, base):
            given = dict(zip(_parameters(origin), typing.get_args(each), strict=False))
            return tuple(_substitute(argument, given) for argument in type_arguments(origin, base))
    raise TypeError(f"{cls.__name__} does not inherit from {base.__name__}")


def unresolved(argument: Any) -> bool:
    """Return True if a type argument is a type variable or contains a type variable."""
    return isinstance(argument, TypeVar) or bool(getattr(argument, "__parameters__", ()))


def _parameters(cls: type[Any]) -> tuple[Any, ...]:
    return tuple(getattr(cls, "__parameters__", ()))


def _substitute(argument: Any, given: dict[Any, Any]) -> Any:
    if isinstance(argument, TypeVar):
        return given.get(argument, argument)
    parameters = getattr(argument, "__parameters__", ())
    return argument[tuple(given.get(each, each) for each in parameters)] if parameters else argument
