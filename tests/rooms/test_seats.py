"""The ledger: presence, numbers, and seats that are started afresh."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.testing import EdgeRoom
from tests.rooms.quiet import Player, Quiet, StubSeat


async def test_presence_follows_the_ledger(edge_room: EdgeRoom) -> None:
    """Joined, away, back, left; the lowest free number is given again."""
    room = await edge_room(Quiet)
    ana, ben = await room.join("ana", "ben")
    seats = room.room.seats
    await wait_all_tasks_blocked()
    seen: list[Any] = []

    async def watch() -> None:
        while True:
            seen.append([(each.number, each.name, each.connected) for each in seats.presence()])
            await seats.wait_change()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await wait_all_tasks_blocked()
        ana.drop()
        await wait_all_tasks_blocked()
        await ana.resume()
        await wait_all_tasks_blocked()
        ana.leave()
        await wait_all_tasks_blocked()
        await room.join("cyn")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert seen == [
        [(0, "ana", True), (1, "ben", True)],
        [(0, "ana", False), (1, "ben", True)],
        [(0, "ana", True), (1, "ben", True)],
        [(1, "ben", True)],
        [(1, "ben", True), (0, "cyn", True)],
    ]
    assert ben.welcome is not None


async def test_no_grace_ends_a_seat_at_once(edge_room: EdgeRoom) -> None:
    """With `grace=0` a lost connection is leaving."""

    class Strict(Quiet):
        seats = edge.Seats(grace=0)

    room = await edge_room(Strict)
    (ana,) = await room.join("ana")
    ana.drop()
    await wait_all_tasks_blocked()
    assert room.room.players == ()


async def test_a_restarted_seat_keeps_its_place(edge_room: EdgeRoom) -> None:
    """A session that starts afresh is not admitted again, and its new player begins when the old one has ended."""
    order: list[str] = []

    class Orderly(Quiet):
        async def player(self, player: Player) -> None:
            order.append("begin")
            try:
                await trio.sleep_forever()
            finally:
                with player.farewell():
                    await trio.sleep(1)
                order.append("end")

    room = await edge_room(Orderly)
    (ana,) = await room.join("ana")
    room.room.lock()
    ana.drop()
    ana._seated = False  # as after a reload that kept the key alone
    await ana.resume()
    assert ana.welcome is not None
    assert (ana.welcome.resumed, ana.welcome.why) == (False, "replaced")
    assert order == ["begin", "end", "begin"]
    assert [player.name for player in room.room.players] == ["ana"]


async def test_restarts_in_a_row_do_not_overlap(edge_room: EdgeRoom) -> None:
    """However fast a session starts afresh, each of its players begins when all before have ended."""
    living: list[int] = []

    class Lingering(Quiet):
        async def player(self, player: Player) -> None:
            assert living == []
            living.append(player.number)
            try:
                await trio.sleep_forever()
            finally:
                with player.farewell():
                    await trio.sleep(1.5)
                living.remove(player.number)

    room = await edge_room(Lingering)
    player = room.room.take_seat(StubSeat("ana"))
    await trio.sleep(0.1)
    for _ in range(3):
        player = room.room.take_seat(StubSeat("ana"), instead_of=player)
        await trio.sleep(0.3)
    await trio.sleep(3)
    assert living == [player.number]


async def test_a_number_is_free_when_its_player_has_ended(edge_room: EdgeRoom) -> None:
    """Not while their `finally` still runs: what it does for this number is done to nobody else."""

    class Lingering(Quiet):
        async def player(self, player: Player) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with player.farewell():
                    await trio.sleep(1)

    room = await edge_room(Lingering)
    ana, _ = await room.join("ana", "ben")
    ana.leave()
    await wait_all_tasks_blocked()
    await room.join("cyn")
    await trio.sleep(2)
    room.room.players[1].kick()
    await room.join("dan")
    assert [(player.name, player.number) for player in room.room.players] == [("ben", 1), ("dan", 0)]
