"""Rooms in edge that share a world of 4, 40 or 550 discs twenty times a second. The kind says what changes, and who
sees it: ``40-few-all``, ``550-all-part``."""

from __future__ import annotations

import itertools
import random
import time
from typing import Annotated, Any

import attrs

import edge
from edge.server.limiter import AddressLimits

HZ = 20
SIZES = (4, 40, 550)
SIDE = 10_000
QUIET_DISCS = 60
# A player with a view sees each disc whose number and the player's number have the same remainder.
PARTS = 4

Place = Annotated[float, edge.quantised(1)]


@attrs.define
class Disc:
    x: Place = 0.0
    y: Place = 0.0
    score: int = 0
    alive: bool = True


@attrs.define
class World:
    at: int = 0
    """The time of the newest change, in microseconds, modulo 2**32."""
    discs: dict[str, Disc] = attrs.field(factory=dict)


def see_all(world: World, player: edge.Player[Any, Any]) -> World:
    """Return the world."""
    return world


def see_part(world: World, player: edge.Player[Any, Any]) -> World:
    """Return a world with a quarter of the discs."""
    number = int(player.name)
    return World(world.at, dict(itertools.islice(world.discs.items(), number % PARTS, None, PARTS)))


def make_world(size: int) -> World:
    """Return a world of this many discs."""
    chance = random.Random(1)  # not a secret
    return World(discs={str(number): Disc(SIDE * chance.random(), SIDE * chance.random()) for number in range(size)})


def move(world: World, some: int) -> None:
    """Move the first discs, and note the time."""
    for disc in itertools.islice(world.discs.values(), some):
        disc.x = (disc.x + 12.34) % SIDE
        disc.y = (disc.y + 23.45) % SIDE
    world.at = time.monotonic_ns() // 1000 % 2**32


class Shared(edge.Room[None, None]):
    size = 0
    some = 0
    world = edge.shared(World)

    async def run(self) -> None:
        self.world = make_world(self.size)
        async for _ in self.ticks(hz=HZ):
            move(self.world, self.some)


class Seen(Shared):
    world = edge.shared(World, view=see_part)


class Quiet(edge.Room[None, None]):
    """A room that shares a world of 3 KB, which does not change."""

    world = edge.shared(World)

    async def setup(self) -> None:
        self.world = make_world(QUIET_DISCS)


class Unshared(edge.Room[None, None]):
    """A room with a world of 3 KB that it does not share."""

    async def setup(self) -> None:
        self.world = make_world(QUIET_DISCS)


def kinds() -> dict[str, type[Shared]]:
    """Return a class for each size, change and view."""
    return {
        f"{size}-{change}-{seen}": type("Room", (base,), {"size": size, "some": some})
        for size in SIZES
        for change, some in (("few", 1), ("all", size))
        for seen, base in (("all", Shared), ("part", Seen))
    }


app = edge.App({**kinds(), "quiet": Quiet, "unshared": Unshared}, address_limits=AddressLimits(connections=50_000))
