"""Fresh starts: several pages of one session, lost welcomes, repeated hellos, and lost messages."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge import Code
from edge.client.client import Status
from edge.protocol.codec import JSON
from edge.testing import EdgeRoom, RoomUnderTest, seeds
from edge.transports.memory import MemoryTransport, open_memory_transports
from tests.rooms.quiet import Choose, Chosen, Guess, Player, Quiet, Verdict

ANA = edge.Session("u1", "ana", {"admin": True})


class Greeting(Quiet):
    """Sends an event in `greet`, and logs the calls of `greet` and the start and end of each player."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def greet(self, player: Player) -> None:
        self.log.append(f"greet {player.name}")
        player.send(Verdict(False))

    async def player(self, player: Player) -> None:
        self.log.append(f"+{player.name}")
        try:
            async for guess in player.listen(Guess):
                player.reply(guess, Verdict(True))
        finally:
            self.log.append(f"-{player.name}")


@seeds(50)
async def test_a_reload_keeps_the_player(edge_room: EdgeRoom, edge_seed: int) -> None:
    """A new page of the same session gets the seat, `greet` is called for it, and the task of the player continues."""
    room = await edge_room(Greeting)
    (page,) = await room.join("", session=ANA)
    assert await page.receive() == Verdict(False)
    page.drop()
    (reloaded,) = await room.join("", session=ANA)
    assert reloaded.welcome is not None
    assert (reloaded.welcome.resumed, reloaded.welcome.why, reloaded.welcome.number) == (False, "moved", 0)
    assert await reloaded.receive() == Verdict(False)
    assert await reloaded.request(Guess("x"), Verdict) == Verdict(True)
    assert room.room.log == ["greet ana", "+ana", "greet ana"]
    (player,) = room.room.players
    assert (player.session, player.session.claims["admin"]) == (ANA, True)
    reloaded.leave()
    await wait_all_tasks_blocked()


@seeds(20)
async def test_a_second_tab_takes_the_seat(edge_room: EdgeRoom, edge_seed: int) -> None:
    """A second tab of a session takes the seat. The first tab ends with REPLACED, even if it was disconnected, and does
    not take the seat back."""
    room = await edge_room(Greeting)
    first, second = await room.join("x", "y", session=ANA)
    await first.wait_status(Status.CLOSED)
    assert first.ending is not None
    assert first.ending.code is Code.REPLACED
    second.drop()
    await wait_all_tasks_blocked()
    (third,) = await room.join("z", session=ANA)
    with pytest.raises(edge.Disconnected) as caught:
        await second.resume()
    assert caught.value.code is Code.REPLACED
    assert third.status is Status.OPEN
    assert [player.name for player in room.room.players] == ["ana"]


async def test_a_page_that_starts_afresh_is_asked_again(edge_room: EdgeRoom) -> None:
    """An unanswered request of the room is sent again to the next page of the session."""
    room = await edge_room(Quiet)
    (page,) = await room.join("", session=ANA)
    (player,) = room.room.players
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask() -> None:
            assert await player.ask(Choose(["a"]), Chosen) == Chosen("a")

        await page.receive(Choose)
        page.drop()
        (reloaded,) = await room.join("", session=ANA)
        reloaded.reply(await reloaded.receive(Choose), Chosen("a"))


async def test_a_crash_in_greet_is_the_players(edge_room: EdgeRoom) -> None:
    """A crash in `greet` ends the seat with CRASHED, and the room continues."""

    class Rude(Quiet):
        def greet(self, player: Player) -> None:
            if player.name == "ana":
                raise ValueError("not you")

    room = await edge_room(Rude)
    room.expect_crash("not you")
    (ana,) = await room.join("ana")
    await ana.wait_status(Status.CLOSED)
    assert ana.ending is not None
    assert ana.ending.code is Code.CRASHED
    await room.join("ben")


async def say_hello(room: RoomUnderTest[Any], **fields: Any) -> tuple[MemoryTransport, Any]:
    """Send this hello on a new transport, and return the transport and the first answer."""
    ours, theirs = open_memory_transports()
    room.serve_seat(theirs)
    await ours.send([JSON.encode(["$hello", {"version": 1, "client": "a-client-of-its-own", **fields}])])
    return ours, JSON.decode(await ours.receive())


async def test_a_welcome_lost_on_the_way_costs_nothing(edge_room: EdgeRoom) -> None:
    """If a welcome is lost, the client's next attempt gets the same seat and all messages."""
    room = await edge_room(Greeting)
    lost, _ = await say_hello(room, attempt=1)
    await wait_all_tasks_blocked()
    lost.drop()
    again, welcome = await say_hello(room, attempt=2)
    assert (welcome[1]["why"], welcome[1]["number"]) == ("new", 0)
    assert JSON.decode(await again.receive()) == ["Verdict", {"right": False}]
    assert room.room.log == ["greet ", "+"]
    await again.close()


