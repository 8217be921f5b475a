"""The health checks /livez and /readyz, and the JSON log."""

from __future__ import annotations

import json
import logging

import pytest

import edge
from edge.client.client import Status
from edge.server.app import site_of
from edge.server.limiter import AddressLimits
from edge.server.logs import JsonFormatter
from tests.network import joined, open_network
from tests.rooms.quiet import FromPlayer, Player, Quiet, ToPlayer
from tests.server.http import ask


async def test_live_and_ready() -> None:
    """A full or draining server is live, but not ready."""
    app = edge.App({"quiet": Quiet}, address_limits=AddressLimits(rooms=1), idle=5)
    async with open_network(app) as network:

        async def health() -> list[tuple[int, str]]:
            answers = [await ask(network, "GET", path) for path in ("/livez", "/readyz")]
            return [(answer.status, answer.json["status"]) for answer in answers]

        assert await health() == [(200, "ok"), (200, "ok")]
        room = app.directory.open("quiet", "one")
        assert await health() == [(200, "ok"), (503, "full")]
        room.close()
        await room.wait_closed()
        assert await health() == [(200, "ok"), (200, "ok")]
        site_of(app).draining = True
        assert await health() == [(200, "ok"), (503, "draining")]


class Crashing(Quiet):
    async def player(self, player: Player) -> None:
        raise ValueError("on purpose")


async def test_records_say_what_they_are_about(caplog: pytest.LogCaptureFixture) -> None:
    """Each record of a room is a line of JSON with the fields room, seat and session where they apply, and with the
    traceback in the field `detail`."""
    caplog.set_level(logging.DEBUG, "edge")
    app = edge.App({"crashing": Crashing})
    async with (
        open_network(app) as network,
        joined(network.connect, "/rooms/crashing/one", sends=FromPlayer, receives=ToPlayer) as client,
    ):
        await client.wait_status(Status.CLOSED)
    records = [record for record in caplog.records if record.name == "edge.rooms"]
    lines = [json.loads(JsonFormatter().format(record)) for record in records]
    told = [(line["level"], line["message"]) for line in lines]
    assert told == [
        ("debug", "room crashing/one is open"),
        ("debug", "room crashing/one: seat 0 ('ana') is taken"),
        ("error", "room crashing/one: player() of seat 0 ('ana') raised"),
        ("debug", "room crashing/one: seat 0 ('ana') left: crashed"),
        ("debug", "room crashing/one is closed"),
    ]
    assert {line["room"] for line in lines} == {"crashing/one"}
    assert [line.get("seat") for line in lines] == [None, 0, 0, 0, None]
    assert len({line.get("session") for line in lines} - {None}) == 1
    assert "ValueError: on purpose" in lines[2]["detail"]
    assert [line["logger"] for line in lines] == ["edge.rooms"] * 5


def test_any_record_is_one_line() -> None:
    """Every record is one line of JSON, whatever the record contains."""
    record = logging.LogRecord("a", logging.INFO, "", 0, "line %s\nand\u2028more", ("one",), None)
    record.room = object()
    formatted = JsonFormatter().format(record)
    assert len(formatted.splitlines()) == 1
    assert json.loads(formatted)["detail"] == "and\u2028more"
    try:
        raise ValueError("on purpose")
    except ValueError as exc:
        record = logging.LogRecord("a", logging.ERROR, "", 0, "it failed", (), (type(exc), exc, exc.__traceback__))
    assert "ValueError: on purpose" in json.loads(JsonFormatter().format(record))["detail"]
