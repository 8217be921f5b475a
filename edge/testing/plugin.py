"""The pytest plugin: async tests run in virtual time, from a seed, unless marked ``real_time``.

Ask for it in the top conftest.py, ``pytest_plugins = ["edge.testing.plugin"]``: it takes over every async test, so it
does not load by itself.

pytest-trio runs the tests and their async fixtures; this plugin gives it the run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from functools import partial
from inspect import iscoroutinefunction

import pytest
import pytest_trio

from .harness import EdgeRoom, open_rooms
from .virtual import run_virtual


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--edge-seed", type=int, default=0, help="the schedule of async tests without seeds of their own")
    parser.addoption("--edge-hours", type=float, default=3, help="how much virtual time one async test may take")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "edge_seeds(range): run under each of these schedules; use edge.testing.seeds")
    config.addinivalue_line("markers", "real_time: an async test of sockets or threads, on the real clock")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("edge_seeds")
    if marker is not None:
        metafunc.fixturenames.append("edge_seed")
        metafunc.parametrize("edge_seed", marker.args[0], ids=lambda seed: f"seed{seed}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if not isinstance(item, pytest.Function) or item.get_closest_marker("trio") is not None:
            continue
        test = getattr(getattr(item.obj, "hypothesis", None), "inner_test", item.obj)
        if not iscoroutinefunction(test):
            continue
        if item.get_closest_marker("real_time") is not None:
            item.add_marker(pytest.mark.trio)
        else:
            run = partial(run_virtual, seed=_seed_of(item), hours=config.getoption("--edge-hours"))
            item.add_marker(pytest.mark.trio(run=run))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marker = item.get_closest_marker("trio")
    if report.when == "call" and report.failed and marker is not None and "run" in marker.kwargs:
        again = f"pytest '{item.nodeid}' --edge-seed={item.config.getoption('--edge-seed')}"
        report.sections.append(("edge", f"schedule of seed {_seed_of(item)}; the same again: {again}"))
    return report


@pytest.fixture
def edge_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test's schedule."""
    return int(getattr(request, "param", request.config.getoption("--edge-seed")))


@pytest_trio.trio_fixture  # type: ignore[untyped-decorator]  # pytest-trio has no types
async def edge_room(edge_seed: int) -> AsyncIterator[EdgeRoom]:
    """``under_test = await edge_room(MyRoom)``: a `RoomUnderTest`. What outlives it, or crashes, fails the test."""
    async with open_rooms(seed=edge_seed) as open_room:
        yield open_room


def _seed_of(item: pytest.Item) -> int:
    callspec = getattr(item, "callspec", None)
    params = callspec.params if callspec is not None else {}
    return int(params.get("edge_seed", item.config.getoption("--edge-seed")))
