"""Tests of live connections whose peers are silent, slow, or break the protocol."""

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
    """Takes a minute for each event."""

    async def player(self, player: Player) -> None:
        async for event in player:
            await trio.sleep(60)
            self.broadcast(Said(event.text))


async def connect(room: RoomUnderTest[Any], **options: Any) -> tuple[MemoryTransport, Any]:
    """Connect with a transport and a hello, without a client object. Return the transport and the welcome."""
    ours, theirs = open_memory_transports(**options)
    room.serve_seat(theirs)
    await ours.send([JSON.encode(["$hello", HELLO])])
    return ours, JSON.decode(await ours.receive())


async def test_silence_ends_the_connection_after_thirty_seconds(edge_room: Open) -> None:
    """A silent peer gets a ping after 20 seconds and is disconnected after 30 seconds. Its player keeps the seat, but
    is not connected."""
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
    """A peer does not count as silent while its connection is not read because the player's inbox is full."""
    room = await edge_room(Slow)
    (ana,) = await room.join("ana", limits=edge.Limits(inbox=2))
    for number in range(10):
        ana.send(Say(str(number)))
    await trio.sleep(300)
    assert ana.status == "open"
    assert room.room.players[0].connected
    assert [(await ana.receive(Said)).text for _ in range(10)] == [str(number) for number in range(10)]


async def test_a_stalled_write_ends_the_connection(edge_room: Open) -> None:
    """A peer that does not read is disconnected after a write to it has waited for ten seconds, and does not delay the
    other player."""
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
    """A connection without a hello gets a goodbye after ten seconds, and is closed."""
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
    """Each invalid hello is refused with one goodbye, and takes no seat."""
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
    """Invalid input gets an error with its problem, or no answer. Afterwards the counts agree at the next ping, the
    room and the connection continue, and nothing is logged."""
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
    """A peer whose ping has a wrong count is disconnected with MISCOUNT, a code that requires a fresh start."""
    room = await edge_room(Slow)
    ours, _ = await connect(room)
    await ours.send([JSON.encode(["$ping", 7])])
    assert JSON.decode(await ours.receive())[1]["code"] == Code.MISCOUNT
    await wait_all_tasks_blocked()
    assert [player.connected for player in room.room.players] == [False]
    await ours.close()


class Busy(edge.Room[Say, Said]):
    """Makes thirty broadcasts ten times a second."""

    async def run(self) -> None:
        async for _ in self.ticks(hz=10):
            for _ in range(30):
                self.broadcast(Said("and another thing"))
                await trio.lowlevel.checkpoint()


@seeds(100)
async def test_a_goodbye_is_heard_while_a_write_fails(edge_room: Open, edge_seed: int) -> None:
    """A client that leaves while the room writes to it counts as left, and not as away."""
    room = await edge_room(Busy)
    (ana,) = await room.join("ana")
    await trio.sleep(0.1)
    for _ in range(edge_seed % 10):
        await trio.lowlevel.checkpoint()
    ana.leave()
    await trio.sleep(2)
    assert room.runtime.counters.ended == {Code.LEFT: 1}


async def test_a_cancelled_connection_says_why(edge_room: Open) -> None:
    """A connection whose task is cancelled still sends a goodbye, and its seat ends."""
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
    """A transport whose writes fail while `deaf` is set, and whose peer's frames still arrive."""

    deaf = False

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        if self.deaf:
            raise trio.BrokenResourceError
        return super().send_nowait(frames)


@pytest.mark.parametrize("kicked", [False, True])
async def test_a_write_that_fails_ends_the_connection_a_second_later(edge_room: Open, kicked: bool) -> None:
    """After a failed write, the connection stays open for one more second to receive the peer's last frames. Then the
    seat goes into grace, or ends if its player was kicked."""
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
    """A peer that becomes silent is disconnected, even if one of its frames waited for the pace of its address."""
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
    """A peer that neither reads nor sends is disconnected after the usual time for silent peers, even if a large write
    to it may take longer."""
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
