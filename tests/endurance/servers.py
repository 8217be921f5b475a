"""Kill, pause, cut off and restart several servers and their Redis at random, while clients play:
``python -m tests.endurance.servers <blows> [seed] [always|everysec]``.

Some players send additions often, some rarely, and some are customers of banks. The players check the guarantees of
persistent rooms: see `adding` and `banking`. Each server reaches Redis through its own proxy. A fault can delay or cut
the connections of this proxy.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import trio

import edge
from edge.client.client import Client, Status
from edge.client.fallback import TransportKind
from edge.client.join import back_off, open_client
from edge.client.url import UrlConnector
from edge.cluster.broker.broker import Stamp
from edge.cluster.broker.redis import RedisBroker
from edge.protocol.codec import JSON, MESSAGEPACK
from edge.rooms.room import kind_of
from tests.cluster.broker.redis_server import RedisServer

from .adding import EFFECTS, Add, Added, Adder, Ledger, Mirrorer, Sharing, check_effects
from .banking import Customer, Said, Told
from .process import start_server

ROOT = Path(__file__).parents[2]
SERVERS = 3
# The transports of the players in the busy room. Then the number of quiet rooms, in which players rarely send
# additions, and the number of customers of banks.
PLAYERS = 2 * [*TransportKind]
# The busy rooms: the second has shared documents, which its players check.
BUSY = {"adding/a": Adder, "sharing/a": Mirrorer}
QUIET, CUSTOMERS = 20, 6
# The number of faults after which the quiet players send an addition.
SPEAK_EVERY = 10
# The mean number of additions that each busy player sends per second. It is low enough that a player misses at most a
# thousand events in the longest absence, which fit into the window.
ADDS_A_SECOND = 6.0
# The exponent that limits the backoff to four seconds, and not to thirty, because the next fault follows soon.
LONGEST_BACKOFF = 3
# The maximum number of seconds from a fault until all players receive events again. This time includes the rest of a
# lease, a renewal and a few backoffs.
PATIENCE_SECONDS = 30.0
# The number of seconds until the servers have written lost data to Redis again. A server detects the loss at its next
# renewal of leases.
WRITTEN_ANEW_SECONDS = 3.0
# Options of Redis. With `ON_DISK`, Redis writes to its disk before it answers. With `BY_AND_BY`, it writes within about
# two seconds.
ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")
BY_AND_BY = ("--appendonly", "yes", "--appendfsync", "everysec")
SECRET = "a secret of all these servers"


class Way:
    """A proxy between one server and Redis, with its own socket."""

    def __init__(self, redis: str, socket: str) -> None:
        self._redis, self.url = redis, f"unix://{socket}"
        self._socket = socket
        self._open = trio.Event()
        self._open.set()
        self._scopes = dict[trio.CancelScope, None]()
        self.cut = False

    async def run(self, *, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
        """Forward connections until cancelled."""
        listening = trio.socket.socket(trio.socket.AF_UNIX)
        await listening.bind(self._socket)
        listening.listen(64)
        await trio.serve_listeners(self._carry, [trio.SocketListener(listening)], task_status=task_status)

    @property
    def open(self) -> bool:
        return self._open.is_set() and not self.cut

    def hang_up(self) -> None:
        """Break all connections."""
        for scope in self._scopes:
            scope.cancel("the way is cut")

    def hold(self) -> None:
        """Forward nothing until `go_on` is called. The proxy delays the bytes that arrive in the meantime."""
        self._open = trio.Event()

    def go_on(self) -> None:
        """Forward the delayed bytes."""
        self._open.set()

    async def _carry(self, stream: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._scopes[scope] = None
            try:
                if not self.cut:
                    await self._connect(stream)
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                del self._scopes[scope]
        await trio.aclose_forcefully(stream)

    async def _connect(self, stream: trio.SocketStream) -> None:
        async with await trio.open_unix_socket(self._redis) as redis, trio.open_nursery() as nursery:

            async def carry(one: trio.SocketStream, other: trio.SocketStream) -> None:
                async for data in one:
                    await self._open.wait()
                    await other.send_all(data)
                nursery.cancel_scope.cancel("one side has hung up")

            nursery.start_soon(carry, stream, redis)
            await carry(redis, stream)


class Process:
    """One server process, and its proxy to Redis."""

    def __init__(self, process: trio.Process, port: int, way: Way) -> None:
        self.process, self.port, self.way = process, port, way
        self.paused = False

    @property
    def alive(self) -> bool:
        return self.process.returncode is None


@attrs.define(eq=False)
class Town:
    """The servers, their Redis, and their players."""

    redis: RedisServer
    nursery: trio.Nursery
    chance: random.Random
    servers: list[Process] = attrs.field(factory=list)
    adders: list[Adder] = attrs.field(factory=list)
    quiet: list[Adder] = attrs.field(factory=list)
    customers: list[Customer] = attrs.field(factory=list)
    ledgers: dict[str, Ledger] = attrs.field(factory=lambda: {path: Ledger() for path in BUSY})
    """The events of the busy rooms."""
    starting: trio.Lock = attrs.field(factory=trio.Lock)
    """A lock that prevents faults of Redis while a server starts, because a start needs Redis."""
    outages: dict[str, dict[TransportKind, list[float]]] = attrs.field(factory=dict)
    """Seconds from a fault until each player received an addition that the player sent after it, by fault and
    transport."""
    refused: int = 0
    """Number of writes outside of edge with the fence of a former owner, which a store must refuse."""

    @property
    def effects(self) -> Path:
        """The file to which rooms write outside of edge."""
        return Path(f"{self.redis.url.removeprefix('unix://')}-effects")

    @property
    def living(self) -> list[Process]:
        return [server for server in self.servers if server.alive and not server.paused]

    async def add_server(self) -> None:
        """Start another server."""
        environment = {**os.environ, "EDGE_SECRET": SECRET, EFFECTS: str(self.effects)}
        path = self.redis.url.removeprefix("unix://")
        way = Way(path, f"{path}-{len(self.servers)}-{trio.current_time()}")
        await self.nursery.start(way.run)
        options = ("--broker", way.url)
        async with self.starting:
            started = await start_server(self.nursery, "tests.endurance.adding:app", *options, environment=environment)
        self.servers.append(Process(*started, way))

    async def owners(self) -> dict[str, Process | None]:
        """Return the owner of each persistent room, or None if it has no living owner."""
        broker = RedisBroker(self.redis.url)
        async with broker.open():
            servers = (await broker.renew("an observer", Stamp(1, 1), b"\x80")).servers
            await broker.leave("an observer")
            pids = {server: MESSAGEPACK.decode(about)["pid"] for server, about in servers.items() if about != b"\x80"}
            living = {server.process.pid: server for server in self.living}
            leases = [lease for lease in await broker.leases() if lease.kept]
            return {each.room: living.get(pids.get(each.server, 0)) if each.seconds > 0 else None for each in leases}

    async def owner(self, room: str = "adding/a") -> Process:
        """Return the owner of a room, or any server if the owner is unknown."""
        return (await self.owners()).get(room) or self.living[0]

    async def wait_owned(self) -> None:
        """Wait until every room has a healthy owner. After Redis has lost its data, these owners can write the data
        again."""
        with trio.fail_after(PATIENCE_SECONDS):
            while not all(server.way.open and not server.paused for server in self.servers if server.alive):
                await trio.sleep(0.01)  # paused servers continue after a few seconds
            while len(owners := await self.owners()) < len(BUSY) + QUIET or None in owners.values():
                await trio.sleep(0.1)  # the state of other processes must be polled

    @asynccontextmanager
    async def client(
        self, path: str, name: str, *, sends: Any, receives: Any, kind: TransportKind, key: str | None = None
    ) -> AsyncIterator[tuple[Client[Any, Any], Callable[[], Awaitable[object]]]]:
        """Open a client that connects to the servers in turn. Yield the client, and a function that breaks its
        connections permanently."""
        turn, streams = count(self.chance.randrange(SERVERS)), list[trio.SocketStream]()
        gone = False

        async def connect() -> trio.abc.Stream:
            # Include paused servers, because their sockets still accept connections.
            servers = [server for server in self.servers if server.alive]
            if not servers or gone:
                raise OSError("no server is there")
            stream = await trio.open_tcp_stream("127.0.0.1", servers[next(turn) % len(servers)].port)
            streams.append(stream)
            del streams[:-10]
            return stream

        async def vanish() -> None:
            nonlocal gone
            gone = True
            for stream in streams:
                await trio.aclose_forcefully(stream)

        limits = edge.Limits()
        client: Client[Any, Any] = Client(
            UrlConnector(f"ws://localhost/rooms/{path}", codec=JSON, limits=limits, kinds=(kind,), connect=connect),
            sends=sends,
            receives=receives,
            name=name,
            codec=JSON,
            limits=limits,
            wait_before=lambda attempt: back_off(min(attempt, LONGEST_BACKOFF)),
            inbox=10_000,
            documents=kind_of(Sharing).mirrored if path.startswith("sharing/") else (),
            client=secrets.token_urlsafe(16),
            key=key,
        )
        async with open_client(client):
            await client.wait_status(Status.OPEN)
            yield client, vanish

    async def play(self, path: str, name: str, kind: TransportKind) -> None:
        """Join a busy room, and send additions at random intervals until cancelled."""
        async with (
            self.client(path, name, sends=Add, receives=Added, kind=kind) as (client, _),
            trio.open_nursery() as nursery,
        ):
            adder = BUSY[path](client, name, self.ledgers[path], kind)
            self.adders.append(adder)
            nursery.start_soon(adder.listen)
            nursery.start_soon(adder.watch)
            while True:
                await trio.sleep(self.chance.expovariate(ADDS_A_SECOND))
                adder.add()

    async def be_quiet(self, number: int) -> None:
        """Join a quiet room as its only player, send one addition, and receive events until cancelled."""
        path, name, kind = f"adding/quiet{number}", f"quiet{number}", TransportKind.WEBSOCKET
        async with self.client(path, name, sends=Add, receives=Added, kind=kind) as (client, _):
            adder = Adder(client, name, Ledger(), kind)
            self.quiet.append(adder)
            adder.add()
            await adder.listen()

    async def be_customer(self, number: int) -> None:
        """Join a bank and leave, again and again."""
        name, kind = f"customer{number}", PLAYERS[number % len(PLAYERS)]
        key = edge.Keys(SECRET).issue(id=name, name=name)
        customer = Customer(
            lambda: self.client(f"bank/{number}", name, sends=Said, receives=Told, kind=kind, key=key), self.chance
        )
        self.customers.append(customer)
        await customer.come()

    async def wait_heard(self) -> dict[TransportKind, list[float]]:
        """Wait until all players in the busy rooms have received their next addition, and return the seconds that each
        waited."""
        began, waited = trio.current_time(), dict[TransportKind, list[float]]()

        async def wait(adder: Adder) -> None:
            said = adder.said + 1
            while adder.heard < said:
                await trio.sleep(0.01)  # the state of other processes must be polled
            waited.setdefault(adder.kind, []).append(trio.current_time() - began)

        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                for adder in self.adders:
                    nursery.start_soon(wait, adder)
        return waited

    async def speak(self) -> None:
        """Send an addition from each quiet player, and wait until each player has received its own addition."""
        for adder in self.quiet:
            adder.add()
        with trio.fail_after(PATIENCE_SECONDS):
            while any(adder.heard < adder.said for adder in self.quiet):
                await trio.sleep(0.01)  # the state of other processes must be polled
        for adder in self.quiet:
            adder.check()

    async def kill(self) -> None:
        """Kill the owner of the busy room, and start another server."""
        (await self.owner()).process.kill()
        self.nursery.start_soon(self.add_server)

    async def kill_another(self) -> None:
        """Kill a server that is not the owner of the busy room, and start another server."""
        owner = await self.owner()
        others = [server for server in self.living if server is not owner]
        self.chance.choice(others).process.kill()
        self.nursery.start_soon(self.add_server)

    async def pause(self) -> None:
        """Stop the process of the busy room's owner until after the end of its lease, then continue the process."""
        owner = await self.owner()
        owner.process.send_signal(signal.SIGSTOP)
        owner.paused = True

        async def go_on() -> None:
            await trio.sleep(self.chance.uniform(3.5, 8))
            owner.process.send_signal(signal.SIGCONT)
            owner.paused = False

        self.nursery.start_soon(go_on)

    async def drain(self) -> None:
        """Start another server, and drain the owner of the busy room."""
        owner = await self.owner()
        await self.add_server()
        owner.process.terminate()

    async def cut(self) -> None:
        """Make Redis close all connections."""
        await self.redis.cut_connections()

    async def restart(self) -> None:
        """Kill Redis, and start it again."""
        async with self.starting:
            self.redis.kill()
            await trio.sleep(self.chance.uniform(0, 1.5))
            self.redis.start()
            await self.redis.wait_up()

    async def forget(self) -> None:
        """Kill Redis, and start it again without data."""
        await self.wait_owned()
        async with self.starting:
            self.redis.kill()
            self.redis.forget()
            self.redis.start()
            await self.redis.wait_up()

    async def replace(self) -> None:
        """Replace Redis by a replica that lacks the newest writes."""
        await self.wait_owned()
        async with self.starting:
            await self.redis.replace(partial(trio.sleep, self.chance.uniform(0, 0.5)))

    async def lose_power(self) -> None:
        """Kill Redis, and start it again from a disk that lacks the newest writes."""
        await self.wait_owned()
        async with self.starting:
            await self.redis.lose_power(partial(trio.sleep, self.chance.uniform(0, 2)))
            await self.redis.wait_up()

    async def forget_quietly(self) -> None:
        """Delete all data of Redis, wait until the servers have written their data again, and then kill the owner of
        the busy room."""
        await self.forget()
        await trio.sleep(self.chance.uniform(5, 8))
        await self.kill()

    async def cut_off(self) -> None:
        """Cut one server off from Redis for a while, mostly for longer than a lease."""
        way = self.chance.choice(self.living).way
        way.cut = True
        way.hang_up()

        async def heal() -> None:
            await trio.sleep(self.chance.uniform(1, 8))
            way.cut = False

        self.nursery.start_soon(heal)

    async def hold_up(self) -> None:
        """Delay all traffic between one server and Redis for up to six seconds."""
        way = self.chance.choice(self.living).way
        way.hold()

        async def go_on() -> None:
            await trio.sleep(self.chance.uniform(0.5, 6))
            way.go_on()

        self.nursery.start_soon(go_on)

    async def slow(self) -> None:
        """Stop the process of Redis for up to two seconds."""
        self.redis.signal(signal.SIGSTOP)
        await trio.sleep(self.chance.uniform(0.5, 2.0))
        self.redis.signal(signal.SIGCONT)


