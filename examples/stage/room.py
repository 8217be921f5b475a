"""The room of the landing page: the list of demos, which the speaker switches on and off."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

import edge

# A session with this claim may switch demos. Only the speaker's session has the claim.
ADMIN = "stage-admin"

Key: TypeAlias = Literal["drawing", "hill", "monitor"]


@edge.event("switch")
class Switch:
    """Switch a demo on or off."""

    key: Key
    on: bool


@edge.event("prefer")
class Prefer:
    """Make a demo the default, and switch it on. A key of None means no default."""

    key: Key | None


@attrs.frozen
class Demo:
    """One demo, with its button on the landing page."""

    key: Key
    title: str
    text: str
    on: bool = True


DEMOS = [
    Demo("drawing", "Exquisite corpse", "Draw one part, unfold the figure together."),
    Demo("hill", "King of the hill", "Push everybody off the middle."),
    Demo("monitor", "Live monitor", "What this server does right now."),
]


@attrs.define
class Program:
    """The content of the landing page, which all pages mirror."""

    demos: list[Demo] = attrs.field(factory=lambda: DEMOS[:])
    default: Key | None = None
    watching: int = 0
    """The number of pages that are connected."""

    def switch(self, key: Key, on: bool) -> None:
        self.demos = [attrs.evolve(demo, on=on) if demo.key == key else demo for demo in self.demos]
        if not on and self.default == key:
            self.default = None

    def prefer(self, key: Key | None) -> None:
        self.default = key
        if key is not None:
            self.switch(key, on=True)


FromVisitor: TypeAlias = Switch | Prefer
Visitor: TypeAlias = edge.Player[FromVisitor, None]


class Stage(edge.Room[FromVisitor, None]):
    """The room of the landing page and of the speaker's page. Only the speaker may switch demos.

    Args:
      program: outlives the room, which closes when it is idle.
    """

    seats = edge.Seats(minimum=0, maximum=5000, grace=5)
    program = edge.shared(Program)

    count_seconds = 0.5

    def __init__(self, program: Program) -> None:
        self.program = program

    async def run(self) -> None:
        async for _ in self.ticks(hz=1 / self.count_seconds):  # joins and leaves cause at most two patches a second
            self.program.watching = sum(player.connected for player in self.players)

    async def player(self, player: Visitor) -> None:
        async for event in player:
            if player.session.claims.get(ADMIN) is not True:
                player.kick("only the speaker may switch")
                return
            match event:
                case Switch(key, on):
                    self.program.switch(key, on)
                case Prefer(key):
                    self.program.prefer(key)
