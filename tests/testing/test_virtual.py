"""In virtual time, the same seed gives the same run in any process, and a test never hangs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trio

import edge
import edge.testing
from edge.testing import virtual
from edge.testing.virtual import Deadlock, run_virtual

RACE = """
import random, sys
ballast = [object() for _ in range(int(sys.argv[1]))]  # another heap, other ids
import trio
from edge.testing import run_virtual

async def main():
    order = []
    async def racer(name):
        for _ in range(20):
            await trio.sleep(1)
            order.append(name)
    async with trio.open_nursery() as nursery:
        for name in "abcdef":
            nursery.start_soon(racer, name)
    return "".join(order)

print(run_virtual(main, seed=int(sys.argv[2])))
"""


def race(heap: int, seed: int, hash_seed: int) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-c", RACE, str(heap), str(seed)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_canary_one_seed_is_one_schedule_in_any_process() -> None:
    """A schedule depends on the seed only, not on hash seeds or the heap."""
    first = race(1, 7, 1)
    assert [race(1000, 7, 2), race(12345, 7, 3)] == [first, first]
    assert race(1, 8, 1) != first


def test_a_deadlock_fails_at_once_and_shows_the_tree() -> None:
    """If every task waits and no deadline is pending, Deadlock is raised, with the line at which each task waits."""

    async def wait_for_ever() -> None:
        await trio.sleep_forever()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_ever)
            await trio.Event().wait()

    with pytest.raises(edge.testing.Deadlock) as caught:
        run_virtual(main)
    assert "every task waits, and no deadline is pending" in str(caught.value)
    assert "wait_for_ever" in str(caught.value)
    assert "await trio.Event().wait()" in str(caught.value)


def test_waiting_is_no_deadlock() -> None:
    """Pending deadlines and `wait_all_tasks_blocked` are no deadlock."""

    async def main() -> float:
        await trio.sleep(1000)
        await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked(0.01)
        return trio.current_time()

    assert run_virtual(main) == 1000


def test_time_is_bounded() -> None:
    """A run of more than three virtual hours fails, unless its caller allows more hours."""

    async def main() -> None:
        for _ in range(5 * 180):
            await trio.sleep(20)

    with pytest.raises(edge.testing.Deadlock, match="3 virtual hours have passed"):
        run_virtual(main)
    run_virtual(main, hours=6)


CONFTEST = """
pytest_plugins = ["edge.testing.plugin"]
"""

TESTS = """
import trio, edge, edge.testing

@edge.event
class Word:
    text: str

class Room(edge.Room[Word, Word]):
    pass

@edge.testing.seeds(20)
async def test_race(edge_seed):
    order = []
    async def racer(name):
        await trio.sleep(1)
        order.append(name)
    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(racer, name)
    assert order == ["a", "b"]

async def test_deadlock(edge_room):
    await edge_room(Room)
    await trio.Event().wait()

async def test_leaked_task(edge_room):
    class Leaky(edge.Room[Word, Word]):
        async def player(self, player):
            trio.lowlevel.spawn_system_task(trio.sleep, 7200)
    room = await edge_room(Leaky)
    await room.join("ana")

async def test_room_that_will_not_close(edge_room):
    class Stubborn(edge.Room[Word, Word]):
        async def run(self):
            with trio.CancelScope(shield=True):
                await trio.sleep(3600)
    room = await edge_room(Stubborn)
    await room.join("ana")

class Crashing(edge.Room[Word, Word]):
    async def player(self, player):
        raise ValueError("by request")

async def test_unexpected_crash(edge_room):
    room = await edge_room(Crashing)
    await room.join("ana")

async def test_expected_crash(edge_room):
    room = await edge_room(Crashing)
    room.expect_crash("by request")
    await room.join("ana")

async def test_refused_message_is_shown(edge_room):
    room = await edge_room(Room)
    (ana,) = await room.join("ana")
    ana.send(Word("x"))
    await trio.sleep(1)
    assert False

async def test_an_hour(edge_room):
    room = await edge_room(Room)
    await room.join("ana", "ben")
    await trio.sleep(3600)
