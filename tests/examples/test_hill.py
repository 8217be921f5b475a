"""Tests of King of the hill in virtual time: intents, facts, rounds, bots, and games that a seed reproduces."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.protocol.messages import Event
from edge.protocol.outgoing import Outgoing
from edge.testing import open_rooms, run_virtual, seeds
from examples.hill.events import Board, Bots, Facts, Joined, Left, Look, Steer
from examples.hill.physics import HZ, Disc, step
from examples.hill.room import Hill

Open = Callable[..., Any]


class Alone(Hill):
    """A board without bots until a player requests some."""

    bots = 0


class Mirror:
    """A copy of the board, computed by a client from the events that it receives."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.tick = 0
        self.discs: dict[int, Disc] = {}
        self.facts: dict[int, Facts] = {}

    def step(self, facts: Facts | None) -> None:
        self.tick += 1
        for number, x, y, _ in facts.moved if facts is not None else ():
            self.discs[number].sx, self.discs[number].sy = x, y
        happenings = step([disc for _, disc in sorted(self.discs.items())])
        assert happenings.collided == (facts.collided if facts is not None else [])
        still = [(disc.number, disc.x, disc.y) for disc in happenings.still]
        assert still == (facts.still if facts is not None else [])

    def advance(self, tick: int) -> None:
        while self.tick < tick:
            self.step(None)

    async def follow(self) -> None:
        """Apply each received event, and check that every collision, stop and disc agrees with the server's events."""
        async for event in self.client:
            match event:
                case Board(tick, _, begins, discs, _):
                    if tick > self.tick > 0 and not begins:
                        self.advance(tick)
                        assert [self.discs[disc.number] for disc in discs] == discs
                    self.tick, self.discs = tick, {disc.number: attrs.evolve(disc) for disc in discs}
                case Joined(tick, number, _, x, y):
                    self.advance(tick - 1)
                    self.discs[number] = Disc(number, x, y)
                case Left(tick, number):
                    self.advance(tick - 1)
                    del self.discs[number]
                case Facts(tick):
                    self.advance(tick - 1)
                    self.step(event)


@seeds(25)
async def test_facts_are_enough_to_know_the_board(edge_room: Open, edge_seed: int) -> None:
    """Two clients, one of which joins late, compute every disc from the facts, exact to the last bit."""
    room = await edge_room(Hill)
    (ana,) = await room.join("ana")
    async with trio.open_nursery() as nursery:
        mirrors = [Mirror(ana)]
        nursery.start_soon(mirrors[0].follow)
        await trio.sleep(10)
        (ben,) = await room.join("ben")
        mirrors.append(Mirror(ben))
        nursery.start_soon(mirrors[1].follow)
        for _ in range(20):
            ben.send(Steer([(room.room.tick + 3, room.room.random.randint(-70, 70), -50)]))
            await trio.sleep(1)
        ana.send(Look())
        ben.send(Look())  # the answer is a board, which `follow` compares
        await trio.sleep(0.51)  # between two ticks
        board = room.room.board()
        for mirror in mirrors:
            assert mirror.tick > 29 * HZ
            mirror.advance(board.tick)
            assert [disc for _, disc in sorted(mirror.discs.items())] == board.discs
        nursery.cancel_scope.cancel()
    assert len(board.discs) == 6


@seeds(50)
async def test_an_intent_is_followed_at_the_tick_it_was_planned_for(edge_room: Open, edge_seed: int) -> None:
    """An intent takes effect at its tick. Of late intents, the newest takes effect at once, and the facts report its
    delay."""
    room = await edge_room(Alone)
    (ana,) = await room.join("ana")
    await ana.receive(Joined)
    await trio.sleep(1.01)
    now = room.room.tick
    ana.send(Steer([(now - 5, 10, 0), (now - 2, 20, 0), (now + 4, 0, 30), (now + 6, 0, 0)]))
    found = [await ana.receive(Facts) for _ in range(3)]
    assert [(facts.tick, facts.moved) for facts in found] == [
        (now + 1, [(0, 20, 0, 3)]),
        (now + 4, [(0, 0, 30, 0)]),
        (now + 6, [(0, 0, 0, 0)]),
    ]


