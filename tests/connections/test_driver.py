"""A connection at work, when its peer is silent, slow or lying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge import Code
from edge.connections.driver import CLOSING_SECONDS
from edge.protocol.codec import JSON, Frame
from edge.protocol.pace import Pace
from edge.seats.serve_seat import serve_seat
from edge.testing import RoomUnderTest, seeds
from edge.transports.memory import MemoryTransport, open_memory_transports
from tests.small_rooms import Echo, Said, Say

Open = Callable[..., Any]


Player = edge.Player[Say, Said]

HELLO: dict[str, Any] = {"version": 1, "name": "raw", "client": "a-raw-client-of-tests"}


class Slow(edge.Room[Say, Said]):
    """Takes a minute over every word."""

    async def player(self, player: Player) -> None:
        async for event in player:
            await trio.sleep(60)
            self.broadcast(Said(event.text))


async def connect(room: RoomUnderTest[Any], **options: Any) -> tuple[MemoryTransport, Any]:
    """A bare connection that has been welcomed."""
    ours, theirs = open_memory_transports(**options)
    room.serve_seat(theirs)
    await ours.send([JSON.encode(["$hello", HELLO])])
    return ours, JSON.decode(await ours.receive())


async def test_silence_ends_the_connection_after_thirty_seconds(edge_room: Open) -> None:
    """A peer from which no byte comes is pinged, then given up; the seat goes into grace."""
    room = await edge_room(Slow)
    ours, _ = await connect(room)
    started = trio.current_time()
    assert JSON.decode(await ours.receive()) == ["$ping", 0, 20]
    assert trio.current_time() - started == pytest.approx(20)
    assert JSON.decode(await ours.receive())[1]["code"] == Code.SILENT
    assert trio.current_time() - started == pytest.approx(30)
    await wait_all_tasks_blocked()
    (player,) = room.room.players
    assert not player.connected
    await ours.close()


async def test_a_slow_room_does_not_look_like_a_dead_peer(edge_room: Open) -> None:
    """While the room's inbox is full the connection is not read; that silence is ours, and the peer is kept."""
    room = await edge_room(Slow)
    (ana,) = await room.join("ana", limits=edge.Limits(inbox=2))
    for number in range(10):
        ana.send(Say(str(number)))
    await trio.sleep(300)
    assert ana.state == "open"
    assert room.room.players[0].connected
    assert [(await ana.receive(Said)).text for _ in range(10)] == [str(number) for number in range(10)]


async def test_a_stalled_write_ends_the_connection(edge_room: Open) -> None:
    """A peer that does not read holds a write for ten seconds at most, and holds up nobody else."""
    room = await edge_room(Slow)
    ours, _ = await connect(room, buffer=1)
    (ana,) = await room.join("ana")
    for number in range(5):
        room.room.broadcast(Said(str(number)))
        await wait_all_tasks_blocked()
    assert [(await ana.receive(Said)).text for _ in range(5)] == ["0", "1", "2", "3", "4"]
    await trio.sleep(15)
    stalled = room.room.players[0]
    assert not stalled.connected
    assert not stalled.left
    await ours.close()


