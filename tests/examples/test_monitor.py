"""Tests of the example `monitor` in virtual time: its streams, each at its own rate, and garbage collection on
request."""

from __future__ import annotations

import gc
from collections import Counter

import trio
import trio.lowlevel

import edge
from edge.testing import EdgeRoom
from examples.monitor.room import Collect, Collected, Cpu, Memory, Monitor, Requests


async def test_several_streams_each_at_its_own_pace(edge_room: EdgeRoom) -> None:
    """Each second, one connection gets four events about requests, two about memory and one about CPU, and the request
    rates match the counter."""
    room = await edge_room(Monitor)
    (ana,) = await room.join("ana")
    heard: Counter[type] = Counter()
    rates: list[float] = []
    with trio.move_on_after(10.1):
        async for event in ana:
            heard[type(event)] += 1
            if isinstance(event, Requests):
                rates.append(event.a_second)
                room.runtime.counters.requests += 5 if len(rates) < 20 else 0
    assert heard == {Requests: 40, Memory: 20, Cpu: 10}
    assert rates[2:19] == [20.0] * 17
    assert rates[-10:] == [0.0] * 10


async def test_a_slow_watcher_gets_the_newest(edge_room: EdgeRoom) -> None:
    """A watcher that reconnects gets only the newest value of each stream."""
    room = await edge_room(Monitor)
    (ana,) = await room.join("ana")
    await trio.sleep(1.1)
    while ana._inbox:
        await ana.receive()
    ana.drop()
    await trio.sleep(5)
    room.runtime.counters.requests += 7
    await trio.sleep(1)
    await ana.resume()
    await trio.sleep(0.01)
    events = [await ana.receive() for _ in range(len(ana._inbox))]
    assert Counter(map(type, events)) == {Requests: 1, Memory: 1, Cpu: 1}
    assert next(event for event in events if isinstance(event, Requests)).total == 7


async def test_garbage_is_collected_for_everybody_to_see(edge_room: EdgeRoom) -> None:
    """After a watcher's request for a garbage collection, every watcher gets the number of collected objects and the
    name of the watcher that sent the request."""
    room = await edge_room(Monitor)
    ana, ben = await room.join("ana", "ben")
    gc.collect()
    gc.disable()
    try:
        for _ in range(500):
            knot: list[object] = []
            knot.append(knot)
        del knot
        ana.send(Collect())
        told = [await client.receive(Collected) for client in (ana, ben)]
    finally:
        gc.enable()
    assert told[0] == told[1]
    assert told[0].by == "ana"
    assert 500 <= told[0].objects < 5000
    assert isinstance(told[0], Collected)
    assert edge.Code.CRASHED not in room.runtime.counters.ended
