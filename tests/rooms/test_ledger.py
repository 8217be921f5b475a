"""The ledger: presence, changes of presence, and players' numbers."""

from __future__ import annotations

import gc
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.testing import EdgeRoom
from tests.rooms.quiet import Player, Quiet


async def test_presence_follows_the_ledger(edge_room: EdgeRoom) -> None:
    """`presence` shows each change of the ledger: away, back, left, joined. A new player gets the lowest free
    number."""
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
    """With `grace=0`, a player leaves as soon as the connection is lost."""

    class Strict(Quiet):
        seats = edge.Seats(grace=0)

    room = await edge_room(Strict)
    (ana,) = await room.join("ana")
    ana.drop()
    await wait_all_tasks_blocked()
    assert room.room.players == ()


async def test_a_number_is_free_when_its_player_has_ended(edge_room: EdgeRoom) -> None:
    """A player's number is free only after the player's `finally` block has run, so that this block can't affect the
    next player with that number."""

    class Lingering(Quiet):
        async def player(self, player: Player) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with player.shielded_cleanup():
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


async def test_changes_tell_who_joins_is_away_is_back_and_leaves(edge_room: EdgeRoom) -> None:
    """A loop over `changes` gets each change once and in order. After a slow iteration, the loop also gets the changes
    that occurred meanwhile, except those that were undone."""
    told: list[str] = []

    class Watching(Quiet):
        seats = edge.Seats(maximum=4, grace=5)

        async def run(self) -> None:
            async for change in self.seats.changes():
                told.append(f"{change.player.name} {change.kind}")
                await trio.sleep(1)

    room = await edge_room(Watching)
    ana, ben = await room.join("ana", "ben")
    await trio.sleep(3)
    ana.drop()
    await trio.sleep(2)
    await ana.resume()
    await trio.sleep(2)
    ben.drop()
    await trio.sleep(0.1)
    ana.drop()
    await trio.sleep(0.1)
    await ana.resume()  # undone while the loop body sleeps
    await trio.sleep(6)
    assert told == ["ana joined", "ben joined", "ana away", "ana back", "ben away", "ben left"]


async def test_who_joined_and_is_away_already_is_told_as_both(edge_room: EdgeRoom) -> None:
    """A loop over `changes` that starts late gets "joined" and "away" of a player that is away, and no change of a
    player that has left."""
    room = await edge_room(Quiet)
    changes = room.room.seats.changes()
    ana, ben = await room.join("ana", "ben")
    ana.drop()
    ben.leave()
    await wait_all_tasks_blocked()
    assert [str((await anext(changes)).kind) for _ in range(2)] == ["joined", "away"]
    with trio.move_on_after(1) as nothing_more:
        await anext(changes)
    assert nothing_more.cancelled_caught


async def test_who_listens_no_more_is_forgotten(edge_room: EdgeRoom) -> None:
    """A loop over changes that has ended is removed from the ledger."""
    room = await edge_room(Quiet)

    async def watch_one() -> None:
        async for _ in room.room.seats.changes():
            return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_one)
        await wait_all_tasks_blocked()
        await room.join("ana")
    gc.collect()
    assert room.runtime.ledger.watches == []
