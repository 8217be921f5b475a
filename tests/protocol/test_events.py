"""The decorator `@edge.event`."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import edge
from edge.protocol.events import Vocabulary, event_type


@edge.event
class Plain:
    x: int


@edge.event("some:name", delivery="latest", key="who")
class Named:
    who: str
    value: int = 0


def test_an_event_is_a_frozen_attrs_class() -> None:
    """`@edge.event` makes a frozen attrs class. The event has the name of the class or the given name, and the key if
    one is given."""
    assert (event_type(Plain).name, event_type(Plain).delivery) == ("Plain", "reliable")
    assert event_type(Named).key_of(Named("ana", 3)) == ("some:name", "ana")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Plain(1).x = 2  # type: ignore[misc]  # the test asserts that this is refused


@pytest.mark.parametrize("name", ["$x", "~x", "!x", "=x", "1", "a b", "x" * 65, "é"])
def test_names_that_the_envelope_needs_are_refused(name: str) -> None:
    """An invalid name, such as a name with a sign of the envelope, is refused, so that no event looks like another kind
    of message."""
    with pytest.raises(TypeError, match="can't be an event's name"):
        edge.event(name)(type("X", (), {}))


@pytest.mark.parametrize("options", [{"key": "who"}, {"delivery": "latest", "key": "nobody"}])
def test_a_key_needs_a_field_and_a_latest(options: dict[str, Any]) -> None:
    """A key that names no field of the event, or an event with a key but without `latest` delivery, is refused."""
    with pytest.raises(TypeError, match="must name a field"):
        edge.event(**options)(type("X", (), {"__annotations__": {"who": str}}))


def test_vocabularies() -> None:
    """A vocabulary can be made of a union of event classes, one class, or None. Duplicate names and classes that are
    not events are refused."""
    assert Vocabulary.of(Plain | Named).by_name.keys() == {"Plain", "some:name"}
    assert Named in Vocabulary.of(Named)
    assert Vocabulary.of(None).by_name == {}

    @edge.event("Plain")
    class Other:
        pass

    with pytest.raises(TypeError, match="both named 'Plain'"):
        Vocabulary.of(Plain | Other)
    with pytest.raises(TypeError, match="int is not an event"):
        Vocabulary.of(int)
    with pytest.raises(TypeError, match="not a union"):
        Vocabulary.of("Plain")


def test_a_room_refuses_foreign_events() -> None:
    """A room refuses to broadcast events that it does not declare to send, and to listen for events that it does not
    receive."""

    class Room(edge.Room[Plain, Named]):
        pass

    room = Room()
    with pytest.raises(TypeError, match="Plain is not one of the events that Room sends to players"):
        room.broadcast(Plain(1))  # type: ignore[arg-type]  # mypy reports the same
    with pytest.raises(TypeError, match="Named is a class: send an instance"):
        room.broadcast(Named)  # type: ignore[arg-type]  # mypy reports the same
    with pytest.raises(TypeError, match="Named is not one of the events that Room receives from players"):
        room.listen(Named)
