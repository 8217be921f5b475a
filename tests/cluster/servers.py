"""Several in-memory servers in virtual time, which share one broker. Each server has its own connection to the
broker."""

from __future__ import annotations

import copy
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import attrs
import trio

import edge
from edge.client.client import Client
from edge.client.fallback import TransportKind
from edge.client.join import open_client
from edge.client.url import UrlConnector
from edge.cluster.broker.broker import Broker, Claim, Stamp
from edge.cluster.broker.memory import MemoryBroker
from edge.cluster.node import Node
from edge.protocol.codec import JSON
from edge.protocol.messages import Create
from edge.server.app import site_of
from edge.server.serve import Server, open_server
from edge.shared.mirrors import MirroredDocument
from edge.testing.flaky import FlakyBroker
from edge.testing.network import Conditions, Network

LEASE_SECONDS = 3.0


def one_secret() -> edge.Sessions:
    """Return the sessions of one server. All servers have the same secret, and so accept each other's keys."""
    return edge.Sessions(keys=edge.Keys("a secret of all the servers"))


class ForgetfulBroker(MemoryBroker):
    """A broker that can return to an earlier state, as Redis does if it is killed before it has written its newest data
    to its disk."""

    _disk: tuple[Any, Any, Any] = ({}, {}, {})
    _began_at = -math.inf

    def write_to_disk(self) -> None:
        """Save the current state for `begin_again`."""
        self._disk = copy.deepcopy((self._leases, self._logs, self._servers))

    def begin_again(self) -> None:
        """Replace the state by the saved state, and lose everything else, undelivered batches included."""
        self._leases, self._logs, self._servers = copy.deepcopy(self._disk)
        for mailbox in self._mailboxes.values():
            mailbox.batches.clear()
        self._began_at = trio.current_time()

    def _mark(self, known: Any) -> str:
        return f"{self._began_at} {super()._mark(known)}"

    async def claim(self, room: str, server: str, stamp: Stamp) -> Claim:
        held = self._leases.get(room)
        young = self._began_at + self.lease_seconds - trio.current_time()
        if young > 0 and (held is None or self._seconds(held) <= 0 or held.server == server):
            await trio.lowlevel.checkpoint()
            return Claim("", young)
        return await super().claim(room, server, stamp)


def node_of(app: edge.App) -> Node:
    """Return the node of a running app."""
    node = site_of(app).node
    assert node is not None
    return node


@attrs.define(eq=False)
class Place:
    """One server, and the network between this server and its clients."""

    server: Server
    app: edge.App
    broker: FlakyBroker
    wires: Network
    scope: trio.CancelScope
    dead: bool = False

    def end(self, why: str) -> None:
        """Cancel the server, and refuse connections that are not open yet."""
        for link in self.wires.links:
            link.offline = "refused"
        self.scope.cancel(why)

    @property
    def node(self) -> Node:
        """The node of this server."""
        return node_of(self.app)

    @property
    def rooms(self) -> list[str]:
        """The paths of the rooms that are open at this server."""
        return [room.path for room in self.app.directory.runtimes]


@attrs.define(eq=False)
class Town:
    """The servers, and the clients that join them."""

    make_app: Callable[[Broker], edge.App]
    nursery: trio.Nursery
    shared: ForgetfulBroker = attrs.field(factory=lambda: ForgetfulBroker(lease_seconds=LEASE_SECONDS))
    places: list[Place] = attrs.field(factory=list)
    conditions: Conditions = attrs.field(factory=Conditions)
    """The conditions of the network between the clients and all servers."""
    clients: int = 0

    async def open(self) -> Place:
        """Start another server."""
        return await self.nursery.start(self._serve)  # type: ignore[no-any-return]

    async def _serve(self, *, task_status: trio.TaskStatus[Place]) -> None:
        async with trio.open_nursery() as asking:
            broker = FlakyBroker(self.shared, asking, seed=len(self.places))
            app = self.make_app(broker)
            with trio.CancelScope() as scope:
                async with open_server(app) as server:
                    wires = Network(server.serve_connection, server.connections)
                    place = Place(server, app, broker, wires, scope)
                    self.places.append(place)
                    task_status.started(place)
                    await trio.sleep_forever()
            asking.cancel_scope.cancel()

    def kill(self, place: Place) -> None:
        """Kill a server, so that it sends nothing more to clients or to the broker."""
        place.broker.cut = place.dead = True
        for link in place.wires.links:
            link.cut()
        place.end("killed")

    async def drain(self, place: Place) -> None:
        """Drain a server, then end it."""
        place.dead = True
        place.server.drain()
        await trio.sleep(10)
        place.end("drained")

    @asynccontextmanager
    async def join(
        self,
        path: str,
        *at: Place,
        sends: Any,
        receives: Any,
        key: str | None = None,
        name: str = "",
        kind: TransportKind = TransportKind.WEBSOCKET,
        options: object = None,
        create: Create = "if needed",
        documents: Sequence[MirroredDocument] = (),
    ) -> AsyncIterator[Client[Any, Any]]:
        """Join a room. The client tries the servers in `at` in turn, or all servers if `at` is empty, and skips dead
        servers. After a redirect, the client tries only the server with the new address."""
        self.clients += 1
        attempts = count()

        async def connect() -> trio.abc.Stream:
            there = [place for place in at or self.places if not place.dead]
            own = {place: site_of(place.app).cluster.address for place in there}
            sent_to = [place for place in there if own[place] and own[place] in str(connector.url)]
            if connector.url != address:
                there = sent_to
            if not there:
                raise OSError("no server is there")
            wires = there[next(attempts) % len(there)].wires
            wires.conditions = self.conditions
            return await wires.link().connect()

        async def wait_before(attempt: int) -> None:
            await trio.sleep(0.1)

        address = f"ws://edge.test{path}"
        connector = UrlConnector(address, codec=JSON, limits=edge.Limits(), kinds=(kind,), connect=connect)
        client: Client[Any, Any] = Client(
            connector,
            sends=sends,
            receives=receives,
            name=name or f"client {self.clients}",
            codec=JSON,
            limits=edge.Limits(),
            wait_before=wait_before,
            inbox=1000,
            client=f"a-client-of-the-town-{self.clients}",
            key=key,
            options=options,
            create=create,
            documents=documents,
        )
        async with open_client(client):
            yield client


@asynccontextmanager
async def open_town(make_app: Callable[[Broker], edge.App], servers: int = 2) -> AsyncIterator[Town]:
    """Run this number of servers until the block ends."""
    async with trio.open_nursery() as nursery:
        town = Town(make_app, nursery)
        for _ in range(servers):
            await town.open()
        yield town
        for place in town.places:
            place.scope.cancel("the test is over")
