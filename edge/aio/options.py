"""Checks of the options that an author passes."""

from __future__ import annotations

from typing import Any


def check_option(name: str, value: object, *types: type[Any], example: str) -> None:
    """Check the type of an option.

    Raises:
      TypeError: it is of none of these types.
    """
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise TypeError(f"{name} must be {example}, not {value!r:.100}")