@pytest.mark.parametrize(
    "plan", [[], [(5, 1, 1), (5, 2, 2)], [(6, 0, 0), (5, 0, 0)], [(5, 100, 50)], [(tick, 0, 0) for tick in range(9)]]
)
async def test_a_plan_that_is_none_is_refused(edge_room: Open, plan: list[Any]) -> None:
    """An invalid plan is refused with an error, and moves no disc."""
    room = await edge_room(Alone)
    (ana,) = await room.join("ana")
    ana._send_buffer.send(Outgoing.of(Event("steer", {"plan": plan}, counted=False)))  # `Steer` refuses such a plan
    await trio.sleep(0.2)
    assert [error.problem for error in ana.errors] == ["invalid"]
    assert room.room.pilots[0].heeded == (1, 0, 0)


async def test_a_lost_connection_and_a_reload_stop_the_disc(edge_room: Open) -> None:
    """A disc stops when its player's connection is lost or the page is reloaded. After a resume, the next plan moves it
    again."""
    room = await edge_room(Alone)
    session = edge.Session("u1", "ana")
    (ana,) = await room.join(session=session)
    await trio.sleep(0.5)
    ana.send(Steer([(room.room.tick + 1, 100, 0)]))
    await trio.sleep(0.5)
    disc = room.room.pilots[0].disc
    assert disc.sx == 100
    ana.drop()
    await trio.sleep(0.2)
    assert disc.sx == 0
    await ana.resume()
    ana.send(Steer([(room.room.tick + 1, 0, 50)]))
    await trio.sleep(0.2)
    assert disc.sy == 50
    await room.join(session=session)  # another page of this session, which does not steer yet
    await trio.sleep(0.2)
    assert (disc.sx, disc.sy, room.room.pilots[0].disc is disc) == (0, 0, True)


async def test_two_intents_for_one_tick(edge_room: Open) -> None:
    """A second intent for a tick takes effect even if the first one already has, so that a released key does not keep
    moving the disc."""
    room = await edge_room(Alone)
    (ana,) = await room.join("ana")
    await trio.sleep(1.01)
    late = room.room.tick - 3
    ana.send(Steer([(late, -100, 0)]))
    await trio.sleep(0.1)
    assert room.room.pilots[0].disc.sx == -100
    ana.send(Steer([(late, 0, 0)]))
    await trio.sleep(0.1)
    assert room.room.pilots[0].disc.sx == 0


async def test_what_is_planned_for_far_ahead_counts_now(edge_room: Open) -> None:
    """An intent for a tick in the far future takes effect at once."""
    room = await edge_room(Alone)
    (ana,) = await room.join("ana")
    await trio.sleep(1)
    ana.send(Steer([(room.room.tick + 1000, 50, 0)]))
    await trio.sleep(0.1)
    assert room.room.pilots[0].disc.sx == 50
    ana.send(Steer([(room.room.tick + 1001, 0, 0)]))
    await trio.sleep(0.1)
    assert room.room.pilots[0].disc.sx == 0


async def test_an_old_plan_is_not_followed_in_a_new_seat(edge_room: Open) -> None:
    """Intents for ticks before the player joined have no effect, even if the player had joined and left earlier."""
    room = await edge_room(Alone)
    (ana,) = await room.join("ana")
    await trio.sleep(1)
    ana.leave()
    await trio.sleep(1)
    (again,) = await room.join("ana")
    await trio.sleep(0.1)
    again.send(Steer([(room.room.tick - 40, 100, 0), (room.room.tick - 35, 70, 70)]))
    await trio.sleep(0.1)
    assert room.room.pilots[0].disc.sx == 0


