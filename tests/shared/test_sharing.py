"""Shared documents of rooms: who gets which change, when, and in which order."""

from __future__ import annotations

import logging
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel
import trio.testing

import edge
from edge.client.client import Status
from edge.client.fallback import TransportKind
from edge.cluster.broker.broker import Broker
from edge.connections.outbox import Outbox
from edge.errors import InvalidEvent
from edge.journal.room_journal import RoomJournal, read_entries
from edge.protocol.codec import JSON, MESSAGEPACK, Codec
from edge.protocol.events import event_type
from edge.protocol.limits import Limits
from edge.protocol.messages import Patch
from edge.protocol.outgoing import Outgoing, outgoing_event, outgoing_patch
from edge.rooms.journal import Journal
from edge.rooms.room import runtime_of
from edge.seats.held_seat import HeldSeat
from edge.seats.persistent_seat import PersistentSeat
from edge.shared.mirrors import MirroredDocument, MirrorTable
from edge.testing import EdgeApp, EdgeRoom, seeds
from tests.cluster.servers import one_secret
from tests.rooms.quiet import StubSeat


@attrs.define
class Seat:
    name: str = ""
    bet: int = 0


@attrs.define
class Table:
    phase: str = "waiting"
    pot: int = 0
    seats: dict[str, Seat] = attrs.field(factory=dict)
    log: list[str] = attrs.field(factory=list)


@attrs.define
class Hand:
    cards: list[str] = attrs.field(factory=list)


@attrs.define
class World:
    treasure_at: int = 0
    positions: dict[str, int] = attrs.field(factory=dict)


@attrs.define
class Seen:
    """What a player sees of the world: the players near it, and never the treasure."""

    positions: dict[str, int] = attrs.field(factory=dict)


def near(world: World, player: edge.Player[Any, Any]) -> Seen:
    here = world.positions.get(player.name, 0)
    return Seen({name: at for name, at in world.positions.items() if abs(at - here) < 10})


@edge.event
class Bet:
    amount: int


@edge.event
class Betted:
    pot: int


@edge.event
class Move:
    to: int


class Poker(edge.Room[Bet | Move, Betted]):
    seats = edge.Seats(grace=30)
    table = edge.shared(Table)
    hand = edge.shared(Hand, each=True)
    world = edge.shared(World, view=near)

    def greet(self, player: edge.Player[Bet | Move, Betted]) -> None:
        self.table.seats[player.name] = Seat(player.name)
        self.hand[player].cards = [f"card of {player.name}"]

    async def player(self, player: edge.Player[Bet | Move, Betted]) -> None:
        try:
            async for event in player:
                match event:
                    case Bet(amount):
                        self.table.seats[player.name].bet += amount
                        self.table.pot += amount
                        self.broadcast(Betted(self.table.pot))
                        self.table.log.append(f"{player.name} bets {amount}")
                    case Move(to):
                        self.world.positions[player.name] = to
        finally:
            del self.table.seats[player.name]


@seeds(20)
@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
async def test_clients_mirror_the_documents(edge_room: EdgeRoom, codec: Codec) -> None:
    """Each client has the shared document, its own document, and its view, from the moment when it is open."""
    room = await edge_room(Poker)
    ana, ben = await room.join("ana", "ben", codec=codec)
    assert ana.state.hand == Hand(["card of ana"])
    assert ben.state[Poker.hand].cards == ["card of ben"]
    await ana.wait_state(lambda state: len(state.table.seats) == 2)
    ana.send(Bet(3))
    assert await ben.receive(Betted) == Betted(3)
    assert ben.state[Poker.table].seats["ana"] == Seat("ana", 3)
    await ben.wait_state(lambda state: state.table.log == ["ana bets 3"])
    assert ana.state.table == ben.state.table == room.room.table
    ana.send(Move(50))
    ben.send(Move(55))
    await ana.wait_state(lambda state: state.world.positions == {"ana": 50, "ben": 55})
    ben.send(Move(90))
    await ana.wait(lambda seen: seen.state.world == Seen({"ana": 50}))
    await ben.wait_state(lambda state: state.world == Seen({"ben": 90}))
    ana.leave()
    await ben.wait_state(lambda state: list(state.table.seats) == ["ben"])


