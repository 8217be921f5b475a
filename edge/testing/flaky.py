"""A broker with simulated failures: delays, losses and cut connections. A seed determines the delays and losses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import TypeVar

import outcome
import trio

from ..cluster.broker.broker import Broker, Claim, Lease, Mailbox, News, Renewed, Stamp
from ..errors import BrokerDown
from ..journal.entries import Entry, Written

T = TypeVar("T")


class FlakyBroker(Broker):
    """One server's unreliable connection to a shared broker.

    Args:
      broker: the shared broker.
      nursery: runs the requests to the broker, even after their callers have timed out.
      seed: determines the delays and losses.
    """

    def __init__(self, broker: Broker, nursery: trio.Nursery, *, seed: int = 0) -> None:
        self.lease_seconds: float = broker.lease_seconds
        self.cut: bool = False
        """True while all requests, answers and messages to the mailbox are lost."""
        self.unreachable: bool = False
        """True while messages to the mailbox are lost, although requests to the broker work."""
        self.delay: float = 0.0
        """The longest random delay of each request and of each answer, in seconds."""
        self.losses: float = 0.0
        """The probability, from 0 to 1, with which each request and each answer is lost."""
        self._broker, self._nursery = broker, nursery
        self._random = Random(seed)  # noqa: S311  # a simulation, not a secret

    def heal(self) -> None:
        """End all failures. From now on, requests and messages arrive without delay."""
        self.cut = self.unreachable = False
        self.delay = self.losses = 0.0

    def name_server(self) -> str:
        return self._broker.name_server()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self._broker.open():
            yield

    async def claim(self, room: str, server: str, stamp: Stamp) -> Claim:
        return await self._ask(lambda: self._broker.claim(room, server, stamp))

    async def renew(self, server: str, stamp: Stamp, about: bytes, news: Sequence[News] = ()) -> Renewed:
        return await self._ask(lambda: self._broker.renew(server, stamp, about, news))

    async def lease(self, room: str) -> Lease | None:
        return await self._ask(lambda: self._broker.lease(room))

    async def leases(self) -> Sequence[Lease]:
        return await self._ask(self._broker.leases)

    async def left(self) -> Sequence[str]:
        return await self._ask(self._broker.left)

    async def append(self, entries: Sequence[Entry]) -> Sequence[Written]:
        return await self._ask(lambda: self._broker.append(entries))

    async def read(self, room: str) -> Sequence[bytes]:
        return await self._ask(lambda: self._broker.read(room))

    async def send(self, batches: Mapping[str, bytes]) -> frozenset[str]:
        return await self._ask(lambda: self._broker.send(batches))

    async def leave(self, server: str) -> None:
        return await self._ask(lambda: self._broker.leave(server))

    @asynccontextmanager
    async def mailbox(self, server: str) -> AsyncIterator[Mailbox]:
        async with self._broker.mailbox(server) as mailbox:
            yield _FlakyMailbox(self, mailbox)

    def _is_lost(self) -> bool:
        return self.cut or self._random.random() < self.losses

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        answers = list[outcome.Outcome[T]]()
        answered = trio.Event()

        async def do() -> None:
            await trio.sleep(self._random.uniform(0, self.delay))
            if self._is_lost():
                return
            answer = await outcome.acapture(ask)
            await trio.sleep(self._random.uniform(0, self.delay))
            if not self._is_lost():
                answers.append(answer)
                answered.set()

        self._nursery.start_soon(do)
        with trio.move_on_after(self.lease_seconds / 2):
            await answered.wait()
        if not answers:
            raise BrokerDown("the simulated broker did not answer within half a lease")
        return answers[0].unwrap()


class _FlakyMailbox(Mailbox):
    def __init__(self, broker: FlakyBroker, mailbox: Mailbox) -> None:
        self._broker, self._mailbox = broker, mailbox

    async def receive(self) -> Sequence[bytes]:
        while True:
            batches = await self._mailbox.receive()
            if self._broker.cut:
                raise BrokerDown("the simulated connection to the broker is cut")  # the received batches are lost
            if not self._broker.unreachable:
                return batches
