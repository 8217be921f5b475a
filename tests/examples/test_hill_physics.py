"""Tests of the hill's physics: invariants, and equal results in Python and JavaScript."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.client.build import SOURCE
from examples.hill import physics
from examples.hill.physics import BOARD, RADIUS, TOP_SPEED, Disc, collide, step

HERE = Path(__file__).parent
MOTION = SOURCE / "edge-motion.js"
VECTORS = Path(physics.__file__).parent / "vectors.json"
PHYSICS_JS = Path(physics.__file__).parent / "web" / "physics.js"
CASES = json.loads(VECTORS.read_text())["cases"]

coordinates = st.floats(-BOARD, BOARD)
speeds = st.floats(-TOP_SPEED, TOP_SPEED)
forces = st.integers(-100, 100)


def discs(count: int) -> st.SearchStrategy[list[Disc]]:
    """Generate a list of 1 to `count` discs with any positions, speeds and steering directions."""
    one = st.builds(Disc, st.just(0), coordinates, coordinates, speeds, speeds, forces, forces)
    return st.lists(one, min_size=1, max_size=count).map(
        lambda found: [attrs.evolve(disc, number=number) for number, disc in enumerate(found)]
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    """Python computes the results of each test vector, exact to the last bit."""
    moving = [Disc(**disc) for disc in case["discs"]]
    collided, still = [], []
    for tick in range(1, case["ticks"] + 1):
        for when, number, x, y in case["intents"]:
            if when == tick:
                disc = next(disc for disc in moving if disc.number == number)
                disc.sx, disc.sy = x, y
        happenings = step(moving)
        collided += [[tick, *pair] for pair in happenings.collided]
        still += [[tick, disc.number] for disc in happenings.still]
    assert [attrs.asdict(disc) for disc in moving] == case["after"]
    assert collided == case["collided"]
    assert still == case["still"]


def test_vectors_in_javascript(program: Callable[[str, str], str]) -> None:
    """JavaScript computes the results of each test vector, exact to the last bit."""
    node = program("node", "install nodejs from your system's packages")
    command = [node, str(HERE / "run_physics.mjs"), str(PHYSICS_JS), str(VECTORS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == f"{len(CASES)} cases\n", done.stderr


def test_the_page_over_a_line_of_its_own(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """Every case of run_game.mjs passes. The cases cover prediction, corrections, leads, sleep, and a wrong board, in
    virtual time."""
    node = program("node", "install nodejs from your system's packages")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "edge-motion.js").write_text(MOTION.read_text())
    for name in ("game.js", "physics.js"):
        source = (PHYSICS_JS.parent / name).read_text()
        (tmp_path / name).write_text(source.replace('"/edge-motion.js"', '"./edge-motion.js"'))
    command = [node, str(HERE / "run_game.mjs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "8 cases\n"


def test_the_same_numbers_in_both() -> None:
    """Each constant of physics.js has the same value in Python."""
    for line in PHYSICS_JS.read_text().splitlines():
        if " = " in line and line.startswith(("const ", "export const ")):
            name, value = line.removeprefix("export ").removeprefix("const ").rstrip(";").split(" = ")
            assert getattr(physics, name) == float(value)


@given(coordinates, coordinates, st.floats(0.01, 87.99), st.floats(0, 2 * math.pi), speeds, speeds, speeds, speeds)
def test_a_collision_keeps_momentum_and_energy(
    x: float, y: float, apart: float, angle: float, vx: float, vy: float, wx: float, wy: float
) -> None:
    """A collision conserves momentum and energy at any speed and angle. Afterwards the discs do not overlap, and do not
    move towards each other."""
    one, other = Disc(0, x, y, vx, vy), Disc(1, x + apart * math.cos(angle), y + apart * math.sin(angle), wx, wy)
    momentum, energy = (vx + wx, vy + wy), vx * vx + vy * vy + wx * wx + wy * wy
    collide(one, other)
    assert (one.vx + other.vx, one.vy + other.vy) == pytest.approx(momentum, abs=1e-9)
    after = one.vx * one.vx + one.vy * one.vy + other.vx * other.vx + other.vy * other.vy
    assert after == pytest.approx(energy, rel=1e-9, abs=1e-9)
    assert math.dist((one.x, one.y), (other.x, other.y)) >= 2 * RADIUS - 1e-6
    nx, ny = other.x - one.x, other.y - one.y
    assert (one.vx - other.vx) * nx + (one.vy - other.vy) * ny <= 1e-6  # they do not approach


@given(discs(12), st.integers(1, 30))
def test_nothing_leaves_the_board_and_everything_stays_a_number(moving: list[Disc], ticks: int) -> None:
    """No disc leaves the board or gets an infinite position or speed, even among many discs at top speed."""
    for _ in range(ticks):
        step(moving)
        for disc in moving:
            assert all(map(math.isfinite, (disc.x, disc.y, disc.vx, disc.vy)))
            assert math.hypot(disc.x, disc.y) <= BOARD - RADIUS + 1e-6
            assert math.hypot(disc.vx, disc.vy) <= 2 * TOP_SPEED * len(moving)


@given(st.floats(0, 2 * math.pi), st.floats(0, BOARD - RADIUS), st.floats(0, 2 * math.pi))
def test_the_wall_turns_top_speed_back(at: float, distance: float, course: float) -> None:
    """A disc that hits the wall at top speed stays on the board, gains no speed, and does not head outwards."""
    vx, vy = TOP_SPEED * math.cos(course), TOP_SPEED * math.sin(course)
    disc = Disc(0, distance * math.cos(at), distance * math.sin(at), vx, vy)
    for _ in range(100):
        before = math.hypot(disc.vx, disc.vy)
        step([disc])
        away = math.hypot(disc.x, disc.y)
        assert away <= BOARD - RADIUS + 1e-6
        assert math.hypot(disc.vx, disc.vy) <= before
        if away >= BOARD - RADIUS - 1e-6:
            assert disc.x * disc.vx + disc.y * disc.vy <= 1e-6


@given(discs(12))
def test_without_force_everything_comes_to_rest(moving: list[Disc]) -> None:
    """Without steering, friction stops every disc within 400 ticks."""
    for disc in moving:
        disc.sx = disc.sy = 0
    told: list[int] = []
    for _ in range(400):
        told += [disc.number for disc in step(moving).still]
    assert all(disc.vx == disc.vy == 0 for disc in moving)
    assert set(told) <= {disc.number for disc in moving}


@given(discs(8), st.randoms())
def test_the_order_of_the_list_does_not_matter(moving: list[Disc], chance: Any) -> None:
    """The order in which discs collide depends on their numbers, and not on their order in the list."""
    ordered = [attrs.evolve(disc) for disc in moving]
    chance.shuffle(moving)
    assert step(moving).collided == step(ordered).collided
    assert sorted(moving, key=lambda disc: disc.number) == ordered
