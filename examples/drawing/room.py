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


@edge.event("scene", delivery="latest")
class Scene:
    """The public state of the game. A client needs only the newest scene."""

    phase: Phase
    players: list[Sitter]
    seconds: float
    """The seconds left in this phase, of `of_seconds` in all. Both are 0 for a phase without a time limit."""
    of_seconds: float


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


@edge.event("revealed")
class Revealed:
    """The whole figure."""

    parts: list[Part]


FromPlayer: TypeAlias = Start | Drew | Undid | TurnDone
ToPlayer: TypeAlias = Scene | YourTurn | Revealed
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
    phase_seconds: float
    phase_until: float
    pages: list[SavedPage]
    figure: Revealed | None


class ExquisiteCorpse(edge.Room[FromPlayer, ToPlayer]):
    """A game in which two to four players draw one figure."""

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
            self.hand_pen(player, self.drawing)  # the player reloaded the page during the turn
        player.send(self.scene())

    def snapshot(self) -> Saved:
        pages = [
            SavedPage(page.name, page.session, page.by, page.strip, page.strokes, page.outcome or "", page.dealt)
            for page in self.pages
        ]
        return Saved(self.phase, self.phase_seconds, self.phase_until, pages, self.figure)

    def restore(self, state: Saved) -> None:
        self.phase, self.phase_seconds, self.phase_until = state.phase, state.phase_seconds, state.phase_until
        self.figure = state.figure
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
            await self.seats.wait_change()
            self.broadcast(self.scene())

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
        if self.figure is None and await self.draw_all() and any(page.strokes for page in self.pages):
            self.figure = Revealed([Part(page.name, page.by, page.strokes) for page in self.pages])
            self.broadcast(self.figure)
            self.show("revealed", self.reveal_seconds)
        if self.figure is not None:
            await trio.sleep(max(0.0, self.phase_until - self.now()))
        self.pages, self.figure = [], None

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
        seconds = max(0.0, self.phase_until - self.now()) if page.dealt else self.turn_seconds
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
        """Begin a phase of this many seconds (0 for no time limit), and broadcast the scene."""
        self.phase, self.phase_seconds, self.phase_until = phase, seconds, self.now() + seconds
        self.broadcast(self.scene())

    def scene(self) -> Scene:
        left = max(0.0, self.phase_until - self.now()) if self.phase_seconds else 0.0
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
