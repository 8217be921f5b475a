"""The room stores the newest value of each `latest` event that a player sends, with or without a listener."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel

import edge
from edge.testing import EdgeRoom, seeds


@edge.event("aim", delivery="latest")
class Aim:
    x: int


@edge.event("finger", delivery="latest", key="hand")
class Finger:
    hand: str
    x: int


@edge.event("shot")
class Shot:
    pass


@edge.event("told")
class Told:
    text: str


Player = edge.Player[Aim | Finger | Shot, Told]


class Range(edge.Room[Aim | Finger | Shot, Told]):
    """Listens to shots only."""

    async def player(self, player: Player) -> None:
        async for _ in player.listen(Shot):
            aim = player.latest(Aim)
            player.send(Told("nowhere" if aim is None else f"at {aim.x}"))


@seeds(50)
async def test_only_the_newest_counts_and_nobody_need_listen(edge_room: EdgeRoom, edge_seed: int) -> None:
    """Without a listener, `player.latest` returns the newest value, and the events are neither refused nor queued."""
    room = await edge_room(Range)
    (ana,) = await room.join("ana")
    ana.send(Shot())
    await trio.sleep(0.1)
    for x in range(200):
        ana.send(Aim(x))
        await trio.lowlevel.checkpoint()
    await trio.sleep(0.1)
    ana.send(Shot())
    assert [(await ana.receive(Told)).text for _ in range(2)] == ["nowhere", "at 199"]
    assert not ana.errors
    assert room.runtime.players[0].statistics().inbox == 0


async def test_a_value_for_each_key(edge_room: EdgeRoom) -> None:
    """`player.latest` returns the newest value of the given key, and None for an unknown key."""
    room = await edge_room(Range)
    (ana,) = await room.join("ana")
    for hand, x in (("left", 1), ("right", 2), ("left", 3)):
        ana.send(Finger(hand, x))
        await trio.sleep(0.01)
    (player,) = room.room.players
    assert player.latest(Finger, "left") == Finger("left", 3)
    assert player.latest(Finger, "right") == Finger("right", 2)
    assert player.latest(Finger, "third") is None


async def test_keys_are_bounded(edge_room: EdgeRoom) -> None:
    """The room stores a player's values for the newest 256 keys only."""
    room = await edge_room(Range)
    (ana,) = await room.join("ana")
    for number in range(1000):
        ana.send(Finger(f"hand {number}", number))
        await trio.sleep(0.01)
    (player,) = room.room.players
    kept = [number for number in range(1000) if player.latest(Finger, f"hand {number}")]
    assert kept == list(range(1000 - 256, 1000))


async def test_a_listener_hears_them_too(edge_room: EdgeRoom) -> None:
    """A listener gets a `latest` event, and `player.latest` returns the same event."""
    room = await edge_room(Range)
    (ana,) = await room.join("ana")
    listener = room.room.listen(Aim)
    ana.send(Aim(5))
    player, aim = await listener.receive()
    assert aim == Aim(5) == player.latest(Aim)


async def test_a_request_of_that_class_still_wants_an_answer(edge_room: EdgeRoom) -> None:
    """A request whose class has `latest` delivery is refused if no code listens, and is not stored as a latest
    value."""
    room = await edge_room(Range)
    (ana,) = await room.join("ana")
    with pytest.raises(edge.RequestFailed) as failed:
        await ana.request(Aim(1), Told)
    assert failed.value.problem == "not_now"
    assert room.room.players[0].latest(Aim) is None


async def test_a_lost_connection_keeps_it_and_a_reload_does_not(edge_room: EdgeRoom) -> None:
    """The latest values of a player survive a lost connection. A reload clears them."""
    room = await edge_room(Range)
    session = edge.Session("u1", "ana")
    (ana,) = await room.join(session=session)
    ana.send(Aim(1))
    await trio.sleep(0.1)
    (player,) = room.room.players
    ana.drop()
    await trio.sleep(0.1)
    assert player.latest(Aim) == Aim(1)
    await ana.resume()
    assert player.latest(Aim) == Aim(1)
    await room.join(session=session)
    assert player.latest(Aim) is None
    assert room.room.players == (player,)


def test_a_key_must_be_one() -> None:
    """If the key of a `latest` event is a list, the definition of the room raises TypeError."""

    @edge.event("marks", delivery="latest", key="places")
    class Marks:
        places: list[int]

    with pytest.raises(TypeError, match=r"Marks.places can't be a key"):

        class Marked(edge.Room[Marks, None]):
            pass


async def test_only_latest_events_are_kept(edge_room: EdgeRoom) -> None:
    """`player.latest` raises TypeError for an event with another delivery, and for an event that players do not
    send."""
    room = await edge_room(Range)
    await room.join("ana")
    (player,) = room.room.players
    with pytest.raises(TypeError, match="Shot has delivery='reliable'"):
        player.latest(Shot)
    with pytest.raises(TypeError, match="not one of the events"):
        player.latest(Told)
