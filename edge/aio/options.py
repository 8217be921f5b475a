"""Checks of the options that an author passes."""

from __future__ import annotations

from typing import Any


def check_option(name: str, value: object, *types: type[Any], example: str) -> None:
    """Check the type of an option's value.

    Args:
      name: the name of the option, for the error message.
      example: a phrase for the error message that describes a correct value.

    Raises:
      TypeError: the value has none of these types. A bool does not count as an int.
    """
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise TypeError(f"{name} must be {example}, not {value!r:.100}")
