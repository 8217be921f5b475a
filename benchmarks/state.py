"""Measure shared documents: ``python -m benchmarks.state [rooms]``.

For worlds of several sizes, the first table has the time to compare a document, and the size of the patch, if nothing,
one entity or every entity has changed. The second part has the time of a broadcast, without a document and with one of
3 KB that is compared before it. The third part has the memory of the shadows of 3 KB documents.
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable

import attrs
import trio

import edge
from edge.protocol.codec import JSON, MESSAGEPACK, size_of
from edge.shared.differ import Differ
from edge.testing import open_rooms

SIZES = (4, 30, 110, 550)
ROUNDS = 300
ROOMS = 1000


@attrs.define
class Disc:
    name: str = ""
    x: float = 0.0
    y: float = 0.0
    vx: float = 0.5
    vy: float = 0.25
    score: int = 0
    alive: bool = True


@attrs.define
class World:
    phase: str = "play"
    ends_at: float = 90.5
    discs: dict[str, Disc] = attrs.field(factory=dict)
    log: list[str] = attrs.field(factory=list)


@edge.event
class Said:
    text: str


class Plain(edge.Room[None, Said]):
    pass


class Shared(edge.Room[None, Said]):
    world = edge.shared(World)


def make_world(count: int) -> World:
    """Return a world of this many discs: 3 KB for 30."""
    chance = random.Random(1)  # not a secret
    discs = {
        str(number): Disc(f"player-{number}", round(100 * chance.random(), 1), round(100 * chance.random(), 1))
        for number in range(count)
    }
    return World(discs=discs, log=[f"line {number}" for number in range(min(count, 40))])


def move(world: World, some: int) -> None:
    """Move the first `some` discs, and write a line into the log."""
    for disc in [*world.discs.values()][:some]:
        disc.x, disc.y = round(disc.x + 0.1, 1), round(disc.y + 0.2, 1)
    if some == 1:
        world.ends_at += 1
        world.log.append(f"line {world.ends_at}")
        del world.log[0]


def microseconds(run: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """Return the median time of a call, in microseconds."""
    taken = []
    for _ in range(ROUNDS):
        before()
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return 1e6 * statistics.median(taken)


def compare() -> None:
    """Print the times and sizes of patches."""
    print("discs  document  changed    compare   patch: JSON  MessagePack")
    differ = Differ(World, "")
    for count in SIZES:
        for changed, some in (("none", 0), ("one", 1), ("all", count)):
            world = make_world(count)
            shadow = differ.shadow(world)
            whole = size_of(JSON.encode(differ.whole(world)))
            taken = microseconds(lambda: differ.diff(world, shadow), lambda: move(world, some))  # noqa: B023
            move(world, some)
            patch = differ.diff(world, shadow)
            sizes = [0, 0] if patch is None else [size_of(codec.encode(patch)) for codec in (JSON, MESSAGEPACK)]
            print(f"{count:5}  {whole:6} B  {changed:7}  {taken:7.1f} µs  {sizes[0]:9} B  {sizes[1]:9} B")


async def broadcast() -> None:
    """Print the times of a broadcast to twenty players."""
    for room_class in (Plain, Shared):
        async with open_rooms() as open_room:
            under_test = await open_room(room_class)
            await under_test.join(*(f"player {number}" for number in range(20)))
            room = under_test.room
            if isinstance(room, Shared):
                room.world = make_world(30)
                room.share()
            taken = microseconds(lambda: room.broadcast(Said("hello")))  # noqa: B023
            print(f"a broadcast to 20 players in {room_class.__name__}: {taken:.1f} µs")


async def memory(rooms: int) -> None:
    """Print the memory of a document of 3 KB and of its shadow."""
    differ = Differ(World, "")
    worlds = [make_world(30) for _ in range(rooms)]
    gc.collect()
    tracemalloc.start()
    shadows = [differ.shadow(world) for world in worlds]
    gc.collect()
    each = tracemalloc.get_traced_memory()[0] / len(shadows)
    print(f"the shadow of a document of 3 KB: {each / 1024:.1f} KiB, in each of {rooms} rooms")


def main() -> None:
    """Run the benchmark from the command line."""
    compare()
    trio.run(broadcast)
    trio.run(memory, int(sys.argv[1]) if len(sys.argv) > 1 else ROOMS)


if __name__ == "__main__":
    main()
