"""Measure the traffic to one of forty players on the hill: ``python -m benchmarks.hill [seconds]``.

The program prints the bytes and messages that one player receives per second. For comparison, it prints the traffic of
a server that sends every position at every tick. It runs in virtual time from a seed, so that the figures are the same
on any machine.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import attrs
import trio

import edge
from edge.protocol.codec import JSON, MESSAGEPACK, Codec
from edge.protocol.events import event_type
from edge.protocol.outgoing import outgoing_event
from edge.testing import open_rooms, run_virtual
from examples.hill.physics import HZ
from examples.hill.room import Hill

SEED = 2012


class Crowded(Hill):
    """The hill with thirty-nine bots, and players that watch."""

    seats = edge.Seats(maximum=44)  # the bots leave some seats free
    bots = 39


@edge.event("positions")
class Positions:
    """The event that a simpler server would send at every tick."""

    tick: int
    discs: list[tuple[int, float, float]]


@attrs.define
class Traffic:
    """The messages and bytes that a server sends to one player."""

    messages: int = 0
    bytes: int = 0

    def add(self, event: Any, codec: Codec) -> None:
        frame = outgoing_event(event, event_type(type(event))).frame(codec)
        size = len(frame) if isinstance(frame, bytes) else len(frame.encode())
        self.messages += 1
        self.bytes += size + (2 if size < 126 else 4)  # the head of a WebSocket frame, RFC 6455 section 5.2


async def measure(seconds: float) -> None:
    """Play for this number of seconds, and print the traffic to one player."""
    facts = {codec.name: Traffic() for codec in (JSON, MESSAGEPACK)}
    positions = {codec.name: Traffic() for codec in (JSON, MESSAGEPACK)}
    kinds: Counter[str] = Counter()
    async with open_rooms(seed=SEED) as open_room:
        room = await open_room(Crowded)
        (ana,) = await room.join("ana")
        await trio.sleep(5)  # until all bots have joined
        while ana._inbox:
            await ana.receive()
        first = room.room.tick
        with trio.move_on_after(seconds):
            async for event in ana:
                kinds[type(event).__name__] += 1
                for codec in (JSON, MESSAGEPACK):
                    facts[codec.name].add(event, codec)
        ticks = room.room.tick - first
        board = room.room.board()
        every = Positions(board.tick, [(disc.number, round(disc.x, 1), round(disc.y, 1)) for disc in board.discs])
        for codec in (JSON, MESSAGEPACK):
            for _ in range(ticks):
                positions[codec.name].add(every, codec)
    print(f"{len(board.discs)} players, {ticks / HZ:.0f} seconds at {HZ} ticks; to one player, each second:")
    print("  encoding | facts: messages, bytes | every position at every tick | ratio")
    for name, told in facts.items():
        more = positions[name]
        print(
            f"  {name:8} | {told.messages / seconds:5.1f} {told.bytes / seconds:7,.0f}"
            f"        | {more.messages / seconds:5.1f} {more.bytes / seconds:7,.0f}"
            f"              | {more.bytes / told.bytes:4.1f}"
        )
    print("  of these:", ", ".join(f"{count / seconds:.1f} {name}" for name, count in kinds.most_common()))


if __name__ == "__main__":
    run_virtual(measure, float(sys.argv[1]) if len(sys.argv) > 1 else 60.0, seed=SEED)
