"""The declared events of a room class, which are found through its base classes."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import pytest

import edge
from edge.rooms.room import kind_of

F = TypeVar("F")
T = TypeVar("T")


@edge.event
class Move:
    to: int = 0


@edge.event
class Moved:
    to: int = 0


@edge.event
class Chat:
    text: str = ""


class GameBase(edge.Room[F, T]):
    """A base whose subclasses declare their events."""


class Talking(GameBase[F | Chat, T | Chat]):
    """A base that adds events of its own."""


class Swapped(Generic[T, F], edge.Room[F, T]):
    """A base whose type parameters are in reverse order."""


class Half(GameBase[Move, T]):
    """A base that leaves one type parameter open."""


class Mixin:
    pass


class Chess(GameBase[Move, Moved]):
    pass


class Blitz(Chess):
    pass


class Mixed(Mixin, Half[Moved]):
    pass


class Social(Talking[Move, Moved]):
    pass


class Turned(Swapped[Moved, Move]):
    pass


class Silent(GameBase[None, None]):
    pass


@pytest.mark.parametrize(
    ("kind", "receives", "says"),
    [
        (Chess, {"Move"}, {"Moved"}),
        (Blitz, {"Move"}, {"Moved"}),
        (Mixed, {"Move"}, {"Moved"}),
        (Social, {"Move", "Chat"}, {"Moved", "Chat"}),
        (Turned, {"Move"}, {"Moved"}),
        (Silent, set(), set()),
    ],
)
def test_events_come_through_the_whole_inheritance(kind: Any, receives: set[str], says: set[str]) -> None:
    """Type arguments are resolved through all base classes, not only through direct ones."""
    room = kind()
    kind = kind_of(room)
    assert (set(kind.receives.by_name), set(kind.sends.by_name)) == (receives, says)


def test_a_room_that_does_not_say_its_events_is_an_error_at_its_definition() -> None:
    """The definition of a room class without declared events raises TypeError, because such a room would refuse all
    events."""
    for base in (GameBase, edge.Room, Half):
        with pytest.raises(TypeError, match="Odd does not say which events it has"):
            type("Odd", (base,), {})


def test_a_generic_base_is_no_room() -> None:
    """A generic base class can be inherited from, but not opened."""
    with pytest.raises(TypeError, match="GameBase is a generic base"):
        GameBase()


def test_what_a_generic_base_is_given_is_checked() -> None:
    """The type arguments of a generic base class are checked like those of `Room`."""

    @edge.event
    class Odd:
        value: complex

    with pytest.raises(TypeError, match=r"Odd\.value can't be encoded"):

        class Bad(GameBase[Odd, None]):
            pass

    with pytest.raises(TypeError, match="int is not an event"):

        class Worse(GameBase[int, None]):
            pass
