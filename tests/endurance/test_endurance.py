"""The servers that are mistreated, for a little while each; `make endure` does it for long."""

from __future__ import annotations

import pytest

from .churn import churn
from .killed import CLIENTS, kill

pytestmark = pytest.mark.real_time


async def test_a_server_that_is_killed_and_drained() -> None:
    """Clients come back by their own rules, on every transport, and the promises hold."""
    books = await kill(3, seed=1)
    assert len(books) == CLIENTS
    assert all(len(book.lives) == 4 for book in books)
    assert sum(book.lost for book in books) > 0


async def test_connections_that_come_and_go() -> None:
    """Twelve thousand, a thousand at a time, in thirteen ways: no file, no task and no memory is left of them."""
    before, after = await churn(12_000, seed=1)
    assert before.rooms == after.rooms == 0
