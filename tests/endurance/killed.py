"""Kill or drain a server at random moments and start it again, while clients reconnect:
``python -m tests.endurance.killed <kills> [seed]``.

Each client puts numbers into the ledger of a room, three at a time, and then asks for the numbers that have arrived.
The test checks these guarantees with the answers:

* Within the life of one room object, no number is lost, duplicated or out of order, whatever happens to connections.
* Numbers may be missing only if requests failed as ``gone``, because the client's seat was gone.
"""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

import edge
from edge.client.fallback import TransportKind

from .app import Put, Show, Shown
from .process import start_server

ROOT = Path(__file__).parents[2]
CLIENTS = 5
# The number of answers that each client must get before the next signal.
ANSWERS = 3
BLOWS = (signal.SIGKILL, signal.SIGTERM)


@attrs.define(eq=False)
class Book:
    """The numbers that one client has put, and the numbers in the answers to it."""

    put: int = 0
    """How many numbers the client has put."""
    shown: list[list[int]] = attrs.field(factory=list)
    """The numbers in the answers of each life of the room."""
    lives: list[int] = attrs.field(factory=list)
    lost: int = 0
    """Number of requests without an answer, because the seat was gone."""
    answers: int = 0
    since: int = 0
    """Number of answers since the last signal."""

    def note(self, shown: Shown) -> None:
        """Record an answer."""
        if not self.lives or self.lives[-1] != shown.life:
            assert shown.life not in self.lives, "the answer must not come from an earlier room object"
            self.lives.append(shown.life)
            self.shown.append([])
        self.shown[-1] += shown.numbers

    def check(self) -> None:
        """Check the guarantees."""
        seen: set[int] = set()
        for numbers in self.shown:
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"lost or doubled: {numbers}"
            assert not seen & set(numbers), f"shown twice: {sorted(seen & set(numbers))}"
            seen |= set(numbers)
        missing = set(range(self.put)) - seen
        assert len(missing) <= 6 * self.lost, f"lost without an error: {sorted(missing)}"


class Server:
    """A server that is started again and again, on one port."""

    def __init__(self) -> None:
        self.port = 0
        self.process: trio.Process | None = None

    async def start(self, nursery: trio.Nursery) -> None:
        """Start the server, and wait until it serves."""
        self.process, self.port = await start_server(nursery, "tests.endurance.app:app", port=self.port)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/rooms/ledger/one"


async def keep_book(url: str, kind: TransportKind, book: Book, told: trio.MemorySendChannel[None]) -> None:
    """Put numbers and ask for them, until cancelled."""
    async with edge.join(url, sends=Put | Show, receives=Shown, transports=(kind,)) as client:
        while True:
            for _ in range(3):
                client.send(Put(book.put))
                book.put += 1
            try:
                book.note(await client.request(Show(), Shown))
            except edge.RequestFailed as failed:
                if failed.problem != "gone":
                    raise
                book.lost += 1
            else:
                book.answers += 1
                book.since += 1
            told.send_nowait(None)


@asynccontextmanager
async def _mistreated(books: list[Book]) -> AsyncIterator[tuple[Server, trio.Nursery, Any]]:
    server = Server()
    told, hear = trio.open_memory_channel[None](float("inf"))
    async with trio.open_nursery() as nursery:
        await server.start(nursery)
        async with trio.open_nursery() as clients:
            for number, book in enumerate(books):
                kind = [*TransportKind][number % len(TransportKind)]
                clients.start_soon(keep_book, server.url, kind, book, told)
            yield server, nursery, hear
            clients.cancel_scope.cancel("enough")
        assert server.process is not None
        server.process.terminate()


async def kill(kills: int, seed: int) -> list[Book]:
    """Send `kills` signals to the server, restart it after each, and return the books of the clients."""
    chance, books = random.Random(seed), [Book() for _ in range(CLIENTS)]

    async def wait_answers(hear: trio.MemoryReceiveChannel[None]) -> None:
        for book in books:
            book.since = 0
        with trio.fail_after(120):  # the backoff grows with each signal
            while min(book.since for book in books) < ANSWERS:
                await hear.receive()

    async with _mistreated(books) as (server, nursery, hear):
        await wait_answers(hear)
        for _ in range(kills):
            process = server.process
            assert process is not None
            process.send_signal(chance.choice(BLOWS))
            ended = await process.wait()
            assert ended in (0, -signal.SIGKILL), "a drained server must exit with 0"
            await server.start(nursery)
            await wait_answers(hear)
    for book in books:
        book.check()
    return books


if __name__ == "__main__":
    found = trio.run(kill, int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(
        f"{sum(book.put for book in found)} numbers put, {sum(len(n) for book in found for n in book.shown)} shown, "
        f"{sum(book.lost for book in found)} requests failed because their seat was gone, "
        f"{max(len(book.lives) for book in found)} lives of the room"
    )
