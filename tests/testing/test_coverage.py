"""What simulated tests say about their coverage, and the limit of the search for a shorter script."""

from __future__ import annotations

import pytest
import trio

import edge
from edge.testing import coverage, simulated
from edge.testing.coverage import SimulationWarning, coverage_of
from edge.testing.steps import Join, Step, Wait
from tests.small_rooms import Echo, Said, Say


class Deaf(edge.Room[Say, Said]):
    """Takes no event."""


def test_a_simulation_says_what_it_covered() -> None:
    """The coverage of a simulated test has its scripts, rooms, players and events."""

    @simulated(Echo, examples=5)
    def holds(room: Echo) -> None:
        pass

    holds()
    found = coverage_of(holds)
    assert found is not None
    assert found.scripts == 5
    assert min(found.steps, found.rooms, found.joined, found.taken, found.sent["Say"]) > 0
    assert str(found).startswith(f"5 scripts with {found.steps} steps, ")
    assert f"events sent: {found.sent['Say']} Say; taken: {found.taken}; messages refused: " in str(found)


def test_a_simulation_warns_if_nothing_happened() -> None:
    """If the room's code took none of the events, the test warns that its success says little."""

    @simulated(Deaf, examples=5)
    def holds(room: Deaf) -> None:
        pass

    with pytest.warns(SimulationWarning, match="the room's code took no event"):
        holds()


def test_the_search_for_a_shorter_script_is_bounded(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """After the time limit, no further script is simulated, and the test fails with a script that has failed before.
    Meanwhile the progress is shown."""
    monkeypatch.setattr(coverage, "SHRINK_SECONDS", 0.0)
    monkeypatch.setattr(coverage, "REPORT_SECONDS", 0.0)
    runs: list[int] = []

    def run(script: list[Step], seed: int) -> None:
        runs.append(len(script))
        raise ValueError("the invariant does not hold")

    search = coverage.Search(run, "breaks")
    long: list[Step] = [Join("ana"), Wait(1)]
    for _ in range(2):
        with pytest.raises(ValueError, match="does not hold"):
            search.try_script(long, 0)
    search.try_script(long[:1], 0)
    assert runs == [2, 2]
    assert "breaks: a script of 2 steps fails; looking for a shorter one" in capfd.readouterr().err

    @simulated(Echo, examples=20)
    def breaks(room: Echo) -> None:
        raise ValueError("the invariant does not hold")

    with pytest.raises(ValueError, match="does not hold"):
        breaks()


async def test_rounds_are_counted(edge_room: edge.testing.EdgeRoom) -> None:
    """The counters of rooms have the number of rounds that were opened."""

    class Rounds(edge.Room[Say, Said]):
        async def run(self) -> None:
            await self.seats.wait_minimum()
            for _ in range(3):
                async with self.open_round():
                    await trio.sleep(1)
            await trio.sleep_forever()

    room = await edge_room(Rounds)
    await room.join("ana")
    await trio.sleep(5)
    assert room.runtime.counters.rounds == 3
