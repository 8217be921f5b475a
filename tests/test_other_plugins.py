"""edge's pytest plugin beside the plugins of other async frameworks."""

from __future__ import annotations

import pytest

from tests.testing.test_virtual import CONFTEST


def test_tests_of_other_plugins_are_left_alone(pytester: pytest.Pytester) -> None:
    """A test that is marked for anyio runs on the event loop that anyio chooses, not under Trio in virtual time."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
import asyncio
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_on_asyncio():
    assert asyncio.get_running_loop() is not None
"""
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
