"""Tests that a server stores a limited number of bytes of events, `latest` values and requests for each seat."""

from __future__ import annotations

import logging

import pytest
import trio

import edge
from edge.requests.tracker import MAX_REQUESTS
from edge.rooms.player import member_of
from edge.testing import EdgeRoom
from tests.rooms.inside import held_seat
from tests.small_rooms import Say

KIB = 1024
LARGE = "x" * 60 * KIB
FAST = edge.Limits(events_per_second=1e6, events_burst=10_000, bytes_per_second=1e9, bytes_burst=10**9)


@edge.event("note", delivery="latest", key="name")
class Note:
    name: str
    text: str


@edge.event("noted", delivery="latest", key="name")
class Noted:
    name: str
    text: str


class Busy(edge.Room[Say | Note, Say | Noted]):
    """Receives one event every ten seconds."""

    taken = 0

    async def player(self, player: edge.Player[Say | Note, Say | Noted]) -> None:
        async for _ in player.listen(Say):
            self.taken += 1
            await trio.sleep(10)


async def test_large_events_wait_in_the_connection(edge_room: EdgeRoom) -> None:
    """While a player's inbox is full, at most one more message is read from the connection. The room receives all
    events in the end."""
    room = await edge_room(Busy)
    (ana,) = await room.join("ana", limits=FAST)
    for _ in range(8):
        ana.send(Say(LARGE))
    await trio.sleep(5)
    (player,) = room.room.players
    assert member_of(player)._waiting_bytes <= FAST.inbox_bytes + FAST.message_bytes
    await trio.sleep(100)
    assert room.room.taken == 8
    assert member_of(player)._waiting_bytes == 0
    assert list(ana.errors) == []


async def test_latest_values_are_weighed(edge_room: EdgeRoom) -> None:
    """If a client sends large `latest` values under many keys, the seat stores the newest values that fit, and the
    client gets the error `busy` once."""
    room = await edge_room(Busy)
    (ana,) = await room.join("ana", limits=FAST)
    for number in range(100):
        ana.send(Note(f"note {number}", LARGE))
        await trio.sleep(0.01)
    (player,) = room.room.players
    assert [number for number in range(100) if player.latest(Note, f"note {number}")] == [96, 97, 98, 99]
    assert member_of(player)._latest.size <= FAST.inbox_bytes
    assert [(error.problem, error.about) for error in ana.errors] == [("busy", "note")]
    for _ in range(100):
        ana.send(Note("the same", LARGE))
    await trio.sleep(1)
    assert len(member_of(player)._latest) == 4
    assert member_of(player)._latest.size <= FAST.inbox_bytes


async def test_unanswered_requests_are_weighed(edge_room: EdgeRoom) -> None:
    """New requests are refused once the unanswered requests exceed the limit in bytes, even if these requests are
    few."""

    class Silent(Busy):
        async def player(self, player: edge.Player[Say | Note, Say | Noted]) -> None:
            self.requests = [event async for event in player.listen(Say)]

    room = await edge_room(Silent)
    (ana,) = await room.join("ana", limits=FAST)
    refused: list[str] = []

    async def ask() -> None:
        try:
            await ana.request(Say(LARGE), Say)
        except edge.RequestFailed as failed:
            refused.append(failed.problem)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(ask)
            await trio.sleep(0.01)
        (player,) = room.room.players
        assert refused == ["busy"] * 3, "five requests exceed 256 KiB, although 64 may be unanswered"
        assert member_of(player).requests._request_bytes <= FAST.inbox_bytes + FAST.message_bytes
        assert len(member_of(player).requests) == 5 < MAX_REQUESTS
        nursery.cancel_scope.cancel("enough")
    await trio.sleep(1)
    assert member_of(player).requests._request_bytes == 0


async def test_what_a_room_says_with_ever_new_keys_is_weighed(
    edge_room: EdgeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    """If a room sends large `latest` values under many keys, the seat stores the newest values that fit for a resume,
    and the log reports the dropped values once."""
    room = await edge_room(Busy)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    with caplog.at_level(logging.WARNING, "edge.sessions"):
        for number in range(100):
            player.send(Noted(f"note {number}", LARGE))
            await trio.sleep(0.01)
    seat = held_seat(player)
    assert seat.latest.size <= edge.Limits().window_bytes
    assert len(seat.latest) == 8
    assert caplog.text.count("is dropped") == 1
    assert len(ana._inbox) == 100, "the client received all values"
