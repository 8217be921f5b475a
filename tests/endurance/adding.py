"""Persistent rooms that count additions and broadcast them, and clients that check the guarantee: each event once, in
order, whatever happens to servers."""

from __future__ import annotations

import os
from typing import Any

import attrs
import trio

import edge
from edge.client.client import Client, State
from edge.client.fallback import TransportKind

from .banking import Bank, LonelyBank

# The environment variable with the file to which rooms write outside of edge, if any.
EFFECTS = "EDGE_TEST_EFFECTS"


@edge.event("add")
class Add:
    number: int


@edge.event("added")
class Added:
    who: str
    number: int
    """Number of this addition among those of `who`."""
    total: int
    """Count of all additions."""
    fence: int
    """Fence of the lease under which the event was sent."""


@attrs.frozen
class Sums:
    """The number of additions: of all players together, and of each player."""

    total: int
    by: dict[str, int]


class Adding(edge.Room[Add, Added]):
    """Counts additions, and broadcasts them."""

    seats = edge.Seats(minimum=0, maximum=10, grace=60)
    effects = os.open(os.environ[EFFECTS], os.O_WRONLY | os.O_APPEND | os.O_CREAT) if EFFECTS in os.environ else None

    def __init__(self) -> None:
        self.total = 0
        self.by: dict[str, int] = {}
        self.greeted: list[str] = []

    def greet(self, player: edge.Player[Add, Added]) -> None:
        self.greeted.append(player.name)

    async def player(self, player: edge.Player[Add, Added]) -> None:
        async for event in player:
            self.add(player.name, event.number)

    def add(self, who: str, number: int) -> None:
        assert number == self.by.get(who, 0), f"{who} adds {number} after {self.by.get(who, 0)}"
        self.total += 1
        self.by[who] = number + 1
        if self.effects is not None:
            os.write(self.effects, f"{self.name} {self.fence} {self.total}\n".encode())
        self.broadcast(Added(who, number, self.total, self.fence))

    def snapshot(self) -> Sums:
        return Sums(self.total, self.by.copy())

    def restore(self, state: Sums) -> None:
        self.total, self.by = state.total, state.by


class Recording(Adding):
    """Counts additions with one fact for each."""

    facts = Added

    def add(self, who: str, number: int) -> None:
        assert number == self.by.get(who, 0), f"{who} adds {number} after {self.by.get(who, 0)}"
        added = Added(who, number, self.total + 1, self.fence)
        self.persist(added)
        self.broadcast(added)

    def apply(self, fact: Added) -> None:
        self.total = fact.total
        self.by[fact.who] = fact.number + 1


class Slow(Adding):
    """Counts additions, some of them after a delay."""

    async def player(self, player: edge.Player[Add, Added]) -> None:
        events = player.listen(Add)
        while True:
            await trio.sleep(self.random.choice([0, 0, 0.3]))
            self.add(player.name, (await events.receive()).number)


ROOMS = {"adding": Adding, "recording": Recording, "slow": Slow}
app = edge.App({**ROOMS, "bank": Bank, "lonely": LonelyBank})


@attrs.define(eq=False)
class Ledger:
    """The events that all clients have received: one event for each total, with fences that never decrease."""

    events: dict[int, Added] = attrs.field(factory=dict)

    def note(self, event: Added) -> None:
        known = self.events.setdefault(event.total, event)
        assert known == event, f"two owners: {known} and {event}"
        before = self.events.get(event.total - 1)
        assert before is None or before.fence <= event.fence, f"{event} after {before}"


def check_effects(lines: list[str]) -> int:
    """Check the writes of rooms outside of edge, and return how many writes have an old fence: those of former
    owners."""
    seen: dict[str, tuple[int, int]] = {}
    refused = 0
    for line in lines:
        room, *numbers = line.split()
        fence, total = map(int, numbers)
        last, before = seen.get(room, (0, 0))
        if fence < last:
            refused += 1
            continue
        assert total == before + 1 or (fence > last and total <= before), f"{line} after {before} under {last}"
        seen[room] = fence, total
    return refused


@attrs.define(eq=False)
class Adder:
    """A client that adds, and checks that it receives every event once, in order, from the first that it received."""

    client: Client[Any, Any]
    name: str
    ledger: Ledger
    kind: TransportKind = TransportKind.WEBSOCKET
    said: int = 0
    heard: int = 0
    next_total: int = 0

    async def listen(self) -> None:
        """Receive events, until cancelled."""
        async for event in self.client:
            news = f"{event} after {self.next_total - 1}: {self.client.welcome}, {self.client.lost}"
            assert not self.next_total or event.total == self.next_total, news
            self.ledger.note(event)
            self.next_total = event.total + 1
            self.heard += event.who == self.name

    def add(self) -> None:
        """Send one more addition."""
        assert self.client.state is not State.CLOSED, self.client.ending
        self.client.send(Add(self.said))
        self.said += 1

    def check(self) -> None:
        """Check that all sent additions were received, and that the seat was never replaced by a new one."""
        assert self.heard == self.said, f"{self.name} sent {self.said}, and received {self.heard} of them"
        assert self.client.welcome is not None
        assert self.client.welcome.why in ("", "new"), self.client.welcome  # reasons of a resume and of the first start
