"""An echo and rooms in edge, and rooms that send about 300 or 3,000 bytes of state, 30 or 3 times per second."""

from __future__ import annotations

import math
import time

import edge
from edge.server.limiter import AddressLimits


@edge.event("say")
class Say:
    at: int
    text: str


@edge.event("say", delivery="latest")
class Input:
    at: int
    text: str


@edge.event("state", delivery="latest")
class State:
    at: int
    late: int
    text: str


class Echo(edge.Room[Say, Say]):
    seats = edge.Seats(maximum=20_000)

    async def player(self, player: edge.Player[Say, Say]) -> None:
        async for event in player:
            player.send(event)


class Said(edge.Room[Say, Say]):
    seats = edge.Seats(maximum=20_000)

    async def player(self, player: edge.Player[Say, Say]) -> None:
        async for event in player:
            self.broadcast(event)


class Stated(edge.Room[Input, State]):
    """Each step of the game reads the newest input of each player, and sends the state."""

    seats = edge.Seats(maximum=20_000)
    hz = 30
    bytes = 260

    async def run(self) -> None:
        async for step in self.ticks(hz=self.hz):
            for player in self.seats.players:
                player.latest(Input)
            self.broadcast(State(time.monotonic_ns() // 1000, int(step.late * 1e6), "x" * self.bytes))


class Calm(Stated):
    hz = 3


class Wide(Stated):
    bytes = 3000


class Kept(Said):
    """A persistent room whose state is empty, so that the journal stores only its seats."""

    def greet(self, player: edge.Player[Say, Say]) -> None:
        player.send(Say(0, "welcome"))

    def snapshot(self) -> dict[str, int]:
        return {}

    def restore(self, state: dict[str, int]) -> None:
        pass


# The peers have no paces, and the load generator sends more than any player.
app = edge.App(
    {"echo": Echo, "room": Said, "states": Stated, "calm": Calm, "wide": Wide, "kept": Kept},
    limits=edge.Limits(events_per_second=math.inf, bytes_per_second=math.inf),
    address_limits=AddressLimits(connections=50_000),
    cluster=edge.Cluster(balance=False),  # all rooms stay on the server that the benchmark kills
)