async def test_a_peer_that_never_says_hello_is_let_go(edge_room: Open) -> None:
    """After ten seconds it is told so, and costs nothing more."""
    room = await edge_room(Slow)
    ours, theirs = open_memory_transports()
    room.serve_seat(theirs)
    assert JSON.decode(await ours.receive()) == ["$bye", {"code": Code.LATE, "reason": "no hello within 10 s"}]
    assert trio.current_time() == pytest.approx(10)
    with pytest.raises(trio.EndOfChannel):
        await ours.receive()
    assert ours.close_code == Code.LATE
    assert len(room.room.seats) == 0


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (JSON.encode(["$hello", {"version": 2}]), Code.VERSION),
        (JSON.encode(["$hello", {"version": 1, "name": 7}]), Code.MALFORMED),
        (JSON.encode(["$hello", {"version": 1, "admin": True}]), Code.MALFORMED),
        (JSON.encode(["$hello", {"version": 1, "name": "x" * 5000}]), Code.MALFORMED),
        (JSON.encode(["$hello", {"version": 1, "client": "too short"}]), Code.MALFORMED),
        (JSON.encode(["say", {"text": "hi"}]), Code.MALFORMED),
        ("not json", Code.MALFORMED),
        (b"\x00", Code.MALFORMED),
    ],
    ids=[
        "version",
        "wrong type",
        "unknown field",
        "too large",
        "guessable client",
        "event first",
        "not json",
        "binary",
    ],
)
async def test_a_bad_hello_gets_its_code(edge_room: Open, frame: Any, code: Code) -> None:
    """Each is refused with one goodbye, and the room has not heard of it."""
    room = await edge_room(Slow)
    ours, theirs = open_memory_transports()
    room.serve_seat(theirs)
    await ours.send([frame])
    bye = JSON.decode(await ours.receive())
    assert (bye[0], bye[1]["code"]) == ("$bye", code)
    assert len(room.room.seats) == 0
    await ours.close()


