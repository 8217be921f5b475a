"""Clients that leave while they join, and joins that fail because of an error in the server.

These tests detect a seat that stays because its client left, or because an error occurred, in the middle of the join.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.bots import open_bot
from edge.protocol.codec import JSON
from edge.rooms.player_runtime import PlayerRuntime
from edge.rooms.room import Room
from edge.seats import claim, serve_seat
from edge.seats.held_seat import HeldSeat
from edge.testing import EdgeRoom
from edge.testing.harness import MemoryClient
from edge.transports.memory import open_memory_transports
from tests.rooms.quiet import Guess, Verdict


class Graceful(edge.Room[Guess, Verdict]):
    seats = edge.Seats(grace=math.inf)

    async def player(self, player: edge.Player[Guess, Verdict]) -> None:
        async for guess in player.listen(Guess):
            player.reply(guess, Verdict(True))


@pytest.mark.parametrize("steps", range(30))
async def test_a_bot_that_is_cancelled_while_it_joins_has_left(edge_room: EdgeRoom, steps: int) -> None:
    """A bot that is cancelled at any step of its join holds no seat, even with an infinite grace."""
    room = await edge_room(Graceful)
    async with trio.open_nursery() as nursery:

        async def bot() -> None:
            async with open_bot(room.room, name="Robby"):
                await trio.sleep_forever()

        nursery.start_soon(bot)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    await trio.sleep(3)
    assert room.room.players == ()


@pytest.mark.parametrize("steps", range(0, 60, 2))
async def test_a_client_that_leaves_while_it_joins_has_left(edge_room: EdgeRoom, steps: int) -> None:
    """A client that leaves at any step of its join holds no seat, even with an infinite grace."""
    room = await edge_room(Graceful)
    async with trio.open_nursery() as nursery:
        client = MemoryClient(room, "ana", JSON, edge.Limits(), 0, None, None, None)
        nursery.start_soon(client.run)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        client.leave()
    await trio.sleep(3)
    assert room.room.players == ()


async def test_a_client_whose_welcome_is_late_has_not_left(edge_room: EdgeRoom) -> None:
    """If a client gives up a connection because the welcome is late, the client has not left, and its seat waits for
    the next connection."""

    async def slowly(_: object) -> None:
        await trio.sleep(2)

    room = await edge_room(Graceful)
    client = MemoryClient(room, "ana", JSON, edge.Limits(), 0, None, None, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(client._connector), "welcome_seconds", 1.0)
        patch.setattr(PlayerRuntime, "wait_started", slowly)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            await trio.sleep(1.5)
            assert client.lost is not None
            assert client.lost.code is edge.Code.SILENT
            await trio.sleep(1)
            assert [player.state.value for player in room.runtime.players] == ["away"]
            client.leave()


def _fail_in(owner: Any, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(patch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError(name)

        patch.setattr(owner, name, fail)

    return plant


WHERE = {
    "before it is admitted": _fail_in(claim, "_claim_seat"),
    "while it is admitted": _fail_in(PlayerRuntime, "__init__"),
    "at its welcome": _fail_in(claim, "Welcome"),
    "when it is attached": _fail_in(HeldSeat, "attach"),
    "when it is served": _fail_in(serve_seat, "drive_connection"),
}


@pytest.mark.parametrize(
    ("where", "again"),
    [(where, again) for where in WHERE for again in (False, True) if not (again and where == "while it is admitted")],
)
async def test_an_error_of_the_server_leaves_no_half_made_seat(edge_room: EdgeRoom, where: str, again: bool) -> None:
    """An error in the server during a join closes the connection with INTERNAL_ERROR, and the next attempt gets a
    seat."""
    room = await edge_room(Graceful)
    session = edge.Session("ana")
    if again:
        (before,) = await room.join("ana", session=session)
        before.drop()
        await wait_all_tasks_blocked()
    ours, theirs = open_memory_transports()
    fault: list[BaseException] = []

    async def serve() -> None:
        try:
            await serve_seat.serve_seat(
                theirs,
                JSON,
                room.find,
                where=room.runtime.path,
                counters=room.runtime.counters,
                limits=edge.Limits(),
                keys=room.keys,
                session=session,
            )
        except Exception as exc:
            fault.append(exc)

    with pytest.MonkeyPatch.context() as patch:
        WHERE[where](patch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await ours.send([JSON.encode(["$hello", {"version": 1, "client": "a-client-of-its-own"}])])
            told: list[Any] = []
            with contextlib.suppress(trio.EndOfChannel):
                while True:
                    told.append(JSON.decode(await ours.receive())[0])
    assert [type(exc) for exc in fault] == [ZeroDivisionError]
    assert set(told) <= {"$welcome"}
    assert ours.close_code == edge.Code.INTERNAL_ERROR
    assert edge.Code.INTERNAL_ERROR.retry.value == "resume"
    await wait_all_tasks_blocked()
    waits = again or where == "when it is served"  # a seat whose join was complete waits for its client
    assert [player.state.value for player in room.runtime.players] == (["away"] if waits else [])
    (ana,) = await room.join("ana", session=session)
    assert await ana.request(Guess("x"), Verdict) == Verdict(True)
    assert isinstance(room.room, Room)
    assert len(room.room.players) == 1
    ours.drop()


async def test_an_error_where_a_message_arrives_is_told(edge_room: EdgeRoom, caplog: pytest.LogCaptureFixture) -> None:
    """An error in the server while it delivers a message is logged and ends the connection. The client can resume its
    seat."""
    room = await edge_room(Graceful)
    (ana,) = await room.join("ana")
    with pytest.MonkeyPatch.context() as patch:
        _fail_in(PlayerRuntime, "deliver")(patch)
        ana.send(Guess("x"))
        await wait_all_tasks_blocked()
    assert ana.lost is not None
    assert ana.lost.code is edge.Code.INTERNAL_ERROR
    assert "ZeroDivisionError: deliver" in caplog.text
    assert [player.state.value for player in room.runtime.players] == ["away"]
    await ana.resume()
    assert await ana.request(Guess("y"), Verdict) == Verdict(True)
