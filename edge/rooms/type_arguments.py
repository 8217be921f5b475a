"""Finds the type arguments that a class gives to a generic base, directly or through classes in between."""

from __future__ import annotations

import typing
from typing import Any, TypeVar


def type_arguments(cls: type[Any], base: type[Any]) -> tuple[Any, ...]:
    """Return the arguments of a class for the parameters of a base; a type variable for each unbound parameter.

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
    """Return True if an argument is a type variable or contains one."""
    return isinstance(argument, TypeVar) or bool(getattr(argument, "__parameters__", ()))


def _parameters(cls: type[Any]) -> tuple[Any, ...]:
    return tuple(getattr(cls, "__parameters__", ()))


def _substitute(argument: Any, given: dict[Any, Any]) -> Any:
    if isinstance(argument, TypeVar):
        return given.get(argument, argument)
    parameters = getattr(argument, "__parameters__", ())
    return argument[tuple(given.get(each, each) for each in parameters)] if parameters else argument
