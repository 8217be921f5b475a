"""The room of king of the hill: one board for all players, at thirty ticks a second.

Between two `Board` events, the room sends only changes of intent and facts. Each client moves the discs of the newest
`Board` by the same rules as the server, so it needs no events while nothing changes.
"""

from __future__ import annotations

import math

import attrs
import trio

import edge

from .bots import Crew
from .events import (
    Board,
    Bots,
    Facts,
    FromPlayer,
    Intent,
    Joined,
    Left,
    Look,
    Phase,
    Player,
    Score,
    Steer,
    ToPlayer,
)
from .physics import BOARD, HZ, RADIUS, Disc, step

# The points that a disc in the middle gets per second. At any other place, a disc gets this number times the square of
# its `nearness`, which is 0 at the wall.
POINTS = 10
START = 0.7 * BOARD
SCORE_SECONDS = 0.5
CREW_SECONDS = 0.5
# The shortest time between two boards for one player that sends `Look`, in seconds.
LOOK_SECONDS = 0.5
# The number of seats that bots leave free for people.
KEPT_FREE = 4
# The maximum number of ticks by which an intent may be planned ahead.
MAX_AHEAD = 2 * HZ
# The zero-width joiner, which combines several emoji into one. It is not printable, but allowed in a name.
JOINER = "\u200d"


@attrs.define(eq=False)
class Pilot:
    """A player whose disc is on the board."""

    player: Player
    disc: Disc
    heeded: Intent
    """The newest intent that was applied. The first intent is no force, at the tick in which the player joined."""
    score: float = 0.0
    shown_at: float = -1.0
    """The time at which the newest board for a `Look` was sent, in seconds on the room's clock."""


