"""The simulation: correct rooms pass, planted faults are found, and scripts repeat exactly."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
import trio

import edge
from edge.client.client import Client
from edge.codes import Code
from edge.connections.outbox import Outbox
from edge.connections.sending import SendBuffer
from edge.errors import EdgeError, InvalidEvent
from edge.protocol.connection import Connection
from edge.protocol.counts import Counts
from edge.protocol.structure import structure
from edge.requests.listening import Listeners
from edge.requests.tracker import RequestTracker
from edge.rooms.ledger import Ledger
from edge.rooms.player import member_of
from edge.rooms.player_runtime import PlayerRuntime
from edge.rooms.room_runtime import RoomRuntime
from edge.seats import claim as claim_module
from edge.seats import serve_seat
from edge.seats.held_seat import HeldSeat
from edge.testing import Crashed, InvariantBroken, simulate, simulated, soak
from edge.testing.scripts import try_scripts
from edge.testing.steps import (
    Ask,
    Burst,
    Drop,
    DropAfter,
    Join,
    Jump,
    Leave,
    Offline,
    Online,
    Reset,
    Send,
    SendWrong,
    Stall,
    Step,
    Tab,
    Tunnel,
    Wait,
    Weather,
)
from examples.drawing.room import ExquisiteCorpse
from examples.hill.room import Hill
from tests.examples.players import draw, steer
from tests.small_rooms import Say
from tests.testing.table import Guess, Said, Table, play, turns_belong_to_a_round

test_the_table_holds = simulated(Table, examples=150, play=play)(turns_belong_to_a_round)


@simulated(ExquisiteCorpse, examples=60, play=draw)
def test_the_drawing_game_holds(room: ExquisiteCorpse) -> None:
    """In the drawing game, at most one player has a turn, and only in a round, and there are no more pages than
    seats."""
    assert sum(len(member_of(player).turns) for player in room.players) <= room.has_round
    assert len(room.pages) <= room.seats.maximum


@pytest.mark.slow
@simulated(Hill, examples=30, play=steer)
def test_the_arena_holds(room: Hill) -> None:
    """On the hill, every disc is on the board and has the number of its seat."""
    for number, pilot in room.pilots.items():
        assert pilot.disc.number == number
        assert pilot.disc.x**2 + pilot.disc.y**2 <= 1000**2


EVERYTHING: list[Step] = [
    Join("ana"),
    Join("ben", "stream"),
    Join("cyn", "poll", "msgpack"),
    Wait(1),
    Send(0, Say("hello")),
    Ask(1, Guess(7)),
    SendWrong(2, "guess", {"number": "seven"}),
    Weather(latency=0.1, jitter=0.3, pieces=7),
    DropAfter(0, "up", 40, "client"),
    Send(0, Say("in the middle of this")),
    Wait(3),
    Reset(),
    Drop(1, "nobody"),
    Tab(2),
    Stall(0),
    Wait(40),
    Offline(1, "silent"),
    Jump(30),
    Online(1),
    Leave(2),
    Wait(10),
]


@pytest.mark.parametrize("seed", range(20))
def test_a_script_says_the_same_again(seed: int) -> None:
    """Two simulations of the same script with the same seed give the same result."""
    first = simulate(Table, EVERYTHING, seed=seed, play=play)
    assert simulate(Table, EVERYTHING, seed=seed, play=play) == first
    assert first.events > 10


def test_a_failure_prints_a_test() -> None:
    """A failed simulation prints its script and seed as a test."""

    def quiet(room: Table) -> None:
        assert room.turns == 0, "somebody had a turn"

    with pytest.raises(AssertionError, match="somebody had a turn") as caught:
        simulate(Table, [Join("ana"), Join("ben"), Wait(30.0)], seed=5, invariants=[quiet])
    (note,) = caught.value.__notes__
    assert "Join(name='ben', transport='websocket', codec='json')," in note
    assert "seed=5,\n        invariants=[quiet],\n" in note


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "play", "hours"), [(ExquisiteCorpse, draw, 5), (Hill, steer, 1)], ids=["drawing", "arena"]
)
def test_a_share_of_a_thousand_hours(make: Callable[[], Any], play: Any, hours: float) -> None:
    """Hours of generated scripts find no failure in the drawing game and on the hill."""
    done = soak(make, hours=hours, seed=2012, play=play)
    assert done.hours >= hours
    assert done.events > 1000


def test_a_soak_that_fails_tells_the_script() -> None:
    """The error of a failed soak has the shortest failing script as a note."""

    class Fragile(Table):
        def greet(self, player: Any) -> None:
            if player.number == 2:
                raise KeyError("the third chair")

    with pytest.raises(Crashed, match="the third chair") as caught:
        soak(Fragile, hours=1)
    assert caught.value.__notes__[0].count("Join(") == 3


def test_events_are_drawn_as_the_author_says() -> None:
    """The simulation draws the events of a class from the strategy that the author gives."""
    heard: set[str] = set()

    class Noting(edge.Room[Say, Say]):
        async def player(self, player: edge.Player[Say, Say]) -> None:
            async for event in player:
                heard.add(event.text)

    @simulated(Noting, examples=40, events={Say: st.sampled_from([Say("yes"), Say("no")])})
    def holds(room: Noting) -> None:
        pass

    holds()
    assert heard == {"yes", "no"}


def test_a_room_that_says_nothing() -> None:
    """A room that sends no events can be simulated, and a request to this room does not fail the simulation."""

    class Silent(edge.Room[Say, None]):
        async def player(self, player: edge.Player[Say, None]) -> None:
            async for _ in player:
                pass

    simulate(Silent, [Join("ana"), Wait(1.0), Send(0, Say("x")), Ask(0, Say("y"))])


def test_a_crash_of_the_room_is_a_failure() -> None:
    """A crash of the author's code fails the simulation with the message of the crash."""

    class Fragile(Table):
        def greet(self, player: Any) -> None:
            raise KeyError("not at home")

    with pytest.raises(Crashed, match="not at home"):
        simulate(Fragile, [Join("ana")])


