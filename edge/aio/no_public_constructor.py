"""A metaclass for classes whose instances only edge makes."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


class NoPublicConstructor(type):
    """A metaclass for which a call of the class raises `TypeError`. `_create` makes an instance.

    Authors never call such a constructor, so its arguments may change in any version.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{cls.__name__} has no public constructor: edge makes its instances and passes them to you")

    def _create(cls: type[T], *args: Any, **kwargs: Any) -> T:
        instance: T = super().__call__(*args, **kwargs)  # type: ignore[misc]  # type.__call__
        return instance
