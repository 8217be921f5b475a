"""Persistent rooms that count additions and broadcast them, and clients that check the broadcasts. Each client must
receive each event exactly once, in order, even if servers fail."""

from __future__ import annotations

import os
from typing import Any

import attrs
import trio

import edge
from edge.client.client import Client, Status
from edge.client.fallback import TransportKind

from .banking import Bank, LonelyBank

# The name of an environment variable. If it contains a path, rooms write each addition to this file, as an example of a
# write outside of edge.
EFFECTS = "EDGE_TEST_EFFECTS"


@edge.event("add")
class Add:
    number: int


@edge.event("added")
class Added:
    who: str
    number: int
    """The number of this addition among the additions of `who`, from 0."""
    total: int
    """The count of all additions, this addition included."""
    fence: int
    """Fence of the lease under which the event was sent."""


@attrs.frozen
class Sums:
    """The number of additions of all players together (`total`), and of each player (`by`)."""

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
    """Counts additions, and stores each addition as a fact."""

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


@attrs.define
class SharedSums:
    """The same as `Sums`, as a document that all clients mirror."""

    total: int = 0
    by: dict[str, int] = attrs.field(factory=dict)


@attrs.define
class OwnSum:
    """The number of additions of one player, which only this player's client mirrors."""

    count: int = 0


class Sharing(edge.Room[Add, Added]):
    """Counts additions in shared documents, which are its whole state."""

    seats = edge.Seats(minimum=0, maximum=10, grace=60)
    persistent = True
    sums = edge.shared(SharedSums)
    own = edge.shared(OwnSum, each=True)

    async def player(self, player: edge.Player[Add, Added]) -> None:
        async for event in player:
            assert event.number == self.sums.by.get(player.name, 0), f"{event} after {self.sums.by}"
            self.sums.total += 1
            self.sums.by[player.name] = self.own[player].count = event.number + 1
            self.broadcast(Added(player.name, event.number, self.sums.total, self.fence))


ROOMS = {"adding": Adding, "recording": Recording, "slow": Slow}
app = edge.App({**ROOMS, "sharing": Sharing, "bank": Bank, "lonely": LonelyBank})


@attrs.define(eq=False)
class Ledger:
    """The events that all clients have received, by total. There must be one event for each total, and the fences must
    not decrease."""

    events: dict[int, Added] = attrs.field(factory=dict)

    def note(self, event: Added) -> None:
        known = self.events.setdefault(event.total, event)
        assert known == event, f"two owners: {known} and {event}"
        before = self.events.get(event.total - 1)
        assert before is None or before.fence <= event.fence, f"{event} after {before}"


def check_effects(lines: list[str]) -> int:
    """Check the writes of rooms outside of edge. Return the number of writes with an old fence, which former owners
    made."""
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
    """A client that sends additions. It checks that it receives every event after its first event exactly once, in
    order."""

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
            self.note(event)
            self.next_total = event.total + 1
            self.heard += event.who == self.name

    async def watch(self) -> None:
        """Do nothing: this client has no mirrors."""

    def note(self, event: Added) -> None:
        """Do nothing."""

    def add(self) -> None:
        """Send one more addition."""
        assert self.client.status is not Status.CLOSED, self.client.ending
        self.client.send(Add(self.said))
        self.said += 1

    def check(self) -> None:
        """Check that the client received all additions that it sent, and that its last welcome was a resume or its
        first start."""
        assert self.heard == self.said, f"{self.name} sent {self.said}, and received {self.heard} of them"
        assert self.client.welcome is not None
        # A resume has an empty reason, and the first start has the reason `new`.
        assert self.client.welcome.why in ("", "new"), self.client.welcome


@attrs.define(eq=False)
class Mirrorer(Adder):
    """An `Adder` that also checks its mirrors of the documents of `Sharing`."""

    total: int = 0
    """The total of the newest state."""
    states: int = 0
    """The number of different states."""

    async def watch(self) -> None:
        """Check each state of the mirrors: both documents show all additions up to a total, which never decreases."""
        while True:
            await self.client.wait_state(lambda state: state.sums.total != self.total)
            sums, own = self.client.state[Sharing.sums], self.client.state[Sharing.own]
            assert sums.total > self.total, f"{sums} after {self.total}: {self.client.welcome}, {self.client.lost}"
            assert sum(sums.by.values()) == sums.total, f"a patch is missing or doubled: {sums}"
            assert own.count == sums.by.get(self.name, 0), f"the two documents do not fit together: {sums}, {own}"
            self.total = sums.total
            self.states += 1

    def note(self, event: Added) -> None:
        """Check that the mirrors are not older than an event that was received."""
        sums = self.client.state[Sharing.sums]
        assert sums.total >= event.total, f"{sums} is older than {event}"

    def check(self) -> None:
        """Check that the mirrors show the player's own additions, in addition to what `Adder.check` checks."""
        super().check()
        assert self.client.state[Sharing.own].count == self.said
