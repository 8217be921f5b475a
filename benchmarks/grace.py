"""Measure the memory of seats in grace: ``python -m benchmarks.grace [seats] [events]``.

Ten thousand players, by default, lose their connections, and the room continues to broadcast. Each seat stores the
events that its player has missed. All seats share these events, so a seat stores one reference for each event. The
memory is measured by tracemalloc, after a garbage collection.
"""

from __future__ import annotations

import gc
import math
import sys
import tracemalloc

import trio
import trio.testing

import edge
from edge.connections.outbox import Outbox
from edge.protocol.codec import JSON
from edge.rooms.room import runtime_of
from edge.seats.held_seat import HeldSeat


@edge.event
class Told:
    text: str


class Crowd(edge.Room[None, Told]):
    seats = edge.Seats(maximum=1_000_000, grace=3600)


def allocated() -> int:
    """Return the number of allocated bytes, after a garbage collection."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def measure(count: int, events: int) -> None:
    """Take `count` seats, disconnect them all, broadcast `events` events, and print the memory of a seat and of an
    event."""
    limits = edge.Limits()
    room = Crowd()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: runtime_of(room).live(idle=math.inf))
        await trio.testing.wait_all_tasks_blocked()
        tracemalloc.start()
        empty = allocated()
        for number in range(count):
            seat = HeldSeat(edge.Session(f"u{number}"), f"player {number}", limits)
            outbox = Outbox(JSON, limits)
            seat.attach(outbox)
            seat.lose(outbox, edge.Code.LOST, "")
        await trio.testing.wait_all_tasks_blocked()
        seated = allocated()
        event = Told("x" * 1000)
        size = len(JSON.encode(["Told", {"text": event.text}]))
        for _ in range(events):
            room.broadcast(event)
        kept = allocated()
        assert all(not player.connected for player in room.players)
        # mypy does not know that these seats are HeldSeats, which count messages.
        assert len(runtime_of(room).players[-1].seat.counts.unacked()) == events  # type: ignore[attr-defined]
        tracemalloc.stop()
        room.close()
        each = (kept - seated) / count / events
        print(f"{count:,} seats in grace, {events} events of {size:,} bytes broadcast to them")
        print(f"  a seat, its player and its task: {(seated - empty) / count:,.0f} bytes")
        print(f"  a stored event, for each seat: {each:,.0f} bytes, {each / size:.1%} of its size")


if __name__ == "__main__":
    seats, events = map(int, sys.argv[1:] or ("10000", "100"))
    trio.run(measure, seats, events)
