"""The benchmarks measure correctly. The tests check counts and codes, never speed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.profile import profile
from benchmarks.run import Measured, serving
from benchmarks.scenarios import Row
from benchmarks.table import BUILD, EDGE, HERE, Peer

pytestmark = pytest.mark.real_time


@pytest.fixture(scope="module")
def built(program: Callable[[str, str], str]) -> None:
    """Compile the load generator and the C server, without a warning."""
    program("cc", "a C compiler, such as Debian's packages gcc and libc6-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    for source in (HERE / "load.c", HERE / "peers" / "limit.c"):
        command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(BUILD / source.stem), str(source), "-lm"]
        subprocess.run(command, check=True)


def measure(peer: Peer, what: str, **options: float | str) -> Measured:
    with serving(peer, what) as server:
        return server.measure(what, {"warmup": 0.1, "seconds": 0.3, **options})


@pytest.fixture
def limit() -> Peer:
    return Peer("C", "c", (str(BUILD / "limit"), "PORT"))


def test_echo_of_edge_and_of_the_limit(built: None, limit: Peer) -> None:
    """Five clients receive an echo of each message except for at most five, within ten seconds."""
    for peer in (EDGE, limit):
        run = measure(peer, "echo", mode="echo", seats=5)
        assert run.load["joined"] == run.load["left"] == 5
        assert 0 <= abs(run.load["sent"] - run.load["received"]) <= 5
        assert 0 < run.load["latency_us"]["p50"] <= run.load["latency_us"]["max"] < 10_000_000
        assert run.load["codes"] == {}


def test_a_broadcast_is_heard_by_all(built: None) -> None:
    """In a room of twenty players, the clients receive at least ten times as many events as they send, and none is cut
    off."""
    run = measure(EDGE, "room", mode="broadcast", seats=20, depth=2)
    assert run.load["received"] >= 10 * run.load["sent"] > 0
    assert run.load["left"] == 20


def test_those_who_do_not_read_are_let_go(built: None) -> None:
    """The server cuts off clients that do not read, serves the others, and uses a bounded amount of additional
    memory."""
    with serving(EDGE, "room") as server:
        options: dict[str, float | str]
        options = {"mode": "broadcast", "seats": 20, "depth": 8, "slow": 2, "bytes": 2000, "warmup": 0.1, "seconds": 4}
        run = server.measure("room", options)
    assert run.load["let_go"] == 2
    assert run.load["left"] == 18
    assert set(run.load["codes"]) <= {
        "0",
        "4001",
        "4003",
        "4102",
    }  # no goodbye (because the client does not read), overflow, stalled, behind
    assert run.load["received"] > 1000
    said = 2 * 2000 * run.load["sent"] / run.load["seconds"]  # bytes per second to both slow clients
    assert run.swollen < max(128 * 2**20, 4 * said), "memory grew by more than 128 MiB and four seconds of events"


def test_ticks_tell_how_late_they_are(built: None) -> None:
    """The lateness of each received state is recorded."""
    run = measure(EDGE, "states", mode="states", rooms=3, seats=4, rate=10)
    assert run.load["late_us"]["count"] == run.load["received"] > 0


def test_the_profile_tells_layers_apart(built: None) -> None:
    """The lines of the profile add up to the time of a message, and include the kernel, Trio and the rooms of edge."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in profile(seconds=1).splitlines()[2:]]
    *stages, (_, whole, _) = lines
    assert abs(sum(float(each) for _, each, _ in stages) - float(whole)) < 0.1
    assert {"the kernel: write", "tasks (Trio)", "players and rooms (`edge.rooms`)"} <= {name for name, _, _ in stages}


def test_the_report_finds_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report writes a section and a link to its chart between the section's marks, and changes nothing else."""
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- echo -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "DOCS", tmp_path)
    rows = [Row("edge", 100, 1, 2, 3, 0, 1, False), Row("C", 400, 1, 2, 3, 0, 1, True)]
    chart = report.bars("chart", "Echo", rows, {"edge": "edge", "C": "c"})
    report.write("echo", report.comparison(rows, "messages"), chart)
    text = page.read_text()
    assert text.startswith("before\n<!-- echo -->\n| peer |")
    assert "| C | at least 400 | 0.25 " in text
    assert text.endswith("![Echo](chart.svg)\n<!-- end -->\nafter\n")
    assert (tmp_path / "chart.svg").read_text().startswith("<svg")
    with pytest.raises(ValueError, match="no place"):
        report.write("elsewhere", "")


def test_visits_come_and_go(built: None) -> None:
    """Clients join, receive their own messages, leave and join again, and none is refused or cut off."""
    run = measure(EDGE, "room", mode="visits", seats=5, depth=5)
    assert run.load["received"] > 5
    assert run.load["codes"] == {}
    assert abs(run.load["sent"] - 5 * run.load["received"]) <= 5 * 5, (
        "the difference exceeds the unfinished visits at the start and at the end"
    )


def test_an_event_crosses_few_calls() -> None:
    """An event and its echo take at most 63 function calls in edge, since each call costs time."""
    command = [sys.executable, "-m", "benchmarks.walk"]
    walked = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True, timeout=60)
    found = re.search(r"(\d+) calls in (\d+) files and 3 tasks", walked.stdout)
    assert found is not None, walked.stdout
    assert int(found[1]) <= 63, walked.stdout
