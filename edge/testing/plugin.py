"""The pytest plugin. Async tests run in virtual time with a seeded schedule, unless they are marked ``real_time``.

Load the plugin in the top conftest.py: ``pytest_plugins = ["edge.testing.plugin"]``. pytest does not load the plugin
automatically, because the plugin changes how every async test runs.

pytest-trio runs the tests and their async fixtures. This plugin gives pytest-trio the function that runs Trio.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, cast

import pytest
import pytest_trio
from _pytest.runner import call_and_report  # private, but pytest-rerunfailures uses it, too

from .app import EdgeApp, open_apps
from .clients import ClientUnderTest, report_of
from .coverage import coverage_of
from .harness import EdgeRoom, open_rooms
from .virtual import run_virtual

# The key of the seed with which a test runs now.
SEED = pytest.StashKey[int]()
# Returns what happened to the clients of the newest run of a test, for the report of a failure.
HAPPENED = pytest.StashKey[Callable[[], str]]()
# The section of a report with the coverage of a simulated test.
SIMULATED = "simulated"
# Plugins of other libraries run the async tests with these markers.
FOREIGN_MARKERS = ("asyncio", "anyio", "twisted", "curio")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--edge-seed", type=int, help="seed of all async tests (default: 0, or the seeds of edge.testing.seeds)"
    )
    parser.addoption(
        "--edge-max-seeds", type=_number_of_seeds, help="maximum number of seeds of one test with edge.testing.seeds"
    )
    parser.addoption("--edge-hours", type=float, default=3, help="maximum virtual hours of one async test")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "edge_seeds(range): run with each of these seeds; use edge.testing.seeds")
    config.addinivalue_line("markers", "real_time: run an async test of sockets or threads on the real clock")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if not isinstance(item, pytest.Function) or item.get_closest_marker("trio") is not None:
            continue
        if any(item.get_closest_marker(marker) is not None for marker in FOREIGN_MARKERS):
            continue
        test = getattr(getattr(item.obj, "hypothesis", None), "inner_test", item.obj)
        if not iscoroutinefunction(test):
            continue
        if item.get_closest_marker("real_time") is not None:
            item.add_marker(pytest.mark.trio)
        else:
            item.add_marker(pytest.mark.trio(run=partial(_run, item)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test and its fixtures with each seed of `edge.testing.seeds`, until a run fails. Report all runs as one
    test."""
    seeds = seeds_of(item)
    if len(seeds) < 2:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for seed in seeds:
        item.stash[SEED] = seed
        if seed != seeds[0]:  # each run needs a new instance of the test's class, and new fixtures
            vars(item).pop("_instance", None)
            cast("Any", item)._obj = None
            cast("Any", item)._initrequest()
        reports = [call_and_report(item, "setup", log=False)]
        if reports[0].passed:
            reports.append(call_and_report(item, "call", log=False))
        is_last = seed == seeds[-1] or any(report.failed for report in reports)
        # fixtures with a wider scope than the test stay until the last seed
        following = nextitem if is_last else item.parent
        reports.append(call_and_report(item, "teardown", log=False, nextitem=following))
        if any(report.failed for report in reports):
            if not is_last:
                cast("Any", item.session)._setupstate.teardown_exact(nextitem)
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    coverage = coverage_of(getattr(item, "obj", None))
    if coverage is not None and report.when == "call":
        report.sections.append((SIMULATED, str(coverage)))
    marker = item.get_closest_marker("trio")
    if report.failed and marker is not None and "run" in marker.kwargs:
        seed = _seed_of(item)
        if happened := item.stash.get(HAPPENED, str)():
            report.sections.append(("what happened to the clients", happened))
        report.sections.append(
            ("edge", f"schedule of seed {seed}; repeat it with: python -m pytest '{item.nodeid}' --edge-seed={seed}")
        )
    return report


@pytest.fixture
def edge_seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of this test's schedule."""
    return _seed_of(request.node)


@pytest_trio.trio_fixture  # type: ignore[untyped-decorator]  # pytest-trio has no types
async def edge_room(edge_seed: int, edge_clients: list[ClientUnderTest]) -> AsyncIterator[EdgeRoom]:
    """Yield a function that opens a `RoomUnderTest`: ``await edge_room(MyRoom)``. Crashes and leaks fail the test."""
    async with open_rooms(seed=edge_seed, clients=edge_clients) as open_room:
        yield open_room


@pytest_trio.trio_fixture  # type: ignore[untyped-decorator]  # pytest-trio has no types
async def edge_app(edge_clients: list[ClientUnderTest]) -> AsyncIterator[EdgeApp]:
    """Yield a function that opens an `AppUnderTest`: ``await edge_app(make_app)``. Crashes and leaks fail the test."""
    async with open_apps(edge_clients) as open_app:
        yield open_app


@pytest.fixture
def edge_clients(request: pytest.FixtureRequest) -> Iterator[list[ClientUnderTest]]:
    """Yield the list of the clients of `edge_room` and `edge_app`, which the report of a failure shows."""
    clients: list[ClientUnderTest] = []
    request.node.stash[HAPPENED] = lambda: report_of(clients)
    yield clients
    happened = report_of(clients)
    request.node.stash[HAPPENED] = lambda: happened  # for a failure of the teardown, without keeping the clients alive


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the simulated tests covered, in one line for each test."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    lines = [f"{report.nodeid}: {text}" for report in reports for name, text in report.sections if name == SIMULATED]
    if lines:
        terminalreporter.section("simulated")
        for line in lines:
            terminalreporter.line(line)


def _number_of_seeds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} should be 1 or more")
    return int(text)


def seeds_of(item: pytest.Item) -> Sequence[int]:
    """Return the seeds with which a test runs."""
    marker = item.get_closest_marker("edge_seeds")
    chosen = item.config.getoption("--edge-seed")
    if marker is None or chosen is not None:
        return (chosen or 0,)
    seeds: Sequence[int] = marker.args[0][: item.config.getoption("--edge-max-seeds")]
    return seeds


def _seed_of(item: pytest.Item) -> int:
    return item.stash.get(SEED, seeds_of(item)[0])


def _run(item: pytest.Item, main: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
    """Run the `main` function of a test in virtual time, with the current seed of the test."""
    return run_virtual(main, *args, seed=_seed_of(item), hours=item.config.getoption("--edge-hours"), **options)