Plant = Callable[[pytest.MonkeyPatch], None]


class Endless:
    """A cancel scope that can't be cancelled."""

    deadline = math.inf

    def __enter__(self) -> Endless:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def cancel(self, reason: str = "") -> None:
        pass


def furnish_wrongly(patch: pytest.MonkeyPatch, scope: str) -> None:
    make = RoomRuntime.__init__

    def wrong(runtime: RoomRuntime, *args: Any) -> None:
        make(runtime, *args)
        setattr(runtime, scope, Endless())

    patch.setattr(RoomRuntime, "__init__", wrong)


def a_timer_is_not_cancelled(patch: pytest.MonkeyPatch) -> None:
    """Prevent the end of a room's timer, which ends graces and idle rooms, when the room ends."""
    furnish_wrongly(patch, "timer_scope")


def a_room_outlives_its_closing(patch: pytest.MonkeyPatch) -> None:
    """Do not cancel `run` when a room closes, so that a drain never ends."""
    furnish_wrongly(patch, "run_scope")


def an_ack_counts_one_too_many(patch: pytest.MonkeyPatch) -> None:
    """Acknowledge more messages than have arrived."""
    due = Connection.due

    def early(connection: Connection, now: float, *, early: float = 0.0) -> Any:
        connection.counts.received += connection.ack_due <= now + early
        return due(connection, now, early=early)

    patch.setattr(Connection, "due", early)


def acknowledged_is_one_too_many(patch: pytest.MonkeyPatch) -> None:
    """Delete one message more than an ack acknowledges."""
    acknowledge = Counts.acknowledge

    def eager(counts: Counts, count: int) -> None:
        acknowledge(counts, min(count + 1, counts.sent) if count > counts.acked else count)

    patch.setattr(Counts, "acknowledge", eager)


def a_replay_lacks_its_first(patch: pytest.MonkeyPatch) -> None:
    """Omit the first message of a replay."""
    patch.setattr(Counts, "unacked", lambda counts: list(counts._unacked)[1:])


def a_replay_is_reversed(patch: pytest.MonkeyPatch) -> None:
    """Send a replay in reverse order."""
    patch.setattr(Counts, "unacked", lambda counts: list(counts._unacked)[::-1])


