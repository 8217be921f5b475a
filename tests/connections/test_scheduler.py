"""Tests of the write scheduler: the two tasks that write for all connections and run their timers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.aio.timers import CANCELLED
from edge.connections.driver import ConnectionDriver
from edge.connections.scheduler import WriteScheduler, open_write_scheduler
from edge.protocol.codec import JSON, Frame
from edge.rooms.presence import PresenceKind
from edge.testing import seeds
from edge.testing.harness import EdgeRoom
from edge.transports.memory import MemoryTransport, open_memory_transports
from tests.small_rooms import Said, Say


class Chorus(edge.Room[Say, Said]):
    """Broadcasts every event three times."""

    seats = edge.Seats(maximum=500)

    async def player(self, player: edge.Player[Say, Said]) -> None:
        async for event in player:
            for _ in range(3):
                self.broadcast(Said(event.text))


class Noted(MemoryTransport):
    """Records each write."""

    writes: list[list[Frame]]

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        self.writes.append(list(frames))
        return super().send_nowait(frames)


async def join(room: Any, name: str) -> tuple[MemoryTransport, Noted]:
    """Connect with a transport and a hello, without a client object. Return the client's transport, and the server's
    transport, which records its writes."""
    ours, theirs = open_memory_transports()
    noted = Noted(theirs._outgoing, theirs._incoming)
    noted._peer, noted.writes = ours, []
    room.serve_seat(noted)
    await ours.send([JSON.encode(["$hello", {"version": 1, "name": name, "client": f"a-client-of-tests-{name}"}])])
    assert JSON.decode(await ours.receive())[0] == "$welcome"
    return ours, noted


@seeds(50)
async def test_what_one_step_sends_leaves_in_one_write(edge_room: EdgeRoom, edge_seed: int) -> None:
    """Three broadcasts in one step of a task are sent in one write to each connection, in their order."""
    room = await edge_room(Chorus)
    clients = [await join(room, str(number)) for number in range(5)]
    await wait_all_tasks_blocked()
    for _, noted in clients:
        noted.writes.clear()
    await clients[0][0].send([JSON.encode(["say", {"text": "la"}])])
    await wait_all_tasks_blocked()
    for ours, noted in clients:
        assert noted.writes == [[JSON.encode(["said", {"text": "la"}])] * 3]
        await ours.close()


class _Steps(trio.abc.Instrument):
    """Counts how often tasks run, by the end of their names."""

    def __init__(self, *names: str) -> None:
        self.steps = dict.fromkeys(names, 0)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        for name in self.steps:
            self.steps[name] += task.name.endswith(name)


async def test_acks_of_many_seats_share_a_wake_up(edge_room: EdgeRoom) -> None:
    """The acks of two hundred connections, whose events arrive within 0.2 seconds, wake the write scheduler's timer
    task at most fifteen times."""
    room = await edge_room(Chorus)
    clients = [await join(room, str(number)) for number in range(200)]
    steps = _Steps("Timers.run")
    trio.lowlevel.add_instrument(steps)
    for ours, _ in clients:
        await ours.send([JSON.encode(["say", {"text": "la"}])])
        await trio.sleep(0.001)
    await trio.sleep(1)
    trio.lowlevel.remove_instrument(steps)
    for ours, noted in clients:
        assert JSON.encode(["$ack", 1]) in [frame for write in noted.writes for frame in write]
        await ours.close()
    assert 0 < steps.steps["Timers.run"] <= 15


async def test_joining_wakes_no_sweep_of_seats(edge_room: EdgeRoom) -> None:
    """The task that ends expired seats and closes an idle room does not wake when players join, because a join only
    moves its deadline."""
    room = await edge_room(Chorus)
    await wait_all_tasks_blocked()
    steps = _Steps("RoomRuntime._close_when_idle", "RoomRuntime._play")
    trio.lowlevel.add_instrument(steps)
    for number in range(100):
        await join(room, str(number))
    trio.lowlevel.remove_instrument(steps)
    assert steps.steps["RoomRuntime._play"] > 0
    assert steps.steps["RoomRuntime._close_when_idle"] == 0


async def test_seats_expire_in_order_whatever_came_back_meanwhile(edge_room: EdgeRoom) -> None:
    """A seat that lost its connection a second time has the full grace again. Seats that lost their connections at the
    same instant end in the order in which they joined."""
    room = await edge_room(Chorus)
    ana, ben, cyn = await room.join("ana", "ben", "cyn")
    left: list[str] = []

    async def watch() -> None:
        async for change in room.room.seats.changes():
            if change.kind is PresenceKind.LEFT:
                left.append(change.player.name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        for client in (cyn, ana, ben):
            client.drop()
        await trio.sleep(20)
        await ana.resume()
        ana.drop()
        await trio.sleep(15)
        assert left == ["ben", "cyn"]
        await trio.sleep(10)
        assert left == ["ben", "cyn"]
        await trio.sleep(10)
        assert left == ["ben", "cyn", "ana"]
        nursery.cancel_scope.cancel()


async def test_a_seat_that_waits_for_ever_leaves_nothing_to_sweep(edge_room: EdgeRoom) -> None:
    """A seat with an infinite grace adds no entry to the ledger's list of graces when it loses its connection."""

    class Patient(Chorus):
        seats = edge.Seats(grace=math.inf)

    room = await edge_room(Patient)
    (ana,) = await room.join("ana")
    for _ in range(10):
        ana.drop()
        await trio.sleep(1000)
        assert not room.room.players[0].connected
        await ana.resume()
    assert room.runtime.ledger._graces == []


