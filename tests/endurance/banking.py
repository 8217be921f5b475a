"""Rooms that are banks, with a balance for each player, and their customers. A customer detects from a wrong balance
that a seat was ended or `greet` was called by mistake."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import attrs
import trio

import edge
from edge.client.client import Client, Status

# The maximum number of seconds that a customer waits for one event or for the end of its seat.
PATIENCE_SECONDS = 60.0


@edge.event("pay-in")
class PayIn:
    amount: int


@edge.event("cash")
class Cash:
    """Asks to leave with the balance."""


@edge.event("finish")
class Finish:
    """Asks to close the bank."""


@edge.event("greeted")
class Greeted:
    balance: int


@edge.event("heard")
class Heard:
    balance: int


@attrs.frozen
class Balances:
    of: dict[str, int]


Said: TypeAlias = PayIn | Cash | Finish
Told: TypeAlias = Greeted | Heard


class Bank(edge.Room[Said, Told]):
    """Stores a balance for each player, and sends it to a player who leaves."""

    seats = edge.Seats(minimum=0, grace=60)

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}

    def greet(self, player: edge.Player[Said, Told]) -> None:
        player.send(Greeted(self.balances.setdefault(player.name, 0)))

    async def run(self) -> None:
        async for player, _ in self.listen(Finish):
            self.broadcast(Heard(-self.balances[player.name]))
            return

    async def player(self, player: edge.Player[Said, Told]) -> None:
        async for event in player.listen(PayIn, Cash):
            if isinstance(event, Cash):
                player.send(Heard(self.balances.pop(player.name)))
                return
            self.balances[player.name] += event.amount
            self.broadcast(Heard(self.balances[player.name]))

    def snapshot(self) -> Balances:
        return Balances(self.balances.copy())

    def restore(self, state: Balances) -> None:
        self.balances = dict(state.of)


class LonelyBank(Bank):
    """A bank that continues while its server can't reach the broker."""

    when_cut_off = "continue"


@attrs.define(eq=False)
class Customer:
    """The only customer of a bank, who joins again and again, and leaves in a random way.

    Args:
      connect: opens a new client, and returns the client and a function that breaks its connections without a goodbye.
    """

    connect: Callable[[], AbstractAsyncContextManager[tuple[Client[Said, Told], Callable[[], Awaitable[object]]]]]
    chance: random.Random
    balance: int = 0
    """The last balance that the customer has received."""
    visits: dict[str, int] = attrs.field(factory=lambda: {"cash": 0, "finish": 0, "reload": 0})
    """Number of visits, by the way in which they ended."""
    unheard: int = 0
    """Number of visits whose end the customer learned only from the next `Greeted`, because the connection was lost."""
    displaced: int = 0
    """Number of visits that ended because an older connection took the seat. A stopped server had delayed the hello of
    this connection."""
    _may_be: set[int] = attrs.field(factory=lambda: {0})
    """The possible balances. There are two while the answer to a message is outstanding."""

    async def come(self) -> None:
        """Visit the bank again and again, until cancelled."""
        while True:
            try:
                async with self.connect() as (client, vanish):
                    how = self.chance.choice([*self.visits])
                    await self._visit(client, how)
                    if how == "reload":
                        await vanish()
                self.visits[how] += 1
            except* edge.Disconnected as group:
                self._note_displaced(group)

    def _note_displaced(self, group: BaseExceptionGroup[edge.Disconnected]) -> None:
        _, others = group.split(lambda exc: isinstance(exc, edge.Disconnected) and exc.code is edge.Code.REPLACED)
        if others is not None:
            raise others
        self.displaced += 1

    async def _visit(self, client: Client[Said, Told], how: str) -> None:
        first = await self._told(client)
        assert isinstance(first, Greeted), f"{client._name}: {first} first"
        assert first.balance in self._may_be, f"{client._name}: {first}, but {self._may_be} was possible"
        self._settle(first.balance)
        for _ in range(self.chance.randrange(1, 5)):
            await trio.sleep(self.chance.uniform(0, 0.5))
            self._may_be.add(self.balance + 1)
            client.send(PayIn(1))
            heard = await self._told(client)
            assert heard == Heard(self.balance + 1), f"{client._name}: {heard} after {self.balance}"
            self._settle(heard.balance)
        if how == "reload":
            return
        self._may_be.add(0)
        client.send(Cash() if how == "cash" else Finish())
        last = await self._told(client)
        if last == Greeted(0):
            self._settle(0)
            self.unheard += 1
            client.leave()
            return
        assert last == Heard(self.balance if how == "cash" else -self.balance), f"{client._name}: {last} at the end"
        with trio.fail_after(PATIENCE_SECONDS):
            await client.wait_status(Status.CLOSED)
        assert client.ending is not None
        assert client.ending.code is (edge.Code.LEFT if how == "cash" else edge.Code.ROOM_CLOSED), client.ending
        self._settle(0)

    def _settle(self, balance: int) -> None:
        self.balance, self._may_be = balance, {balance}

    async def _told(self, client: Client[Said, Told]) -> Told:
        with trio.fail_after(PATIENCE_SECONDS):
            event: Told = await client.receive()
        assert client.welcome is not None
        over = event == Greeted(0)  # after the end of a seat, a fresh start may have any reason
        assert over or client.welcome.why in ("", "new", "moved"), f"{client._name}: {client.welcome}"
        return event