@seeds(20)
async def test_a_change_comes_before_a_later_event(edge_room: EdgeRoom) -> None:
    """At an event, a client has the changes that the room made before the event, and not those that came after it."""

    class Counting(edge.Room[Bet, Betted]):
        table = edge.shared(Table)

        async def run(self) -> None:
            async for _, _ in self.listen(Bet):
                for _ in range(3):
                    self.table.pot += 1
                    self.broadcast(Betted(self.table.pot))
                self.table.pot += 100
                await trio.sleep(1)

    room = await edge_room(Counting)
    ana, ben = await room.join("ana", "ben")
    heard: list[tuple[int, int]] = []
    give = ben._give

    def note(event: Any) -> None:
        heard.append((event.pot, ben.state.table.pot))
        give(event)

    ben._give = note  # type: ignore[method-assign]  # events are noted when they arrive
    for _ in range(3):
        ana.send(Bet(1))
        await trio.sleep(2)
    assert heard == [(n, n) for n in (1, 2, 3, 104, 105, 106, 207, 208, 209)]
    assert ben.state.table.pot == 309


@seeds(10)
async def test_a_client_that_comes_back_has_the_newest_documents(edge_room: EdgeRoom) -> None:
    """A client that resumes, or starts fresh, gets whole documents. Nothing of them is in the resume window."""
    room = await edge_room(Poker)
    ana, ben = await room.join("ana", "ben")
    await trio.sleep(1)
    (player, _) = room.runtime.players
    sent = player.seat.counts.sent  # type: ignore[attr-defined]
    ana.drop()
    for amount in range(5):
        room.room.table.pot += amount
        room.room.share()
    await trio.testing.wait_all_tasks_blocked()
    assert player.seat.counts.sent == sent  # type: ignore[attr-defined]
    assert ana.state.table.pot == 0
    assert ben.state.table.pot == 10
    await ana.resume()
    assert ana.state.table.pot == 10
    assert ana.welcome is not None
    assert ana.welcome.resumed


async def test_changes_of_code_outside_are_sent_with_share(edge_room: EdgeRoom) -> None:
    """Code outside of the room's tasks calls `share`. A task that the room starts needs no call."""

    class Background(edge.Room[Bet, Betted]):
        table = edge.shared(Table)

        async def run(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.tick)

        async def tick(self) -> None:
            while True:
                await trio.sleep(1)
                self.table.pot += 1

    room = await edge_room(Background)
    (ana,) = await room.join("ana")
    await trio.sleep(2.5)
    assert ana.state.table.pot == 2
    room.room.table.phase = "over"
    room.room.share()
    await trio.sleep(0.1)
    assert ana.state.table.phase == "over"


async def test_a_block_holds_changes_back(edge_room: EdgeRoom) -> None:
    """With `changing`, clients see all changes of a block together, also if the block waits."""

    class Slow(edge.Room[Bet, Betted]):
        table = edge.shared(Table)

        async def run(self) -> None:
            async for _ in self.listen(Bet):
                with self.changing():
                    self.table.pot = 1
                    await trio.sleep(5)
                    self.table.phase = "done"

    room = await edge_room(Slow)
    (ana,) = await room.join("ana")
    ana.send(Bet(1))
    await trio.sleep(3)
    assert ana.state.table.pot == 0
    (ben,) = await room.join("ben")  # a client that joins meanwhile waits for the end of the block
    assert trio.current_time() == pytest.approx(5)
    assert ana.state.table == ben.state.table == Table("done", 1)


async def test_the_last_changes_come_before_the_end(edge_room: EdgeRoom) -> None:
    """A client has the changes that the room made just before it closed, or kicked the client."""

    class Ending(edge.Room[Bet, Betted]):
        table = edge.shared(Table)

        async def run(self) -> None:
            async for player, bet in self.listen(Bet):
                self.table.pot = bet.amount
                if bet.amount == 7:
                    player.kick("cheat")
                if bet.amount == 8:
                    return

    room = await edge_room(Ending)
    ana, ben = await room.join("ana", "ben")
    ana.send(Bet(7))
    await ana.wait_status(Status.CLOSED)
    assert ana.state.table.pot == 7
    ben.send(Bet(8))
    await ben.wait_status(Status.CLOSED)
    assert ben.state.table.pot == 8


