"""Presence: who is here now, and what changes in it."""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import Any

import attrs
import trio

from ..aio.no_public_constructor import NoPublicConstructor
from .ledger import Member, PlayerState, Watch
from .player import Player


@attrs.frozen
class Presence:
    """One line of who is here."""

    number: int
    name: str
    connected: bool


class PresenceKind(enum.StrEnum):
    """A kind of change of presence."""

    JOINED = "joined"
    AWAY = "away"
    """The connection is lost, and the seat waits for it."""
    BACK = "back"
    LEFT = "left"


@attrs.frozen
class PresenceChange:
    """One change of the presence of a player."""

    player: Player[Any, Any]
    kind: PresenceKind


@attrs.define(eq=False)
class ChangesWatch(Watch):
    """One reader of changes: the changes that it has and those that are pending, at most one for each player."""

    told: dict[Member, bool] = attrs.field(factory=dict)
    """Whom they know of, and whether as connected."""
    news: OrderedDict[Member, None] = attrs.field(factory=OrderedDict)
    woken: trio.Event = attrs.field(factory=trio.Event)

    def note(self, member: Member) -> None:
        self.news.pop(member, None)
        if member.state is PlayerState.LEFT and member not in self.told:
            return  # came and went
        self.news[member] = None
        woken, self.woken = self.woken, trio.Event()
        woken.set()

    def take(self) -> PresenceChange | None:
        """The next change, if there is one."""
        while self.news:
            member, _ = self.news.popitem(last=False)
            before, now = self.told.get(member), None if member.state is PlayerState.LEFT else member.connected
            if now is None:
                self.told.pop(member, None)
            else:
                self.told[member] = now
            if before == now:
                continue
            if before is None and now is False:
                self.note(member)  # joined, and away already: both are told
                self.told[member] = True
            kind = {None: PresenceKind.LEFT, False: PresenceKind.AWAY, True: PresenceKind.BACK}[now]
            return PresenceChange(member.facade, PresenceKind.JOINED if before is None else kind)
        return None


class Changes(metaclass=NoPublicConstructor):
    """``async for change in room.seats.changes()``: who is here, then who joins, is away, is back, leaves.

    What happens while the loop's body runs is told afterwards, what has undone itself meanwhile is not.
    """

    def __init__(self, watch: ChangesWatch) -> None:
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
