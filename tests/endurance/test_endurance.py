"""Short runs of the endurance tests. `make endure` runs the same tests for longer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.broker.redis_server import redis_server

from .adding import Mirrorer
from .churn import churn
from .failover import repeat
from .killed import CLIENTS, kill
from .servers import BLOWS, BY_AND_BY, ON_DISK, mistreat

pytestmark = pytest.mark.real_time


@pytest.mark.slow
async def test_a_server_that_is_killed_and_drained() -> None:
    """After each of three kills or drains of a server, its clients reconnect over every transport, and the guarantees
    hold."""
    books = await kill(3, seed=1)
    assert len(books) == CLIENTS
    assert all(len(book.lives) == 4 for book in books)
    assert sum(book.lost for book in books) > 0


@pytest.mark.slow
async def test_connections_that_come_and_go() -> None:
    """After twelve thousand connections that end in eleven ways, the server has no more files or tasks than before, and
    its memory and objects stay within a limit."""
    before, after = await churn(12_000, seed=1)
    assert before.rooms == after.rooms == 0


async def test_servers_that_share_rooms(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """After faults of each kind, every event has reached the room and each player once, in order, under one owner at
    a time."""
    with redis_server(program, tmp_path, *ON_DISK) as redis:
        town = await mistreat(redis, [*BLOWS, "kill"], seed=1)
    assert set(town.outages) == set(BLOWS)
    assert all(len(ledger.events) > 100 for ledger in town.ledgers.values())
    assert sum(adder.states for adder in town.adders if isinstance(adder, Mirrorer)) > 100


async def test_redis_that_dies_with_the_owner(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """If a replica or a disk lacks the newest writes of Redis, only these writes are lost, and clients that had
    received their events start fresh."""
    with redis_server(program, tmp_path, *BY_AND_BY) as redis:
        lost = await repeat(redis, 2, seed=1)
    assert set(lost) == {"replace", "lose_power"}