"""


def test_the_plugin(pytester: pytest.Pytester) -> None:
    """The plugin names a failing seed, which fails again, and fails tests with deadlocks, leaks or crashes."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    output = result.stdout.str()
    result.assert_outcomes(passed=2, failed=6)
    (again,) = re.findall(
        r"schedule of seed \d+; repeat it with: python -m pytest '(.*test_race)' --edge-seed=(\d+)", output
    )
    assert "every task waits, and no deadline is pending" in output
    assert "waits in test_deadlock" in output
    assert "tasks outlived the room" in output
    assert re.search(r"Crashed: .*player\(\) of seat 0 \('ana'\) raised", output)
    assert "refused by the room:\nana:     0.000  Word: not_now: nobody is listening for this now" in output
    assert "had not ended 60 s after being closed" in output
    outcomes = [
        pytester.runpytest_subprocess("-p", "no:cacheprovider", again[0], f"--edge-seed={seed}").parseoutcomes()
        for seed in range(int(again[1]) + 1)
    ]
    assert outcomes == [{"passed": 1}] * int(again[1]) + [{"failed": 1}]


FIXTURES = """
import pytest, edge.testing

made = []

@pytest.fixture(scope="module")
def of_the_module():
    made.append("module")
    yield
    made.append("module ends")

@pytest.fixture
async def of_the_test(of_the_module):
    made.append("test")
    yield
    made.append("test ends")

@edge.testing.seeds(5, start=10)
@pytest.mark.parametrize("last", [12, 99])
async def test_seeds(of_the_test, edge_seed, last):
    made.append(edge_seed)
    assert edge_seed < last
"""

SEEDS = """
import pytest, edge.testing

class TestState:
    @edge.testing.seeds(3)
    async def test_a_new_instance(self):
        assert not hasattr(self, "seen")
        self.seen = True

@edge.testing.seeds(4)
async def test_a_skip_hides_no_failure(edge_seed):
    if edge_seed == 1:
        pytest.skip("not this one")
    assert edge_seed != 2

@pytest.fixture
def failing(edge_seed):
    yield
    assert edge_seed != 1

@edge.testing.seeds(3)
async def test_a_fixture_that_fails(failing):
    pass
"""


def test_seeds_that_skip_and_fixtures_that_fail(pytester: pytest.Pytester) -> None:
    """Each seed runs on a new instance of its class. A skipped seed hides no failure, and each failure names its
    seed."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SEEDS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1, errors=1)
    assert "test_a_skip_hides_no_failure' --edge-seed=2" in result.stdout.str()
    assert "test_a_fixture_that_fails' --edge-seed=1" in result.stdout.str()
    wrong = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--edge-max-seeds=0")
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    assert "'0' should be 1 or more" in wrong.stderr.str()


@pytest.mark.parametrize("count", [0, -1, 1.5, "3", True])
def test_a_number_of_seeds_that_is_none(count: Any) -> None:
    """`seeds` raises ValueError if its argument is not an int above 0."""
    with pytest.raises(ValueError, match="write how many seeds"):
        edge.testing.seeds(count)


NEXT = """
from test_first import made

def test_next():
    one_seed = lambda seed: ["test", seed, "test ends"]
    assert made == [
        "module", *one_seed(10), *one_seed(11), *one_seed(12),
        *(each for seed in range(10, 15) for each in one_seed(seed)), "module ends",
    ]
"""


@pytest.mark.parametrize("processes", ["0", "1"])
def test_seeds_are_one_test(pytester: pytest.Pytester, processes: str) -> None:
    """Each seed has its own fixtures, except for fixtures of the module. A failed seed does not affect other tests."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_first=FIXTURES, test_next=NEXT)
    options = ("-p", "no:cacheprovider", "-n", processes)
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=2, failed=1)
    pytester.runpytest_subprocess(*options, "--edge-max-seeds=2", "test_first.py").assert_outcomes(passed=2)
    pytester.runpytest_subprocess(*options, "--edge-seed=50", "test_first.py").assert_outcomes(passed=1, failed=1)


async def test_the_same_seed_gives_the_same_game(edge_room: Callable[..., Any]) -> None:
    """The plugin runs this test in virtual time, so that an hour passes exactly."""
    assert trio.current_time() == 0
    await trio.sleep(3600)
    assert trio.current_time() == 3600


def test_a_busy_loop_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test whose tasks run without end while no virtual time passes fails with the lines at which they wait."""
    monkeypatch.setattr(virtual, "BUSY_PASSES", 1000)

    async def spin() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(Deadlock, match=r"(?s)tasks run without end, and no virtual time passes:.*waits in spin\(\)"):
        run_virtual(spin)
    run_virtual(trio.sleep, 5000)
