"""A bounded store for the latest value of each key."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LatestValues(Generic[Value]):
    """A store for the latest value of each key. Beyond its bounds, the store drops the oldest values, never the newest.

    Args:
      max_values: the maximum number of values that are stored.
      max_bytes: the maximum number of bytes of all values together.
      on_drop: called with the key and the value when a value is dropped. Because each `put` may drop a value,
        `on_drop` is not called again until `dropped` is reset.
    """

    __slots__ = ("_on_drop", "_stored", "dropped", "max_bytes", "max_values", "size")

    def __init__(self, max_values: int, max_bytes: int, on_drop: Callable[[Hashable, Value], object]) -> None:
        self.max_values: int = max_values
        self.max_bytes: int = max_bytes
        self.size: int = 0
        """The size of all values, in bytes."""
        self.dropped: bool = False
        """True once a value was dropped, until `clear` is called or the owner of the store resets it."""
        self._on_drop = on_drop
        self._stored: dict[Hashable, tuple[Value, int]] = {}
        """The values and their sizes, the oldest first."""

    def __len__(self) -> int:
        return len(self._stored)

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Store a value of `size` bytes, in place of the previous value of this key."""
        stored = self._stored
        previous = stored.pop(key, None)  # the new value is the newest, so its place is at the end
        if previous is not None:
            self.size -= previous[1]
        stored[key] = value, size
        self.size += size
        while (len(stored) > self.max_values or self.size > self.max_bytes) and len(stored) > 1:
            oldest = next(iter(stored))
            dropped, dropped_size = stored.pop(oldest)
            self.size -= dropped_size
            if not self.dropped:
                self.dropped = True
                self._on_drop(oldest, dropped)

    def get(self, key: Hashable) -> Value | None:
        """Return the value of this key, or None."""
        stored = self._stored.get(key)
        return None if stored is None else stored[0]

    def values(self) -> list[Value]:
        """Return all values, the oldest first."""
        return [value for value, _ in self._stored.values()]

    def clear(self) -> None:
        """Drop all values, and reset `dropped`."""
        self._stored.clear()
        self.size, self.dropped = 0, False
