"""The steps of a simulation: actions of clients and of the network. A list of steps is a script.

A step names a client by its place in the order of joining, modulo the number of clients. A step that is impossible, for
example because no client has joined, has no effect. Therefore, any part of a script is a valid script.
"""

from __future__ import annotations

import abc
from typing import Any, Literal

import attrs
import trio
import trio.testing

from ..client.client import Client
from ..client.fallback import TransportKind
from ..protocol.messages import Event
from ..protocol.outgoing import Outgoing
from .network import Conditions, Link, Side, Way
from .town import Simulation

# A link with a longer latency or jitter counts as troubled, and the oracle checks less about its client.
CALM_SECONDS = 0.1

Noticed = Literal["both", "server", "client", "nobody"]
SIDES: dict[Noticed, frozenset[Side]] = {
    "both": frozenset(("client", "server")),
    "server": frozenset(("server",)),
    "client": frozenset(("client",)),
    "nobody": frozenset(),
}


class Step(abc.ABC):
    """One step of a simulation."""

    @abc.abstractmethod
    async def take(self, simulation: Simulation) -> None:
        """Perform the step."""


class _ClientStep(Step):
    """A step of one client."""

    client: int

    async def take(self, simulation: Simulation) -> None:
        member = simulation.member(self.client)
        if member is not None:
            self.act(simulation, member.client, member.link)

    @abc.abstractmethod
    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        """Perform the step without waiting."""


@attrs.frozen
class Join(Step):
    """A new client joins."""

    name: str
    transport: str = "websocket"
    codec: str = "json"

    async def take(self, simulation: Simulation) -> None:
        simulation.join(self.name, TransportKind(self.transport), self.codec)


@attrs.frozen
class Tab(_ClientStep):
    """A new client joins with the session of the client at this place, and takes over the seat of that client."""

    client: int

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        simulation.join_again(self.client)


@attrs.frozen
class Leave(_ClientStep):
    """A client leaves."""

    client: int

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        simulation.leave(client)


@attrs.frozen
class Drop(_ClientStep):
    """A client's connection is cut. The client tries to reconnect by itself."""

    client: int
    noticed_by: Noticed = "both"

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        link.cut(noticed_by=SIDES[self.noticed_by])


@attrs.frozen
class DropAfter(_ClientStep):
    """A client's connection is cut after `count` more bytes in one direction, for example in the middle of a frame."""

    client: int
    way: Way
    count: int
    noticed_by: Noticed = "both"

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        link.cut_after(self.way, self.count, noticed_by=SIDES[self.noticed_by])


@attrs.frozen
class Offline(_ClientStep):
    """A client cannot connect until `Online`: its attempts are refused or get no answer."""

    client: int
    how: Literal["refused", "silent"] = "refused"

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        link.offline = self.how


@attrs.frozen
class Online(_ClientStep):
    """All disturbances of a client's link end: the client can connect again, and reads again."""

    client: int

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        link.heal()


@attrs.frozen
class Tunnel(_ClientStep):
    """A client's connection is cut, and new connections are refused for `seconds`. The next connection is cut after
    `count` bytes from the server, for example in the middle of the welcome."""

    client: int
    seconds: float
    count: int

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        link.cut()
        link.offline = "refused"

        async def come_out() -> None:
            await trio.sleep(self.seconds)
            link.heal()
            link.cut_after("down", self.count)

        simulation.troubles.start_soon(come_out)


@attrs.frozen
class Stall(_ClientStep):
    """A client stops reading from its socket, until `Online`."""

    client: int

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        link.reading = False


@attrs.frozen
class Send(_ClientStep):
    """A client sends an event."""

    client: int
    event: Any

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        client.send(self.event)


@attrs.frozen
class Ask(_ClientStep):
    """A client sends an event as a request, and waits for the answer in the background."""

    client: int
    event: Any

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        simulation.ask(client, self.event)


@attrs.frozen
class SendWrong(_ClientStep):
    """A client sends an event that may be invalid, with any name and any plain data."""

    client: int
    name: str
    body: Any

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        client._send(Outgoing.of(Event(self.name, self.body)))


@attrs.frozen
class Burst(Step):
    """Each room broadcasts an event `times` times before other tasks can run."""

    event: Any
    times: int

    async def take(self, simulation: Simulation) -> None:
        for room in simulation.directory.rooms:
            for _ in range(self.times):
                room.broadcast(self.event)


@attrs.frozen
class Reset(Step):
    """Each room resets its round, if one is open."""

    async def take(self, simulation: Simulation) -> None:
        for room in simulation.directory.rooms:
            room.reset("simulated")


@attrs.frozen
class Weather(Step):
    """The latency, the jitter and the size of pieces of the network change: see `Conditions`."""

    latency: float = 0.0
    jitter: float = 0.0
    pieces: int | None = None

    async def take(self, simulation: Simulation) -> None:
        pieces = {} if self.pieces is None else {"pieces": self.pieces}
        simulation.network.conditions = Conditions(latency=self.latency, jitter=self.jitter, **pieces)
        if max(self.latency, self.jitter) > CALM_SECONDS:
            simulation.trouble_all()


@attrs.frozen
class Wait(Step):
    """Nothing happens for `seconds`."""

    seconds: float

    async def take(self, simulation: Simulation) -> None:
        await trio.sleep(self.seconds)


@attrs.frozen
class Jump(Step):
    """The clock jumps forward by `seconds` while no task runs, as if the machine had been suspended."""

    seconds: float

    async def take(self, simulation: Simulation) -> None:
        clock = trio.lowlevel.current_clock()
        simulation.trouble_all()
        if isinstance(clock, trio.testing.MockClock):
            clock.jump(self.seconds)
