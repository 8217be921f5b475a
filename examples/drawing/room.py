"""The room of the drawing game: its events, rounds and turns."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs
import trio

import edge

from .picture import INK, Stroke, strip_below

Phase: TypeAlias = Literal["waiting", "gathering", "drawing", "revealed"]

PARTS = {2: ["head", "body"], 3: ["head", "body", "legs"], 4: ["head", "chest", "legs", "feet"]}


@edge.event("start")
class Start:
    """Start without waiting for more players."""


@edge.event("drew")
class Drew:
    """Add a stroke to the part that the player draws in this turn."""

    stroke: Stroke


@edge.event("undid")
class Undid:
    """Remove the last stroke."""


@edge.event("turn:done")
class TurnDone:
    """Finish this turn."""


@attrs.frozen
class Sitter:
    """The public state of one player."""

    number: int
    name: str
    connected: bool
    part: str
    """The part that the player draws in this round; empty for a player who watches."""
    state: Literal["watching", "next", "drawing", "done", "timeout", "left"]


@edge.event("your:turn")
class YourTurn:
    """Ask the player to draw a part. `edge` is the visible strip of the part above, `strokes` the drawing so far."""

    part: str
    edge: list[Stroke]
    strokes: list[Stroke]


@attrs.frozen
class Part:
    """One part of the finished figure."""

    name: str
    by: str
    strokes: list[Stroke]


@attrs.define
class Scene:
    """The public state of the game, which all pages mirror."""

    phase: Phase = "waiting"
    of_seconds: float = 0.0
    """The length of this phase; 0 for a phase without a time limit."""
    until: float = 0.0
    """The end of this phase, by the room's clock."""
    players: list[Sitter] = attrs.field(factory=list)
    figure: list[Part] = attrs.field(factory=list)
    """The whole figure, from top to bottom, once it is revealed."""


FromPlayer: TypeAlias = Start | Drew | Undid | TurnDone
ToPlayer: TypeAlias = YourTurn
Player: TypeAlias = edge.Player[FromPlayer, ToPlayer]


@attrs.define(eq=False)
class Page:
    """One part of the figure, in the current round."""

    name: str
    player: Player | None
    """The player who draws the part; None if the player left before another server restored the room."""
    session: str
    by: str
    strip: list[Stroke] = attrs.field(factory=list)
    """The strip of the part above that the player sees."""
    strokes: list[Stroke] = attrs.field(factory=list)
    outcome: edge.Outcome | None = None
    dealt: bool = False
    """True once the player has been asked to draw."""

    @property
    def full(self) -> bool:
        return sum(len(stroke.points) for stroke in self.strokes) >= INK


@attrs.frozen
class SavedPage:
    """The saved state of a `Page`, in a snapshot."""

    name: str
    session: str
    by: str
    strip: list[Stroke]
    strokes: list[Stroke]
    outcome: str
    dealt: bool


@attrs.frozen
class Saved:
    """The snapshot of the game."""

    phase: Phase
    of_seconds: float
    until: float
    figure: list[Part]
    pages: list[SavedPage]


