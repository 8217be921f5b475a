"""Tests of the brokers. Every broker passes the same conformance suite."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import coredis
import pytest
import trio
import trio.testing

from edge.cluster.broker.broker import Claim
from edge.cluster.broker.memory import MemoryBroker
from edge.cluster.broker.redis import RedisBroker, _Client
from edge.errors import BrokerDown
from edge.testing import BROKER_CONFORMANCE
from edge.testing.brokers import Asker, BrokerCheck, open_askers

from .redis_server import RedisServer, redis_server

prefixes = count()


@pytest.fixture(scope="module")
def redis(program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run one Redis for all tests of this file."""
    with redis_server(program, tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.mark.parametrize("check", BROKER_CONFORMANCE, ids=lambda check: check.__name__)
async def test_memory_broker(check: BrokerCheck) -> None:
    """The memory broker passes each check, in virtual time."""
    await check(MemoryBroker(lease_seconds=3))


@pytest.mark.real_time
@pytest.mark.parametrize("check", BROKER_CONFORMANCE, ids=lambda check: check.__name__)
async def test_redis_broker(check: BrokerCheck, redis: RedisServer) -> None:
    """The Redis broker passes each check, with a key prefix of its own for each check."""
    broker = RedisBroker(redis.url, prefix=f"{next(prefixes)}:", lease_seconds=1)
    async with broker.open():
        await check(broker)


@pytest.mark.real_time
async def test_a_replica_grants_no_room_that_it_may_not_know_of(
    program: Callable[[str, str], str], tmp_path: Path
) -> None:
    """If a replica that lacks a room's lease replaces Redis, it grants this room to no other server. The room's server
    writes the lease again."""
    with redis_server(program, tmp_path) as redis:
        await redis.wait_up(2)
        broker = RedisBroker(redis.url, lease_seconds=2)
        async with broker.open():
            one, another = await open_askers(broker, "one", "another")
            claims: list[Claim] = []

            async def claim(room: str, server: Asker) -> None:
                await server.renew()
                claims.append(await server.claim(room))

            mark = (await one.renew()).mark
            await redis.replace(partial(claim, "game/one", one))
            with contextlib.suppress(BrokerDown):  # the connection to the old Redis is broken
                await another.renew()
            await another.renew()
            await claim("game/one", another)
            assert [claim.server for claim in claims] == ["one", ""]
            assert (await one.renew()).mark != mark
            assert await one.keep(claims[0].fence, "game/one")
            await claim("game/one", another)
            assert claims[-1].server == "one"
            await trio.sleep(claims[1].seconds)
            await another.renew()
            await claim("game/two", another)
            assert claims[-1].server == "another"


@pytest.mark.real_time
async def test_large_letters_are_dropped_once_they_are_read(redis: RedisServer) -> None:
    """Redis deletes large batches soon after they were read, even if there are only a few."""
    prefix = f"{next(prefixes)}:"
    broker = RedisBroker(redis.url, prefix=prefix, lease_seconds=10)
    async with broker.open(), coredis.Redis.from_url(redis.url) as client:
        await Asker(broker, "one").renew()
        async with broker.mailbox("one") as mailbox:
            for number in range(40):
                await broker.send({"one": bytes([number]) * 256 * 1024})
                assert [batch[0] for batch in await mailbox.receive()] == [number]
            used = await client.memory_usage(f"{prefix}mailbox:one")
            assert used is not None
            assert used < 2 * 1024 * 1024, "Redis must delete most of the ten megabytes that were sent"


@pytest.mark.real_time
async def test_one_failed_call_costs_no_other(redis: RedisServer) -> None:
    """If a call fails while another call waits on the same Redis client, the other call still gets its answer, and
    later calls use a new client."""
    client = _Client(redis.url, seconds=10)
    key = f"{next(prefixes)}:queue"
    clients: list[object] = []
    answers: list[object] = []

    async def wait(redis: coredis.Redis[bytes]) -> object:
        clients.append(redis)
        return await redis.blpop([key], timeout=10)

    async def fail(redis: coredis.Redis[bytes]) -> object:
        clients.append(redis)
        raise coredis.exceptions.ConnectionError("the network is gone")

    async def push(redis: coredis.Redis[bytes]) -> object:
        clients.append(redis)
        return await redis.rpush(key, ["an answer"])

    async with client.open():
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                answers.append(await client.ask(wait))

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(BrokerDown, match="the network is gone"):
                await client.ask(fail)
            assert await client.ask(push) == 1
        assert answers == [[key.encode(), b"an answer"]]
    first, failed, later = clients
    assert first is failed
    assert later is not failed


@pytest.mark.real_time
async def test_a_redis_cluster_is_refused(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """A Redis Cluster is refused when the broker opens, because one script uses keys that a cluster would store on
    different nodes."""
    with redis_server(program, tmp_path, "--cluster-enabled", "yes") as redis:
        await redis.wait_up()
        with pytest.raises(BrokerDown, match="can't be a Redis Cluster"):
            async with RedisBroker(redis.url).open():
                pytest.fail("the broker was opened")


STRANGE = {
    "no": b"no numbers here",
    "": b"",
    "few": b"1e999 -nan",
    "\u00e9": "\u00e9".encode("latin-1"),
    "negative": b"-5 -5 -5",
}


@pytest.mark.real_time
async def test_what_strangers_write_is_passed_over(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Unreadable values among the stored servers and leases are ignored, with one log line each, and do not affect the
    other rooms and servers."""
    prefix = f"{next(prefixes)}:"
    broker = RedisBroker(redis.url, prefix=prefix, lease_seconds=1)
    async with broker.open(), coredis.Redis.from_url(redis.url) as client:
        for key in ("servers", "leases"):
            await client.hset(f"{prefix}{key}", {**STRANGE})
        one = Asker(broker, "one")
        await one.renew()
        await trio.sleep(broker.lease_seconds)  # a new Redis grants no lease before this time has passed
        await one.renew()
        assert (await one.claim("game/one")).server == "one"
        for _ in range(2):
            assert [lease.room for lease in await broker.leases() if lease.server == "one"] == ["game/one"]
            await broker.left()
        await trio.sleep(broker.lease_seconds)
        await broker.left()
        assert not [lease for lease in await broker.leases() if lease.seconds > 0]
    told = [record.getMessage() for record in caplog.records if "can't be read and is ignored" in record.getMessage()]
    assert len(told) == len(set(told)) >= len(STRANGE)