@pytest.mark.parametrize("where", ["table", "view"])
async def test_a_document_that_cannot_be_sent_closes_the_room(
    edge_app: EdgeApp, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    """A wrong value in a document, or an error in a view, closes the room as crashed, and the log has the path."""

    def view(table: Table, player: Any) -> Seen:
        return Seen({"x": 1 // table.pot}) if table.phase == "over" else Seen()

    class Wrong(edge.Room[Bet, Betted]):
        table = edge.shared(Table)
        seen = edge.shared(Table, view=view)

        async def run(self) -> None:
            async for _ in self.listen(Bet):
                if where == "table":
                    self.table.pot = "many"  # type: ignore[assignment]
                else:
                    self.seen.phase = "over"

    app = await edge_app(edge.App({"wrong": Wrong}))
    app.expect_crash(f"the shared document {'table' if where == 'table' else 'seen'!r} cannot be sent")
    ana = await app.join("/rooms/wrong/one", name="ana")
    ana.send(Bet(1))
    await ana.wait_status(Status.AWAY)
    assert ana.lost is not None
    assert ana.lost.code is edge.Code.ROOM_CRASHED
    (error,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert error.exc_info is not None
    text = "Table.pot: expected a whole number, not 'many'" if where == "table" else "division"
    assert text in str(error.exc_info[1])


def test_mistakes_in_declarations() -> None:
    """A mistake in a declaration is an error when the room class is defined."""

    @attrs.define
    class Needs:
        name: str

    @attrs.define
    class Wrong:
        pot: int = "none"  # type: ignore[assignment]

    def unannotated(table: Table, player: Any):  # type: ignore[no-untyped-def]
        return Seen()

    def define(cls: Any, **options: Any) -> None:
        class Mistaken(edge.Room[Bet, Betted]):
            table = edge.shared(cls, **options)

    for cls, options, text in (
        (int, {}, "give an attrs class"),
        (Needs, {}, "give Needs.name a default"),
        (Table, {"view": unannotated}, "annotate the view with the attrs class"),
        (Table, {"view": near, "each": True}, "needs no view"),
        (Table, {"view": lambda table: Seen()}, "called with the document and a player"),
        (Wrong, {}, "the defaults do not fit: Wrong.pot: expected a whole number"),
        (Table(), {}, "give an attrs class"),
    ):
        with pytest.raises(TypeError, match=text):
            define(cls, **options)

    declared = edge.shared(Table)
    with pytest.raises(TypeError, match="has another name already"):

        class Twice(edge.Room[Bet, Betted]):
            table = declared
            again = declared


def test_documents_can_be_replaced() -> None:
    """A document can be assigned, but only an object of its class."""
    room = Poker()
    room.table = Table("over")
    assert room.table.phase == "over"
    with pytest.raises(TypeError, match="table is a Table"):
        room.table = Hand()  # type: ignore[assignment]
    with pytest.raises(AttributeError, match=r"set hand\[player\]"):
        room.hand = Hand()
    with pytest.raises(TypeError, match=r"hand\[...\] needs a Player, not 'ana'"):
        room.hand["ana"]


def test_patches_that_come_while_a_write_waits_become_one_document() -> None:
    """While a write waits, an outbox keeps no patches. At the next write, it sends the document whole, before the
    events that came meanwhile, and the patches that come later fit it."""
    outbox, newest = Outbox(JSON, Limits()), [0]

    def patch() -> Outgoing:
        newest[0] += 1
        return outgoing_patch("table", [newest[0], [{"pot": newest[0]}]], whole)

    def whole(more: bool) -> Outgoing:
        return outgoing_patch("table", [newest[0], None, {"pot": newest[0]}], whole, more=more)

    bet = outgoing_event(Bet(1), event_type(Bet))
    outbox.put(patch())
    first = outbox.take()
    outbox.writing = True
    for _ in range(1000):
        outbox.put(patch())
    assert len(outbox) == 0
    outbox.put(bet)
    for _ in range(1000):
        outbox.put(patch())
    assert [JSON.decode(frame) for frame in first] == [["^table", [1, [{"pot": 1}]]]]
    outbox.writing = False
    outbox.put(patch())
    outbox.put(bet)
    assert [JSON.decode(frame) for frame in outbox.take()] == [
        ["^table", [2002, None, {"pot": 2002}]],
        ["Bet", {"amount": 1}],
        ["Bet", {"amount": 1}],
    ]
    outbox.put(patch())
    assert [JSON.decode(frame) for frame in outbox.take()] == [["^table", [2003, [{"pot": 2003}]]]]


class Busy(edge.Room[Bet, Betted]):
    """Changes a document a hundred times a second, and sends two events a second."""

    table = edge.shared(Table)

    async def run(self) -> None:
        self.table.log = ["x" * 1000]
        async for step in self.ticks(hz=100):
            self.table.pot = step.number
            if step.number % 50 == 0:
                self.broadcast(Betted(step.number))


async def test_a_client_that_does_not_read_gets_the_newest_document(edge_app: EdgeApp) -> None:
    """What waits for a slow client is bounded by the size of the document, and the client stays connected."""
    app = await edge_app(edge.App({"busy": Busy}))
    ana = await app.join("/rooms/busy/one", name="ana")
    ben = await app.join("/rooms/busy/one", name="ben")
    (seat, _) = [player.seat for player in runtime_of(app.room("busy/one")).players]
    assert isinstance(seat, HeldSeat)
    ana.link.reading = False
    await trio.sleep(20)  # twenty thousand patches of more than a hundred bytes
    assert seat.outbox is not None
    assert seat.outbox.waiting_bytes < 2_000
    assert ben.state.table.pot > 1900
    ana.link.reading = True
    await ana.wait_state(lambda state: state.table.pot > 1900)
    assert (ana.status, ana.lost) == (Status.OPEN, None)


def make_two(broker: Broker) -> edge.App:
    sessions = edge.Sessions(keys=edge.Keys("a secret of two servers under test"))
    return edge.App({"poker": Poker}, cluster=edge.Cluster(broker), sessions=sessions)


@seeds(5)
@pytest.mark.parametrize("transport", [*TransportKind])
async def test_documents_across_servers(edge_app: EdgeApp, transport: TransportKind) -> None:
    """A client mirrors the documents of a room on another server, on every transport."""
    app = await edge_app(make_two, servers=2)
    ana = await app.join("/rooms/poker/one", name="ana", server=0, transport=transport)
    ben = await app.join("/rooms/poker/one", name="ben", server=1, transport=transport, codec=MESSAGEPACK)
    assert ben.state.hand == Hand(["card of ben"])
    ana.send(Bet(4))
    await ben.wait_state(lambda state: state.table.seats["ana"].bet == 4)
    if transport is TransportKind.WEBSOCKET:  # the other transports survive a cut
        ben.drop()
    ana.send(Bet(5))
    if transport is TransportKind.WEBSOCKET:
        await ben.resume()
    await ben.wait_state(lambda state: state.table.pot == 9)


@seeds(10)
async def test_no_secret_of_a_player_is_in_the_bytes_for_another(
    edge_room: EdgeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames that are written for a client contain its own cards, and no card of another player."""
    written: dict[str, str] = {}
    take = Outbox.take

    def noting_take(outbox: Outbox) -> Any:
        frames = take(outbox)
        for player in room.runtime.players:
            if getattr(player.seat, "outbox", None) is outbox:
                written[player.name] = written.get(player.name, "") + "".join(map(str, frames))
        return frames

    monkeypatch.setattr(Outbox, "take", noting_take)
    room = await edge_room(Poker)
    clients = await room.join("ana", "ben", "cyn")
    await trio.sleep(1)
    for client in clients:
        client.send(Bet(1))
        (player,) = (player for player in room.room.players if player.name == client.name)
        room.room.hand[player].cards += [f"second card of {client.name}", "x"]
        room.room.share()
    clients[1].drop()
    await clients[1].resume()
    await trio.sleep(1)
    assert clients[1].state.hand.cards == ["card of ben", "second card of ben", "x"]
    for name, text in written.items():
        for other in ("ana", "ben", "cyn"):
            assert (f"second card of {other}" in text) == (other == name)
            assert (f"card of {other}" in text) == (other == name)


async def test_patches_with_a_pace(edge_room: EdgeRoom) -> None:
    """With `patch_seconds`, the changes of this time are one patch, and `share` sends them at once."""

    class Paced(Busy):
        patch_seconds = 0.5

    room = await edge_room(Paced)
    (ana,) = await room.join("ana")
    versions = []
    update = ana._update

    def noting_update(message: Any) -> None:
        versions.append(message.body[0])
        update(message)

    ana._update = noting_update  # type: ignore[method-assign]
    await trio.sleep(10.255)  # between two ticks
    assert 18 <= len(versions) <= 22
    assert ana.state.table.pot > 950
    room.room.share()
    await trio.sleep(0.001)
    assert ana.state.table.pot == room.room.table.pot


def test_a_pace_that_is_no_number_of_seconds() -> None:
    """A wrong `patch_seconds` is an error at the definition."""
    with pytest.raises(TypeError, match="patch_seconds is -1"):

        class Mistaken(Busy):
            patch_seconds = -1


class Saved(edge.Room[Bet | Move, Betted]):
    """A room whose whole state is shared."""

    persistent = True
    table = edge.shared(Table)
    hand = edge.shared(Hand, each=True)
    world = edge.shared(World, view=near)

    async def player(self, player: edge.Player[Bet | Move, Betted]) -> None:
        if not player.restored:
            self.hand[player].cards.append(f"card of {player.name}")
        async for event in player:
            match event:
                case Bet(amount):
                    self.table.pot += amount
                    self.hand[player].cards.append(f"{amount}")
                    player.reply(event, Betted(self.table.pot))
                case Move(to):
                    self.world.positions[player.name] = to


def make_saved(broker: Broker) -> edge.App:
    sessions = edge.Sessions(keys=edge.Keys("a secret of two servers under test"))
    return edge.App({"saved": Saved}, cluster=edge.Cluster(broker), sessions=sessions)


@seeds(20)
async def test_another_server_restores_the_documents(edge_app: EdgeApp) -> None:
    """A room with `persistent` continues on another server with its documents and seats, and each mirror with it."""
    app = await edge_app(make_saved, servers=2)
    ana = await app.join("/rooms/saved/one", name="ana", server=0)
    ben = await app.join("/rooms/saved/one", name="ben", server=1)
    for amount in range(1, 4):
        assert (await ana.request(Bet(amount), Betted)).pot == sum(range(amount + 1))
    ben.send(Move(7))
    await ana.wait_state(lambda state: state.world.positions == {"ben": 7})
    await trio.sleep(1)
    (home,) = [server for server in (0, 1) if app.rooms(server)]
    await app.stop(home)
    for client in (ana, ben):
        await client.resume(server=1 - home)
        assert client.welcome is not None
        assert client.welcome.resumed
    assert ana.state.table.pot == 6
    assert ana.state.hand.cards == ["card of ana", "1", "2", "3"]
    assert ben.state.hand.cards == ["card of ben"]
    assert ben.state.world.positions == {"ben": 7}
    assert (await ben.request(Bet(4), Betted)).pot == 10
    await ana.wait_state(lambda state: state.table.pot == 10)
    await app.start(home)


def test_a_persistent_room_needs_something_to_restore() -> None:
    """A room class with `persistent`, and without documents, is an error at the definition."""
    with pytest.raises(TypeError, match="declares no shared documents"):

        class Nothing(edge.Room[Bet, Betted]):
            persistent = True

    with pytest.raises(TypeError, match="has facts and is persistent"):

        class Facts(Saved):
            facts = Bet

            def apply(self, fact: Bet) -> None:
                self.table.pot += fact.amount

    with pytest.raises(TypeError, match="make it True or False"):

        class Odd(Saved):
            persistent = 1  # type: ignore[assignment]


@seeds(20)
async def test_documents_change_together(edge_room: EdgeRoom) -> None:
    """The changes of one step in several documents reach a client together, whatever the order of the declarations."""

    class Both(edge.Room[Bet, Betted]):
        first = edge.shared(Table)
        hand = edge.shared(Hand, each=True)
        last = edge.shared(Table)

        async def run(self) -> None:
            while True:
                await trio.sleep(1)
                with self.changing():
                    self.first.pot += 1
                    await trio.lowlevel.checkpoint()
                    self.last.pot = self.first.pot
                    for player in self.players:
                        self.hand[player].cards = [str(self.first.pot)]

    room = await edge_room(Both)
    ana, _ = await room.join("ana", "ben")
    for number in range(1, 10):
        await ana.wait_state(lambda state: state.first.pot == number)  # noqa: B023
        assert (ana.state.last.pot, ana.state.hand.cards) == (number, [str(number)])
        await ana.wait_state(lambda state: state.hand.cards == [str(number + 1)])  # noqa: B023
        assert (ana.state.first.pot, ana.state.last.pot) == (number + 1, number + 1)
        if number == 5:
            return


async def test_a_resumed_client_has_the_documents_before_the_repeated_events(edge_room: EdgeRoom) -> None:
    """At each event that a resume repeats, a client has the changes that the room made before the event."""
    room = await edge_room(Poker)
    ana, ben = await room.join("ana", "ben")
    heard: list[bool] = []
    give = ben._give

    def note(event: Any) -> None:
        heard.append(ben.state.table.pot >= event.pot)
        give(event)

    ben._give = note  # type: ignore[method-assign]
    ben.drop()
    for _ in range(5):
        ana.send(Bet(1))
        await trio.sleep(1)
    await ben.resume()
    await trio.sleep(1)
    assert heard == [True] * 5


async def test_values_that_only_a_reader_would_refuse(edge_app: EdgeApp) -> None:
    """A document that has become too deep, or that breaks a validator without an assignment, closes the room."""

    @attrs.define
    class Node:
        inner: list[edge.Json] = attrs.field(factory=list)
        few: list[int] = attrs.field(factory=list, validator=attrs.validators.max_len(2))

    class Growing(edge.Room[Bet, Betted]):
        node = edge.shared(Node)

        async def run(self) -> None:
            async for _, bet in self.listen(Bet):
                if bet.amount == 0:
                    self.node.few.extend([1, 2, 3])
                for _ in range(bet.amount):
                    self.node.inner = [self.node.inner]

    app = await edge_app(edge.App({"growing": Growing}))
    app.expect_crash("the shared document 'node' cannot be sent")
    for amount in (0, 40):
        ana = await app.join(f"/rooms/growing/number{amount}", name="ana")
        ana.send(Bet(amount))
        await ana.wait_status(Status.AWAY, Status.CLOSED)
        assert ana.lost is not None
        assert ana.lost.code is edge.Code.ROOM_CRASHED


@pytest.mark.parametrize("ends", [False, True])
def test_a_slow_client_gets_no_document_that_the_journal_does_not_have(ends: bool) -> None:
    """A document is sent whole only once the journal has it, and the events after it wait. A client that is sent to
    another server does not get it."""

    @attrs.define
    class Documents:
        is_ahead: bool = True

    def whole(more: bool) -> Outgoing:
        return outgoing_patch("table", [2, None, {"pot": 2}], whole, more=more)

    outbox, documents = Outbox(JSON, Limits()), Documents()
    outbox.sharing = documents
    outbox.writing = True
    outbox.put(outgoing_patch("table", [2, [{"pot": 2}]], whole))
    outbox.put(outgoing_event(Bet(1), event_type(Bet)))
    outbox.writing = False
    outbox.put_first("a repeated frame")
    if ends:
        outbox.end(edge.Code.MOVED)
        assert [JSON.decode(frame) for frame in outbox.take()[1:]] == [["Bet", {"amount": 1}]]
        return
    assert outbox.take() == ["a repeated frame"]
    assert outbox.take() == []
    documents.is_ahead = False
    outbox.wake_documents()
    assert outbox.ready
    frames = [JSON.decode(frame) for frame in outbox.take()]
    assert frames == [["^table", [2, None, {"pot": 2}]], ["Bet", {"amount": 1}]]


async def test_a_patch_that_does_not_fit_is_counted_and_heals(edge_room: EdgeRoom) -> None:
    """A client with a wrong mirror ends the connection, and gets the documents whole. The server counts this, and all
    patches and documents."""
    room = await edge_room(Poker)
    (ana,) = await room.join("ana")
    counters = room.runtime.counters
    assert (counters.patches, counters.patches_unfit) == (3, 0)
    mirror = ana._mirrors.mirror("table")
    assert mirror is not None
    mirror.version -= 1
    ana.send(Bet(3))
    await ana.wait_status(Status.AWAY)
    await ana.resume()
    await ana.wait_state(lambda state: state.table.pot == 3)
    assert counters.patches_unfit == 1
    assert counters.patches >= 7


async def test_a_document_of_each_player_needs_the_player(edge_room: EdgeRoom) -> None:
    """A field of the documents of all players is an error that says what to write, when it is set and when it is
    read."""
    room = await edge_room(Poker)
    await room.join("ana")
    with pytest.raises(AttributeError, match=r"write hand\[player\].cards"):
        room.room.hand.cards = []  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"write hand\[player\].cards"):
        assert room.room.hand.cards  # type: ignore[attr-defined]


class Ending(edge.Room[Bet, Betted]):
    """Changes documents, sends an event, and ends the player or the room, in one step."""

    persistent = True
    table = edge.shared(Table)
    hand = edge.shared(Hand, each=True)

    async def player(self, player: edge.Player[Bet, Betted]) -> None:
        async for event in player:
            self.table.pot = event.amount
            self.hand[player].cards = ["the last"]
            self.broadcast(Betted(event.amount))
            match event.amount:
                case 1:
                    return
                case 2:
                    player.kick()
                case 3:
                    self.close()


@pytest.mark.parametrize("how", [1, 2, 3])
async def test_the_last_changes_of_a_persistent_room_come_before_its_last_event(edge_app: EdgeApp, how: int) -> None:
    """The player who leaves and all others get the changes that were made in the same step, before the events of the
    step."""

    def make(broker: Broker) -> edge.App:
        return edge.App({"ending": Ending}, cluster=edge.Cluster(broker), sessions=one_secret())

    app = await edge_app(make)
    ana, ben = [await app.join("/rooms/ending/one", name=name) for name in ("ana", "ben")]
    ana.send(Bet(how))
    for client in (ana, ben):
        assert await client.receive(Betted) == Betted(how)
        assert client.state.table.pot == how
    assert ana.state.hand.cards == ["the last"]


class Slowly(edge.Room[Bet, Betted]):
    """Changes a document, sends an event, and then holds a change for two seconds. Replies to bets meanwhile."""

    persistent = True
    table = edge.shared(Table)

    async def player(self, player: edge.Player[Bet, Betted]) -> None:
        async for event in player:
            self.table.pot += event.amount
            self.broadcast(Betted(self.table.pot))
            if event.amount == 10:
                with self.changing():
                    self.table.phase = "half"
                    await trio.sleep(2)
                    self.table.phase = "whole"


@seeds(10)
async def test_an_event_of_a_persistent_room_never_precedes_a_change_before_it(edge_app: EdgeApp) -> None:
    """While a block of `changing` is open, nothing is written to the journal: the events of all players wait for its
    end, with the changes before them, and no client gets half of the block."""

    def make(broker: Broker) -> edge.App:
        return edge.App({"slowly": Slowly}, cluster=edge.Cluster(broker), sessions=one_secret())

    app = await edge_app(make)
    ana, ben = [await app.join("/rooms/slowly/one", name=name) for name in ("ana", "ben")]
    ana.send(Bet(10))
    await trio.sleep(0.5)
    for _ in range(3):
        ben.send(Bet(1))
    await trio.sleep(0.5)
    assert ben.waiting == 3, "the journal does not have what the room has made of these events"
    for pot in range(10, 14):
        assert await ben.receive(Betted) == Betted(pot)
        assert (ben.state.table.pot, ben.state.table.phase) == (13, "whole")
    await trio.sleep(1)
    assert ben.waiting == 0


async def test_share_in_another_thread_is_an_error(edge_room: EdgeRoom) -> None:
    """`share` must be called in the room's thread. The error says so, and sharing continues."""
    room = await edge_room(Poker)
    (ana,) = await room.join("ana")
    room.room.table.pot = 7
    with pytest.raises(RuntimeError, match=r"use trio.from_thread.run_sync\(room.share\)"):
        await trio.to_thread.run_sync(room.room.share)
    await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(room.room.share))
    await ana.wait_state(lambda state: state.table.pot == 7)


async def test_a_mirror_says_what_is_wrong(edge_room: EdgeRoom) -> None:
    """A mirror cannot be changed, and a document that does not fit its class is an error that says so."""
    room = await edge_room(Poker)
    (ana,) = await room.join("ana")
    with pytest.raises(AttributeError, match="a mirror cannot be changed"):
        ana.state.table = Table()
    with pytest.raises(AttributeError, match="knows no shared document 'tabel': it knows table, hand, world"):
        assert ana.state.tabel
    with pytest.raises(TypeError, match=r"such as Poker.table, not 'table'"):
        assert ana.state["table"]  # type: ignore[index]
    assert "hand=Hand(cards=['card of ana'])" in repr(ana.state)


class NoJournal(Journal):
    """A journal that writes nothing, and has no entry yet."""

    concluded = False
    written_number = 0

    def mark_changed(self, member: Any = None) -> None:
        pass

    def note_left(self, member: Any) -> None:
        pass

    def note_fact(self, fact: Any) -> None:
        pass

    def note_end(self, seat: Any) -> None:
        pass

    def conclude(self) -> None:
        pass

    async def wait_written(self) -> None:
        pass

    async def close(self) -> None:
        pass


def test_a_slow_client_of_a_persistent_room_gets_no_patch_twice() -> None:
    """Patches that wait for the journal are not sent after a whole document that contains them."""
    seat, newest = PersistentSeat(NoJournal(), edge.Session("u1"), "ana", Limits()), [0]
    seat.player = None  # type: ignore[assignment]
    outbox = seat.outbox = Outbox(JSON, Limits())

    def send_patch() -> None:
        newest[0] += 1
        seat.send(outgoing_patch("table", [newest[0], [{"pot": newest[0]}]], whole))

    def whole(more: bool) -> Outgoing:
        return outgoing_patch("table", [newest[0], None, {"pot": newest[0]}], whole, more=more)

    bet = outgoing_event(Bet(1), event_type(Bet))
    seat.send(bet)
    send_patch()
    seat.send(bet)
    send_patch()  # both patches wait for the events before them, which the journal does not have
    assert outbox.take() == []
    outbox.writing = True
    seat._release(1)
    send_patch()
    outbox.writing = False
    frames = [JSON.decode(frame) for frame in outbox.take()]
    seat._release(1)
    send_patch()
    frames += [JSON.decode(frame) for frame in outbox.take()]
    assert frames == [
        ["^table", [3, None, {"pot": 3}]],
        ["Bet", {"amount": 1}],
        ["Bet", {"amount": 1}],
        ["^table", [4, [{"pot": 4}]]],
    ]


class Crossing(edge.Room[Bet, Betted]):
    """Moves an amount from the table to a hand, which takes a second."""

    persistent = True
    table = edge.shared(Table)
    hand = edge.shared(Hand, each=True)

    async def player(self, player: edge.Player[Bet, Betted]) -> None:
        async for bet in player:
            with self.changing():
                self.table.pot -= bet.amount
                await trio.sleep(1)
                self.hand[player].cards.append(str(bet.amount))
            player.reply(bet, Betted(self.table.pot))


def make_crossing(broker: Broker) -> edge.App:
    sessions = edge.Sessions(keys=edge.Keys("a secret of two servers under test"))
    return edge.App({"crossing": Crossing}, cluster=edge.Cluster(broker), sessions=sessions)


@seeds(10)
async def test_half_of_a_block_is_not_restored(edge_app: EdgeApp) -> None:
    """If a server stops while a room holds changes back, another server restores the documents from before the
    block."""
    app = await edge_app(make_crossing, servers=2)
    ana = await app.join("/rooms/crossing/one", name="ana", server=0)
    assert (await ana.request(Bet(2), Betted)).pot == -2
    await trio.sleep(1)
    ana.send(Bet(3))
    await trio.sleep(0.5)
    await app.stop(0)
    await ana.resume(server=1)
    await trio.sleep(0.5)
    assert (ana.state.table.pot, ana.state.hand.cards) in ((-2, ["2"]), (-5, ["2", "3"]))
    await app.start(0)


class Greedy(Saved):
    """Gives a new player no cards."""

    async def player(self, player: edge.Player[Bet | Move, Betted]) -> None:
        async for event in player.listen(Bet):
            self.hand[player].cards.append(str(event.amount))
            player.reply(event, Betted(0))


def make_greedy(broker: Broker) -> edge.App:
    sessions = edge.Sessions(keys=edge.Keys("a secret of two servers under test"))
    return edge.App({"greedy": Greedy}, cluster=edge.Cluster(broker), sessions=sessions)


async def test_a_player_who_comes_again_has_a_new_document(edge_room: EdgeRoom) -> None:
    """The document of a player who left is not restored for a new player with the same session, not even if the player
    left and came again between two entries of the journal."""
    room, entries = await edge_room(Saved), list[bytes]()
    journal = RoomJournal(room.runtime, lambda journal: None)
    room.runtime.journal = journal

    def write() -> list[str]:
        """Write an entry, and return the cards that the journal has for the player; an empty list if it has none."""
        entries.append(journal.next_entry().data)
        journal.note_written()
        cards: list[str] = read_entries(entries).documents.get("ana", {}).get("hand", {}).get("cards", [])
        return cards

    for number in range(3):
        member = room.runtime.take_seat(StubSeat("ana"))
        await trio.testing.wait_all_tasks_blocked()
        (player,) = room.room.players
        hand = room.room.hand[player]
        hand.cards = [f"card {number}"]
        assert write() == [f"card {number}"]
        hand.cards.append("another card")
        assert write() == [f"card {number}", "another card"]
        member.leave(edge.Code.LEFT)
        await trio.testing.wait_all_tasks_blocked()
    assert write() == []
    room.room.close()


@attrs.define
class OldSeat:
    name: str = ""


def test_a_client_reports_the_fields_that_it_does_not_know_once() -> None:
    """The mirror of an older client has no new fields, at any depth, and the client reports the first one."""
    unusable: list[InvalidEvent] = []
    ignored: list[str] = []
    table = MirrorTable(
        [MirroredDocument("seat", "seat", OldSeat)],
        "",
        lambda fault, about: unusable.append(fault),
        lambda fault, about: ignored.append(f"{about}: {fault}"),
    )
    table.receive(Patch("seat", [1, None, {"name": "ana", "bet": 3}], False))
    table.receive(Patch("seat", [2, [{"name": "ben", "bet": 4}]], False))
    assert table.documents.seat == OldSeat("ben")
    assert ignored == ["^seat: unknown field 'bet'"]
    table.receive(Patch("seat", [3, [{"name": 5}]], False))
    assert table.documents.seat == OldSeat("ben")
    assert [str(fault) for fault in unusable] == ["name: expected text"]