async def test_looking_is_tempered(edge_room: Open) -> None:
    """A client that requests the whole board fifty times a second gets it about twice a second."""
    room = await edge_room(Alone)
    (ana,) = await room.join("ana")
    await trio.sleep(1)
    while ana._inbox:
        await ana.receive()
    for _ in range(100):
        ana.send(Look())
        await trio.sleep(0.02)
    boards = sum(isinstance(event, Board) for event in ana._inbox)
    assert 3 <= boards <= 5


class Small(Hill):
    seats = edge.Seats(maximum=8, grace=15)
    bots = 30


async def test_bots_make_way_for_people(edge_room: Open) -> None:
    """Bots leave a few seats free. When more people join, bots leave, until people have all seats."""
    room = await edge_room(Small)
    await room.join("p0")
    await trio.sleep(2)
    assert sum(player.session.bot for player in room.room.players) == 3
    for number in range(1, 8):
        await room.join(f"p{number}")
        await trio.sleep(2)
    assert [player.session.bot for player in room.room.players] == [False] * 8


@pytest.mark.parametrize("name", ["Zoë", "👩‍💻 Ada", "Nguyễn", "x" * 16])
async def test_names_that_people_have(edge_room: Open, name: str) -> None:
    """A name with any printable letters is accepted."""
    room = await edge_room(Alone)
    await room.join(name)


@pytest.mark.parametrize("name", ["", " a", "x" * 17, "a\nb", "a\u202eb", "\u2028"])
async def test_names_that_are_none(edge_room: Open, name: str) -> None:
    """A name that is empty, padded, longer than 16 letters or unprintable is refused."""
    room = await edge_room(Alone)
    with pytest.raises(edge.Disconnected, match="1 to 16 letters"):
        await room.join(name)


async def test_names_are_unique_and_free_again(edge_room: Open) -> None:
    """A taken name is refused, also in other letter case, and is free again when its player has left."""
    room = await edge_room(Alone)
    (ana,) = await room.join("ana")
    with pytest.raises(edge.Disconnected, match="this name is taken"):
        await room.join("ANA")
    await trio.sleep(1)
    ana.leave()
    await trio.sleep(1)
    assert room.room.pilots == {}
    (again,) = await room.join("Ana")
    assert (await again.receive(Joined)).name == "Ana"


@seeds(25)
async def test_a_number_that_changes_hands_within_a_tick(edge_room: Open, edge_seed: int) -> None:
    """If a player leaves and another gets the same number within a tick, watchers get `Left` before `Joined`, and the
    new disc is at the start."""
    room = await edge_room(Alone)
    ana, watcher = await room.join("ana", "watcher")
    await trio.sleep(1.005)
    ana.send(Steer([(room.room.tick + 1, -100, 0)]))
    await trio.sleep(1)
    while watcher._inbox:
        await watcher.receive()
    ana.leave()
    await trio.sleep(0.001)
    (ben,) = await room.join("ben")
    assert ben.welcome is not None
    assert ben.welcome.number == 0
    await trio.sleep(0.1)
    events = [event for event in watcher._inbox if isinstance(event, Joined | Left)]
    assert [type(event) for event in events] == [Left, Joined]
    assert events[0].tick == events[1].tick
    assert (room.room.pilots[0].player.name, room.room.pilots[0].disc.x) == ("ben", 700)


async def test_the_round_has_a_winner(edge_room: Open) -> None:
    """The player with the most points, whose disc stayed near the middle, wins. In the next round, all discs are at
    their start places again, and no player has points."""
    room = await edge_room(Alone)
    ana, ben = await room.join("ana", "ben")
    await trio.sleep(1)
    # Ana moves from the right into the middle, and ben stays at the lower left.
    ana.send(Steer([(room.room.tick + 1, -100, 0)]))
    await trio.sleep(0.7)
    ana.send(Steer([(room.room.tick + 1, 0, 0)]))
    await ben.wait_state(lambda state: state.score.phase == "playing")
    await ben.wait_state(lambda state: state.score.phase == "won")
    score = ben.state[Hill.score]
    assert score.winner == "ana"
    assert trio.current_time() == pytest.approx(90, abs=1)
    assert score.points["0"] > 3 * score.points["1"] > 0
    await ben.wait_state(lambda state: state.score.phase == "playing")
    assert trio.current_time() == pytest.approx(98, abs=1)
    await trio.sleep(0.1)
    assert [(pilot.disc.x, round(pilot.score)) for pilot in room.room.pilots.values()] == [
        (700.0, 0),
        (pytest.approx(-516, abs=1), 0),
    ]


