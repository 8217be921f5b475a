"""The rules of motion of discs on a round board: force, friction and elastic collisions.

`web/physics.js` performs the same operations in the same order. Both files use only + - * / and square roots of
doubles. IEEE 754 defines these operations to the last bit, so server and browsers agree exactly. `vectors.json` has
test vectors.

Lengths are in units of the board, and times in ticks.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

import attrs

HZ = 30
BOARD = 1000.0
RADIUS = 44.0
# PUSH is the speed that full steering adds in a tick, and DRAG the share of the speed that friction leaves in a tick.
# TOP_SPEED is less than RADIUS, so that a disc cannot pass through another one.
PUSH = 1.8
DRAG = 0.93
TOP_SPEED = 40.0
# A disc without steering comes to rest below the speed STILL. A collision is reported if the discs approach each other
# faster than TOUCH.
STILL = 0.2
TOUCH = 8.0


@attrs.define
class Disc:
    """One disc. All discs have the same mass."""

    number: int
    x: float
    y: float
    vx: float = 0.0
    vy: float = 0.0
    sx: int = 0
    """The x part of the steering force, in hundredths of full force; `sy` is the y part."""
    sy: int = 0


@attrs.frozen
class Happenings:
    """The events of one tick: the pairs of discs that collided, by their numbers, and the discs that came to rest."""

    collided: list[tuple[int, int]]
    still: list[Disc]


def step(discs: Iterable[Disc]) -> Happenings:
    """Move the discs by one tick. Pass the discs in the order of their numbers."""
    discs = list(discs)
    still = [disc for disc in discs if _move(disc)]
    collided = []
    known = {disc.number: disc for disc in discs}
    for one, other in _near(discs):
        if collide(known[one], known[other]) > TOUCH:
            collided.append((one, other))
    for disc in discs:
        hold(disc)
    return Happenings(collided, still)


def _move(disc: Disc) -> bool:
    """Apply force and friction, and move the disc. Return True if the disc has come to rest in this tick."""
    moved = disc.vx != 0 or disc.vy != 0
    disc.vx = (disc.vx + PUSH * disc.sx / 100) * DRAG
    disc.vy = (disc.vy + PUSH * disc.sy / 100) * DRAG
    speed = sqrt(disc.vx * disc.vx + disc.vy * disc.vy)
    if speed > TOP_SPEED:
        disc.vx *= TOP_SPEED / speed
        disc.vy *= TOP_SPEED / speed
    elif speed < STILL and disc.sx == 0 and disc.sy == 0:
        disc.vx = disc.vy = 0.0
        return moved
    disc.x += disc.vx
    disc.y += disc.vy
    return False


def _near(discs: list[Disc]) -> list[tuple[int, int]]:
    """Return the pairs of discs that may overlap, in the order of their numbers."""
    ordered = sorted(discs, key=lambda disc: (disc.x, disc.number))
    pairs = []
    for index, disc in enumerate(ordered):
        for further in range(index + 1, len(ordered)):
            other = ordered[further]
            if other.x - disc.x >= 2 * RADIUS:
                break
            if abs(other.y - disc.y) < 2 * RADIUS:
                pairs.append((min(disc.number, other.number), max(disc.number, other.number)))
    return sorted(pairs)


def collide(one: Disc, other: Disc) -> float:
    """Separate two overlapping discs, and let them bounce off each other. Return the speed of their approach."""
    dx, dy = other.x - one.x, other.y - one.y
    squared = dx * dx + dy * dy
    if squared >= 4 * RADIUS * RADIUS:
        return 0.0
    distance = sqrt(squared)
    nx, ny = (dx / distance, dy / distance) if distance > 0 else (1.0, 0.0)
    half = RADIUS - distance / 2
    one.x -= nx * half
    one.y -= ny * half
    other.x += nx * half
    other.y += ny * half
    approach = (one.vx - other.vx) * nx + (one.vy - other.vy) * ny
    if approach <= 0:
        return 0.0
    one.vx -= approach * nx
    one.vy -= approach * ny
    other.vx += approach * nx
    other.vy += approach * ny
    return approach


def hold(disc: Disc) -> None:
    """Keep a disc on the board: the disc bounces off the wall in an elastic collision."""
    squared = disc.x * disc.x + disc.y * disc.y
    if squared <= (BOARD - RADIUS) * (BOARD - RADIUS):
        return
    distance = sqrt(squared)
    nx, ny = disc.x / distance, disc.y / distance
    disc.x, disc.y = nx * (BOARD - RADIUS), ny * (BOARD - RADIUS)
    outward = disc.vx * nx + disc.vy * ny
    if outward > 0:
        disc.vx -= 2 * outward * nx
        disc.vy -= 2 * outward * ny
