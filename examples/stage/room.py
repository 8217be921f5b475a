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


@edge.event("program", delivery="latest")
class Program:
    """The content of the landing page."""

    demos: list[Demo]
    default: Key | None
    watching: int
    """The number of pages that are connected."""


FromVisitor: TypeAlias = Switch | Prefer
ToVisitor: TypeAlias = Program
Visitor: TypeAlias = edge.Player[FromVisitor, ToVisitor]

DEMOS = [
    Demo("drawing", "Exquisite corpse", "Draw one part, unfold the figure together."),
    Demo("hill", "King of the hill", "Push everybody off the middle."),
    Demo("monitor", "Live monitor", "What this server does right now."),
]


@attrs.define(eq=False)
class Switchboard:
    """The speaker's settings. They outlive the room, which closes when it is idle."""

    demos: dict[Key, Demo] = attrs.field(factory=lambda: {demo.key: demo for demo in DEMOS})
    default: Key | None = None

    def switch(self, key: Key, on: bool) -> None:
        self.demos[key] = attrs.evolve(self.demos[key], on=on)
        if not on and self.default == key:
            self.default = None

    def prefer(self, key: Key | None) -> None:
        self.default = key
        if key is not None:
            self.switch(key, on=True)


class Stage(edge.Room[FromVisitor, ToVisitor]):
    """The room of the landing page and of the speaker's page. Only the speaker may switch demos."""

    seats = edge.Seats(minimum=0, maximum=5000, grace=5)

    show_seconds = 0.5

    def __init__(self, switchboard: Switchboard) -> None:
        self.switchboard = switchboard

    def greet(self, player: Visitor) -> None:
        player.send(self.program())

    async def run(self) -> None:
        told = self.program()
        async for _ in self.ticks(hz=1 / self.show_seconds):  # joins and leaves cause at most two updates a second
            if (newest := self.program()) != told:
                self.broadcast(told := newest)

    async def player(self, player: Visitor) -> None:
        async for event in player:
            if player.session.claims.get(ADMIN) is not True:
                player.kick("only the speaker may switch")
                return
            match event:
                case Switch(key, on):
                    self.switchboard.switch(key, on)
                case Prefer(key):
                    self.switchboard.prefer(key)
            self.broadcast(self.program())

    def program(self) -> Program:
        watching = sum(player.connected for player in self.players)
        return Program(list(self.switchboard.demos.values()), self.switchboard.default, watching)