class Hill(edge.Room[FromPlayer, ToPlayer]):
    """King of the hill, for up to forty players."""

    seats = edge.Seats(maximum=40, grace=15)
    score = edge.shared(Score)

    round_seconds = 90.0
    pause_seconds = 8.0
    bots = 4
    """The number of bots at first; `score` has the number that is wanted now."""

    def __init__(self) -> None:
        self.tick = 0
        self.due = 0.0
        self.pilots: dict[int, Pilot] = {}
        self.begins = False
        self.score.bots = self.bots

    def admit(self, applicant: edge.Applicant) -> None:
        name = applicant.name
        if not (name.replace(JOINER, "").isprintable() and 1 <= len(name) <= 16 and name == name.strip()):
            raise edge.Refused("a name has 1 to 16 letters")
        holder = next((player for player in self.players if player.name.casefold() == name.casefold()), None)
        if holder is not None:
            raise edge.Refused(
                "this name is taken" if holder.connected else "this name is reserved for a player who may return"
            )

    def greet(self, player: Player) -> None:
        player.send(self.board())

    async def player(self, player: Player) -> None:
        async for event in player:
            match event:
                case Bots(count):
                    self.score.bots = count
                case Look():
                    pilot = self.pilots.get(player.number)
                    if pilot is not None and self.now() >= pilot.shown_at + LOOK_SECONDS:
                        pilot.shown_at = self.now()
                        player.send(self.board())

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.move)
            nursery.start_soon(self.fill_up, Crew(self, nursery))
            while True:
                await self.seats.wait_minimum()
                await self.play()

    async def fill_up(self, crew: Crew) -> None:
        """Adjust the number of bots repeatedly: no bots without people, and fewer bots if people need the seats."""
        while True:
            people = sum(not player.session.bot for player in self.players)
            crew.fill(min(self.score.bots, max(0, self.seats.maximum - people - KEPT_FREE)) if people else 0)
            await trio.sleep(CREW_SECONDS)

    async def play(self) -> None:
        """Play one round. If the round ends by its time limit, show the winner for `pause_seconds`."""
        async with self.open_round(minimum=0, seconds=self.round_seconds) as round:
            self.begins = True
            self.show("playing", self.round_seconds)
            while True:
                await trio.sleep(SCORE_SECONDS)
                self.show_points()
        if round.outcome is edge.Outcome.TIMEOUT and self.pilots:
            best = max(self.pilots.values(), key=lambda pilot: (pilot.score, -pilot.disc.number))
            self.score.winner = best.player.name
            self.show("won", self.pause_seconds)
            await trio.sleep(self.pause_seconds)

    async def move(self) -> None:
        """Move the discs and send the changes, tick by tick."""
        async for tick in self.ticks(hz=HZ):
            self.tick, self.due = self.tick + 1, self.now() - tick.late
            self.seat_discs()
            if self.begins:
                self.begin()
                continue
            moved = self.steer()
            happenings = step([pilot.disc for _, pilot in sorted(self.pilots.items())])
            if self.score.phase == "playing":
                for pilot in self.pilots.values():
                    pilot.score += POINTS * nearness(pilot.disc) ** 2 * tick.dt
            still = [(disc.number, disc.x, disc.y) for disc in happenings.still]
            if moved or still or happenings.collided:
                self.broadcast(Facts(self.tick, moved, happenings.collided, still))
            if tick.skipped:
                self.broadcast(self.board())  # its time tells clients that the following ticks are due later

    def seat_discs(self) -> None:
        """Add discs for new players, and remove the discs of players who have left."""
        here = {player.number: player for player in self.players}
        for number, pilot in list(self.pilots.items()):
            if here.get(number) is not pilot.player:
                del self.pilots[number]
                self.broadcast(Left(self.tick, number))
        for number, player in here.items():
            if number not in self.pilots:
                disc = Disc(number, *start(number))
                self.pilots[number] = Pilot(player, disc, (self.tick, 0, 0))
                self.broadcast(Joined(self.tick, number, player.name, disc.x, disc.y))

    def begin(self) -> None:
        """Begin a round: put all discs at their start positions, and reset the scores."""
        self.begins = False
        for number, pilot in self.pilots.items():
            pilot.disc, pilot.score = Disc(number, *start(number)), 0.0
        self.broadcast(self.board(begins=True))

    def steer(self) -> list[tuple[int, int, int, int]]:
        """Apply the intents that are due, and return them."""
        moved = []
        for pilot in self.pilots.values():
            intent = self.intent(pilot)
            if intent is not None:
                planned, pilot.disc.sx, pilot.disc.sy = intent
                moved.append((pilot.disc.number, pilot.disc.sx, pilot.disc.sy, self.tick - planned))
        return moved

    def intent(self, pilot: Pilot) -> Intent | None:
        """Return the newest intent of a player that is due; None if it has not changed."""
        steer = pilot.player.latest(Steer)
        steering = pilot.disc.sx != 0 or pilot.disc.sy != 0
        if steer is None or not pilot.player.connected:  # no intent since the page was loaded, or the player is away
            return (self.tick, 0, 0) if steering else None
        # A player may plan two intents for one tick, and the second may arrive after the first was applied. So a
        # different intent for the same tick counts as newer. An intent far ahead was planned with a wrong clock, so it
        # is applied at once.
        newer = [intent for intent in steer.plan if intent[0] >= pilot.heeded[0] and intent != pilot.heeded]
        due = [intent for intent in newer if intent[0] <= self.tick or intent[0] > self.tick + MAX_AHEAD]
        if not due:
            return None
        pilot.heeded = due[-1]
        return due[-1]

    def show(self, phase: Phase, seconds: float) -> None:
        """Begin a phase of this many seconds."""
        self.score.phase, self.score.until = phase, self.now() + seconds
        self.show_points()

    def show_points(self) -> None:
        self.score.points = {str(number): int(pilot.score) for number, pilot in self.pilots.items()}

    def board(self, *, begins: bool = False) -> Board:
        pilots = sorted(self.pilots.items())
        names = [(number, pilot.player.name) for number, pilot in pilots]
        return Board(self.tick, self.due, begins, [attrs.evolve(pilot.disc) for _, pilot in pilots], names)


def start(number: int) -> tuple[float, float]:
    """Return the start position of a disc: on a circle, with neighbouring numbers far apart."""
    angle = number * math.pi * (3 - math.sqrt(5))
    return START * math.cos(angle), START * math.sin(angle)


def nearness(disc: Disc) -> float:
    """Return the nearness of a disc to the middle: 1 in the middle, 0 at the wall."""
    return 1 - math.sqrt(disc.x * disc.x + disc.y * disc.y) / (BOARD - RADIUS)
