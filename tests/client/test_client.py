"""Tests that a client holds no seat after it leaves or is cancelled, at any moment and over any transport.

These tests detect the following kind of bug. If the caller is cancelled, the task that sends the goodbye is cancelled
as well.
"""

from __future__ import annotations

import math

import pytest
import trio

import edge
from edge.client.fallback import TransportKind
from edge.testing import Conditions
from tests.network import joined, open_network
from tests.rooms.quiet import FromPlayer, Guess, ToPlayer, Verdict


class Endless(edge.Room[FromPlayer, ToPlayer]):
    seats = edge.Seats(grace=math.inf)

    async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
        async for guess in player.listen(Guess):
            player.reply(guess, Verdict(True))


@pytest.mark.parametrize("how", ["left", "cancelled"])
@pytest.mark.parametrize("kind", TransportKind)
@pytest.mark.parametrize("after", [0.0, 0.05, 0.15, 0.25, 0.3, 0.35, 0.4, 0.45, 0.55, 0.65, 0.75, 2.0])
async def test_a_client_that_goes_holds_no_seat(kind: TransportKind, after: float, how: str) -> None:
    """A client that leaves or is cancelled holds no seat, whether it dials, sends its hello, waits for its welcome or
    is connected at that moment."""
    app = edge.App({"endless": Endless}, idle=1000)
    async with open_network(app) as network:
        network.network.conditions = Conditions(latency=0.1)
        with trio.move_on_after(after if how == "cancelled" else math.inf):
            path = "/rooms/endless/one"
            async with joined(network.connect, path, kind, sends=FromPlayer, receives=ToPlayer) as client:
                await trio.sleep(after)
                if how == "cancelled":
                    await trio.sleep_forever()
                client.leave()
        began = trio.current_time()
        await trio.sleep(5)
        assert [player for room in app.directory.rooms for player in room.players] == []
        assert began - after < 1.5, "leaving must take no longer than a closing handshake"
