"""Tests of the drawing game in virtual time: turns, time-outs, and strokes that must stay hidden."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import edge
from edge.errors import InvalidEvent
from edge.testing import seeds
from examples.drawing.picture import HEIGHT, STRIP, WIDTH, Stroke, strip_below
from examples.drawing.room import Drew, ExquisiteCorpse, Scene, Start, TurnDone, Undid, YourTurn

Open = Callable[..., Any]

LINE = Stroke(1, 10, [(100, 100), (100, 750)])
HIDDEN = Stroke(2, 10, [(300, 50), (400, 60)])


async def scene(client: Any, phase: str) -> Scene:
    """Wait until a client mirrors a scene of this phase, and return the scene."""
    await client.wait_state(lambda state: state.scene.phase == phase)
    newest: Scene = client.state[ExquisiteCorpse.scene]
    return newest


@seeds(200)
async def test_a_round_with_a_timeout_and_a_leaving(edge_room: Open, edge_seed: int) -> None:
    """During a turn, a player gets only the strip of the part above. The revealed figure has all strokes, also of a
    player who timed out or left."""
    room = await edge_room(ExquisiteCorpse)
    ana, ben, cyn, dan = await room.join("ana", "ben", "cyn", "dan")
    ana.send(Start())
    assert await ana.receive(YourTurn) == YourTurn("head", [], [])
    for event in (Drew(LINE), Drew(HIDDEN), Drew(HIDDEN), Undid(), TurnDone()):
        ana.send(event)
    turn = await ben.receive(YourTurn)
    assert turn == YourTurn("chest", [Stroke(1, 10, [(100, 0), (100, STRIP)])], [])
    ben.send(Drew(HIDDEN))
    started = trio.current_time()
    assert await cyn.receive(YourTurn) == YourTurn("legs", [], [])
    assert trio.current_time() - started == pytest.approx(75)
    cyn.send(Drew(LINE))
    await trio.sleep(1)
    cyn.leave()
    assert (await dan.receive(YourTurn)).part == "feet"
    assert trio.current_time() - started == pytest.approx(76)
    dan.send(TurnDone())
    revealed = await scene(dan, "revealed")
    assert [(part.name, part.by, part.strokes) for part in revealed.figure] == [
        ("head", "ana", [LINE, HIDDEN]),
        ("chest", "ben", [HIDDEN]),
        ("legs", "cyn", [LINE]),
        ("feet", "dan", []),
    ]
    states = {sitter.name: sitter.state for sitter in (await scene(ana, "revealed")).players}
    assert states == {"ana": "done", "ben": "timeout", "dan": "done"}
    shown = trio.current_time()
    await scene(ana, "gathering")
    assert trio.current_time() - shown == pytest.approx(12)


async def test_an_hour_of_play(edge_room: Open) -> None:
    """Two players, one of whom times out in each turn, play the expected number of rounds in an hour."""
    room = await edge_room(ExquisiteCorpse)
    ana, ben = await room.join("ana", "ben")
    rounds = 0

    async def draw_slowly() -> None:
        while True:
            await ana.receive(YourTurn)
            ana.send(Drew(LINE))

    async def draw_nothing() -> None:
        while True:
            await ben.receive(YourTurn)
            ben.send(TurnDone())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(draw_slowly)
        nursery.start_soon(draw_nothing)
        while trio.current_time() < 3600:
            assert [part.strokes for part in (await scene(ana, "revealed")).figure] == [[LINE], []]
            rounds += 1
            await scene(ana, "gathering")
        nursery.cancel_scope.cancel()
    assert rounds == math.ceil((3600 - 15 - 75) / (15 + 75 + 12)) + 1


async def test_drawing_out_of_turn_is_refused(edge_room: Open) -> None:
    """A stroke of a player without a turn is refused as `not_now`, and does not appear."""
    room = await edge_room(ExquisiteCorpse)
    ana, ben = await room.join("ana", "ben")
    ben.send(Start())
    await ana.receive(YourTurn)
    ben.send(Drew(LINE))
    ana.send(TurnDone())
    await ben.receive(YourTurn)
    assert [(error.problem, error.about) for error in ben.errors] == [("not_now", "drew")]
    assert all(page.strokes == [] for page in room.room.pages)


async def test_a_reload_in_the_middle_of_a_turn(edge_room: Open) -> None:
    """A page that is reloaded during a turn gets the turn and the strokes so far, and the round continues."""
    room = await edge_room(ExquisiteCorpse)
    session = edge.Session("u1")
    (ana,) = await room.join("ana", session=session)
    (ben,) = await room.join("ben")
    ben.send(Start())
    await ana.receive(YourTurn)
    ana.send(Drew(LINE))
    await trio.sleep(1)
    ana.drop()
    (page,) = await room.join("ana", session=session)
    assert await page.receive(YourTurn) == YourTurn("head", [], [LINE])
    page.send(Drew(LINE))
    page.send(TurnDone())
    await ben.receive(YourTurn)
    ben.send(TurnDone())
    assert (await scene(ben, "revealed")).figure[0].strokes == [LINE, LINE]


async def test_joining_late_means_watching(edge_room: Open) -> None:
    """A player who joins late sees the scene, gets the revealed figure, and draws in the next round."""
    room = await edge_room(ExquisiteCorpse)
    ana, ben = await room.join("ana", "ben")
    ana.send(Start())
    await ana.receive(YourTurn)
    (cyn,) = await room.join("cyn")
    newest = await scene(cyn, "drawing")
    assert [(sitter.name, sitter.state) for sitter in newest.players] == [
        ("ana", "drawing"),
        ("ben", "next"),
        ("cyn", "watching"),
    ]
    ana.send(Drew(LINE))
    ana.send(TurnDone())
    await ben.receive(YourTurn)
    ben.send(TurnDone())
    await scene(cyn, "revealed")
    (dan,) = await room.join("dan")
    assert dan.state.scene.figure == cyn.state.scene.figure
    await trio.sleep(13)
    ana.send(Start())
    await trio.sleep(75 * 2 + 1)
    await cyn.receive(YourTurn)


async def test_too_few_players_wait_again(edge_room: Open) -> None:
    """A round in which only one player is left ends without a reveal."""
    room = await edge_room(ExquisiteCorpse)
    ana, ben = await room.join("ana", "ben")
    ana.send(Start())
    await ana.receive(YourTurn)
    ana.send(Drew(LINE))
    ana.leave()
    await scene(ben, "drawing")
    await scene(ben, "waiting")
    assert room.room.pages == []


@pytest.mark.parametrize("name", ["", " ana", "ana ", "x" * 21, "a\nb", "ANA"])
async def test_names_that_are_refused(edge_room: Open, name: str) -> None:
    """A name that is empty, padded, too long, unprintable or taken is refused."""
    room = await edge_room(ExquisiteCorpse)
    await room.join("ana")
    with pytest.raises(edge.Disconnected) as caught:
        await room.join(name)
    assert caught.value.code is edge.Code.REFUSED


@pytest.mark.parametrize(
    "stroke",
    [
        {"color": 8, "width": 10, "points": [[0, 0]]},
        {"color": 1, "width": 1000, "points": [[0, 0]]},
        {"color": 1, "width": 10, "points": []},
        {"color": 1, "width": 10, "points": [[0, 0]] * 2001},
        {"color": 1, "width": 10, "points": [[0, 751]]},
    ],
)
def test_strokes_that_are_refused(stroke: dict[str, Any]) -> None:
    """A stroke with an unknown colour, a wrong width, no points, too many points or points off the paper is refused."""
    from edge.protocol.structure import structure

    with pytest.raises(InvalidEvent, match=r"^stroke: "):
        structure({"stroke": stroke}, Drew)


@given(st.lists(st.tuples(st.integers(0, WIDTH), st.integers(0, HEIGHT)), min_size=1, max_size=30))
def test_the_strip_shows_what_is_in_it_and_nothing_else(points: list[tuple[int, int]]) -> None:
    """`strip_below` returns only points in the strip, and all points of the strokes that lie there, in order."""
    shown = [point for stroke in strip_below([Stroke(0, 10, points)]) for point in stroke.points]
    assert all(0 <= y <= STRIP for _, y in shown)
    inside = [(x, y - (HEIGHT - STRIP)) for x, y in points if y >= HEIGHT - STRIP]
    remaining = iter(shown)
    assert all(point in remaining for point in inside)