async def test_an_ended_connection_is_forgotten_by_its_alarms(edge_room: EdgeRoom) -> None:
    """No timer refers to an ended connection, even if its heartbeat was due later."""
    room = await edge_room(Chorus)
    ours, _ = await join(room, "ana")
    await wait_all_tasks_blocked()
    scheduler: WriteScheduler = room._scheduler
    assert any(isinstance(timer.target, ConnectionDriver) for _, _, timer in scheduler._timers._heap)
    await ours.close()
    await wait_all_tasks_blocked()
    assert all(timer.target is None for _, _, timer in scheduler._timers._heap)


async def test_cancelled_alarms_do_not_pile_up(autojump_clock: trio.testing.MockClock) -> None:
    """The scheduler removes cancelled timers before many accumulate, and runs the others in order."""
    swept: list[int] = []

    class Swept:
        def __init__(self, number: int) -> None:
            self.number = number

        def flush(self, now: float) -> None: ...

        def on_timer(self, now: float, early: float) -> None:
            swept.append(self.number)

        def fail(self) -> None: ...

    async with open_write_scheduler() as scheduler:
        for number in range(1000):
            timer = scheduler.set_timer(Swept(number), 1 + number)
            if number % 100:
                scheduler.cancel(timer)
                scheduler.cancel(timer)
            assert len(scheduler._timers._heap) <= 2 * (CANCELLED + 10)
        await trio.sleep(2000)
        assert swept == [*range(0, 1000, 100)]
        assert (scheduler._timers._heap, scheduler._timers._cancelled) == ([], 0)


@pytest.mark.parametrize("seconds", [0.3, 9.9])
async def test_acks_come_while_a_write_waits_for_its_peer(edge_room: EdgeRoom, seconds: float) -> None:
    """An ack that becomes due while a write waits for a slow peer is sent after that write."""
    room = await edge_room(Chorus)
    ours, theirs = open_memory_transports(buffer=2)
    room.serve_seat(theirs)
    await ours.send([JSON.encode(["$hello", {"version": 1, "name": "ana", "client": "a-slow-client-of-tests"}])])
    await ours.receive()
    await ours.send([JSON.encode(["say", {"text": "la"}])])
    await trio.sleep(seconds)
    frames = [JSON.decode(await ours.receive()) for _ in range(4)]
    assert frames == [["said", {"text": "la"}]] * 3 + [["$ack", 1]]
    await ours.close()


async def test_a_fault_on_one_connection_costs_no_other_its_post(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in a write or a timer of one connection is logged and reported to that connection, and the write
    scheduler continues."""

    class Fragile:
        failed = 0

        def flush(self, now: float) -> None:
            raise KeyError("a fault of ours")

        def on_timer(self, now: float, early: float) -> None:
            raise KeyError("a fault of ours")

        def fail(self) -> None:
            self.failed += 1

    async with open_write_scheduler() as scheduler:
        fragile = Fragile()
        scheduler.schedule(fragile)
        await wait_all_tasks_blocked()
        assert fragile.failed == 1
        scheduler.set_timer(fragile, trio.current_time() + 1)
        await trio.sleep(2)
        assert fragile.failed == 2
        scheduler.schedule(fragile)
        await wait_all_tasks_blocked()
        assert fragile.failed == 3
    assert caplog.text.count("could not be flushed") == 3
