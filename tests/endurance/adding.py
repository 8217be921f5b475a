"""Rooms that count what is added, and tell everybody: kept, so that another server can go on with them. And those who
add, and hold what they hear against the promise: each event once, in order, whatever happens to servers."""

from __future__ import annotations

import os
from typing import Any

import attrs
import trio

import edge
from edge.client.client import Client, State
from edge.client.fallback import TransportKind

from .banking import Bank, LonelyBank

# Where rooms write outside of edge, if anywhere.
EFFECTS = "EDGE_TEST_EFFECTS"


@edge.event("add")
class Add:
    number: int


@edge.event("added")
class Added:
    who: str
    number: int
    """Which of theirs."""
    total: int
    """How many there have been."""
    fence: int
    """Of the lease under which it was said."""


@attrs.frozen
class Sums:
    """How many have been added, by whom."""

    total: int
    by: dict[str, int]


class Adding(edge.Room[Add, Added]):
    """Counts what is added, and tells everybody."""

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
    """The same, fact by fact."""

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
    """The same, and not at once."""

    async def player(self, player: edge.Player[Add, Added]) -> None:
        events = player.listen(Add)
        while True:
            await trio.sleep(self.random.choice([0, 0, 0.3]))
            self.add(player.name, (await events.receive()).number)


ROOMS = {"adding": Adding, "recording": Recording, "slow": Slow}
app = edge.App({**ROOMS, "bank": Bank, "lonely": LonelyBank})


@attrs.define(eq=False)
class Ledger:
    """What all together have heard: one event for each total, whoever hears it, and fences that grow with it."""

    events: dict[int, Added] = attrs.field(factory=dict)

    def note(self, event: Added) -> None:
        known = self.events.setdefault(event.total, event)
        assert known == event, f"two owners: {known} and {event}"
        before = self.events.get(event.total - 1)
        assert before is None or before.fence <= event.fence, f"{event} after {before}"


def check_effects(lines: list[str]) -> int:
    """What rooms have written outside of edge, held against their fences by whoever is written to: how many writes of
    former owners were refused by that."""
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
    """Somebody who adds, and checks what they hear: every event once, in order, from the first that they heard."""

    client: Client[Any, Any]
    name: str
    ledger: Ledger
    kind: TransportKind = TransportKind.WEBSOCKET
    said: int = 0
    heard: int = 0
    next_total: int = 0

    async def listen(self) -> None:
        """Hear what comes, until cancelled."""
        async for event in self.client:
            news = f"{event} after {self.next_total - 1}: {self.client.welcome}, {self.client.lost}"
            assert not self.next_total or event.total == self.next_total, news
            self.ledger.note(event)
            self.next_total = event.total + 1
            self.heard += event.who == self.name

    def add(self) -> None:
        """Say one more."""
        assert self.client.state is not State.CLOSED, self.client.ending
        self.client.send(Add(self.said))
        self.said += 1

    def check(self) -> None:
        """All that was said has been heard, in one life of the seat."""
        assert self.heard == self.said, f"{self.name} said {self.said}, and heard {self.heard} of it"
        assert self.client.welcome is not None
        assert self.client.welcome.why in ("", "new"), self.client.welcome  # and never anything else since
