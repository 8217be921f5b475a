"""Measure the time that Redis spends on the rooms of servers: ``python -m benchmarks.renewals``.

Each row is for four servers, with the same number of persistent rooms each. The program reads from Redis the time that
Redis spends on a renewal: without changes, with changes of every tenth room, and with a comparison of all rooms, as
after Redis has lost its data. Claims and joins (a claim and an entry) are timed while all servers renew their leases at
the usual interval. The last columns are the time of an entry of one kilobyte, and the memory of a room.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import coredis
import trio

from edge.cluster.broker.broker import LEASE_SECONDS, Claim, News, Stamp, Wish
from edge.cluster.broker.redis import BATCH, RedisBroker
from edge.cluster.node import RENEWALS
from edge.journal.entries import Entry
from tests.cluster.broker.redis_server import RedisServer

SERVERS = 4
ROUNDS = 8
CLAIMS = 200


@attrs.define(eq=False)
class Bench:
    """A Redis, and the fences of the rooms of four simulated servers."""

    redis: coredis.Redis[bytes]
    broker: RedisBroker
    numbers: count[int] = attrs.field(factory=lambda: count(1))
    fences: dict[str, dict[str, int]] = attrs.field(factory=dict)
    """The fence of each room, for each server."""

    async def renew(self, server: str, news: list[News]) -> None:
        """Renew the leases of a server in batches, as edge does."""
        for first in range(0, max(1, len(news)), BATCH):
            number = next(self.numbers)
            await self.broker.renew(server, Stamp(number, number), b"about", news[first : first + BATCH])

    async def claim(self, room: str, server: str) -> Claim:
        """Claim a room for a server that has no other outstanding request."""
        number = next(self.numbers)
        return await self.broker.claim(room, server, Stamp(number, number))

    async def open(self, rooms: int) -> None:
        """Open `rooms` rooms for each server, each with a journal."""
        for server in [f"server-{number}" for number in range(SERVERS)]:
            fences = self.fences[server] = {}
            await self.renew(server, [])
            for number in range(rooms):
                room = f"room/{server}-{number}"
                while not (claim := await self.claim(room, server)).server:  # a Redis that has just started grants none
                    await trio.sleep(min(claim.seconds, 1))
                    await self.renew(server, [])
                fences[room] = claim.fence
                await self.broker.append([Entry(room, claim.fence, 1, b"x" * 1000, whole=True)])
                if not number % 500:
                    for each in self.fences:
                        await self.renew(each, [])

    def tell(self, server: str, every: int) -> list[News]:
        """Return news with a changed description for one in `every` rooms of a server."""
        fences = [*self.fences[server].items()][::every]
        return [News(Wish.TELL, room, fence, b"%d seats" % next(self.numbers)) for room, fence in fences]

    def keep(self, server: str) -> list[News]:
        """Return a `Wish.KEEP` for each room of a server."""
        return [News(Wish.KEEP, room, fence, b"about", 1) for room, fence in self.fences[server].items()]

    async def busy(self, server: str, news: list[News]) -> tuple[float, float]:
        """Return the median milliseconds that Redis spends on a renewal: in all, and on average for each script."""
        spent, most = [], []
        for _ in range(ROUNDS):
            await self.redis.config_resetstat()
            await self.renew(server, news)
            microseconds, calls = await self._spent()
            spent.append(microseconds / 1000)
            most.append(microseconds / 1000 / calls)
        return statistics.median(spent), statistics.median(most)

    async def entry(self) -> float:
        """Return the median microseconds that Redis spends on an entry, if a hundred entries are appended at once."""
        spent = []
        fences = [*self.fences["server-0"].items()][:100]
        for number in range(2, 2 + ROUNDS):
            await self.redis.config_resetstat()
            await self.broker.append([Entry(room, fence, number, b"x" * 1000) for room, fence in fences])
            spent.append((await self._spent())[0] / len(fences))
        return statistics.median(spent)

    async def memory(self) -> int:
        """Return the number of bytes that Redis uses."""
        found: Any = (await self.redis.info("memory"))["used_memory"]
        return int(found)

    async def _spent(self) -> tuple[float, int]:
        """Return the microseconds that Redis has spent on scripts since the last reset, and the number of these
        scripts."""
        stats: Any = (await self.redis.info("commandstats"))["cmdstat_evalsha"]
        return stats["usec"], stats["calls"]

    async def latencies(self) -> tuple[list[float], list[float]]:
        """Return the milliseconds of claims, and of claims with an entry, while all servers renew their leases."""
        claims, joins = [], []

        async def keep_renewing(server: str) -> None:
            while True:
                await self.renew(server, self.tell(server, 10))
                await trio.sleep(LEASE_SECONDS / RENEWALS)

        async with trio.open_nursery() as nursery:
            for server in self.fences:
                nursery.start_soon(keep_renewing, server)
            await trio.sleep(0.1)
            for _ in range(CLAIMS):
                number = next(self.numbers)
                began, room = trio.current_time(), f"new/{number}"
                claim = await self.broker.claim(room, "server-0", Stamp(number, number - 100))
                claims.append(1000 * (trio.current_time() - began))
                await self.broker.append([Entry(room, claim.fence, 1, b"x" * 1000, whole=True)])
                joins.append(1000 * (trio.current_time() - began))
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel("measured")
        return claims, joins


async def measure(rooms: int) -> list[str]:
    """Return the cells of the row for this number of rooms per server."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(shutil.which("redis-server") or "redis-server", Path(folder))
        server.start()
        try:
            await server.wait_up()
            async with coredis.Redis.from_url(server.url) as redis:
                bench = Bench(redis, RedisBroker(server.url))
                async with bench.broker.open():
                    before = await bench.memory()
                    await bench.open(rooms)
                    room = (await bench.memory() - before) / (SERVERS * rooms)
                    quiet, _ = await bench.busy("server-0", [])
                    busy, _ = await bench.busy("server-0", bench.tell("server-0", 10))
                    whole, each = await bench.busy("server-0", bench.keep("server-0"))
                    entry = await bench.entry()
                    claims, joins = await bench.latencies()
        finally:
            server.kill()
    row = [f"{rooms:,}", f"{quiet:.2f} ms", f"{busy:.2f} ms", f"{whole:.1f} ms, {each:.1f} ms at a time"]
    for latencies in (claims, joins):
        latencies.sort()
        row.append(f"{statistics.median(latencies):.1f} ms, {latencies[int(0.99 * len(latencies))]:.1f} ms")
    return [*row, f"{entry:.0f} µs", f"{room / 1024:.1f} KiB"]


if __name__ == "__main__":
    columns = ["rooms a server", "a renewal", "with news of every tenth room", "all compared", "a claim, p50 and p99"]
    print("| " + " | ".join([*columns, "a join, likewise", "an entry", "a room"]) + " |")
    print("|---" * 8 + "|")
    for rooms in map(int, sys.argv[1:] or ("100", "1000", "10000")):
        print("| " + " | ".join(trio.run(measure, rooms)) + " |", flush=True)
