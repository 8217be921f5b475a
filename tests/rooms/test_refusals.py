"""Refusals are logged at a bounded rate, with the name of the sender.

These tests detect a refusal of a message or of a seat that the server's log does not show.
"""

from __future__ import annotations

import logging

import pytest
import trio

import edge
from edge.rooms.rate_limited_log import MAX_KNOWN, RateLimitedLog
from edge.testing import EdgeRoom


@edge.event
class Say:
    text: str


@edge.event
class Think:
    text: str


class Shy(edge.Room[Say, Say]):
    """Has one seat, refuses the name mallory, and listens to no events."""

    seats = edge.Seats(maximum=1)

    def admit(self, applicant: edge.Applicant) -> None:
        if applicant.name == "mallory":
            raise edge.Refused("you know why")


def infos(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno == logging.INFO and record.name == "edge.rooms"]


async def test_messages(edge_room: EdgeRoom, caplog: pytest.LogCaptureFixture) -> None:
    """A refused message is logged with room, seat, name and reason. The same refusal is logged only once a minute."""
    caplog.set_level(logging.INFO)
    room = await edge_room(Shy)
    [ana] = await room.join("ana", sends=Say | Think)
    for _ in range(5):
        ana.send(Say("hello"))
    ana.send(Think("nobody knows this"))
    await trio.sleep(1)
    assert [record.getMessage() for record in infos(caplog)] == [
        f"'Say' of 'ana' is refused in the room '{room.runtime.path}': not_now: nobody is listening for this now",
        f"'Think' of 'ana' is refused in the room '{room.runtime.path}': unknown_event: "
        "no event 'Think' is known here (4 earlier records were left out)",
    ]
    assert infos(caplog)[0].seat == 0  # type: ignore[attr-defined]
    await trio.sleep(60)
    ana.send(Say("hello"))
    await trio.sleep(1)
    assert len(infos(caplog)) == 3


async def test_seats(edge_room: EdgeRoom, caplog: pytest.LogCaptureFixture) -> None:
    """The refusal of a seat is logged, whether `admit` refuses or the room is full."""
    caplog.set_level(logging.INFO)
    room = await edge_room(Shy)
    session = edge.Session("u1", "mallory")
    with pytest.raises(edge.Disconnected, match="you know why"):
        await room.join("mallory", session=session)
    await room.join("ana")
    with pytest.raises(edge.Disconnected, match="all 1 seats are taken"):
        await room.join("ben")
    refused, full = infos(caplog)
    assert refused.getMessage() == f"a seat in '{room.runtime.path}' is refused to 'mallory': refused: you know why"
    assert refused.session == "u1"  # type: ignore[attr-defined]
    assert full.getMessage().endswith(": full: all 1 seats are taken")


async def test_a_record_is_one_line(edge_room: EdgeRoom, caplog: pytest.LogCaptureFixture) -> None:
    """A log record is one printable line, whatever name or reason it contains."""
    caplog.set_level(logging.INFO)

    class Rude(Shy):
        def admit(self, applicant: edge.Applicant) -> None:
            raise edge.Refused(f"{applicant.name} may not come")

    room = await edge_room(Rude)
    with pytest.raises(edge.Disconnected):
        await room.join("eve\n2026-11-29 ERROR edge: all is lost\x1b[2J")
    (record,) = infos(caplog)
    assert record.getMessage().isprintable()
    assert r"eve\n2026" in record.getMessage()


async def test_a_flood_of_refusals_is_no_flood_of_records(caplog: pytest.LogCaptureFixture) -> None:
    """Of many different refusals, at most twenty are logged at once, and later one per second, with the number of
    omitted records."""
    caplog.set_level(logging.INFO)
    log = RateLimitedLog(logging.getLogger("edge.rooms"))
    for second in range(10):
        for number in range(1000):
            log.note((second, number), "thing %d", number, log_context={})
        assert len(log._known) <= MAX_KNOWN
        await trio.sleep(1)
    assert 20 <= len(infos(caplog)) <= 31
    assert infos(caplog)[-1].getMessage().startswith("thing 0 (")
