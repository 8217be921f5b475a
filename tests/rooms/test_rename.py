"""Tests of `Room.rename`: one setting for all names of a room, or of all rooms with one base class, on the wire."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs
import pytest
import trio.testing

import edge
from edge.protocol.codec import JSON
from edge.protocol.outgoing import outgoing_event
from edge.rooms.room import kind_of
from edge.testing import EdgeApp, EdgeRoom


@attrs.frozen
class Mark:
    made_by: str
    line_width: float = 1.0


@edge.event
class Draw:
    first_mark: Mark


@edge.event(delivery="latest", key="drawn_by")
class Drawn:
    drawn_by: str
    all_marks: list[Mark]


@edge.event
class AskSize:
    of_mark: int = 0


@edge.event
class Size:
    in_pixels: int


FromPlayer = TypeVar("FromPlayer")
ToPlayer = TypeVar("ToPlayer")


@attrs.frozen
class Canvas:
    line_width: float = 1.0


class InCamelCase(edge.Room[FromPlayer, ToPlayer]):
    """The base class of all rooms of an app."""

    rename = "camel"


class Drawing(InCamelCase[Draw | AskSize | Size, Drawn | AskSize | Size]):
    join_options = Canvas

    def __init__(self, options: Canvas) -> None:
        self.width = options.line_width

    async def player(self, player: edge.Player[Any, Any]) -> None:
        assert (await player.ask(AskSize(1), Size)).in_pixels == 7
        async for event in player.listen(Draw, AskSize):
            match event:
                case Draw(mark):
                    self.broadcast(Drawn(player.name, [mark, Mark("room", self.width)]))
                case AskSize(0):
                    player.reply(event, Size(int(player.options.line_width)))
                case AskSize():
                    player.refuse(event, "no such mark", data=Size(0))


async def play(ana: Any) -> None:
    """Use each kind of message with an event: request, reply, event, latest value, refusal with data."""
    asked = await ana.receive(AskSize)
    ana.reply(asked, Size(7))
    ana.send(Draw(Mark("ana")))
    assert await ana.receive(Drawn) == Drawn("ana", [Mark("ana"), Mark("room", 3.5)])
    assert await ana.request(AskSize(), Size) == Size(3)
    with pytest.raises(edge.RequestFailed, match="no such mark") as caught:
        await ana.request(AskSize(2), Size)
    assert caught.value.data == Size(0)


def test_a_setting_of_the_base_class_applies_to_all_events() -> None:
    """The events of a room have names in camel case on the wire if a base class of the room says so."""
    kind = kind_of(Drawing)
    event = Drawn("ana", [Mark("ana")])
    sent = outgoing_event(event, kind.type_of_sent(event))
    assert JSON.decode(sent.text) == ["~Drawn", {"drawnBy": "ana", "allMarks": [{"madeBy": "ana", "lineWidth": 1.0}]}]
    assert sent.key == ("Drawn", "ana")


@edge.testing.seeds(10)
async def test_all_messages_with_events_and_the_options(edge_app: EdgeApp) -> None:
    """Events, requests, replies, refusals with data and join options use the same names at both ends."""
    app = await edge_app(edge.App({"drawing": Drawing}))
    await play(await app.join("/rooms/drawing/one", name="ana", options=Canvas(3.5)))


async def test_in_a_room_test(edge_room: EdgeRoom) -> None:
    """`edge_room` gives options to a room that renames, too."""
    room = await edge_room(Drawing, options=Canvas(3.5))
    (ana,) = await room.join("ana", options=Canvas(3.5))
    await play(ana)


async def test_a_factory_says_which_room_it_makes(edge_app: EdgeApp) -> None:
    """The names of a factory's options come from the room class in its return annotation."""

    def make(options: Canvas) -> Drawing:
        return Drawing(options)

    app = await edge_app(edge.App({"drawing": make}))
    await play(await app.join("/rooms/drawing/one", name="ana", options=Canvas(3.5)))
    assert app.app.directory.open("drawing", "two", options=Canvas(9)).width == 9  # type: ignore[attr-defined]


async def test_a_client_without_the_setting_is_refused(edge_room: EdgeRoom) -> None:
    """A client that uses the Python names gets an error with the path, and loses nothing else."""
    room = await edge_room(Drawing, options=Canvas())
    (ana,) = await room.join("ana", sends=Draw | Size | AskSize, receives=Drawn | AskSize | Size)
    assert ana.outdated
    asked = await ana.receive(AskSize)
    ana.reply(asked, Size(7))
    await trio.testing.wait_all_tasks_blocked()
    problem = ana.errors[-1]
    assert (problem.problem, problem.message) == ("invalid", "unknown field 'in_pixels'")


def test_an_unknown_value_is_refused() -> None:
    """A room class with an unknown `rename` is an error at the definition."""
    with pytest.raises(TypeError, match="rename must be 'camel' or empty"):

        class Odd(edge.Room[Draw, Drawn]):
            rename = "snake"  # type: ignore[assignment]  # a mistake
