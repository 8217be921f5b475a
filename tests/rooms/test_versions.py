"""Clients of another version than their server ignore and report unknown fields and events, and other events work.

These tests detect events that an older client loses without a report, because the server has a new field, event or enum
member.
"""

from __future__ import annotations

import enum
import logging
from typing import Any

import attrs
import pytest
from trio.testing import wait_all_tasks_blocked

import edge
from edge.protocol.codec import JSON
from edge.protocol.connection import Connection, Side
from edge.protocol.events import Vocabulary
from edge.protocol.fingerprint import fingerprint
from edge.protocol.limits import Limits
from edge.rooms.room import kind_of
from edge.testing import EdgeRoom


class Colour(enum.StrEnum):
    RED = "red"
    GREEN = "green"


@attrs.frozen
class Dot:
    x: int
    colour: Colour = Colour.RED


@edge.event
class Drew:
    dots: list[Dot]
    by: str = ""


@edge.event
class Undid:
    pass


@edge.event
class Say:
    text: str
    mood: str = ""


@edge.event
class Said:
    text: str


class NewRoom(edge.Room[Say, Drew | Undid | Said]):
    """A room of the newer version."""

    seats = edge.Seats(maximum=4)

    async def player(self, player: edge.Player[Say, Drew | Undid | Said]) -> None:
        async for said in player:
            player.reply(said, Said(said.text))


class OldColour(enum.StrEnum):
    RED = "red"


@attrs.frozen
class OldDot:
    x: int


@edge.event("Drew")
class OldDrew:
    dots: list[OldDot]


@attrs.frozen
class ColouredDot:
    x: int
    colour: OldColour


@edge.event("Drew")
class OldColouredDrew:
    dots: list[ColouredDot]
    by: str = ""


@edge.event("Said")
class OldSaid:
    text: str


async def test_an_older_client_ignores_what_it_does_not_know(edge_room: EdgeRoom, caplog: Any) -> None:
    """A client ignores unknown fields, at any depth, and unknown events, and reports each once. It reports unknown
    events to the server as well."""
    room = await edge_room(NewRoom)
    (ana,) = await room.join("ana", sends=Say, receives=OldDrew | OldSaid)
    for _ in range(3):
        room.room.broadcast(Drew([Dot(1), Dot(2)]))
        room.room.broadcast(Undid())
    room.room.broadcast(Said("hi"))
    heard = [await ana.receive() for _ in range(4)]
    assert heard == [*[OldDrew([OldDot(1), OldDot(2)])] * 3, OldSaid("hi")]
    assert [(error.problem, error.about) for error in ana.errors] == [
        ("extra_field", "Drew"),
        ("unknown_event", "Undid"),
    ]
    assert ana.errors[0].message == "a field of the room's event is ignored: dots[0]: unknown field 'colour'"
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warned] == ["edge.client", "edge.client", "edge.client", "edge.rooms"]
    assert ana.outdated
    assert "could not use Undid of NewRoom: unknown_event" in warned[-1].getMessage()
    assert room.runtime.counters.unusable == 1
    assert room.runtime.counters.outdated == 1


async def test_a_new_member_of_an_enum_costs_that_event_alone(edge_room: EdgeRoom) -> None:
    """A client drops an event with an unknown enum member, even in a list, and no other event. It reports the first
    drop only."""
    room = await edge_room(NewRoom)
    (ana,) = await room.join("ana", receives=OldColouredDrew)
    room.room.broadcast(Drew([Dot(1, Colour.GREEN)]))
    room.room.broadcast(Drew([Dot(1), Dot(1, Colour.GREEN)]))
    room.room.broadcast(Drew([Dot(2)]))
    assert await ana.receive() == OldColouredDrew([ColouredDot(2, OldColour.RED)])
    assert [error.message for error in ana.errors] == [
        "the room's event is dropped: dots[0].colour: expected one of 'red'"
    ]


