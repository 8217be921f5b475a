"""The room of the dashboard: the data that operators receive, and the commands that they send."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

import edge
import edge.monitor
from edge.client.client import Status
from edge.cluster.broker.broker import Broker
from edge.monitor.dashboard import (
    CLAIM,
    Close,
    Dashboard,
    Done,
    EndRound,
    FromOperator,
    Kick,
    Overview,
    RoomShown,
    ToOperator,
    Watch,
)
from edge.rooms.room import kind_of
from tests.cluster.servers import open_town
from tests.network import Network, joined, open_network
from tests.rooms.quiet import FromPlayer, Quiet, ToPlayer


class Playing(Quiet):
    """Plays rounds of one minute. In each round, the first player has a turn of twenty seconds."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[edge.Outcome | None, str]] = []

    async def run(self) -> None:
        while True:
            await self.seats.wait_minimum()
            async with self.open_round(seconds=60) as round:
                with round.turn(round.players[0], seconds=20):
                    await trio.sleep_forever()
                await trio.sleep_forever()
            self.outcomes.append((round.outcome, round.reason))


@attrs.define
class Table:
    pot: int = 7


def see_nothing(table: Table, player: edge.Player[Any, Any]) -> Table:
    return Table(0)


class Sharing(Quiet):
    """A room with a document for all, a document with a view, and a document for each player."""

    table = edge.shared(Table)
    secret = edge.shared(Table, view=see_nothing)
    hand = edge.shared(Table, each=True)


@attrs.frozen
class Watched:
    """A server, and the client of an operator in its dashboard."""

    app: edge.App
    network: Network
    operator: Any
    stack: AsyncExitStack

    async def join(self, path: str, number: int) -> Any:
        client = joined(
            self.network.connect, path, sends=FromPlayer, receives=ToPlayer, client=f"client-number-{number:04}"
        )
        found = await self.stack.enter_async_context(client)
        await found.wait_status(Status.OPEN)
        return found

    async def newest(self, kind: type[Any]) -> Any:
        """Skip the events of this kind that have already arrived, and return the next one."""
        while any(isinstance(event, kind) for event in self.operator._inbox):
            await self.operator.receive(kind)
        return await self.operator.receive(kind)


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    sessions = edge.Sessions(keys=edge.Keys("a secret of thirty-two characters"))
    app = edge.App({"playing": Playing, "sharing": Sharing}, sessions=sessions)
    edge.monitor.mount(app, token="a token that nobody guesses")
    key = app.keys.issue("admin", claims={"edge-monitor": True})
    async with open_network(app) as network, AsyncExitStack() as stack:
        path = "/rooms/edge-monitor/main"
        joining = joined(
            network.connect, path, sends=FromOperator, receives=ToOperator, client="an-operator-of-16", key=key
        )
        operator = await stack.enter_async_context(joining)
        await operator.wait_status(Status.OPEN)
        yield Watched(app, network, operator, stack)


async def test_everything_at_a_glance() -> None:
    """Once per second, an operator receives the rooms, seats and counts of the server. The dashboard is among these
    rooms."""
    async with watched() as server:
        await server.join("/rooms/playing/one", 1)
        away = await server.join("/rooms/playing/one", 2)
        await server.join("/rooms/playing/two", 3)
        server.app.directory.find("playing", "two").lock()  # type: ignore[union-attr]
        away.leave()
        overview = await server.newest(Overview)
        lines = [(line.name, line.seated, line.maximum, line.locked, line.playing) for line in overview.rooms]
        assert lines == [
            ("edge-monitor/main", 1, 20, False, False),
            ("playing/one", 1, 3, False, True),
            ("playing/two", 1, 3, True, True),
        ]
        assert overview.left == {"left": 1}
        assert (overview.crashes, overview.skipped, overview.more) == (0, 0, 0)
        assert overview.process.memory_bytes > 10_000_000
        at = trio.current_time()
        await server.newest(Overview)
        assert trio.current_time() - at == pytest.approx(1, abs=0.1)


async def test_the_tree_of_the_watched_room() -> None:
    """An operator who watches a room receives its round, turn and players, with remaining times and round trips. After
    the room has closed, the operator receives None."""
    async with watched() as server:
        await server.join("/rooms/playing/one", 1)
        await server.join("/rooms/playing/one", 2)
        await trio.sleep(5)
        server.operator.send(Watch("playing/one"))
        await server.newest(RoomShown)
        shown = (await server.newest(RoomShown)).room
        assert shown.name == "playing/one"
        assert shown.round.players == [0]
        assert shown.round.remaining == pytest.approx(54, abs=1)
        assert [(turn.number, round(turn.remaining)) for turn in shown.turns] == [(0, 14)]
        assert [(player.number, player.state, player.seat.round_trip) for player in shown.players] == [
            (0, "here", 0),
            (1, "here", 0),
        ]
        server.app.directory.rooms[1].close()
        assert (await server.newest(RoomShown)).room is None
        server.operator.send(Watch(""))
        await trio.sleep(1)
        await server.newest(Overview)
        assert not any(isinstance(event, RoomShown) for event in server.operator._inbox)