async def test_a_lost_welcome_to_another_seat_is_no_resume(edge_room: EdgeRoom) -> None:
    """If the welcome of a fresh start is lost, the client's counts belong to its previous seat. Its next attempt is
    also a fresh start, and gets all messages."""
    room = await edge_room(Greeting)
    first, _ = await say_hello(room, attempt=1)
    await first.receive()
    first.drop()
    await trio.sleep(room.room.seats.grace + 1)
    lost, welcome = await say_hello(room, attempt=2, received=1, since=1)
    assert (welcome[1]["resumed"], welcome[1]["why"]) == (False, "expired")
    lost.drop()
    again, welcome = await say_hello(room, attempt=3, received=1, since=1)
    assert (welcome[1]["resumed"], welcome[1]["why"]) == (False, "expired")
    assert JSON.decode(await again.receive()) == ["Verdict", {"right": False}]
    await again.close()
    _, welcome = await say_hello(room, attempt=4, received=1, since=3)
    assert welcome[1]["resumed"]


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_hello_said_twice_is_refused(edge_room: EdgeRoom, attempt: int) -> None:
    """A hello whose attempt number is not new is refused as REPLAYED, and does not take the seat from the newest
    connection."""
    room = await edge_room(Greeting)
    _, _ = await say_hello(room, attempt=1)
    newest, welcome = await say_hello(room, attempt=2, received=0, since=1)
    assert welcome[1]["resumed"]
    _, refusal = await say_hello(room, attempt=attempt, received=0, since=1)
    assert (refusal[0], refusal[1]["code"]) == ("$bye", Code.REPLAYED)
    assert JSON.decode(await newest.receive()) == ["Verdict", {"right": False}]
    await newest.close()


async def test_a_key_in_the_hello_says_whose_seat_it_is(edge_room: EdgeRoom) -> None:
    """The key in a hello decides the session of the seat. A hello with an invalid key is refused, and takes no seat."""
    room = await edge_room(Greeting)
    key = room.keys.issue("u7", name="gus", claims={"team": "red"})
    good, welcome = await say_hello(room, key=key, name="not gus")
    assert welcome[0] == "$welcome"
    (player,) = room.room.players
    assert (player.name, player.session) == ("gus", edge.Session("u7", "gus", {"team": "red"}))
    _, refusal = await say_hello(room, key=key[:9] + ("A" if key[9] != "A" else "B") + key[10:])
    assert refusal[1]["code"] == Code.KEY_INVALID
    assert len(room.room.seats) == 1
    await good.close()


async def test_a_client_that_falls_behind_while_connected_starts_afresh(edge_room: EdgeRoom) -> None:
    """The connection of a client that does not acknowledge ends with BEHIND, and the client's next connection starts
    fresh."""
    room = await edge_room(Greeting)
    silent, theirs = open_memory_transports()
    limits = edge.Limits(outbox_frames=4)
    room.serve_seat(theirs, JSON, limits)
    await silent.send([JSON.encode(["$hello", {"version": 1, "client": "a-client-of-its-own"}])])
    await wait_all_tasks_blocked()
    for _ in range(9):
        room.room.broadcast(Verdict(True))
        await wait_all_tasks_blocked()
    frames = []
    while (frame := JSON.decode(await silent.receive()))[0] != "$bye":
        frames.append(frame)
    assert frame[1]["code"] == Code.BEHIND
    again, welcome = await say_hello(room, attempt=2, received=5, since=1)
    assert (welcome[1]["resumed"], welcome[1]["why"]) == (False, "behind")
    assert JSON.decode(await again.receive()) == ["Verdict", {"right": False}]
    assert room.room.log == ["greet ", "+", "greet "]
    await again.close()


@edge.event("value", delivery="latest", key="number")
class Value:
    number: int


class Valued(edge.Room[Guess, Value]):
    """Sends more `latest` values than a seat stores."""

    seats = edge.Seats(minimum=1, maximum=2, grace=60)

    async def player(self, player: edge.Player[Guess, Value]) -> None:
        async for _ in player.listen(Guess):
            for number in range(edge.Limits().outbox_frames + 10):
                player.send(Value(number))
                if number % 100 == 99:
                    await trio.sleep(0.01)


async def test_a_resume_that_would_miss_latest_values_is_a_fresh_start(edge_room: EdgeRoom) -> None:
    """If a seat had to drop `latest` values, a resume becomes a fresh start with the reason "behind". The next
    reconnect is a resume again."""
    room = await edge_room(Valued)
    (ana,) = await room.join("ana")
    for asks, resumed, why in ((True, False, "behind"), (False, True, ""), (True, False, "behind")):
        if asks:
            ana.send(Guess("all"))
            await trio.sleep(1)
        ana.drop()
        await ana.resume()
        assert ana.welcome is not None
        assert (ana.welcome.resumed, ana.welcome.why) == (resumed, why)
    ana.leave()