async def test_an_answer_with_new_fields_is_an_answer(edge_room: EdgeRoom) -> None:
    """A client also ignores and reports unknown fields in a reply."""

    @edge.event("Said")
    class NewerSaid:
        text: str
        at: float = 0.0

    class Room(edge.Room[Say, NewerSaid]):
        async def player(self, player: edge.Player[Say, NewerSaid]) -> None:
            async for said in player:
                player.reply(said, NewerSaid(said.text, 1.0))

    room = await edge_room(Room)
    (ana,) = await room.join("ana", receives=OldSaid)
    assert await ana.request(Say("hi"), OldSaid) == OldSaid("hi")
    assert [error.message for error in ana.errors] == ["a field of the room's event is ignored: unknown field 'at'"]


async def test_a_server_is_strict_unless_its_event_says_otherwise(edge_room: EdgeRoom) -> None:
    """A server refuses unknown fields, but ignores them in events with extra_fields="ignore"."""

    @edge.event("Say")
    class OldSay:
        text: str

    @edge.event("Hint", extra_fields="ignore")
    class OldHint:
        text: str
        dot: OldDot = OldDot(0)  # the class is frozen, so events can share this default

    @edge.event("Hint")
    class Hint:
        text: str
        dot: Dot
        weight: int = 0

    class Room(edge.Room[OldSay | OldHint, Said]):
        async def player(self, player: edge.Player[OldSay | OldHint, Said]) -> None:
            async for event in player:
                player.send(Said(repr(event)))

    room = await edge_room(Room)
    (ana,) = await room.join("ana", sends=Say | Hint)
    ana.send(Say("hi", "glad"))
    ana.send(Hint("x", Dot(3)))
    assert (await ana.receive()).text.endswith("OldHint(text='x', dot=OldDot(x=3))")
    assert [error.message for error in ana.errors] == ["unknown field 'mood'"]


async def test_a_client_that_knows_the_rooms_events_is_not_outdated(edge_room: EdgeRoom, caplog: Any) -> None:
    """A client that has the same events as the room is not outdated, and no warning is logged."""
    room = await edge_room(NewRoom)
    (ana,) = await room.join("ana")
    await wait_all_tasks_blocked()
    assert not ana.outdated
    assert room.runtime.counters.outdated == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_fingerprint_is_what_travels() -> None:
    """The fingerprint of a vocabulary depends on the names, types and fields of its events and on which fields are
    required. It does not depend on default values, and is the same in every process."""

    def of(default: Any = attrs.NOTHING, **types: Any) -> str:
        fields = {name: attrs.field(default=default) for name in types}
        made: Any = edge.event("Made")(type("X", (), {"__annotations__": types, **fields}))
        return fingerprint(Vocabulary.of(made), Vocabulary.of(Said))

    base = of(x=int)
    assert base == of(x=int)
    others = [
        of(y=int),
        of(x=float),
        of(x=int, default=1),
        of(x=int | None),
        of(x=list[int]),
        of(x=Colour),
        of(x=OldColour),
        of(x=Dot),
        of(x=OldDot),
        of(x=int, y=int),
    ]
    assert len({base, *others}) == 1 + len(others)
    assert of(x=int, default=1) == of(x=int, default=2)
    assert of(x=int | str) == of(x=str | int)
    assert fingerprint(kind_of(NewRoom).receives, kind_of(NewRoom).sends) == "6be7b0f23d86963f"


def test_what_a_newer_server_says_besides_is_ignored_by_a_client() -> None:
    """A client ignores unknown fields of the protocol's own messages: welcome, error and goodbye."""
    client = Connection(Side.CLIENT, JSON, now=0, limits=Limits())
    client.send(edge.protocol.messages.Hello(client="x" * 16), now=0)
    welcome = (
        '["$welcome", {"resumed": false, "received": 0, "number": 0, "heartbeat": 20, "dead_after": 30, "new": 1}]'
    )
    assert client.receive(welcome, now=0) is not None
    assert client.receive('["!busy", {"message": "m", "about": "a", "new": []}]', now=0) is not None
    assert client.receive('["$bye", {"code": 4200, "reason": "", "new": null}]', now=0) is not None


@pytest.mark.parametrize("extra", ["allow", True, ""])
def test_extra_fields_are_refused_or_ignored(extra: Any) -> None:
    """`extra_fields` other than "refuse" and "ignore" raises TypeError."""
    with pytest.raises(TypeError, match="extra_fields must be 'refuse' or 'ignore'"):
        edge.event("Odd", extra_fields=extra)(type("Odd", (), {}))
