"""Every broker passes the one conformance suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from edge.broker.memory import MemoryBroker
from edge.broker.redis import RedisBroker
from edge.testing import BROKER_CONFORMANCE
from edge.testing.brokers import BrokerCheck

from .redis_server import RedisServer, redis_server

prefixes = count()


@pytest.fixture(scope="module")
def redis(program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for all."""
    with redis_server(program, tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.mark.parametrize("check", BROKER_CONFORMANCE, ids=lambda check: check.__name__)
async def test_memory_broker(check: BrokerCheck) -> None:
    """In virtual time."""
    await check(MemoryBroker(lease_seconds=3))


@pytest.mark.real_time
@pytest.mark.parametrize("check", BROKER_CONFORMANCE, ids=lambda check: check.__name__)
async def test_redis_broker(check: BrokerCheck, redis: RedisServer) -> None:
    """On a Redis that has been up for as long as a lease lasts."""
    await redis.wait_up(2)
    broker = RedisBroker(redis.url, prefix=f"{next(prefixes)}:", lease_seconds=2)
    async with broker.open():
        await check(broker)
