"""Bots join over a memory transport, steer with events, and can lose their seats like other players.

Bots read the room's own board. The pages of other players keep a copy of the board.
"""

from __future__ import annotations

import itertools
import math
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import trio

import edge
from edge.bots import open_bot

from .events import Steer
from .physics import Disc

if TYPE_CHECKING:
    from .room import Hill

NAMES = ["Ada", "Alan", "Barbara", "Claude", "Donald", "Edsger", "Frances", "Grace", "Hedy", "Ivan", "Jean", "Ken",
         "Leslie", "Margaret", "Niklaus", "Ole", "Peter", "Radia", "Shafi", "Tony"]  # fmt: skip

# The seconds after which a new bot replaces a bot that was kicked or refused.
RETURN_SECONDS = 5.0


@attrs.define(eq=False)
class Crew:
    """The bots of one room, which run in a nursery of the room."""

    room: Hill
    nursery: trio.Nursery
    aboard: dict[int, trio.CancelScope] = attrs.field(factory=dict)
    """The cancel scopes of the bots, by the number in their names."""

    def fill(self, wanted: int) -> None:
        """Start or cancel bots until there are `wanted` bots."""
        while len(self.aboard) > wanted:
            self.aboard.pop(max(self.aboard)).cancel("there are too many bots")
        while len(self.aboard) < wanted:
            number = next(number for number in itertools.count(1) if number not in self.aboard)
            self.aboard[number] = trio.CancelScope()
            self.nursery.start_soon(self.live, number, self.aboard[number])

    async def live(self, number: int, scope: trio.CancelScope) -> None:
        """Run one bot until its scope is cancelled, or until `RETURN_SECONDS` after the bot was kicked or refused."""
        with scope:
            with suppress(edge.Disconnected):
                await self.play(f"{NAMES[(number - 1) % len(NAMES)]} {number}")
            await trio.sleep(RETURN_SECONDS)
        if self.aboard.get(number) is scope:
            del self.aboard[number]

    async def play(self, name: str) -> None:
        """Join the room under this name, and steer until the room ends the bot's seat."""
        async with open_bot(self.room, name=name) as bot, trio.open_nursery() as nursery:
            chance = Random(self.room.random.getrandbits(64))  # noqa: S311  # the numbers need not be secret
            nursery.start_soon(_drive, self.room, bot, chance)
            async for _ in bot:
                pass  # the events are not needed: the bot reads the room's board
            nursery.cancel_scope.cancel("the seat is gone")


async def _drive(room: Hill, bot: edge.Client[Any, Any], chance: Random) -> None:
    while bot.ending is None:
        assert bot.welcome is not None
        pilot = room.pilots.get(bot.welcome.number)
        if pilot is not None:
            bot.send(Steer([(room.tick + 1, *_intent(pilot.disc, chance))]))
        await trio.sleep(chance.uniform(0.2, 0.7))


def _intent(disc: Disc, chance: Random) -> tuple[int, int]:
    """Return a random force: usually roughly towards the middle and weaker near it, sometimes no force."""
    if chance.random() < 0.1:
        return 0, 0
    x = -disc.x - 8 * disc.vx + chance.gauss(0, 120)
    y = -disc.y - 8 * disc.vy + chance.gauss(0, 120)
    distance = math.sqrt(x * x + y * y)
    force = min(100.0, distance) * chance.uniform(0.6, 1)
    return (int(force * x / distance), int(force * y / distance)) if distance > 1 else (0, 0)
