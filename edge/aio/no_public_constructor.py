"""Classes whose instances only the framework makes."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


class NoPublicConstructor(type):
    """A metaclass: calling the class raises `TypeError`, and `_create` makes an instance.

    Authors need not call such a constructor, so its arguments stay free to change.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{cls.__name__} has no public constructor: edge makes its instances and hands them to you")

    def _create(cls: type[T], *args: Any, **kwargs: Any) -> T:
        instance: T = super().__call__(*args, **kwargs)  # type: ignore[misc]  # type.__call__
        return instance
