"""The database of the boards. Its calls run in a thread, one at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import TypeVar

import trio

from edge.protocol.structure import structure
from edge.protocol.unstructure import unstructure

from .events import Card

T = TypeVar("T")

TABLE = "CREATE TABLE IF NOT EXISTS cards (board TEXT, id TEXT, card TEXT, PRIMARY KEY (board, id))"


class Store:
    """The saved cards, in an SQLite file.

    Args:
      path: the file; ``":memory:"`` for none.
    """

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.execute(TABLE)
        self._one_at_a_time = trio.CapacityLimiter(1)

    async def load(self, board: str) -> dict[str, Card]:
        """Return the cards of a board, by id. *Cancellation*: nothing is lost."""

        def select() -> list[str]:
            return [card for (card,) in self._database.execute("SELECT card FROM cards WHERE board = ?", (board,))]

        cards = [structure(json.loads(card), Card) for card in await self._in_thread(select)]
        return {card.id: card for card in cards}

    async def save(self, board: str, changed: Mapping[str, Card | None]) -> None:
        """Save changed cards, and delete those that are None, all or none of them. *Cancellation* waits for the end."""

        def write() -> None:
            with self._database:  # a transaction
                for id, card in changed.items():
                    if card is None:
                        self._database.execute("DELETE FROM cards WHERE board = ? AND id = ?", (board, id))
                    else:
                        row = (board, id, json.dumps(unstructure(card)))
                        self._database.execute("INSERT OR REPLACE INTO cards VALUES (?, ?, ?)", row)

        await self._in_thread(write)

    async def _in_thread(self, run: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(run, limiter=self._one_at_a_time)
