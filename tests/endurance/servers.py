"""Several servers and a Redis that are killed, paused, cut off, replaced and started again at random, and players who
add: ``python -m tests.endurance.servers <blows> [seed]``.

What they are told is held against the promise of rooms that are kept: see `adding`.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

import attrs
import trio

import edge
from edge.broker.broker import Stamp
from edge.broker.redis import RedisBroker
from edge.client.client import Client, State
from edge.client.join import back_off, open_client
from edge.client.url import UrlDialler
from edge.protocol.codec import MESSAGEPACK
from tests.broker.redis_server import RedisServer

from .adding import Add, Added, Adder, Ledger
from .process import start_server

ROOT = Path(__file__).parents[2]
SERVERS = 3
PLAYERS = 4
# So few that what is said while somebody is away for long can still be kept for them: a thousand events.
ADDS_A_SECOND = 6.0
# Waits between attempts grow to four seconds, and not to thirty: one blow follows the other.
LONGEST_BACKOFF = 3
# How long at most until everybody hears again, after a blow: a lease, its renewal, and a few backoffs.
PATIENCE_SECONDS = 30.0
# What Redis has answered its disk has.
ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")


class Process:
    """One server."""

    def __init__(self, process: trio.Process, port: int) -> None:
        self.process, self.port = process, port
        self.paused = False

    @property
    def alive(self) -> bool:
        return self.process.returncode is None


@attrs.define(eq=False)
class Town:
    """The servers, their Redis, and who plays there."""

    redis: RedisServer
    nursery: trio.Nursery
    chance: random.Random
    servers: list[Process] = attrs.field(factory=list)
    adders: list[Adder] = attrs.field(factory=list)
    ledger: Ledger = attrs.field(factory=Ledger)
    starting: trio.Lock = attrs.field(factory=trio.Lock)
    """Held while a server starts, for which its Redis has to be there."""
    outages: dict[str, list[float]] = attrs.field(factory=dict)
    """How long it took until everybody had heard something that was said after a blow, by its kind."""

    @property
    def living(self) -> list[Process]:
        return [server for server in self.servers if server.alive and not server.paused]

    async def add_server(self) -> None:
        """One more."""
        environment = {**os.environ, "EDGE_SECRET": "a secret of all these servers"}
        options = ("--broker", self.redis.url)
        async with self.starting:
            started = await start_server(self.nursery, "tests.endurance.adding:app", *options, environment=environment)
        self.servers.append(Process(*started))

    async def owner(self) -> Process | None:
        """Who has the room."""
        broker = RedisBroker(self.redis.url)
        async with broker.open():
            servers = (await broker.renew("an observer", Stamp(1, 1), b"\x80")).servers
            await broker.leave("an observer")
            owners = [lease.server for lease in await broker.leases() if lease.seconds > 0]
            pids = [MESSAGEPACK.decode(servers[owner])["pid"] for owner in owners if owner in servers]
            return next((server for server in self.living if server.process.pid in pids), None)

    async def play(self, name: str) -> None:
        """Add, now and then, until cancelled."""
        turn = count(self.chance.randrange(SERVERS))

        async def connect() -> trio.abc.Stream:
            servers = self.living
            if not servers:
                raise OSError("no server is there")
            return await trio.open_tcp_stream("127.0.0.1", servers[next(turn) % len(servers)].port)

        limits = edge.Limits()
        client: Client[Add, Added] = Client(
            UrlDialler("ws://localhost/rooms/adding/a", codec=edge.JSON, limits=limits, connect=connect),
            speaks=Add,
            hears=Added,
            name=name,
            codec=edge.JSON,
            limits=limits,
            wait_before=lambda attempt: back_off(min(attempt, LONGEST_BACKOFF)),
            inbox=10_000,
            client=f"a-client-called-{name}",
            key=None,
        )
        async with open_client(client), trio.open_nursery() as nursery:
            await client.wait_state(State.OPEN)
            adder = Adder(client, name, self.ledger)
            self.adders.append(adder)
            nursery.start_soon(adder.listen)
            while True:
                await trio.sleep(self.chance.expovariate(ADDS_A_SECOND))
                adder.add()

    async def wait_heard(self) -> float:
        """Wait until all that has been said by now is heard by who said it: how long that took."""
        began, said = trio.current_time(), [adder.said + 1 for adder in self.adders]
        with trio.fail_after(PATIENCE_SECONDS):
            while any(adder.heard < count for adder, count in zip(self.adders, said, strict=True)):
                await trio.sleep(0.01)  # it comes from other processes
        return trio.current_time() - began

    # --- blows

    async def kill(self) -> None:
        """The owner dies."""
        owner = await self.owner() or self.living[0]
        owner.process.kill()
        self.nursery.start_soon(self.add_server)

    async def kill_another(self) -> None:
        """One dies that only carries, perhaps."""
        owner = await self.owner()
        others = [server for server in self.living if server is not owner]
        self.chance.choice(others).process.kill()
        self.nursery.start_soon(self.add_server)

    async def pause(self) -> None:
        """The owner is stopped until its lease is over, and the others have gone on; and then goes on."""
        owner = await self.owner() or self.living[0]
        owner.process.send_signal(signal.SIGSTOP)
        owner.paused = True

        async def go_on() -> None:
            await trio.sleep(self.chance.uniform(3.5, 8))
            owner.process.send_signal(signal.SIGCONT)
            owner.paused = False

        self.nursery.start_soon(go_on)

    async def drain(self) -> None:
        """The owner is told to stop."""
        owner = await self.owner() or self.living[0]
        await self.add_server()
        owner.process.terminate()

    async def cut(self) -> None:
        """Redis hangs up on everybody."""
        await self.redis.cut_connections()

    async def restart(self) -> None:
        """Redis is killed, and started again."""
        async with self.starting:
            self.redis.kill()
            await trio.sleep(self.chance.uniform(0, 1.5))
            self.redis.start()
            await self.redis.wait_up()

    async def forget(self) -> None:
        """Redis is killed, and knows nothing when it is started again."""
        async with self.starting:
            self.redis.kill()
            self.redis.forget()
            self.redis.start()
            await self.redis.wait_up()

    async def replace(self) -> None:
        """Redis dies, and a replica takes its place, which has missed the last of it."""
        async with self.starting:
            await self.redis.replace(partial(trio.sleep, self.chance.uniform(0, 0.5)))

    async def slow(self) -> None:
        """Redis does not answer for a while."""
        self.redis.signal(signal.SIGSTOP)
        await trio.sleep(self.chance.uniform(0.5, 2.0))
        self.redis.signal(signal.SIGCONT)


async def mistreat(redis: RedisServer, blows: list[str], seed: int) -> Town:
    """Deal these blows; the town, when all is well again, and checked."""
    async with trio.open_nursery() as nursery:
        town = Town(redis, nursery, random.Random(seed))
        await redis.wait_up(4)
        for _ in range(SERVERS):
            await town.add_server()
        async with trio.open_nursery() as playing:
            for number in range(PLAYERS):
                playing.start_soon(town.play, f"player{number}")
            while len(town.adders) < PLAYERS:
                await trio.sleep(0.01)  # it comes from other processes
            await town.wait_heard()
            for blow in blows:
                deal: Callable[[], Awaitable[None]] = getattr(town, blow)
                await deal()
                town.outages.setdefault(blow, []).append(await town.wait_heard())
                await trio.sleep(town.chance.uniform(0, 2))
            playing.cancel_scope.cancel("enough")
        for server in town.servers:
            if server.alive:
                server.process.send_signal(signal.SIGCONT)
                server.process.terminate()
    assert all(server.process.returncode in (0, -signal.SIGKILL) for server in town.servers), "they end well"
    return town


BLOWS = ("kill", "kill_another", "pause", "drain", "cut", "restart", "forget", "replace", "slow")


def tell(town: Town) -> str:
    """How it went."""
    lines = [f"{len(town.ledger.events)} events, each once, in order, under one owner at a time"]
    for blow, seconds in town.outages.items():
        lines.append(
            f"{blow}: {len(seconds)} times, heard again after {median(seconds):.1f} s, {max(seconds):.1f} at most"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    total, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer("redis-server", Path(folder), *ON_DISK)
        server.start()
        try:
            dealt = random.Random(seed).choices(BLOWS, k=total)
            print(tell(trio.run(mistreat, server, dealt, seed)))
        finally:
            server.kill()
