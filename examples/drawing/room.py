"""The game: rounds, turns and what everybody is told."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs
import trio

import edge

from .picture import INK, Stroke, strip_below

Phase: TypeAlias = Literal["waiting", "gathering", "drawing", "revealed"]

PARTS = {2: ["head", "body"], 3: ["head", "body", "legs"], 4: ["head", "chest", "legs", "feet"]}


# --- what players say


@edge.event("start")
class Start:
    """Do not wait for more players."""


@edge.event("drew")
class Drew:
    """The pen was lifted: one more stroke of this turn."""

    stroke: Stroke


@edge.event("undid")
class Undid:
    """Take the last stroke back."""


@edge.event("turn:done")
class TurnDone:
    """My part is finished."""


# --- what players are told


@attrs.frozen
class Sitter:
    """One line of the list of players."""

    number: int
    name: str
    connected: bool
    part: str
    """Which part is theirs this round; empty for those who watch."""
    state: Literal["watching", "next", "drawing", "done", "timeout", "left"]


@edge.event("scene", delivery="latest")
class Scene:
    """All that is public: the newest one is all that a client needs."""

    phase: Phase
    players: list[Sitter]
    seconds: float
    """How long this phase still lasts; 0 for as long as it takes."""
    of_seconds: float


@edge.event("your:turn")
class YourTurn:
    """Draw this part; `edge` is all that you see of the one above, `strokes` what you have drawn already."""

    part: str
    edge: list[Stroke]
    strokes: list[Stroke]


@attrs.frozen
class Part:
    """One part of the finished figure."""

    name: str
    by: str
    strokes: list[Stroke]


@edge.event("revealed")
class Revealed:
    """The whole figure, for everybody."""

    parts: list[Part]


FromPlayer: TypeAlias = Start | Drew | Undid | TurnDone
ToPlayer: TypeAlias = Scene | YourTurn | Revealed
Player: TypeAlias = edge.Player[FromPlayer, ToPlayer]


@attrs.define(eq=False)
class Page:
    """One player's part while it is being made."""

    name: str
    player: Player
    strip: list[Stroke] = attrs.field(factory=list)
    """What its player sees of the part above."""
    strokes: list[Stroke] = attrs.field(factory=list)
    outcome: edge.Outcome | None = None

    @property
    def full(self) -> bool:
        return sum(len(stroke.points) for stroke in self.strokes) >= INK


class ExquisiteCorpse(edge.Room[FromPlayer, ToPlayer]):
    """Two to four players, one figure."""

    seats = edge.Seats(minimum=2, maximum=4, grace=20)

    gather_seconds = 15.0
    turn_seconds = 75.0
    reveal_seconds = 12.0

    def __init__(self) -> None:
        super().__init__()
        self.phase: Phase = "waiting"
        self.phase_seconds = 0.0
        self.phase_until = 0.0
        self.pages: list[Page] = []
        self.drawing: Page | None = None
        self.figure: Revealed | None = None

    def admit(self, applicant: edge.Applicant) -> None:
        name = applicant.name
        if not (name.replace("\u200d", "").isprintable() and 1 <= len(name) <= 20 and name == name.strip()):
            raise edge.Refused("a name has 1 to 20 letters")
        if name.casefold() in {taken.casefold() for taken in self.names}:
            raise edge.Refused("this name is taken")

    def greet(self, player: Player) -> None:
        if self.figure is not None:
            player.send(self.figure)
        if self.drawing is not None and self.drawing.player is player:
            self.hand_pen(self.drawing)  # the page was reloaded in the middle of a turn
        player.send(self.scene())

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.show_who_is_here)
            while True:
                await self.gather()
                await self.play()

    async def show_who_is_here(self) -> None:
        while True:
            await self.seats.wait_change()
            self.broadcast(self.scene())

    async def gather(self) -> None:
        """Wait for enough players, then a little for more, unless somebody says start."""
        while True:
            self.show("waiting")
            await self.seats.wait_minimum()
            self.show("gathering", self.gather_seconds)
            with trio.move_on_after(self.gather_seconds):
                async for _ in self.listen(Start):
                    break
            if self.seats.enough:
                return

    async def play(self) -> None:
        async with self.open_round() as round:
            names = PARTS[max(2, len(round.players))]
            self.pages = [Page(name, player) for name, player in zip(names, round.players, strict=False)]
            above: list[Stroke] = []
            for page in self.pages:
                page.strip = strip_below(above)
                with round.turn(page.player, seconds=self.turn_seconds) as turn:
                    self.drawing = page
                    self.show("drawing", turn.seconds)
                    self.hand_pen(page)
                    await self.draw(page)
                page.outcome = turn.outcome
                above = page.strokes
        self.drawing = None
        if round.outcome is edge.Outcome.DONE and any(page.strokes for page in self.pages):
            self.figure = Revealed([Part(page.name, page.player.name, page.strokes) for page in self.pages])
            self.broadcast(self.figure)
            self.show("revealed", self.reveal_seconds)
            await trio.sleep(self.reveal_seconds)
        self.pages, self.figure = [], None

    def hand_pen(self, page: Page) -> None:
        page.player.send(YourTurn(page.name, page.strip, page.strokes))

    async def draw(self, page: Page) -> None:
        """Take strokes until the player is done, or out of ink."""
        async for event in page.player.listen(Drew, Undid, TurnDone):
            match event:
                case Drew(stroke):
                    page.strokes.append(stroke)
                case Undid():
                    del page.strokes[-1:]
                case TurnDone():
                    return
            if page.full:
                return

    def show(self, phase: Phase, seconds: float = 0) -> None:
        """Begin a phase, and tell everybody."""
        self.phase, self.phase_seconds, self.phase_until = phase, seconds, trio.current_time() + seconds
        self.broadcast(self.scene())

    def scene(self) -> Scene:
        left = max(0.0, self.phase_until - trio.current_time()) if self.phase_seconds else 0.0
        return Scene(self.phase, [self.sitter(player) for player in self.players], left, self.phase_seconds)

    def sitter(self, player: Player) -> Sitter:
        page = next((page for page in self.pages if page.player is player), None)
        if page is None:
            return Sitter(player.number, player.name, player.connected, "", "watching")
        if page is self.drawing:
            return Sitter(player.number, player.name, player.connected, page.name, "drawing")
        states: dict[edge.Outcome, Literal["done", "timeout", "left"]] = {
            edge.Outcome.DONE: "done",
            edge.Outcome.TIMEOUT: "timeout",
        }
        state = "next" if page.outcome is None else states.get(page.outcome, "left")
        return Sitter(player.number, player.name, player.connected, page.name, state)
