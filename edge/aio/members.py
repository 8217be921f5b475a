"""A class decorator that prevents attributes of instances from hiding the public members of the class."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

C = TypeVar("C", bound=type[Any])


def public_members(cls: type[Any]) -> frozenset[str]:
    """Return the public names that a class itself defines."""
    return frozenset(name for name in vars(cls) if not name.startswith("_"))


def guard_members(
    *,
    settings: Collection[str] = (),
    hints: Mapping[str, str] | None = None,
    declarations: Collection[type[Any]] = (),
) -> Callable[[C], C]:
    """Make instances raise `AttributeError` if an attribute is set that would hide a public member of the class.

    The decorator sets `__setattr__` at run time: in a class whose body defines `__setattr__`, type checkers report no
    unknown attributes.

    Args:
      settings: members that may be set only in the body of a subclass. The error message says so.
      hints: for some members, what to write instead of an assignment.
      declarations: classes whose objects have an effect only in the body of a subclass.
    """
    instead = hints or {}

    def guard(cls: C) -> C:
        guarded, kind = public_members(cls), f"edge.{cls.__name__}"

        def set_attribute(self: Any, name: str, value: object) -> None:
            if value.__class__ in declarations:
                here = type(self).__name__
                raise AttributeError(f"{here}.{name} has no effect here: declare it in the body of class {here}")
            if name in guarded:
                what, here = f"{type(self).__name__}.{name}", type(self).__name__
                if name in settings:
                    raise AttributeError(f"{what} is a class setting: write it in the body of class {here}")
                hint = instead.get(name, "call your attribute something else")
                raise AttributeError(f"{what} is a member of {kind}: {hint}")
            object.__setattr__(self, name, value)

        cls.__setattr__ = set_attribute  # type: ignore[assignment]  # replaces a method
        return cls

    return guard
