"""The state of a simulation: its rooms, its network and its clients. Steps change this state."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import attrs
import trio
import trio.testing

from ..client.client import Client, Status
from ..client.fallback import TransportKind
from ..client.join import back_off, open_client
from ..client.url import UrlConnector
from ..errors import Disconnected, RequestFailed
from ..protocol.codec import JSON, MESSAGEPACK
from ..protocol.limits import Limits
from ..requests.tracker import MAX_REQUESTS
from ..rooms.directory import Directory
from ..rooms.kind import RoomKind
from ..server.app import App
from .network import Link, Network
from .oracle import Oracle

Play = Callable[[Client[Any, Any]], Awaitable[object]]
"""The code of a client. The code runs for each client that joins, while the steps run, until the client closes."""


@attrs.frozen(eq=False)
class Member:
    """A client of the simulation."""

    client: Client[Any, Any]
    link: Link
    session: str
    transport: TransportKind
    codec: str


class Simulation:
    """The rooms, the network and the clients of one simulation."""

    def __init__(
        self,
        app: App,
        network: Network,
        nursery: trio.Nursery,
        troubles: trio.Nursery,
        oracle: Oracle,
        random: Random,
        play: Play | None,
        limits: Limits,
        kind: RoomKind,
    ) -> None:
        self.directory: Directory = app.directory
        self.network = network
        self.troubles = troubles
        """The nursery for background tasks of steps. It is open until the network heals."""
        self.members: list[Member] = []
        """All clients, in the order in which they joined."""
        self._rough = False
        self._keys = app.keys
        self._nursery = nursery
        self._oracle = oracle
        self._random = random
        self._play = play or _listen
        self._limits = limits
        self._kind = kind

    def member(self, place: int) -> Member | None:
        """Return the client at this place, modulo the number of clients; None if there is none, or if it is closed."""
        if not self.members:
            return None
        member = self.members[place % len(self.members)]
        return None if member.client.status is Status.CLOSED else member

    def trouble_all(self) -> None:
        """Mark all present and future links as troubled, because any connection may be lost from now on."""
        self._rough = True
        for link in self.network.links:
            link.troubled = True

    def leave(self, client: Client[Any, Any]) -> None:
        """Notify the oracle that a client leaves, and let the client leave."""
        self._oracle.note_leaving(client)
        client.leave()

    def join(self, name: str, transport: TransportKind, codec: str) -> None:
        """Let a new client connect."""
        self._add(name, f"session-{len(self.members)}", transport, codec)

    def join_again(self, place: int) -> None:
        """Let a new client connect with the session of the client at this place."""
        same = self.members[place % len(self.members)]
        self._add(same.client._name, same.session, same.transport, same.codec)

    def ask(self, client: Client[Any, Any], event: Any) -> None:
        """Send a request, and wait in a background task for its end: a reply or an error."""
        if not self._kind.sends.by_name:
            return  # the room sends no events, so it cannot reply
        answer = self._kind.sends.by_name[
            self._random.choice(sorted(self._kind.sends.by_name))
        ].cls  # any class, because the room may reply with another class

        async def run() -> None:
            with contextlib.suppress(RequestFailed, Disconnected):
                await client.request(event, answer)

        self._nursery.start_soon(run)

    def _add(self, name: str, session: str, transport: TransportKind, codec: str) -> None:
        link, number = self.network.link(), len(self.members)
        link.troubled = self._rough
        chosen = JSON if codec == "json" else MESSAGEPACK
        client: Client[Any, Any] = Client(
            UrlConnector(
                "ws://edge.test/rooms/room/one",
                codec=chosen,
                limits=self._limits,
                kinds=tuple(TransportKind)[tuple(TransportKind).index(transport) :],
                connect=link.connect,
            ),
            sends=self._kind.receives,
            receives=self._kind.sends,
            documents=self._kind.mirrored,
            name=name,
            codec=chosen,
            limits=self._limits,
            wait_before=back_off,
            inbox=1024,
            client=f"client-{number:016}",
            key=self._keys.issue(session),
        )
        self._oracle.watch_client(client, link)
        self.members.append(Member(client, link, session, transport, codec))
        self._nursery.start_soon(self._run, client)

    async def _run(self, client: Client[Any, Any]) -> None:
        async with open_client(client), trio.open_nursery() as playing:
            playing.start_soon(self._play_on, client)
            await client.wait_status(Status.CLOSED)
            playing.cancel_scope.cancel("the client is closed")

    async def _play_on(self, client: Client[Any, Any]) -> None:
        with contextlib.suppress(Disconnected):
            await self._play(client)


async def _listen(client: Client[Any, Any]) -> None:
    """Take all events, and keep the room's requests waiting, as a person does who does not react."""
    kept = deque[Any](maxlen=MAX_REQUESTS)
    async for event in client:
        kept.append(event)