async def mistreat(
    redis: RedisServer, blows: list[str], seed: int, report: Callable[[str], object] = lambda line: None
) -> Town:
    """Cause these faults one after the other, and wait after each fault until all players receive events. Check the
    guarantees, and return the town."""
    async with trio.open_nursery() as nursery:
        town = Town(redis, nursery, random.Random(seed))
        await redis.wait_up(4)
        for _ in range(SERVERS):
            await town.add_server()
        async with trio.open_nursery() as playing:
            for path in BUSY:
                for number, kind in enumerate(PLAYERS):
                    playing.start_soon(town.play, path, f"player{number}", kind)
            for number in range(QUIET):
                playing.start_soon(town.be_quiet, number)
            for number in range(CUSTOMERS):
                playing.start_soon(town.be_customer, number)
            while len(town.adders) < len(BUSY) * len(PLAYERS) or len(town.quiet) < QUIET:
                await trio.sleep(0.01)  # the state of other processes must be polled
            await town.wait_heard()
            for number, blow in enumerate(blows, 1):
                report(f"blow {number}: {blow}")
                deal: Callable[[], Awaitable[None]] = getattr(town, blow)
                await deal()
                for kind, seconds in (await town.wait_heard()).items():
                    town.outages.setdefault(blow, {}).setdefault(kind, []).extend(seconds)
                await trio.sleep(WRITTEN_ANEW_SECONDS if blow in FORGETTING else town.chance.uniform(0, 2))
                if number % SPEAK_EVERY == 0 or number == len(blows):
                    await town.speak()
            playing.cancel_scope.cancel("enough")
        for server in town.servers:
            if server.alive:
                server.way.go_on()
                server.process.send_signal(signal.SIGCONT)
                server.process.terminate()
        while any(server.alive for server in town.servers):
            await trio.sleep(0.01)  # the state of other processes must be polled
        nursery.cancel_scope.cancel("enough")
    assert all(server.process.returncode in (0, -signal.SIGKILL) for server in town.servers), (
        "each server must exit with 0, unless it was killed"
    )
    town.refused = check_effects(town.effects.read_text().splitlines())
    return town


