"""Presence: the players who hold a seat, and the changes among them."""

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
    """The presence of one player: the number, the name, and whether a connection holds the seat."""

    number: int
    name: str
    connected: bool


class PresenceKind(enum.StrEnum):
    """A kind of change of presence."""

    JOINED = "joined"
    AWAY = "away"
    """The connection is lost, and the seat waits for a new one."""
    BACK = "back"
    LEFT = "left"


@attrs.frozen
class PresenceChange:
    """One change of the presence of a player."""

    player: Player[Any, Any]
    kind: PresenceKind


@attrs.define(eq=False)
class ChangesWatch(Watch):
    """The state of one `Changes` iterator: the reported presence, and the players whose changes are not reported."""

    told: dict[Member, bool] = attrs.field(factory=dict)
    """The players that are reported as joined. The value is True if the player was last reported as connected."""
    news: OrderedDict[Member, None] = attrs.field(factory=OrderedDict)
    woken: trio.Event = attrs.field(factory=trio.Event)

    def note(self, member: Member) -> None:
        self.news.pop(member, None)
        if member.state is PlayerState.LEFT and member not in self.told:
            return  # the player joined and left before the iterator reported the joining
        self.news[member] = None
        woken, self.woken = self.woken, trio.Event()
        woken.set()

    def take(self) -> PresenceChange | None:
        """Return the next change; None if there is no change to report."""
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
                self.note(member)  # the player joined and is already away: report the joining now, the absence next
                self.told[member] = True
            kind = {None: PresenceKind.LEFT, False: PresenceKind.AWAY, True: PresenceKind.BACK}[now]
            return PresenceChange(member.facade, PresenceKind.JOINED if before is None else kind)
        return None


class Changes(metaclass=NoPublicConstructor):
    """An iterator over changes of presence: ``async for change in room.seats.changes()``.

    The first changes report the present players as joined. Changes that happen while the loop's body runs are reported
    afterwards. A change that is undone before it is reported is not reported.
    """

    def __init__(self, watch: ChangesWatch) -> None:
        self._watch = watch

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> PresenceChange:
        """Wait for the next change.

        *Cancellation*: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        while (change := self._watch.take()) is None:
            await self._watch.woken.wait()
        return change
