"""The dashboard: a room whose players are operators, and which looks at all the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import trio

from ..errors import Refused
from ..protocol.events import event
from ..rooms.directory import Directory
from ..rooms.player import Player, Standing
from ..rooms.room import Room
from ..rooms.seat import Applicant
from ..rooms.seats import Seats
from ..rooms.statistics import RoomStatistics
from ..rooms.tally import LATE_BOUNDS
from .process import ProcessStatistics, ProcessWatch

# The claim of a session that may look, and act.
CLAIM = "edge-monitor"
# How many rooms are listed: the newest are left out.
MAX_ROOMS = 200
OVERVIEW_SECONDS = 1.0
ROOM_SECONDS = 0.5


# --- what operators say


@event("watch", delivery="latest")
class Watch:
    """Show me this room; an empty name for none."""

    room: str


@event("kick")
class Kick:
    """Put this player out: as the room's own code would."""

    room: str
    number: int


@event("end:round")
class EndRound:
    """Cancel the room's open round."""

    room: str


@event("close")
class Close:
    """Close the room."""

    room: str


# --- what they are told


@attrs.frozen
class Line:
    """One room, in the list of them."""

    name: str
    seated: int
    away: int
    maximum: int
    locked: bool
    playing: bool
    """Whether a round is open."""


@event("overview", delivery="latest")
class Overview:
    """Everything at a glance. Counts are since the server began."""

    process: ProcessStatistics
    requests: int
    received: int
    sent: int
    crashes: int
    refused: dict[str, int]
    left: dict[str, int]
    messages_refused: dict[str, int]
    late: list[int]
    """How many ticks began so late: see `late_bounds`."""
    late_bounds: list[float]
    skipped: int
    rooms: list[Line]
    more: int
    """How many rooms are not listed."""


@event("room", delivery="latest")
class RoomShown:
    """The room that is watched, if it is still open."""

    room: RoomStatistics | None


@event("done")
class Done:
    """What was asked for has been done; or not, and why."""

    done: bool
    text: str


FromOperator: TypeAlias = Watch | Kick | EndRound | Close
ToOperator: TypeAlias = Overview | RoomShown | Done
Operator: TypeAlias = Player[FromOperator, ToOperator]


class Dashboard(Room[FromOperator, ToOperator]):
    """Looks at a directory, for sessions that may.

    Args:
      directory: gives the directory, which the dashboard is in itself.
    """

    seats = Seats(minimum=1, maximum=20, grace=10)

    def __init__(self, directory: Callable[[], Directory]) -> None:
        self._directory = directory
        self._process: ProcessWatch | None = None
        self._newest: Overview | None = None

    def admit(self, applicant: Applicant) -> None:
        if applicant.session.claims.get(CLAIM) is not True:
            raise Refused("only operators may look here")

    def greet(self, player: Operator) -> None:
        player.send(self._newest or self.overview())

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show_rooms)
            while True:
                await self.seats.wait_minimum()
                self._newest = self.overview()
                self.broadcast(self._newest)
                await trio.sleep(OVERVIEW_SECONDS)

    async def player(self, player: Operator) -> None:
        async for request in player:
            if not isinstance(request, Watch):
                player.reply(request, self.act(request))

    async def _show_rooms(self) -> None:
        while True:
            await self.seats.wait_minimum()
            for player in self.players:
                watched = player.latest(Watch)
                if watched is not None and watched.room:
                    room = self.find(watched.room)
                    for watched_player in room.players if room is not None else ():
                        watched_player.seat.measure()
                    player.send(RoomShown(room.statistics() if room is not None else None))
            await trio.sleep(ROOM_SECONDS)

    def find(self, name: str) -> Room[Any, Any] | None:
        """The open room of this name."""
        kind, _, rest = name.partition("/")
        return self._directory().find(kind, rest)

    def act(self, request: Kick | EndRound | Close) -> Done:
        """Do what an operator asks for: each is a cancellation."""
        room = self.find(request.room)
        if room is None:
            return Done(False, "this room is not open any more")
        match request:
            case EndRound():
                ended = room.reset("an operator ended it")
                return Done(ended, "the round is over" if ended else "no round is open")
            case Close():
                room.close("an operator closed it")
                return Done(True, "the room is closed")
            case Kick(_, number):
                player = next((player for player in room.players if player.number == number), None)
                if player is None:
                    return Done(False, "nobody sits there any more")
                player.kick("an operator put you out")
                return Done(True, f"{player.name or 'the player'} is out")

    def overview(self) -> Overview:
        """Everything at a glance."""
        directory, tally = self._directory(), self.directory_tally
        self._process = self._process or ProcessWatch()
        rooms = directory.rooms
        return Overview(
            process=self._process.sample(),
            requests=tally.requests,
            received=tally.received,
            sent=tally.sent,
            crashes=tally.crashes,
            refused={code.name.lower(): count for code, count in tally.refused.items()},
            left={code.name.lower(): count for code, count in tally.ended.items()},
            messages_refused=dict(tally.turned_away),
            late=tally.late[:],
            late_bounds=list(LATE_BOUNDS),
            skipped=tally.skipped,
            rooms=[_line(room) for room in rooms[:MAX_ROOMS]],
            more=max(0, len(rooms) - MAX_ROOMS),
        )


def _line(room: Room[Any, Any]) -> Line:
    away = sum(player.standing is Standing.AWAY for player in room.players)
    return Line(room.name, len(room.seats), away, room.seats.maximum, room.seats.locked, room.has_round)