BLOWS = (
    *("kill", "kill_another", "pause", "drain", "cut", "restart", "forget", "replace", "slow"),
    *("forget_quietly", "cut_off", "hold_up", "lose_power"),
)
# After these faults, the next fault waits until the servers have written the lost data again, because the rooms of a
# server that dies earlier are lost. `failover` tests such losses.
FORGETTING = ("forget", "replace", "lose_power")


def tell(town: Town) -> str:
    """Return a summary of the run, as text."""
    unheard = sum(customer.unheard for customer in town.customers)
    displaced = sum(customer.displaced for customer in town.customers)
    visits = {how: sum(customer.visits[how] for customer in town.customers) for how in ("cash", "finish", "reload")}
    states = sum(adder.states for adder in town.adders if isinstance(adder, Mirrorer))
    lines = [
        f"{len(town.ledgers['adding/a'].events)} events, each once, in order, under one owner at a time",
        f"{states} states of mirrored documents, none older than the one before or than an event",
        f"{QUIET} quiet rooms; {visits['cash']} players and {visits['finish']} rooms ended, {visits['reload']} reloads",
        f"{unheard} of these ends were not received: the customer learned of them by the next greeting",
        f"{displaced} pages lost their seats to an older page, whose hello a stopped server had delayed",
        f"{town.refused} writes of former owners outside of edge, refused by their fences",
        "",
        "received again after s, median and most | " + " | ".join(TransportKind),
        "---|" * (1 + len(TransportKind)),
    ]
    for blow, outages in town.outages.items():
        cells = [f"{median(outages[kind]):.1f}, {max(outages[kind]):.1f}" for kind in TransportKind]
        lines.append(f"{blow}, {len(outages[TransportKind.POLL]) // 4} times | " + " | ".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    total, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer("redis-server", Path(folder), *(BY_AND_BY if "everysec" in sys.argv else ON_DISK))
        server.start()
        try:
            dealt = random.Random(seed).choices(BLOWS, k=total)
            print(tell(trio.run(mistreat, server, dealt, seed, partial(print, flush=True))))
        finally:
            server.kill()