def nested(levels: int) -> Any:
    body: Any = 1
    for _ in range(levels):
        body = [body]
    return body


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        ('["say",{"text":NaN}]', "malformed"),
        ('["say",{"text":"\\ud800"}]', "malformed"),
        ('["say",' + "[" * 5000 + "]" * 5000 + "]", "too_deep"),
        (JSON.encode(["say", {"text": nested(40)}]), "too_deep"),
        (JSON.encode(["say", {"text": "x" * 70_000}]), "too_large"),
        (b'["say",{"text":"binary"}]', "malformed"),
        ("{}", "malformed"),
        ('["say"]', "malformed"),
        ('["say",{"text":"x","more":1}]', "invalid"),
        ('["say",{}]', "invalid"),
        ('["say",[]]', "invalid"),
        ('["nonsense",{}]', "unknown_event"),
        ('["=said",{"text":"unasked"},99]', None),
        ('["!oops",{"message":"unasked"},99]', None),
    ],
)
async def test_bad_input_gets_its_typed_answer(
    edge_room: Open, frame: Any, problem: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The room goes on, the connection goes on, the counts agree at the next ping, and nothing is logged as a crash."""
    room = await edge_room(Echo)
    ours, _ = await connect(room)
    await ours.send([frame, JSON.encode(["$ping", 1])])
    answers: list[Any] = []
    while not answers or answers[-1][0] != "$ack":
        answers.append(JSON.decode(await ours.receive()))
    assert [answer[0] for answer in answers] == ([f"!{problem}"] if problem else []) + ["$ack"]
    assert answers[-1] == ["$ack", 1]
    await ours.send([JSON.encode(["say", {"text": "still here"}])])
    while answers[-1][0] != "said":
        answers.append(JSON.decode(await ours.receive()))
    assert caplog.records == []
    await ours.close()


async def test_a_lie_about_counts_ends_in_a_fresh_start(edge_room: Open) -> None:
    """A peer that counts otherwise is told so with a code that means: begin again."""
    room = await edge_room(Slow)
    ours, _ = await connect(room)
    await ours.send([JSON.encode(["$ping", 7])])
    assert JSON.decode(await ours.receive())[1]["code"] == Code.MISCOUNT
    await wait_all_tasks_blocked()
    assert [player.connected for player in room.room.players] == [False]
    await ours.close()


class Busy(edge.Room[Say, Said]):
    """Talks without a pause."""

    async def run(self) -> None:
        async for _ in self.ticks(hz=10):
            for _ in range(30):
                self.broadcast(Said("and another thing"))
                await trio.lowlevel.checkpoint()


@seeds(100)
async def test_a_goodbye_is_heard_while_a_write_fails(edge_room: Open, edge_seed: int) -> None:
    """Who leaves has left, and is not said to be away, though the room was writing to them as they closed."""
    room = await edge_room(Busy)
    (ana,) = await room.join("ana")
    await trio.sleep(0.1)
    for _ in range(edge_seed % 10):
        await trio.lowlevel.checkpoint()
    ana.leave()
    await trio.sleep(2)
    assert room.runtime.counters.ended == {Code.LEFT: 1}


async def test_a_cancelled_connection_says_why(edge_room: Open) -> None:
    """Cancelling whoever serves it says goodbye first, under a shield with a deadline."""
    room = await edge_room(Slow)
    ours, theirs = open_memory_transports()
    async with trio.open_nursery() as nursery:
        limits = edge.Limits()
        counters = room.runtime.counters
        nursery.start_soon(
            partial(serve_seat, theirs, JSON, room.find, where="a/b", counters=counters, limits=limits, keys=room.keys)
        )
        await ours.send([JSON.encode(["$hello", HELLO])])
        await ours.receive()
        nursery.cancel_scope.cancel()
    assert JSON.decode(await ours.receive())[1]["code"] == Code.DRAINING
    await ours.close()
    await wait_all_tasks_blocked()
    assert len(room.room.seats) == 0


class Deaf(MemoryTransport):
    """An end whose writes fail from some time on, while the other's words still come."""

    deaf = False

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        if self.deaf:
            raise trio.BrokenResourceError
        return super().send_nowait(frames)


@pytest.mark.parametrize("kicked", [False, True])
async def test_a_write_that_fails_ends_the_connection_a_second_later(edge_room: Open, kicked: bool) -> None:
    """The peer's last words have their time; without them the seat goes into grace, or is gone if it was put out."""
    room = await edge_room(Echo)
    ours, theirs = open_memory_transports()
    deaf = Deaf(theirs._outgoing, theirs._incoming)
    deaf._peer = ours
    room.serve_seat(deaf)
    await ours.send([JSON.encode(["$hello", HELLO])])
    await ours.receive()
    await wait_all_tasks_blocked()
    (player,) = room.room.players
    deaf.deaf = True
    room.room.broadcast(Said("anybody there?"))
    await trio.sleep(0.5)
    assert player.connected
    if kicked:
        player.kick("no answer")
    await trio.sleep(1)
    assert not player.connected
    assert player.left is kicked
    await ours.close()


async def test_a_peer_that_falls_silent_is_noticed_though_its_frame_had_to_wait(edge_room: Open) -> None:
    """A frame that waits for the pace of its address is our silence; what follows it is the peer's."""
    room = await edge_room(Echo)
    ours, theirs = open_memory_transports()
    keys, bulk = room.keys, Pace(5000, 1000)
    serve = partial(
        serve_seat,
        theirs,
        JSON,
        room.find,
        where="a/b",
        counters=room.runtime.counters,
        limits=edge.Limits(),
        keys=keys,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve, bulk=bulk))
        await ours.send([JSON.encode(["$hello", HELLO])])
        await ours.receive()
        for _ in range(2):
            await ours.send([JSON.encode(["say", {"text": "x" * 9000}])])
        await trio.sleep(10)
        assert room.room.seats.players[0].connected
        await trio.sleep(edge.Limits().dead_after + 1)
        assert not room.room.seats.players[0].connected


async def test_a_peer_that_neither_reads_nor_speaks_is_noticed_though_much_waits(edge_room: Open) -> None:
    """The time of a large write is for those of whom anything is heard."""
    room = await edge_room(Echo)
    await connect(room, buffer=1)
    (player,) = room.room.players
    for number in range(700):
        player.send(Said(f"{number}: " + "x" * 10_000))
    await trio.sleep(edge.Limits().dead_after - 1)
    assert player.connected
    await trio.sleep(1 + CLOSING_SECONDS + 1)
    assert not player.connected
    assert not player.left