@seeds(25)
async def test_bots_come_and_go_with_people(edge_room: Open, edge_seed: int) -> None:
    """The board has the requested number of bots while people are there, and no bots after the last person has left."""
    room = await edge_room(Hill)
    (ana,) = await room.join("ana")
    await trio.sleep(1)
    assert len(room.room.players) == 5
    assert sorted(player.session.bot for player in room.room.players) == [False] + [True] * 4
    ana.send(Bots(7))
    await trio.sleep(1)
    assert len(room.room.pilots) == 8
    ana.send(Bots(1))
    await trio.sleep(1)
    assert len(room.room.pilots) == 2
    ana.leave()
    await trio.sleep(1)
    assert room.room.players == ()
    assert room.runtime.counters.ended == {edge.Code.LEFT: 8}
    assert room.runtime.counters.crashes == 0


async def test_a_kicked_bot_is_not_missed(edge_room: Open) -> None:
    """Within six seconds after a bot was kicked, another bot takes its place."""
    room = await edge_room(Hill)
    (ana,) = await room.join("ana")
    await trio.sleep(1)
    next(player for player in room.room.players if player.session.bot).kick()
    await trio.sleep(1)
    assert len(room.room.players) == 4
    await trio.sleep(5)
    assert len(room.room.players) == 5
    ana.leave()


class FortyPlayers(Hill):
    """A board for one person and 39 bots."""

    seats = edge.Seats(maximum=44, grace=15)  # there are more than 40 seats, because bots leave some seats free
    bots = 39


async def digest_of_play(seed: int, minutes: float) -> str:
    """Return a digest of all events that one of forty players receives, and of the last board."""
    told = hashlib.sha256()
    async with open_rooms(seed=seed) as open_room:
        room = await open_room(FortyPlayers)
        (ana,) = await room.join("ana")

        async def hear() -> None:
            async for event in ana:
                told.update(repr(event).encode())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            for _ in range(int(minutes * 60)):
                await trio.sleep(1)
                ana.send(
                    Steer([(room.room.tick + 2, room.room.random.randint(-70, 70), room.room.random.randint(-70, 70))])
                )
            await wait_all_tasks_blocked()
            assert len(room.room.pilots) == 40
            assert room.room.tick == pytest.approx(minutes * 60 * HZ, abs=2)
            told.update(repr(room.room.board()).encode())
            nursery.cancel_scope.cancel()
    return told.hexdigest()


@pytest.mark.slow
def test_ten_minutes_of_forty_players_repeat_themselves() -> None:
    """Two games with the same seed are equal to the last bit, even with different hash seeds of Python. A game with
    another seed is different."""
    command = [sys.executable, "-m", "tests.examples.test_hill"]
    runs = [("7", "10", "0"), ("7", "10", "1"), ("8", "0.2", "0"), ("7", "0.2", "0")]
    processes = [
        subprocess.Popen(
            [*command, seed, minutes], stdout=subprocess.PIPE, text=True, cwd=ROOT, env={"PYTHONHASHSEED": hashes}
        )
        for seed, minutes, hashes in runs
    ]
    one, same, other, short = (process.communicate(timeout=900)[0].strip() for process in processes)
    assert len(one) == 64
    assert one == same
    assert len({one, other, short}) == 3


ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    seed, minutes = int(sys.argv[1]), float(sys.argv[2])
    print(run_virtual(digest_of_play, seed, minutes, seed=seed))