def a_seat_is_freed_twice(patch: pytest.MonkeyPatch) -> None:
    """Give the number of a seat to two players."""
    release = Ledger.release_number

    def twice(ledger: Ledger, number: int) -> None:
        release(ledger, number)
        release(ledger, number)

    patch.setattr(Ledger, "release_number", twice)


def a_seat_too_many(patch: pytest.MonkeyPatch) -> None:
    """Allow one player more than the maximum."""

    def check(ledger: Ledger) -> None:
        if len(ledger) > ledger.maximum:
            raise edge.Refused("all seats are taken", Code.FULL)

    patch.setattr(Ledger, "check_free", check)


def a_wake_up_is_lost(patch: pytest.MonkeyPatch) -> None:
    """Do not wake the writer for the first frames of a connection."""

    def put_first(outbox: Outbox, *frames: Any) -> None:
        outbox._first += frames

    patch.setattr(Outbox, "put_first", put_first)


def leaving_twice(patch: pytest.MonkeyPatch) -> None:
    """Report every call of `leave` as the first one, so that a player can leave twice."""
    leave = PlayerRuntime.leave

    def again(player: PlayerRuntime, code: Code, reason: str = "") -> bool:
        leave(player, code, reason)
        return True

    patch.setattr(PlayerRuntime, "leave", again)


def an_old_connection_takes_the_seat_along(patch: pytest.MonkeyPatch) -> None:
    """Let a seat lose its new connection when the replaced connection ends."""

    def detach(sending: SendBuffer, outbox: Outbox) -> bool:
        sending.outbox = None
        return True

    patch.setattr(SendBuffer, "detach", detach)


def grace_never_ends(patch: pytest.MonkeyPatch) -> None:
    """Prevent the ledger from finding a player that is away, so that the grace does not end."""
    patch.setattr(Ledger, "find_again", lambda ledger, member: None)


def listeners_outlive_their_player(patch: pytest.MonkeyPatch) -> None:
    """Close a listener that ends, but do not remove it from `Listeners`."""
    patch.setattr(Listeners, "_end", lambda listeners, subscription: subscription.close())


def a_request_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Let a client that starts fresh wait for answers to requests of its former seat."""

    def lose_seat(client: Client[Any, Any]) -> None:
        if client._since is not None:
            client._since = None
            client._send_buffer.reset_counts()
            client._send_buffer.forget_latest()

    patch.setattr(Client, "_lose_seat", lose_seat)


def a_lost_welcome_resumes(patch: pytest.MonkeyPatch) -> None:
    """Let a hello with the counts of a former seat resume the present seat."""
    claim = claim_module._claim_seat

    def careless(seat: HeldSeat, hello: Any, **how: Any) -> Any:
        if hello.received is not None and hello.client == seat.client:
            seat.since = hello.since
        return claim(seat, hello, **how)

    patch.setattr(claim_module, "_claim_seat", careless)


def a_broadcast_misses_who_is_away(patch: pytest.MonkeyPatch) -> None:
    """Count a broadcast for players without a connection, but do not store it."""
    send = HeldSeat.send

    def lossy(seat: HeldSeat, message: Any) -> None:
        if seat.outbox is None and message.counted:
            seat.counts.sent += 1
            return
        send(seat, message)

    patch.setattr(HeldSeat, "send", lossy)


PLANTED: list[Plant] = [
    a_timer_is_not_cancelled,
    an_ack_counts_one_too_many,
    acknowledged_is_one_too_many,
    a_replay_lacks_its_first,
    a_replay_is_reversed,
    a_seat_is_freed_twice,
    a_seat_too_many,
    a_wake_up_is_lost,
    leaving_twice,
    an_old_connection_takes_the_seat_along,
    grace_never_ends,
    listeners_outlive_their_player,
    a_request_is_forgotten,
    a_broadcast_misses_who_is_away,
    a_room_outlives_its_closing,
]


def nothing(patch: pytest.MonkeyPatch) -> None:
    """Plant no fault."""


def _weighed(plant: Plant) -> Any:
    """Mark the two slow cases: the case without a fault, and the fault that takes the most scripts to find."""
    return pytest.param(
        plant, marks=pytest.mark.slow if plant in (nothing, an_old_connection_takes_the_seat_along) else ()
    )


@pytest.mark.parametrize("plant", [_weighed(plant) for plant in (nothing, *PLANTED)], ids=lambda plant: plant.__name__)
def test_planted_faults_are_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation finds each planted fault within 600 scripts, and reports no failure if no fault is planted."""
    plant(monkeypatch)

    def run(script: list[Step], seed: int) -> None:
        simulate(Table, script, seed=seed, invariants=[turns_belong_to_a_round], play=play)

    with contextlib.nullcontext() if plant is nothing else pytest.raises((AssertionError, EdgeError)):
        try_scripts(run, Table, steps=30, examples=600, seed=1, shrink=False)


