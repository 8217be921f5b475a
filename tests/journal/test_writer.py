"""The journal writer closes a room whose snapshot can't be written."""

from __future__ import annotations

import logging

import pytest
import trio

import edge
from edge.client.client import Status
from edge.cluster.broker.broker import Broker
from edge.journal.writer import MAX_ENTRY_BYTES
from tests.cluster.servers import one_secret, open_town
from tests.small_rooms import Said, Say


class Healthy(edge.Room[Say, Said]):
    """A persistent room that echoes."""

    seats = edge.Seats(minimum=0, grace=60)

    async def player(self, player: edge.Player[Say, Said]) -> None:
        async for say in player:
            self.text = say.text
            player.send(Said(say.text))

    text = ""

    def snapshot(self) -> str:
        return self.text

    def restore(self, state: str) -> None:
        self.text = state


class Raising(Healthy):
    """A room whose snapshot raises an exception after a player has sent text."""

    def snapshot(self) -> str:
        if self.text:
            raise ZeroDivisionError("the snapshot")
        return ""


class Large(Healthy):
    """A room whose snapshot is too large after a player has sent text."""

    def snapshot(self) -> str:
        return self.text * MAX_ENTRY_BYTES


def make_app(broker: Broker) -> edge.App:
    rooms = {"healthy": Healthy, "raising": Raising, "large": Large}
    return edge.App(rooms, cluster=edge.Cluster(broker), sessions=one_secret())


@pytest.mark.parametrize(("kind", "reason"), [("raising", "ZeroDivisionError"), ("large", "exceed the limit")])
async def test_a_room_that_cannot_be_written_is_closed(
    kind: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A room whose snapshot raises or is too large ends with `ROOM_CRASHED` and an error in the log. Another room of
    its server continues."""
    async with (
        open_town(make_app, 1) as town,
        town.join(f"/rooms/{kind}/a", sends=Say, receives=Said) as faulty,
        town.join("/rooms/healthy/a", sends=Say, receives=Said) as other,
    ):
        await faulty.wait_status(Status.OPEN)
        await other.wait_status(Status.OPEN)
        with caplog.at_level(logging.ERROR, "edge.rooms"):
            faulty.send(Say("x"))
            await trio.sleep(5)
        assert faulty.lost is not None
        assert faulty.lost.code is edge.Code.ROOM_CRASHED
        (record,) = [each for each in caplog.records if "can't be written" in each.message]
        assert record.message.startswith(f"room {kind}/a is closed")
        assert reason in str(record.exc_info)
        assert town.places[0].app.directory.find("healthy", "a") is not None
        other.send(Say("still here"))
        assert await other.receive(Said) == Said("still here")
        assert other.lost is None
