"""The dashboard: a room that shows the server's rooms to its players, who are operators."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeAlias

import attrs
import trio

from ..cluster.node import Node
from ..codes import Code
from ..errors import BrokerDown, Refused
from ..protocol.events import event, event_type
from ..protocol.structure import structure
from ..protocol.unstructure import unstructure
from ..rooms.counters import LATE_BOUNDS
from ..rooms.directory import Directory
from ..rooms.ledger import PlayerState
from ..rooms.player import Player
from ..rooms.room import Room, kind_of
from ..rooms.room_runtime import RoomRuntime
from ..rooms.seat import Applicant
from ..rooms.seats import Seats
from ..rooms.session import Session
from ..rooms.statistics import RoomStatistics
from ..server.app import App, site_of
from .process import ProcessStatistics, ProcessWatch

# The name of the claim in an operator's session key. Its value is True, or a digest of the monitor's token.
CLAIM = "edge-monitor"
# The maximum number of rooms in the overview. Rooms of other servers come last, so they are the first to be omitted.
MAX_ROOMS = 200
OVERVIEW_SECONDS = 1.0
ROOM_SECONDS = 0.5
# The names of this module's requests to other servers.
ROOM, ACT = "monitor:room", "monitor:act"


@event("watch", delivery="latest")
class Watch:
    """Show the room with this name, or no room if the name is empty."""

    room: str


@event("kick")
class Kick:
    """Remove the player with this number from the room."""

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


@attrs.frozen
class Line:
    """One room in the overview."""

    name: str
    seated: int
    away: int
    maximum: int
    locked: bool
    playing: bool
    """True if a round is open."""
    server: str = ""
    """The server that has the room; empty for this server. For rooms of other servers, `away` is always 0 and `playing`
    is always False, because they are unknown."""


@attrs.frozen
class Server:
    """The newest status of one of the servers that share the broker."""

    name: str
    here: bool
    """True for the server that runs this dashboard."""
    rooms: int
    seated: int
    received: int
    sent: int
    crashes: int
    draining: bool


@event("overview", delivery="latest")
class Overview:
    """The overview of a server. Its counters are totals since the server started."""

    process: ProcessStatistics
    requests: int
    received: int
    sent: int
    crashes: int
    refused: dict[str, int]
    left: dict[str, int]
    messages_refused: dict[str, int]
    late: list[int]
    """The number of ticks of all rooms' `ticks` loops, by lateness: one number for each of `late_bounds`, and one for
    later ticks."""
    late_bounds: list[float]
    """The largest lateness, in seconds, that each number of `late` counts."""
    skipped: int
    servers: list[Server]
    """All servers that share the broker; empty if this server shares none."""
    rooms: list[Line]
    more: int
    """The number of rooms that are not listed."""


@event("room", delivery="latest")
class RoomShown:
    """The room that an operator watches; None if that room is not open."""

    room: RoomStatistics | None


@event("done")
class Done:
    """The result of a command, with a text for the operator."""

    done: bool
    text: str


FromOperator: TypeAlias = Watch | Kick | EndRound | Close
ToOperator: TypeAlias = Overview | RoomShown | Done
Operator: TypeAlias = Player[FromOperator, ToOperator]


class Dashboard(Room[FromOperator, ToOperator]):
    """Shows the rooms of a directory to operators, and executes their commands.

    Args:
      directory: returns the directory, which contains the dashboard, too.
      node: returns this server's node; None if the server has none.
      is_operator: returns True if a session may use the dashboard.
    """

    seats: Seats = Seats(minimum=1, maximum=20, grace=10)

    def __init__(
        self,
        directory: Callable[[], Directory],
        node: Callable[[], Node | None] = lambda: None,
        *,
        is_operator: Callable[[Session], bool],
    ) -> None:
        self._directory, self._node, self._is_operator = directory, node, is_operator
        self._elsewhere: list[Line] = []
        self._process: ProcessWatch | None = None
        self._newest: Overview | None = None

    def admit(self, applicant: Applicant) -> None:
        if not self._is_operator(applicant.session):
            raise Refused("only operators may use the dashboard")

    def greet(self, player: Operator) -> None:
        player.send(self._newest or self.overview())

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show_rooms)
            nursery.start_soon(self._look_around)
            while True:
                await self.seats.wait_minimum()
                self._newest = self.overview()
                self.broadcast(self._newest)
                await trio.sleep(OVERVIEW_SECONDS)

    async def player(self, player: Operator) -> None:
        async for request in player:
            if not isinstance(request, Watch):
                player.reply(request, await self._act(request))

    async def _show_rooms(self) -> None:
        while True:
            await self.seats.wait_minimum()
            for player in self.players:
                watched = player.latest(Watch)
                if watched is not None and watched.room:
                    player.send(RoomShown(await self._look_at(watched.room)))
            await trio.sleep(ROOM_SECONDS)

    async def _look_around(self) -> None:
        """Read the list of rooms of other servers repeatedly, and wait `OVERVIEW_SECONDS` between the reads."""
        while True:
            await self.seats.wait_minimum()
            node = self._node()
            if node is not None and node.shared:
                with contextlib.suppress(BrokerDown):
                    self._elsewhere = [
                        Line(f"{each.kind}/{each.name}", each.seated, 0, each.maximum, each.locked, False, each.server)
                        for each in await node.list_rooms()
                        if each.server
                    ]
            await trio.sleep(OVERVIEW_SECONDS)

    async def _look_at(self, name: str) -> RoomStatistics | None:
        shown = look_at(self._directory(), name)
        if shown is None:
            plain = await self._ask(name, ROOM, name)
            shown = structure(plain, RoomStatistics) if plain is not None else None
        return shown

    async def _act(self, request: Kick | EndRound | Close) -> Done:
        done = act(self._directory(), request)
        if done is None:
            plain = await self._ask(request.room, ACT, event_type(type(request)).name, unstructure(request))
            done = structure(plain, Done) if plain is not None else Done(False, "this room is not open any more")
        return done

    async def _ask(self, room: str, what: str, *arguments: object) -> object:
        """Send a request to the server that has a room, and return the answer. Return None if no server has the room,
        or if the broker or the server does not answer."""
        node = self._node()
        try:
            owner = await node.owner(room) if node is not None else None
            return await node.rpc.ask(owner, what, *arguments) if node is not None and owner is not None else None
        except BrokerDown:
            return None

    def _servers(self) -> list[Server]:
        node = self._node()
        if node is None or not node.shared:
            return []
        return [
            Server(
                name,
                name == node.id,
                rooms=status.rooms,
                seated=status.seated,
                received=status.received,
                sent=status.sent,
                crashes=status.crashes,
                draining=status.draining,
            )
            for name, status in node.servers.items()
        ]

    def overview(self) -> Overview:
        """Return the current overview."""
        directory = self._directory()
        counters = directory.counters
        self._process = self._process or ProcessWatch()
        rooms = [*map(_line, directory.runtimes), *self._elsewhere]
        return Overview(
            process=self._process.sample(),
            requests=counters.requests,
            received=counters.received,
            sent=counters.sent,
            crashes=counters.crashes,
            refused={code.name.lower(): count for code, count in counters.refused.items()},
            left={code.name.lower(): count for code, count in counters.ended.items()},
            messages_refused=dict(counters.turned_away),
            late=counters.late[:],
            late_bounds=list(LATE_BOUNDS),
            skipped=counters.skipped,
            servers=self._servers(),
            rooms=rooms[:MAX_ROOMS],
            more=max(0, len(rooms) - MAX_ROOMS),
        )


def find(directory: Directory, name: str) -> RoomRuntime | None:
    """Return the run time of the open room whose path is `name`; None if this server does not have the room."""
    kind, _, rest = name.partition("/")
    return directory.find_runtime(kind, rest)


def look_at(directory: Directory, name: str) -> RoomStatistics | None:
    """Return the statistics of a room, and measure the round trips to its players more often for a while. Return None
    if the room is not open on this server."""
    room = find(directory, name)
    for player in room.players if room is not None else ():
        player.seat.measure()
    return room.statistics() if room is not None else None


def act(directory: Directory, request: Kick | EndRound | Close) -> Done | None:
    """Execute an operator's command, and return the result; None if the room is not open on this server."""
    room = find(directory, request.room)
    if room is None:
        return None
    match request:
        case EndRound():
            ended = room.reset("an operator ended the round")
            return Done(ended, "the round is over" if ended else "no round is open")
        case Close():
            room.close("an operator closed the room")
            return Done(True, "the room is closed")
        case Kick(_, number):
            player = next((player for player in room.players if player.number == number), None)
            if player is None:
                return Done(False, "this seat is empty")
            player.leave(Code.KICKED, "an operator removed you from the room")
            return Done(True, f"{player.name or 'the player'} was kicked")


def answer_others(app: App) -> None:
    """Let this server answer requests about its rooms, which come from dashboards on other servers."""

    async def room(name: str) -> object:
        shown = look_at(app.directory, name)
        return unstructure(shown) if shown is not None else None

    async def do(what: str, body: object) -> object:
        done = act(app.directory, structure(body, kind_of(Dashboard).receives.by_name[what].cls))
        return unstructure(done) if done is not None else None

    site_of(app).answer(ROOM, room)
    site_of(app).answer(ACT, do)


def _line(room: RoomRuntime) -> Line:
    away = sum(player.state is PlayerState.AWAY for player in room.players)
    return Line(room.path, len(room.ledger), away, room.ledger.maximum, room.ledger.locked, room.round is not None)
