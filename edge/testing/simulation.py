"""Simulates a server, a network and clients in one process, in virtual time and with one seed, and checks invariants.

The server and the clients run their real code: HTTP requests, the upgrade, WebSocket framing, sessions, the directory
and the rooms. Only the network between them is simulated: see `Network`.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import attrs
import trio
import trio.testing

from ..protocol.limits import Limits
from ..rooms.directory import Directory
from ..rooms.room import Room, kind_of, runtime_of
from ..server.app import App, site_of
from ..server.serve import open_server
from ..server.sessions import Sessions
from ..sessions.keys import Keys
from .harness import Crashed, CrashWatch, check_left, current_tasks
from .network import Network
from .oracle import Invariant, InvariantBroken, Oracle
from .steps import Step
from .town import Play, Simulation
from .virtual import run_virtual

# The seconds within which all clients must be connected after the network has healed. A client notices a silent
# connection after half a minute, and waits up to half a minute before it connects again. Some attempts may fail.
SETTLE_SECONDS = 300.0
# The seconds that the connections have to end after the rooms have closed in a drain, as many as by default in `serve`.
DRAIN_SECONDS = 10.0
# The seconds in which the rooms must close after a drain has begun. The server has the same time to end after the
# deadline of the drain.
GOODBYE_SECONDS = 5.0
# The seconds within which all clients must have ended after `leave`.
LEAVE_SECONDS = 60.0
# The virtual hours that a script may take in addition to its waits: for connecting, settling and draining.
SPARE_HOURS = 1.0


@attrs.frozen
class Simulated:
    """The totals of one simulation."""

    seconds: float
    """The virtual time that has passed, in seconds."""
    events: int
    """The number of messages that rooms received from players and sent to them."""
    rooms: int = 0
    """The number of rooms that were opened."""
    joined: int = 0
    """The number of players that were admitted."""
    rounds: int = 0
    """The number of rounds that were opened."""
    taken: int = 0
    """The number of events that the room's code took."""
    refused: Counter[str] = attrs.field(factory=Counter)
    """The refused messages of clients, by problem."""


def simulate(
    make: Callable[[], Room[Any, Any]],
    steps: Sequence[Step],
    *,
    seed: int = 0,
    invariants: Sequence[Invariant] = (),
    play: Play | None = None,
    limits: Limits | None = None,
) -> Simulated:
    """Run steps against a room in virtual time, heal the network, wait for all messages, and drain the server.

    Args:
      make: the class of the room, or any callable that returns a new room.
      steps: the script: a sequence of steps from `edge.testing.steps`.
      seed: determines the schedule, the network and `Room.random`.
      invariants: functions that are called with each open room after each step. An exception is a failure.
      play: the code of each client, which runs while the steps run. By default, each client only receives. When the
        client closes, `play` is cancelled or gets `Disconnected`.
      limits: the limits of the server and of the clients.

    Raises:
      InvariantBroken: an invariant of edge does not hold: see `Oracle`. This error and the following ones have a note
        that contains the script as a test.
      Crashed: the room's code raised an exception, or edge logged an error.
      Leaked: a task or a deadline outlived the server.
      Deadlock: every task waits, and no deadline is pending; or the virtual time is up.
    """
    hours = sum(getattr(step, "seconds", 0.0) for step in steps) / 3600 + SPARE_HOURS
    gc.freeze()  # the search for leaked objects then covers only objects of this simulation
    try:
        return run_virtual(_simulate, make, steps, seed, invariants, play, limits or Limits(), seed=seed, hours=hours)
    except Exception as exc:
        first = exc
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        first.add_note("\n" + _as_test(make, steps, seed, invariants, play, limits))
        raise first from first.__cause__  # raised alone, without the exception groups around it
    finally:
        gc.unfreeze()


def example_of(make: Callable[[], Room[Any, Any]]) -> type[Room[Any, Any]] | Room[Any, Any]:
    """Return the class of the simulated rooms, or else one room. Both have the vocabularies of the rooms."""
    return make if isinstance(make, type) else make()


def _as_test(
    make: object, steps: Sequence[Step], seed: int, invariants: Sequence[Invariant], play: object, limits: object
) -> str:
    """Return the source code of a test that repeats this simulation."""

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
    app = App({}, sessions=Sessions(keys=Keys("the secret of a simulation", now=trio.current_time)), limits=limits)
    directory = site_of(app).directory = Directory({"room": watched_room}, seeds=lambda: random.getrandbits(64))
    async with trio.open_nursery() as clients:
        async with open_server(app) as server:
            network = Network(server.serve_connection, server.connections, seed=seed)
            async with trio.open_nursery() as troubles:
                simulation = Simulation(app, network, clients, troubles, oracle, random, play, limits, kind_of(example))
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
                raise InvariantBroken(f"rooms are open {GOODBYE_SECONDS:g} s after they were closed: {directory.rooms}")
            until = server.connections.cancel_scope.deadline = trio.current_time() + DRAIN_SECONDS
        if trio.current_time() > until + GOODBYE_SECONDS:
            raise InvariantBroken(f"a drain took {trio.current_time() - until:g} s more than its {DRAIN_SECONDS:g} s")
        for member in simulation.members:
            member.client.leave()
        until = clients.cancel_scope.deadline = trio.current_time() + LEAVE_SECONDS
    if trio.current_time() >= until:
        raise InvariantBroken(f"a client, or a request of a client, had not ended {LEAVE_SECONDS:g} s after it left")
    counters = directory.counters
    return Simulated(
        seconds=trio.current_time(),
        events=counters.received + counters.sent,
        rooms=counters.opened,
        joined=counters.admitted,
        rounds=counters.rounds,
        taken=counters.received,
        refused=counters.turned_away,
    )


async def _settle(oracle: Oracle) -> None:
    until = trio.current_time() + SETTLE_SECONDS
    while True:
        await trio.testing.wait_all_tasks_blocked()
        oracle.check()
        if not (why := oracle.unsettled()):
            return
        if trio.current_time() >= until:
            raise InvariantBroken(f"{SETTLE_SECONDS:g} s after the network healed, {why}")
        await trio.sleep(1)