async def test_an_operator_sees_what_all_players_see() -> None:
    """An operator who watches a room receives the documents that all players mirror whole, and of the others only the
    names."""
    async with watched() as server:
        await server.join("/rooms/sharing/one", 1)
        server.operator.send(Watch("sharing/one"))
        await server.newest(RoomShown)
        shown = (await server.newest(RoomShown)).room
        documents = [(each.name, each.seen, each.text) for each in shown.documents]
        assert documents == [("table", "whole", '{"pot":7}'), ("secret", "views", ""), ("hand", "each", "")]


async def test_a_kick_frees_the_seat_at_once() -> None:
    """When the reply to an operator's kick arrives, the seat is already free. The kicked client is disconnected with
    KICKED."""
    async with watched() as server:
        clients = [await server.join("/rooms/playing/one", number) for number in range(3)]
        room = server.app.directory.rooms[1]
        assert room.seats.free == 0
        done = await server.operator.request(Kick("playing/one", 1), Done)
        assert done == Done(True, "ana was kicked")
        assert room.seats.free == 1
        await clients[1].wait_status(Status.CLOSED)
        assert clients[1].ending.code is edge.Code.KICKED
        await server.join("/rooms/playing/one", 9)
        assert room.seats.free == 0
        assert await server.operator.request(Kick("playing/one", 7), Done) == Done(False, "this seat is empty")


async def test_a_round_is_ended_and_a_room_closed() -> None:
    """An operator can end a round, and the room then plays the next one. An operator can close a room, which
    disconnects its players."""
    async with watched() as server:
        client = await server.join("/rooms/playing/one", 1)
        room = server.app.directory.rooms[1]
        assert isinstance(room, Playing)
        assert await server.operator.request(EndRound("playing/one"), Done) == Done(True, "the round is over")
        await trio.sleep(0.1)
        assert room.outcomes == [(edge.Outcome.RESET, "an operator ended the round")]
        assert room.has_round
        assert (await server.operator.request(EndRound("edge-monitor/main"), Done)).text == "no round is open"
        assert (await server.operator.request(Close("playing/one"), Done)).done
        await client.wait_status(Status.CLOSED)
        assert client.ending.code is edge.Code.ROOM_CLOSED
        await trio.sleep(0.1)
        assert await server.operator.request(Close("playing/one"), Done) == Done(
            False, "this room is not open any more"
        )


async def test_all_servers_and_their_rooms() -> None:
    """With several servers, the dashboard shows the counts of each server, and an operator can watch a room of another
    server and kick its players."""
    keys = edge.Keys("a secret of all the servers")

    def make_app(broker: Broker) -> edge.App:
        app = edge.App({"playing": Playing}, cluster=edge.Cluster(broker), sessions=edge.Sessions(keys=keys))
        edge.monitor.mount(app, token="the token of the operators")
        return app

    async with open_town(make_app, 2) as town:
        one, two = town.places
        key = keys.issue("operator", claims={CLAIM: True})
        async with (
            town.join("/rooms/playing/a", two, sends=FromPlayer, receives=ToPlayer, name="ana") as ana,
            town.join(
                "/rooms/edge-monitor/main",
                one,
                sends=kind_of(Dashboard).receives,
                receives=kind_of(Dashboard).sends,
                key=key,
            ) as operator,
        ):
            await ana.wait_status(Status.OPEN)
            await operator.wait_status(Status.OPEN)
            await trio.sleep(5)
            while (overview := await operator.receive(Overview)).rooms[-1].server == "":
                pass
            assert [(server.here, server.rooms, server.seated) for server in overview.servers] == [
                (True, 1, 1),
                (False, 1, 1),
            ]
            assert [(room.name, room.seated) for room in overview.rooms] == [
                ("edge-monitor/main", 1),
                ("playing/a", 1),
            ]
            operator.send(Watch("playing/a"))
            while (shown := (await operator.receive(RoomShown)).room) is None:
                pass
            assert [player.name for player in shown.players] == ["ana"]
            assert await operator.request(Kick("playing/a", 0), Done) == Done(True, "ana was kicked")
            await ana.wait_status(Status.CLOSED)
            assert ana.ending is not None
            assert ana.ending.code is edge.Code.KICKED
            done = await operator.request(Kick("playing/b", 0), Done)
            assert done == Done(False, "this room is not open any more")
