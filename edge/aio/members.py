"""A class decorator that prevents attributes of instances from hiding the public members of the class."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

C = TypeVar("C", bound=type[Any])


def public_members(cls: type[Any]) -> frozenset[str]:
    """Return the public names that a class itself defines."""
    return frozenset(name for name in vars(cls) if not name.startswith("_"))


def guard_members(cls: C, *, settings: Collection[str] = ()) -> C:
    """Make instances raise `AttributeError` if code sets an attribute that would hide a public member of this class.

    The decorator sets `__setattr__` at run time, because type checkers report no unknown attributes of a class whose
    body defines `__setattr__`.

    Args:
      settings: the members that may be set only in the body of a subclass. For them, the error message gives this rule.
    """
    guarded, kind = public_members(cls), f"edge.{cls.__name__}"

    def set_attribute(self: Any, name: str, value: object) -> None:
        if name in guarded:
            what = f"{type(self).__name__}.{name}"
            if name in settings:
                raise AttributeError(f"{what} is a class setting: write it in the body of class {type(self).__name__}")
            raise AttributeError(f"{what} is a member of {kind}: call your attribute something else")
        object.__setattr__(self, name, value)

    cls.__setattr__ = set_attribute  # type: ignore[assignment]  # replaces a method
    return cls
