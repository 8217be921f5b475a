"""Tests of the example `stage` in virtual time: the speaker's switches, and the program that all pages show."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import edge
from edge.client.client import Status
from edge.testing import EdgeRoom, seeds
from examples.stage.room import ADMIN, Prefer, Program, Stage, Switch

SPEAKER = edge.Session("speaker", "speaker", {ADMIN: True})


def program(newest: Program) -> tuple[list[str], str | None, int]:
    return [demo.key for demo in newest.demos if demo.on], newest.default, newest.watching


async def seen(client: edge.Client[object, None]) -> tuple[list[str], str | None, int]:
    """Return three values of the newest program that a client mirrors: the keys of the demos that are switched on, the
    default demo, and the number of watchers."""
    await trio.sleep(1)
    return program(client.state[Stage.program])


@seeds(30)
async def test_the_speaker_switches_for_everybody(edge_room: EdgeRoom, edge_seed: int) -> None:
    """The speaker's switches change the program of all pages. Making a demo the default also switches it on, and a demo
    that is switched off is no longer the default."""
    room = await edge_room(lambda: Stage(Program()))
    ana, ben = await room.join("", "")
    (speaker,) = await room.join(session=SPEAKER)
    assert await seen(ana) == (["drawing", "hill", "monitor"], None, 3)
    speaker.send(Switch("hill", False))
    assert await seen(ana) == (["drawing", "monitor"], None, 3)
    speaker.send(Prefer("hill"))
    assert await seen(ben) == (["drawing", "hill", "monitor"], "hill", 3)
    speaker.send(Switch("hill", False))
    ana.leave()
    assert await seen(ben) == (["drawing", "monitor"], None, 2)
    speaker.send(Prefer("monitor"))
    speaker.send(Prefer(None))
    assert await seen(ben) == (["drawing", "monitor"], None, 2)


@pytest.mark.parametrize("claims", [{}, {ADMIN: "yes"}, {ADMIN: 1}, {"admin": True}])
async def test_strangers_switch_nothing(edge_room: EdgeRoom, claims: dict[str, object]) -> None:
    """A player without the speaker's claim who sends a switch is kicked, and the program does not change."""
    room = await edge_room(lambda: Stage(Program()))
    (mallory,) = await room.join(session=edge.Session("m", "mallory", claims))
    mallory.send(Switch("hill", False))
    mallory.send(Prefer("monitor"))
    await mallory.wait_status(Status.CLOSED)
    assert mallory.ending is not None
    assert mallory.ending.code is edge.Code.KICKED
    assert program(room.room.program)[:2] == (["drawing", "hill", "monitor"], None)


async def test_what_was_switched_outlives_the_room(edge_room: EdgeRoom) -> None:
    """A new room has the switches of the room that was closed before."""
    shown = Program()
    first = await edge_room(lambda: Stage(shown))
    (speaker,) = await first.join(session=SPEAKER)
    speaker.send(Prefer("monitor"))
    await trio.sleep(1)
    first.room.close()
    second = await edge_room(lambda: Stage(shown))
    (ana,) = await second.join("")
    assert (await seen(ana))[1] == "monitor"


async def test_a_crowd_is_told_twice_a_second_at_most(edge_room: EdgeRoom) -> None:
    """A page gets the number of watchers at most three times while a hundred pages join at the same time."""
    room = await edge_room(lambda: Stage(Program()))
    (ana,) = await room.join("")
    versions = []
    update = ana._update

    def noting_update(message: Any) -> None:
        versions.append(message.body[0])
        update(message)

    ana._update = noting_update  # type: ignore[method-assign]
    await room.join(*[""] * 100)
    await trio.sleep(5)
    assert len(versions) <= 3
    assert ana.state.program.watching == 101
