"""Kill Redis and the owner of a room together, under load: ``python -m tests.endurance.failover <rounds> [seed]``.

The rounds alternate between two failures of Redis. In `replace`, a replica that lacks the newest writes replaces Redis.
In `lose_power`, Redis starts again from a disk that lacks the newest writes. The room may lose only the writes that
Redis has lost, and clients that have received lost events must start fresh.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import count, cycle
from pathlib import Path
from statistics import median

import attrs
import trio

from edge.client.client import Client, Status
from edge.client.fallback import TransportKind
from tests.cluster.broker.redis_server import RedisServer

from .adding import Add, Added
from .servers import BY_AND_BY, PLAYERS, SERVERS, Town

# The number of additions that each player sends per second, and the seconds of load before Redis dies.
ADDS_A_SECOND, LOAD_SECONDS = 20.0, 2.0
# The maximum number of seconds of writes that Redis loses, by the kind of failure.
LOSES_SECONDS = {"replace": 0.5, "lose_power": 2.0}
# The number of seconds by which a replica may lag when it is detached. Redis guarantees no limit, and the lag grows on
# a busy machine.
BEHIND_SECONDS = 1.0
PATIENCE_SECONDS = 60.0


@attrs.define(eq=False)
class Listener:
    """A player, and the events that the player has received."""

    client: Client[Add, Added]
    name: str
    heard: list[tuple[float, Added]] = attrs.field(factory=list)
    told: set[str] = attrs.field(factory=set)
    """The reasons in the player's welcomes. The reason of a resume is an empty string."""
    gone_on: trio.Event = attrs.field(factory=trio.Event)
    """Set when the player receives an event of the next owner."""

    def __str__(self) -> str:
        client = self.client
        return f"{self.name} is {client.status}: {client.welcome}, {client.lost}, {client.ending}, {self.heard[-1:]}"

    async def listen(self) -> None:
        """Receive events, until cancelled."""
        async for event in self.client:
            if self.heard and event.fence > self.heard[-1][1].fence:
                self.gone_on.set()
            self.heard.append((trio.current_time(), event))

    async def note_welcomes(self) -> None:
        """Record the reason of each welcome, until cancelled. The last reason is not enough, because a resume may
        follow a fresh start."""
        while True:
            await self.client.wait_status(Status.OPEN)
            assert self.client.welcome is not None
            self.told.add(self.client.welcome.why)
            await self.client.wait_status(Status.AWAY)

    async def add(self, numbers: Iterator[int]) -> None:
        """Send additions, until cancelled."""
        for number in numbers:
            self.client.send(Add(number))
            await trio.sleep(1 / ADDS_A_SECOND)


@attrs.frozen
class Lost:
    """The number of events that a room has lost, and the seconds from the first receipt of a lost event to the death of
    the room's owner."""

    events: int
    seconds: float


async def fail_over(town: Town, path: str, how: str) -> Lost:
    """Kill Redis and the owner of a room together, and return the number and the age of the lost events."""
    async with AsyncExitStack() as stack:
        players = list[Listener]()
        for number, kind in enumerate(PLAYERS):
            connected = town.client(path, f"player{number}", sends=Add, receives=Added, kind=kind)
            client, _ = await stack.enter_async_context(connected)
            players.append(Listener(client, f"player{number}"))
        async with trio.open_nursery() as listening:
            for player in players:
                listening.start_soon(player.listen)
                listening.start_soon(player.note_welcomes)
            async with trio.open_nursery() as adding:
                for player in players:
                    adding.start_soon(player.add, count())
                await trio.sleep(LOAD_SECONDS)
                owner = (await town.owners())[path]
                assert owner is not None
                detached_at = 0.0

                async def meanwhile() -> None:
                    nonlocal detached_at
                    detached_at = trio.current_time()
                    await trio.sleep(town.chance.uniform(0, LOSES_SECONDS[how]))
                    owner.process.kill()

                await getattr(town.redis, how)(meanwhile)
                died_at = trio.current_time()
                adding.cancel_scope.cancel("Redis and the owner are dead")
            await town.redis.wait_up()
            await town.add_server()
            connected = town.client(path, "probe", sends=Add, receives=Added, kind=TransportKind.WEBSOCKET)
            async with connected as (client, _), trio.open_nursery() as probing:
                # Players that start fresh send no more events, so that the probe must cause events.
                probing.start_soon(Listener(client, "probe").add, count())
                with trio.move_on_after(PATIENCE_SECONDS) as scope:
                    for player in players:
                        await player.gone_on.wait()
                assert not scope.cancelled_caught, [str(each) for each in players if not each.gone_on.is_set()]
                probing.cancel_scope.cancel("all have gone on")
            listening.cancel_scope.cancel("all have gone on")
    return check(players, detached_at, died_at)


def check(players: list[Listener], detached_at: float, died_at: float) -> Lost:
    """Check that each player started fresh who had received events that the journal lost. Check that the journal lost
    only events of the last moments before the failure."""
    fence = min(event.fence for player in players for _, event in player.heard)
    before = [(at, event.total) for player in players for at, event in player.heard if event.fence == fence]
    after = [event.total for player in players for _, event in player.heard if event.fence != fence]
    kept = min(after) - 1
    assert all(event.fence > fence for player in players for _, event in player.heard if event.fence != fence)
    for player in players:
        mine = [event.total for _, event in player.heard if event.fence == fence]
        if max(mine, default=0) > kept:
            assert "miscount" in player.told, f"{player.name} got no miscount, but {player.told}"
        assert mine == [*range(mine[0], mine[0] + len(mine))], f"{player.name} has missed some of {mine}"
    lost = sorted((at, total) for at, total in before if total > kept)
    if not lost:
        return Lost(0, 0.0)
    first_at = min(at for at, _ in lost)
    assert first_at > detached_at - BEHIND_SECONDS, f"received {detached_at - first_at} s before Redis lost anything"
    return Lost(len({total for _, total in lost}), died_at - first_at)


async def repeat(redis: RedisServer, rounds: int, seed: int) -> dict[str, list[Lost]]:
    """Run the rounds, and return their losses by the kind of failure."""
    lost = dict[str, list[Lost]]()
    async with trio.open_nursery() as nursery:
        town = Town(redis, nursery, random.Random(seed))
        await redis.wait_up(4)
        for _ in range(SERVERS):
            await town.add_server()
        for number, how in zip(range(rounds), cycle(LOSES_SECONDS), strict=False):
            lost.setdefault(how, []).append(await fail_over(town, f"adding/round{number}", how))
        for server in town.servers:
            if server.alive:
                server.process.terminate()
        while any(server.alive for server in town.servers):
            await trio.sleep(0.01)  # the state of other processes must be polled
        nursery.cancel_scope.cancel("enough")
    return lost


def tell(lost: dict[str, list[Lost]]) -> str:
    """Return the losses as a table."""
    lines = [
        "failure of Redis | rounds | events lost, median and most | seconds lost, median and most",
        "---|---|---|---",
    ]
    for how, each in lost.items():
        events, seconds = [one.events for one in each], [one.seconds for one in each]
        cells = f"{median(events):.0f}, {max(events)} | {median(seconds):.1f}, {max(seconds):.1f}"
        lines.append(f"{how} | {len(each)} | {cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    total, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer("redis-server", Path(folder), *BY_AND_BY)
        server.start()
        try:
            print(tell(trio.run(partial(repeat, server, total, seed))))
        finally:
            server.kill()