class ExquisiteCorpse(edge.Room[FromPlayer, ToPlayer]):
    """A game in which two to four players draw one figure."""

    seats = edge.Seats(minimum=2, maximum=4, grace=20)
    scene = edge.shared(Scene)

    gather_seconds = 15.0
    turn_seconds = 75.0
    reveal_seconds = 12.0

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.drawing: Page | None = None

    def admit(self, applicant: edge.Applicant) -> None:
        name = applicant.name
        if not (name.replace("\u200d", "").isprintable() and 1 <= len(name) <= 20 and name == name.strip()):
            raise edge.Refused("a name has 1 to 20 letters")
        if name.casefold() in {taken.casefold() for taken in self.names}:
            raise edge.Refused("this name is taken")

    def greet(self, player: Player) -> None:
        self.show_players()
        if self.drawing is not None and self.drawing.player is player:
            self.hand_pen(player, self.drawing)  # the player reloaded the page during the turn

    def snapshot(self) -> Saved:
        pages = [
            SavedPage(page.name, page.session, page.by, page.strip, page.strokes, page.outcome or "", page.dealt)
            for page in self.pages
        ]
        return Saved(self.scene.phase, self.scene.of_seconds, self.scene.until, self.scene.figure, pages)

    def restore(self, state: Saved) -> None:
        self.scene = Scene(state.phase, state.of_seconds, state.until, figure=state.figure)
        for page in state.pages:
            player = self.seats.find(page.session)
            outcome = edge.Outcome(page.outcome) if page.outcome else None
            self.pages.append(
                Page(page.name, player, page.session, page.by, page.strip, page.strokes, outcome, page.dealt)
            )

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.show_who_is_here)
            while True:
                if not self.pages:  # a room that was restored during a game continues that game
                    await self.gather()
                await self.play()

    async def show_who_is_here(self) -> None:
        while True:
            self.show_players()
            await self.seats.wait_change()

    async def gather(self) -> None:
        """Wait for enough players, and then `gather_seconds` for more players, or until a player sends `Start`."""
        while True:
            self.show("waiting")
            await self.seats.wait_minimum()
            self.show("gathering", self.gather_seconds)
            with trio.move_on_after(self.gather_seconds):
                async for _ in self.listen(Start):
                    break
            if self.seats.enough:
                return

    def deal(self) -> None:
        """Make a page for each player who holds a seat now."""
        names = PARTS[max(2, len(self.players))]
        self.pages = [
            Page(name, player, player.session.id, player.name)
            for name, player in zip(names, self.players, strict=False)
        ]

    async def play(self) -> None:
        """Play a new or a restored round, and then show the figure for `reveal_seconds`."""
        if not self.pages:
            self.deal()
        if not self.scene.figure and await self.draw_all() and any(page.strokes for page in self.pages):
            self.scene.figure = [Part(page.name, page.by, page.strokes) for page in self.pages]
            self.show("revealed", self.reveal_seconds)
        if self.scene.figure:
            await trio.sleep(max(0.0, self.scene.until - self.now()))
        self.pages, self.scene.figure = [], []

    async def draw_all(self) -> bool:
        """Let the players draw their pages, one after the other. Return False if too few players remained."""
        players = [page.player for page in self.pages if page.player is not None and not page.player.left]
        async with self.open_round(players) as round:
            above: list[Stroke] = []
            for page in self.pages:
                if page.outcome is None:
                    await self.take_turn(round, page, above)
                above = page.strokes
        self.drawing = None
        return round.outcome is edge.Outcome.DONE

    async def take_turn(self, round: edge.Round[FromPlayer, ToPlayer], page: Page, above: list[Stroke]) -> None:
        if page.player is None:
            page.outcome = edge.Outcome.LEFT
            return
        seconds = max(0.0, self.scene.until - self.now()) if page.dealt else self.turn_seconds
        with round.turn(page.player, seconds=seconds) as turn:
            self.drawing = page
            if not page.dealt:
                page.dealt = True
                page.strip = strip_below(above)
                self.show("drawing", turn.seconds)
                self.hand_pen(page.player, page)
            await self.draw(page.player, page)
        page.outcome = turn.outcome

    def hand_pen(self, player: Player, page: Page) -> None:
        player.send(YourTurn(page.name, page.strip, page.strokes))

    async def draw(self, player: Player, page: Page) -> None:
        """Take strokes until the player has finished or the page is full."""
        async for event in player.listen(Drew, Undid, TurnDone):
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
        """Begin a phase of this many seconds; 0 for no time limit."""
        self.scene.phase, self.scene.of_seconds, self.scene.until = phase, seconds, self.now() + seconds
        self.show_players()

    def show_players(self) -> None:
        self.scene.players = [self.sitter(player) for player in self.players]

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
