"""The steps of a simulation: what clients and the network do to a room. A list of them is a script.

A client is named by its place in the order of joining, around again where there are fewer; a step that makes no sense,
as where nobody has joined yet, does nothing. So any part of a script is a script.
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

# A network that is no slower than this troubles nobody.
CALM_SECONDS = 0.1

Noticed = Literal["both", "server", "client", "nobody"]
SIDES: dict[Noticed, frozenset[Side]] = {
    "both": frozenset(("client", "server")),
    "server": frozenset(("server",)),
    "client": frozenset(("client",)),
    "nobody": frozenset(),
}


class Step(abc.ABC):
    """One thing that happens."""

    @abc.abstractmethod
    async def take(self, simulation: Simulation) -> None:
        """Let it happen."""


class _ClientStep(Step):
    """Something that one client does, or that is done to it."""

    client: int

    async def take(self, simulation: Simulation) -> None:
        member = simulation.member(self.client)
        if member is not None:
            self.act(simulation, member.client, member.link)

    @abc.abstractmethod
    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        """Do it. Never waits."""


@attrs.frozen
class Join(Step):
    """Somebody new comes."""

    name: str
    transport: str = "websocket"
    codec: str = "json"

    async def take(self, simulation: Simulation) -> None:
        simulation.join(self.name, TransportKind(self.transport), self.codec)


@attrs.frozen
class Tab(_ClientStep):
    """A second page of the same session: the newest has the seat."""

    client: int

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        simulation.join_again(self.client)


@attrs.frozen
class Leave(_ClientStep):
    """A client says goodbye."""

    client: int

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        simulation.leave(client)


@attrs.frozen
class Drop(_ClientStep):
    """A client's connection is cut; it will try to come back by itself."""

    client: int
    noticed_by: Noticed = "both"

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        link.cut(noticed_by=SIDES[self.noticed_by])


@attrs.frozen
class DropAfter(_ClientStep):
    """The same, once so many more bytes have passed one way: in the middle of a frame, say."""

    client: int
    way: Way
    count: int
    noticed_by: Noticed = "both"

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        link.cut_after(self.way, self.count, noticed_by=SIDES[self.noticed_by])


@attrs.frozen
class Offline(_ClientStep):
    """From now on a client can't connect; it is refused, or hears nothing."""

    client: int
    how: Literal["refused", "silent"] = "refused"

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        link.offline = self.how


@attrs.frozen
class Online(_ClientStep):
    """A client can connect again, and reads again."""

    client: int

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        link.heal()


@attrs.frozen
class Tunnel(_ClientStep):
    """A client's connection is cut, nothing gets through for so many seconds, and the next is cut, too, after so many
    bytes from the server: in the middle of its welcome, say."""

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
    """A client takes nothing off its socket any more, until `Online`."""

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
    """A client sends what may be no event at all: a name, and any plain data."""

    client: int
    name: str
    body: Any

    def act(self, simulation: Simulation, client: Client[Any, Any], link: Link) -> None:
        client._send(Outgoing(Event(self.name, self.body)))


@attrs.frozen
class Burst(Step):
    """The room says an event so many times to everybody, in one step."""

    event: Any
    times: int

    async def take(self, simulation: Simulation) -> None:
        for room in simulation.directory.rooms:
            for _ in range(self.times):
                room.broadcast(self.event)


@attrs.frozen
class Reset(Step):
    """The room's round is reset, if one is open."""

    async def take(self, simulation: Simulation) -> None:
        for room in simulation.directory.rooms:
            room.reset("simulated")


@attrs.frozen
class Weather(Step):
    """The network becomes slower, less even, or hands out smaller pieces: see `Conditions`."""

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
    """Time passes: seconds."""

    seconds: float

    async def take(self, simulation: Simulation) -> None:
        await trio.sleep(self.seconds)


@attrs.frozen
class Jump(Step):
    """The clock jumps forward while nobody runs, as after a machine's sleep: seconds."""

    seconds: float

    async def take(self, simulation: Simulation) -> None:
        clock = trio.lowlevel.current_clock()
        simulation.trouble_all()
        if isinstance(clock, trio.testing.MockClock):
            clock.jump(self.seconds)
