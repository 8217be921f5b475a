"""A server, its network and its clients in one process, in virtual time, under one seed: and nothing may go wrong.

The server is the real one: requests over HTTP, the upgrade, the lanes, the sessions, the directory and the rooms. Only
the bytes between it and the clients, which are the real ones, too, travel over a `Network` of the simulation's own.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import attrs
import trio
import trio.testing

from ..client.client import Client, State
from ..client.fallback import TransportKind
from ..client.join import back_off, open_client
from ..client.url import UrlDialler
from ..errors import Disconnected, RequestFailed
from ..protocol.codec import JSON, MESSAGEPACK
from ..protocol.events import Vocabulary
from ..protocol.limits import Limits
from ..rooms.directory import Directory
from ..rooms.room import Room, kind_of, runtime_of
from ..server.app import App, site_of
from ..server.serve import open_server
from ..sessions.keys import Keys
from .harness import Crashed, CrashWatch, check_left, current_tasks
from .network import Link, Network
from .oracle import Invariant, InvariantBroken, Oracle
from .steps import Step
from .virtual import run_virtual

# Within this everybody must have found their way back once the network has no troubles any more: a silence is noticed
# after half a minute, and the longest wait before another attempt is as long again, or an attempt in vain between.
SETTLE_SECONDS = 300.0
# The patience of a drain, as `serve` has it by default; and how long farewells and goodbyes may take.
DRAIN_SECONDS = 10.0
GOODBYE_SECONDS = 5.0
# How long clients that have been told to leave may take.
LEAVE_SECONDS = 60.0
# Simulated time that one script may take beside what its steps wait: connecting, settling and draining.
SPARE_HOURS = 1.0

Play = Callable[[Client[Any, Any]], Awaitable[object]]
"""How a client plays: run for each that joins, beside the steps, until it is closed."""


@attrs.frozen
class Simulated:
    """What a simulation has been through."""

    seconds: float
    """Of virtual time."""
    events: int
    """That rooms took from players, and sent to them."""


@attrs.frozen(eq=False)
class Member:
    """A client of the simulation."""

    client: Client[Any, Any]
    link: Link
    session: str
    transport: TransportKind
    codec: str


def simulate(
    make: Callable[[], Room[Any, Any]],
    steps: Sequence[Step],
    *,
    seed: int = 0,
    invariants: Sequence[Invariant] = (),
    play: Play | None = None,
    limits: Limits | None = None,
) -> Simulated:
    """Take these steps against a room in virtual time, heal the network, let everything come to rest, and drain.

    Args:
      make: makes the room: its class, or any callable.
      steps: from `edge.testing.steps`.
      seed: what the schedule, the network and `Room.random` are drawn from.
      invariants: called with each open room after each step; what they raise is a failure.
      play: how each client plays, beside the steps; by default it only listens. It ends by being cancelled, or with
        `Disconnected`, when the client is closed.
      limits: of the server and of the clients.

    Raises:
      InvariantBroken: something that always holds did not; see `Oracle`. A note on this, and on what follows, is the
        script as a test.
      Crashed: code of the room raised.
      Leaked: a task or a deadline outlived the server.
      Deadlock: every task waits, and no deadline is pending.
    """
    hours = sum(getattr(step, "seconds", 0.0) for step in steps) / 3600 + SPARE_HOURS
    gc.freeze()  # so that looking for what is not freed looks only at what this makes
    try:
        return run_virtual(_simulate, make, steps, seed, invariants, play, limits or Limits(), seed=seed, hours=hours)
    except Exception as exc:
        first = exc
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        first.add_note("\n" + _as_test(make, steps, seed, invariants, play, limits))
        raise first from first.__cause__  # without the groups around it
    finally:
        gc.unfreeze()


def example_of(make: Callable[[], Room[Any, Any]]) -> type[Room[Any, Any]] | Room[Any, Any]:
    """What has the vocabularies of the rooms that this makes."""
    return make if isinstance(make, type) else make()


def _as_test(
    make: object, steps: Sequence[Step], seed: int, invariants: Sequence[Invariant], play: object, limits: object
) -> str:
    """A simulation as a test to paste."""

    def name(made: object) -> str:
        return str(getattr(made, "__name__", made))

    arguments = [
        name(make),
        "[\n" + "".join(f"            {step!r},\n" for step in steps) + "        ]",
        f"seed={seed}",
        *([f"invariants=[{', '.join(map(name, invariants))}]"] if invariants else ()),
        *([f"play={name(play)}"] if play is not None else ()),
        *([f"limits=edge.{limits!r}"] if limits is not None else ()),
    ]
    return "\n".join(
        [
            f"from edge.testing.steps import {', '.join(sorted({type(step).__name__ for step in steps}))}",
            "",
            "def test_what_the_simulation_found() -> None:",
            "    edge.testing.simulate(",
            *(f"        {argument}," for argument in arguments),
            "    )",
        ]
    )


async def _simulate(
    make: Callable[[], Room[Any, Any]],
    steps: Sequence[Step],
    seed: int,
    invariants: Sequence[Invariant],
    play: Play | None,
    limits: Limits,
) -> Simulated:
    crashes, oracle = CrashWatch(), Oracle(invariants)
    before = current_tasks()
    log = logging.getLogger("edge")
    log.addHandler(crashes)
    try:
        counters = await _run(make, steps, seed, oracle, play, limits)
    finally:
        log.removeHandler(crashes)
    if crashes.crashes:
        raise Crashed("\n".join(crashes.crashes))
    oracle.check_over()
    check_left(before)
    return counters


async def _run(
    make: Callable[[], Room[Any, Any]],
    steps: Sequence[Step],
    seed: int,
    oracle: Oracle,
    play: Play | None,
    limits: Limits,
) -> Simulated:
    def watched_room() -> Room[Any, Any]:
        room = make()
        oracle.watch_room(runtime_of(room))
        return room

    random = Random(seed)  # noqa: S311  # a simulation, not a secret
    example = example_of(make)
    app = App({}, keys=Keys("the secret of a simulation", now=trio.current_time), limits=limits)
    directory = site_of(app).directory = Directory({"room": watched_room}, seeds=lambda: random.getrandbits(64))
    async with trio.open_nursery() as clients:
        async with open_server(app) as server:
            network = Network(server.serve_connection, server.connections, seed=seed)
            async with trio.open_nursery() as troubles:
                vocabularies = (kind_of(example).receives, kind_of(example).sends)
                simulation = Simulation(app, network, clients, troubles, oracle, random, play, limits, vocabularies)
                for step in steps:
                    await step.take(simulation)
                    await trio.testing.wait_all_tasks_blocked()
                    oracle.check()
            network.heal()
            await _settle(oracle)
            for link in network.links:
                link.offline = "refused"
            server.drain()
            await trio.sleep(GOODBYE_SECONDS)
            if directory.rooms:
                raise InvariantBroken(f"open {GOODBYE_SECONDS:g} s after they were closed: {directory.rooms}")
            until = server.connections.cancel_scope.deadline = trio.current_time() + DRAIN_SECONDS
        if trio.current_time() > until + GOODBYE_SECONDS:
            raise InvariantBroken(f"a drain took {trio.current_time() - until:g} s more than its {DRAIN_SECONDS:g} s")
        for member in simulation.members:
            member.client.leave()
        until = clients.cancel_scope.deadline = trio.current_time() + LEAVE_SECONDS
    if trio.current_time() >= until:
        raise InvariantBroken(f"a client, or a request of one, had not ended {LEAVE_SECONDS:g} s after its server")
    return Simulated(trio.current_time(), directory.counters.received + directory.counters.sent)


async def _settle(oracle: Oracle) -> None:
    until = trio.current_time() + SETTLE_SECONDS
    while True:
        await trio.testing.wait_all_tasks_blocked()
        oracle.check()
        if not (why := oracle.unsettled()):
            return
        if trio.current_time() >= until:
            raise InvariantBroken(f"{SETTLE_SECONDS:g} s after the network's last trouble, {why}")
        await trio.sleep(1)


class Simulation:
    """What steps act on."""

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
        vocabularies: tuple[Vocabulary, Vocabulary],
    ) -> None:
        self.directory = app.directory
        self.network = network
        self.troubles = troubles
        """Where what a step has begun goes on, until the network heals."""
        self.members: list[Member] = []
        """Everybody who has joined, in that order."""
        self._rough = False
        self._keys = app.keys
        self._nursery = nursery
        self._oracle = oracle
        self._random = random
        self._play = play or _listen
        self._limits = limits
        self._speaks, self._hears = vocabularies

    def member(self, place: int) -> Member | None:
        """The client in this place of the order of joining, if it is not closed."""
        if not self.members:
            return None
        member = self.members[place % len(self.members)]
        return None if member.client.state is State.CLOSED else member

    def trouble_all(self) -> None:
        """Something has happened to everybody after which connections may be lost, now or later."""
        self._rough = True
        for link in self.network.links:
            link.troubled = True

    def leave(self, client: Client[Any, Any]) -> None:
        """Have a client leave; the oracle is told."""
        self._oracle.note_leaving(client)
        client.leave()

    def join(self, name: str, transport: TransportKind, codec: str) -> None:
        """Have a new client connect."""
        self._add(name, f"session-{len(self.members)}", transport, codec)

    def join_again(self, place: int) -> None:
        """Have another client of the same session connect."""
        same = self.members[place % len(self.members)]
        self._add(same.client._name, same.session, same.transport, same.codec)

    def ask(self, client: Client[Any, Any], event: Any) -> None:
        """Send a request, whose answer is waited for in the background; it must come to some end."""
        if not self._hears.by_name:
            return  # nothing can be answered
        answer = self._hears.by_name[self._random.choice(sorted(self._hears.by_name))].cls  # perhaps not what is given

        async def run() -> None:
            with contextlib.suppress(RequestFailed, Disconnected):
                await client.request(event, answer)

        self._nursery.start_soon(run)

    def _add(self, name: str, session: str, transport: TransportKind, codec: str) -> None:
        link, number = self.network.link(), len(self.members)
        link.troubled = self._rough
        chosen = JSON if codec == "json" else MESSAGEPACK
        client: Client[Any, Any] = Client(
            UrlDialler(
                "ws://edge.test/rooms/room/one",
                codec=chosen,
                limits=self._limits,
                kinds=tuple(TransportKind)[tuple(TransportKind).index(transport) :],
                connect=link.connect,
            ),
            speaks=self._speaks,
            hears=self._hears,
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
            await client.wait_state(State.CLOSED)
            playing.cancel_scope.cancel("the client is closed")

    async def _play_on(self, client: Client[Any, Any]) -> None:
        with contextlib.suppress(Disconnected):
            await self._play(client)


async def _listen(client: Client[Any, Any]) -> None:
    async for _ in client:
        pass
