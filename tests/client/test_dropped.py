"""Requests of the room that a Python client takes and does not answer."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

import edge
from edge.testing import EdgeRoom, seeds


@edge.event
class Choose:
    number: int


@edge.event
class Chosen:
    number: int


class Asking(edge.Room[Chosen, Choose]):
    """Asks each question of a list, without a limit of time."""

    def __init__(self) -> None:
        self.results: list[str] = []

    async def player(self, player: edge.Player[Chosen, Choose]) -> None:
        for number in range(3):
            try:
                answer = await player.ask(Choose(number), Chosen)
                self.results.append(f"{answer.number} at {trio.current_time():g}")
            except edge.RequestFailed as failed:
                self.results.append(f"{failed.problem} at {trio.current_time():g}")
        await trio.sleep_forever()


async def forget_the_second(client: Any) -> None:
    async for question in client:
        if question.number != 1:
            client.reply(question, Chosen(question.number))


async def forget_the_second_while_receiving(client: Any) -> None:
    while True:
        question = await client.receive(Choose)
        if question.number != 1:
            client.reply(question, Chosen(question.number))
        del question


@pytest.mark.parametrize("play", [forget_the_second, forget_the_second_while_receiving])
@seeds(20)
async def test_a_request_that_a_client_drops_settles(
    edge_room: EdgeRoom, caplog: pytest.LogCaptureFixture, play: Any
) -> None:
    """When the client's code drops a request without an answer, the room's `ask` fails at once, and the log names the
    code."""
    room = await edge_room(Asking)
    (ana,) = await room.join("ana")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, ana)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert room.room.results == ["0 at 0", "unanswered at 0", "2 at 0"]
    assert ana.seen.all(Choose) == [Choose(0), Choose(1), Choose(2)]
    (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.startswith(f"{play.__name__}() (")
    assert warning.endswith("has dropped a request 'Choose' of the room without an answer")


async def test_a_request_that_a_client_keeps_waits(edge_room: EdgeRoom) -> None:
    """A client may keep a request, and answer it later, while its loop goes on."""
    room = await edge_room(Asking)
    (ana,) = await room.join("ana")
    kept: list[Choose] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def listen() -> None:
            async for question in ana:
                kept.append(question)

        await trio.sleep(5)
        assert not room.room.results
        ana.reply(kept[0], Chosen(7))
        await trio.sleep(1)
        assert room.room.results == ["7 at 5"]
        nursery.cancel_scope.cancel()
