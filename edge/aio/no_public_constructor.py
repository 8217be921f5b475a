"""A metaclass for classes whose instances are made only by edge."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


class NoPublicConstructor(type):
    """A metaclass whose classes raise `TypeError` when they are called. edge makes their instances with `_create`.

    Authors never call the constructor of such a class, so its arguments may change in any version.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{cls.__name__} has no public constructor: edge makes its instances and passes them to you")

    def _create(cls: type[T], *args: Any, **kwargs: Any) -> T:
        instance: T = super().__call__(*args, **kwargs)  # type: ignore[misc]  # type.__call__
        return instance
