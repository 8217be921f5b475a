"""Presence: who is here now, and what changes in it."""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import Any

import attrs
import trio

from .player import Player, Standing


@attrs.frozen
class Presence:
    """One line of who is here."""

    number: int
    name: str
    connected: bool


class Happening(enum.StrEnum):
    """What has become of a player."""

    JOINED = "joined"
    AWAY = "away"
    """The connection is lost, and the seat waits for it."""
    BACK = "back"
    LEFT = "left"


@attrs.frozen
class PresenceChange:
    """What has become of one player."""

    player: Player[Any, Any]
    happening: Happening


@attrs.define(eq=False)
class Watch:
    """What one reader of changes has been told, and what it has still to be told: a line for each player at most."""

    told: dict[Player[Any, Any], bool] = attrs.field(factory=dict)
    """Whom they know of, and whether as connected."""
    news: OrderedDict[Player[Any, Any], None] = attrs.field(factory=OrderedDict)
    woken: trio.Event = attrs.field(factory=trio.Event)

    def note(self, player: Player[Any, Any]) -> None:
        """Something has become of this player."""
        self.news.pop(player, None)
        if player.standing is Standing.LEFT and player not in self.told:
            return  # came and went
        self.news[player] = None
        woken, self.woken = self.woken, trio.Event()
        woken.set()

    def take(self) -> PresenceChange | None:
        """The next change, if there is one."""
        while self.news:
            player, _ = self.news.popitem(last=False)
            before, now = self.told.get(player), None if player.standing is Standing.LEFT else player.connected
            if now is None:
                self.told.pop(player, None)
            else:
                self.told[player] = now
            if before == now:
                continue
            if before is None and now is False:
                self.note(player)  # joined, and away already: both are told
                self.told[player] = True
            happening = {None: Happening.LEFT, False: Happening.AWAY, True: Happening.BACK}[now]
            return PresenceChange(player, Happening.JOINED if before is None else happening)
        return None


class Changes:
    """``async for change in room.seats.changes()``: who is here, then who joins, is away, is back, leaves.

    What happens while the loop's body runs is told afterwards, what has undone itself meanwhile is not.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> PresenceChange:
        """The next change.

        *Cancellation*: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        while (change := self._watch.take()) is None:
            await self._watch.woken.wait()
        return change
