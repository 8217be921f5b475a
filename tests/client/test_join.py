"""Tests of the arguments of `join`."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import trio

import edge
from edge import Session
from edge.client.client import Status
from edge.testing import EdgeRoom
from tests.network import joined, open_network
from tests.rooms.quiet import FromPlayer, Quiet, ToPlayer


async def test_a_key_that_never_comes_is_asked_for_again() -> None:
    """A key function that does not return is cancelled and called again."""
    app = edge.App({"quiet": Quiet})
    calls = count()

    async def key() -> str:
        if next(calls) == 0:
            await trio.sleep_forever()
        return app.keys.issue("u1")

    async with (
        open_network(app) as network,
        joined(network.connect, "/rooms/quiet/one", sends=FromPlayer, receives=ToPlayer, key=key) as client,
    ):
        with trio.fail_after(25):
            await client.wait_status(Status.OPEN)
        assert next(calls) == 2


@pytest.mark.parametrize(
    ("name", "error"), [("half \ud83d", ValueError), ("é" * 257, ValueError), (7, TypeError), (None, TypeError)]
)
def test_a_name_that_can_not_travel_is_refused_at_the_call(name: Any, error: type[Exception]) -> None:
    """`join` raises an error for an invalid name, instead of starting a client whose connections all fail."""
    edge.join("ws://edge.test/rooms/a/b", sends=FromPlayer, receives=ToPlayer, name="é" * 256)
    with pytest.raises(error):
        edge.join("ws://edge.test/rooms/a/b", sends=FromPlayer, receives=ToPlayer, name=name)


async def test_a_client_knows_whether_it_is_a_guest(edge_room: EdgeRoom) -> None:
    """`Client.guest` equals `Session.guest` of the client's player in the room."""
    room = await edge_room(Quiet)
    [known] = await room.join("ana", session=Session("u1"))
    [guest] = await room.join("ben")
    assert [player.session.guest for player in room.room.players] == [known.guest, guest.guest] == [False, True]