def test_a_fault_that_takes_aim_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that cuts a welcome after a long absence finds a resume with the counts of a former seat."""

    def lead_there() -> None:
        for count in range(100, 400, 20):
            simulate(Table, [Join("ana"), Wait(1.0), Tunnel(0, 30.0, count), Wait(60.0)], play=play)

    lead_there()
    a_lost_welcome_resumes(monkeypatch)
    with pytest.raises(InvariantBroken, match="is new or has started fresh"):
        lead_there()


def leaving_while_joining_is_not_told(patch: pytest.MonkeyPatch) -> None:
    """Let a client that is cancelled before its welcome disconnect without a goodbye."""

    async def hang_up(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()

    patch.setattr("edge.client.client.close_transport", hang_up)


def leaving_is_taken_for_a_lost_connection(patch: pytest.MonkeyPatch) -> None:
    """Let a seat wait for a client that has left."""
    patch.setattr(serve_seat, "_meaning_for_seat", lambda ended: Code.LOST)


def a_burst_is_too_much(patch: pytest.MonkeyPatch) -> None:
    """End the connection of a client that reads, because of a burst in one step of the event loop."""
    put = Outbox.put

    def strict(outbox: Outbox, message: Any) -> None:
        put(outbox, message)
        if len(outbox) > outbox._max_frames:
            outbox.drop()
            outbox.end(Code.OVERFLOW, "too much")

    patch.setattr(Outbox, "put", strict)


def what_is_not_understood_vanishes(patch: pytest.MonkeyPatch) -> None:
    """Let a client drop an event that it can't use, without a report."""
    patch.setattr(Client, "_report", lambda *_: False)
    patch.setattr("edge.requests.tracker.structure", _refuse_said)


def _refuse_said(body: Any, cls: Any, **how: Any) -> Any:
    if cls is Said:
        raise InvalidEvent("invalid", "not as it should be")
    return structure(body, cls, **how)


def a_request_never_settles(patch: pytest.MonkeyPatch) -> None:
    """Delete a client's request on the server instead of sending the reply, so that the client waits forever."""

    def forget(requests: RequestTracker, request: Any, answer: Any) -> bool:
        requests.forget_request(request)
        return True

    patch.setattr(RequestTracker, "reply", forget)


SLOW = Weather(latency=0.05)
AIMED: dict[Plant, tuple[list[Step], str]] = {
    leaving_while_joining_is_not_told: ([SLOW, Join("ana"), Wait(0.25), Leave(0), Wait(5)], "has left, and"),
    leaving_is_taken_for_a_lost_connection: ([Join("ana"), Wait(1), Leave(0), Wait(5)], "has left, and"),
    a_burst_is_too_much: ([Join("ana"), Wait(1), Burst(Said(0, "hello"), 1500), Wait(5)], "was cut off: Ended"),
    what_is_not_understood_vanishes: ([Join("ana"), Wait(1), Send(0, Say("hello"))], "without an error"),
    a_request_never_settles: ([Join("ana"), Wait(1), Ask(0, Guess(7))], "waits for answers"),
}


@pytest.mark.parametrize("plant", AIMED, ids=lambda plant: plant.__name__)
def test_a_fault_of_a_moment_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each script of `AIMED` finds its fault, and reports no failure without the fault."""
    script, text = AIMED[plant]
    for way in ("websocket", "stream", "poll"):
        simulate(Table, [attrs.evolve(step, transport=way) if isinstance(step, Join) else step for step in script])
    plant(monkeypatch)
    with pytest.raises(InvariantBroken, match=text):
        simulate(Table, script)
