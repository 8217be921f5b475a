"""How a room opens and admits: `setup`, join options, `authorize`, and the time limits of these."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge import Code
from edge.rooms.directory import Directory
from edge.rooms.opening import read_options
from edge.testing import EdgeApp, EdgeRoom, seeds
from tests.small_rooms import Said, Say


@attrs.frozen
class Table:
    stakes: int = 1
    color: str = "green"


class Opening(edge.Room[Say, Said]):
    """Records what happens, in order. `setup` takes two seconds."""

    join_options = Table

    def __init__(self, name: str = "", *, options: Table | None = None) -> None:
        self.made_with = name, options
        self.happened: list[str] = []

    async def setup(self) -> None:
        self.happened.append("setup begins")
        await trio.sleep(2)
        self.happened.append("setup ends")

    async def authorize(self, applicant: edge.Applicant) -> None:
        self.happened.append(f"authorize {applicant.name}")
        await trio.sleep(1)
        if applicant.name == "mallory":
            raise edge.Refused("not you")

    def admit(self, applicant: edge.Applicant) -> None:
        self.happened.append(f"admit {applicant.name} with {applicant.options}")

    def greet(self, player: edge.Player[Say, Said]) -> None:
        self.happened.append(f"greet {player.name}")

    async def run(self) -> None:
        self.happened.append("run")
        await trio.sleep_forever()

    async def player(self, player: edge.Player[Say, Said]) -> None:
        self.happened.append(f"player {player.name} with {player.options}")
        await trio.sleep_forever()


async def refusal(join: Callable[[], Awaitable[object]]) -> edge.Disconnected:
    with pytest.raises(edge.Disconnected) as caught:
        await join()
    return caught.value


@seeds(20)
async def test_joins_wait_for_setup_and_authorize(edge_room: EdgeRoom) -> None:
    """A client that joins while the room is set up waits, is then authorized, and then admitted; `run` starts after
    `setup`."""
    room = await edge_room(Opening)
    await room.join("ana")
    assert trio.current_time() == 3
    assert sorted(room.room.happened[2:4]) == ["authorize ana", "run"]
    del room.room.happened[2:4]
    options = "Table(stakes=1, color='green')"
    assert room.room.happened == [
        "setup begins",
        "setup ends",
        f"admit ana with {options}",
        "greet ana",
        f"player ana with {options}",
    ]


async def test_authorize_refuses_before_any_seat(edge_room: EdgeRoom) -> None:
    """A client that `authorize` refuses is told why, and gets no seat; `admit` is not called for it."""
    room = await edge_room(Opening)
    refused = await refusal(partial(room.join, "mallory"))
    assert (refused.code, refused.reason) == (Code.REFUSED, "not you")
    assert not any("admit" in each for each in room.room.happened)
    assert len(room.room.seats) == 0


async def test_a_client_that_holds_a_seat_is_not_authorized_again(edge_room: EdgeRoom) -> None:
    """A reconnect and a second tab of the session need no new authorization."""
    room = await edge_room(Opening)
    (ana,) = await room.join(session=edge.Session("u1", "ana"))
    ana.drop()
    await ana.resume()
    await room.join(session=edge.Session("u1", "ana"))
    assert room.room.happened.count("authorize ana") == 1


@pytest.mark.parametrize("fault", [ValueError("a bug"), edge.Refused("no such board", Code.NO_ROOM)])
async def test_setup_fails(edge_room: EdgeRoom, fault: Exception) -> None:
    """An exception of `setup` closes the room, and its clients are told. A `Refused` is no crash: the clients get its
    code and message."""

    class Failing(Opening):
        async def setup(self) -> None:
            await trio.sleep(1)
            raise fault

    room = await edge_room(Failing)
    if isinstance(fault, ValueError):
        room.expect_crash("setup() raised")
    refusals = []

    async def join(name: str) -> None:
        # a code of 41xx makes the client connect again, so only its first refusal is of interest
        with trio.move_on_after(1.5):
            refusals.append((await refusal(partial(room.join, name))).code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(join, "ana")
        nursery.start_soon(join, "ben")
    await room.room.wait_closed()
    assert room.runtime.ending is not None
    expected = Code.ROOM_CRASHED if isinstance(fault, ValueError) else Code.NO_ROOM
    assert room.runtime.ending[0] is expected
    assert room.room.happened == []
    assert refusals == [expected, expected]


async def test_setup_takes_too_long(edge_room: EdgeRoom) -> None:
    """A `setup` that exceeds `setup_seconds` is cancelled, and the room closes as crashed."""

    class Slow(Opening):
        setup_seconds = 3

        async def setup(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                self.happened.append("cancelled")

    room = await edge_room(Slow)
    room.expect_crash("setup() did not return within 3 s")
    await room.room.wait_closed()
    assert trio.current_time() == 3
    assert room.room.happened == ["cancelled"]


async def test_a_room_that_is_closed_during_setup(edge_room: EdgeRoom) -> None:
    """`Room.close` cancels `setup`, and a client that waited gets the code of the close."""
    room = await edge_room(Opening)
    async with trio.open_nursery() as nursery:

        async def join() -> None:
            with trio.move_on_after(1.5):
                assert (await refusal(partial(room.join, "ana"))).code is Code.ROOM_CLOSED

        nursery.start_soon(join)
        await trio.sleep(1)
        room.room.close()
    assert room.room.happened == ["setup begins"]


async def test_authorize_takes_too_long(edge_room: EdgeRoom, caplog: pytest.LogCaptureFixture) -> None:
    """An `authorize` that exceeds `authorize_seconds` is cancelled and logged, and the client is told to try again."""

    class Slow(Opening):
        authorize_seconds = 4

        async def authorize(self, applicant: edge.Applicant) -> None:
            await trio.sleep_forever()

    room = await edge_room(Slow)
    refused = await refusal(partial(room.join, "ana"))
    assert refused.code is Code.INTERNAL_ERROR
    assert "authorize() of 'ana' did not return within 4 s" in caplog.text


async def test_authorize_raises(edge_room: EdgeRoom) -> None:
    """An exception of `authorize` is logged, and refuses only that applicant, without its text."""

    class Broken(Opening):
        async def authorize(self, applicant: edge.Applicant) -> None:
            if applicant.name == "ana":
                raise ValueError("secret")

    room = await edge_room(Broken)
    room.expect_crash("authorize() raised")
    refused = await refusal(partial(room.join, "ana"))
    assert (refused.code, refused.reason) == (Code.REFUSED, "an error in the room's code")
    await room.join("ben")


async def test_a_refusal_in_a_nursery_of_the_authors(edge_room: EdgeRoom) -> None:
    """A `Refused` that a nursery has put into a group refuses the client like any other."""

    class Grouped(Opening):
        async def authorize(self, applicant: edge.Applicant) -> None:
            async def ask() -> None:
                await trio.sleep(0.1)
                raise edge.Refused("the service says no")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)

    room = await edge_room(Grouped)
    assert (await refusal(partial(room.join, "ana"))).reason == "the service says no"


async def test_a_room_that_closes_during_authorize(edge_room: EdgeRoom) -> None:
    """`Room.close` cancels a running `authorize`."""
    cancelled = []

    class Slow(Opening):
        async def authorize(self, applicant: edge.Applicant) -> None:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled.append(trio.current_time())
                raise

    room = await edge_room(Slow)
    async with trio.open_nursery() as nursery:

        async def join() -> None:
            with trio.move_on_after(2):
                assert (await refusal(partial(room.join, "ana"))).code is Code.CLOSING

        nursery.start_soon(join)
        await trio.sleep(3)
        room.room.close()
        await wait_all_tasks_blocked()
    assert cancelled == [3]


async def test_a_client_waits_longer_than_its_own_limit(edge_room: EdgeRoom) -> None:
    """A server pings a client whose welcome takes long, so that the client does not give up and connect again."""

    class Slow(Opening):
        setup_seconds = authorize_seconds = 100

        async def setup(self) -> None:
            await trio.sleep(50)

        async def authorize(self, applicant: edge.Applicant) -> None:
            await trio.sleep(50)

    room = await edge_room(Slow)
    (ana,) = await room.join("ana")
    assert trio.current_time() == 100
    assert ana.lost is None
    assert len(room.room.seats) == 1


async def test_a_client_that_disconnects_while_it_waits(edge_room: EdgeRoom) -> None:
    """A client that has disconnected before its welcome gets no seat, and its `authorize` is cancelled."""

    class Slow(Opening):
        authorize_seconds = 60

        async def authorize(self, applicant: edge.Applicant) -> None:
            await trio.sleep(50)

    room = await edge_room(Slow)
    async with trio.open_nursery() as nursery:

        async def join() -> None:
            assert (await refusal(partial(room.join, "ana"))).code is Code.LOST

        nursery.start_soon(join)
        await trio.sleep(5)
        assert len(room.runtime.entering) == 1
        room.clients[0].drop()
        await trio.sleep(3)
        assert len(room.runtime.entering) == 0
        assert len(room.room.seats) == 0


async def test_options_reach_the_room(edge_room: EdgeRoom) -> None:
    """The options of a client reach `admit` and `player`, as an instance of the class."""
    room = await edge_room(Opening)
    await room.join("ana", options=Table(7, "red"))
    assert room.room.players[0].options == Table(7, "red")
    assert "admit ana with Table(stakes=7, color='red')" in room.room.happened


@attrs.frozen
class OtherTable:
    stakes: str


@attrs.frozen
class Wide:
    text: str


async def test_options_that_do_not_fit(edge_room: EdgeRoom) -> None:
    """Options that do not fit the class are refused with the path of the fault, before any code of the room runs."""
    room = await edge_room(Opening)
    refused = await refusal(partial(room.join, "ana", options=OtherTable("high")))
    assert refused.code is Code.BAD_OPTIONS
    assert refused.reason == "the join options are not valid: stakes: expected a whole number"
    assert "authorize ana" not in room.room.happened
    with pytest.raises(TypeError, match="must be an instance"):
        await room.join("ben", options={"stakes": 1})
    with pytest.raises(ValueError, match="must not be longer than 1024"):
        await room.join("ben", options=Wide("x" * 1100))


async def test_a_room_without_options(edge_room: EdgeRoom) -> None:
    """A room without `join_options` refuses a client that gives some."""

    class Plain(edge.Room[Say, Said]):
        pass

    room = await edge_room(Plain)
    refused = await refusal(partial(room.join, "ana", options=Table()))
    assert refused.code is Code.BAD_OPTIONS


async def test_a_function_that_makes_rooms_gets_name_and_options(edge_room: EdgeRoom) -> None:
    """A function gets the name and the options of the opener. So does a class whose `__init__` has these parameters."""

    def make(name: str, options: Table) -> Opening:
        return Opening(name, options=options)

    for factory in (make, Opening):
        room = await edge_room(factory, name="friday", options=Table(3))
        assert room.room.made_with == ("friday", Table(3))
        assert room.room.name == "friday"


@asynccontextmanager
async def open_directory(**kinds: Callable[..., edge.Room[Any, Any]]) -> AsyncIterator[Directory]:
    directory = Directory(kinds)
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        yield directory
        directory.close()


async def test_the_server_opens_a_room_with_options() -> None:
    """`Directory.open` takes the options, and refuses options that do not fit the annotation of the function."""

    def make(options: Table) -> Opening:
        return Opening(options=options)

    async with open_directory(table=make) as directory:
        room = directory.open("table", "one", options=Table(5))
        assert isinstance(room, Opening)
        assert room.made_with == ("", Table(5))
        with pytest.raises(edge.Refused) as caught:
            directory.open("table", "two", options=OtherTable("high"))
        assert caught.value.code is Code.BAD_OPTIONS
        assert directory.find("table", "two") is None


made: list[Table] = []


class Crashing(Opening):
    async def run(self) -> None:
        await self.seats.wait_minimum()
        await trio.sleep(1)
        raise ValueError("by request")


def make_crashing(options: Table) -> Crashing:
    made.append(options)
    return Crashing(options=options)


def untyped(options):  # type: ignore[no-untyped-def]
    return Opening()


def needy(name: str, level: int) -> Opening:
    return Opening()


def wrong(options: int) -> Opening:
    return Opening()


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (untyped, "annotate it with the class"),
        (needy, "may only need the arguments `name` and `options`"),
        (wrong, "make it an attrs class"),
    ],
)
def test_mistakes_in_functions_are_found_at_the_definition(factory: Any, message: str) -> None:
    """A function whose parameters edge cannot fill is an error when the app is made."""
    with pytest.raises(TypeError, match=message):
        edge.App({"table": factory})
    with pytest.raises(TypeError, match=message):
        Directory({"table": factory})


async def test_events_that_arrive_before_the_player_listens_wait(edge_room: EdgeRoom) -> None:
    """Events that arrive before `player` has first listened are delivered, in order, when it listens. Afterwards, an
    event that no code waits for is refused."""

    class Late(edge.Room[Say, Said]):
        async def player(self, player: edge.Player[Say, Said]) -> None:
            await trio.sleep(2)
            for _ in range(2):
                player.send(Said((await player.receive(Say)).text))
            await trio.sleep(2)
            await player.receive(Say)

    room = await edge_room(Late)
    (ana,) = await room.join("ana")
    ana.send(Say("first"))
    assert await ana.receive(Said) == Said("first")
    ana.send(Say("second"))
    assert await ana.receive(Said) == Said("second")
    ana.send(Say("too early for the last"))
    await trio.sleep(1)
    assert [error.problem for error in ana.errors] == ["not_now"]


@seeds(20)
async def test_a_loop_gets_all_early_events(edge_room: EdgeRoom) -> None:
    """A loop that begins late gets the early events, and then the later ones, in order."""

    class Late(edge.Room[Say, Said]):
        async def player(self, player: edge.Player[Say, Said]) -> None:
            await trio.sleep(2)
            async for event in player.listen(Say):
                player.send(Said(event.text))

    room = await edge_room(Late)
    (ana,) = await room.join("ana")
    for number in range(5):
        ana.send(Say(str(number)))
    await trio.sleep(1.999)
    ana.send(Say("5"))
    await trio.sleep(1)
    assert [(await ana.receive(Said)).text for _ in range(6)] == list("012345")
    assert not ana.errors


@seeds(20)
async def test_two_loops_that_begin_together_get_their_early_events(edge_room: EdgeRoom) -> None:
    """If several loops begin at once, each gets its early events, in order."""
    got: list[Any] = []

    class Late(edge.Room[Say | Said, Said]):
        async def player(self, player: edge.Player[Say | Said, Said]) -> None:
            await trio.sleep(1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.hear, player, Say)
                nursery.start_soon(self.hear, player, Said)

        async def hear(self, player: edge.Player[Say | Said, Said], kind: Any) -> None:
            async for event in player.listen(kind):
                got.append(event)

    room = await edge_room(Late)
    (ana,) = await room.join("ana")
    for number in range(3):
        ana.send(Say(str(number)))
        ana.send(Said(str(number)))
    await trio.sleep(2)
    for kind in (Say, Said):
        assert [each.text for each in got if type(each) is kind] == list("012")
    assert not ana.errors


async def test_setup_that_ignores_its_cancellation(edge_room: EdgeRoom) -> None:
    """Clients do not wait longer than the time limit of `setup`, although a thread of it works on; then the room is
    refused."""

    class Stubborn(edge.Room[Say, Said]):
        setup_seconds = 3

        async def setup(self) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(100)

    room = await edge_room(Stubborn)
    room.expect_crash("setup() did not return within 3 s")
    refused = await refusal(partial(room.join, "ana"))
    assert (refused.code, trio.current_time()) == (Code.ROOM_CRASHED, 4)
    await trio.sleep(100)
    assert room.room.closing


async def test_authorize_that_ignores_its_cancellation(edge_room: EdgeRoom) -> None:
    """An applicant on whom `authorize` decides after its time limit is refused."""

    class Stubborn(edge.Room[Say, Said]):
        authorize_seconds = 3

        async def authorize(self, applicant: edge.Applicant) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(4)

    room = await edge_room(Stubborn)
    assert (await refusal(partial(room.join, "ana"))).code is Code.INTERNAL_ERROR


@seeds(20)
async def test_authorize_does_not_begin_in_a_closing_room(edge_app: EdgeApp) -> None:
    """When the room closes, no further `authorize` begins."""
    begun: list[tuple[str, bool]] = []

    class Closing(edge.Room[Say, Said]):
        async def authorize(self, applicant: edge.Applicant) -> None:
            begun.append((applicant.name, self.closing))
            if applicant.name == "ana":
                self.close("enough")
            else:
                await trio.sleep(4)

    app = await edge_app(lambda: edge.App({"closing": Closing}))

    async def join(name: str) -> None:
        await refusal(partial(app.browser().join, "/rooms/closing/one", name=name))

    with trio.move_on_after(3):
        async with trio.open_nursery() as nursery:
            for name in ("ana", "ben", "eve"):
                nursery.start_soon(join, name)
    assert not any(closing for _, closing in begun)


async def test_an_applicant_keeps_the_room_open(edge_app: EdgeApp) -> None:
    """A room is not idle while `authorize` decides on an applicant."""

    class Slow(edge.Room[Say, Said]):
        async def authorize(self, applicant: edge.Applicant) -> None:
            await trio.sleep(4)

    app = await edge_app(lambda: edge.App({"slow": Slow}, idle=0.5))
    ana = await app.join("/rooms/slow/one", name="ana")
    ana.leave()
    await trio.sleep(5)
    assert app.rooms() == []


async def test_a_refused_opener_may_try_again(edge_app: EdgeApp) -> None:
    """If the client that opens a room with ``create="only"`` is refused, the room closes, so that a second attempt can
    open it. A room with a player stays open."""

    class Locked(edge.Room[Say, Said]):
        async def authorize(self, applicant: edge.Applicant) -> None:
            if applicant.name == "mallory":
                raise edge.Refused("the password is wrong")

        def admit(self, applicant: edge.Applicant) -> None:
            if applicant.name == "eve":
                raise edge.Refused("not you")

    app = await edge_app(lambda: edge.App({"locked": Locked}))

    async def join(name: str) -> object:
        return await app.browser().join("/rooms/locked/one", name=name, create="only")

    for name, reason in (("mallory", "the password is wrong"), ("eve", "not you")):
        assert (await refusal(partial(join, name))).reason == reason
        await trio.sleep(1)
        assert app.rooms() == []
    await join("ana")
    assert (await refusal(partial(join, "mallory"))).code is Code.ROOM_EXISTS
    assert app.rooms() == ["locked/one"]


async def test_setup_that_closes_the_room(edge_room: EdgeRoom) -> None:
    """If `setup` closes the room, clients get its reason, and no other code of the room starts."""

    class Ended(edge.Room[Say, Said]):
        async def setup(self) -> None:
            await trio.sleep(1)
            self.close("the tournament is over")

        async def run(self) -> None:
            raise AssertionError

    room = await edge_room(Ended)
    refused = await refusal(partial(room.join, "ana"))
    assert (refused.code, refused.reason) == (Code.ROOM_CLOSED, "the tournament is over")


def test_long_join_options_are_refused() -> None:
    """The server, too, checks the size of join options."""
    with pytest.raises(edge.Refused, match="longer than 1024 bytes"):
        read_options({"color": "x" * 1100}, Table, "")


async def test_early_events_do_not_wait_for_ever(edge_room: EdgeRoom) -> None:
    """At most 32 early events wait, for at most five seconds after the player's start; the others are refused, and a
    request gets its error."""

    class Deaf(edge.Room[Say, Said]):
        async def player(self, player: edge.Player[Say, Said]) -> None:
            await trio.sleep_forever()

    room = await edge_room(Deaf)
    (ana,) = await room.join("ana")
    for number in range(40):
        ana.send(Say(str(number)))
    await trio.sleep(1)
    assert len(ana.errors) == 8
    await trio.sleep(4.5)
    assert len(ana.errors) == 40
    with pytest.raises(edge.RequestFailed, match="nobody is listening"):
        await ana.request(Say("now"), Said)


async def test_early_events_go_to_a_loop_of_the_room(edge_room: EdgeRoom) -> None:
    """An early event goes to `Room.listen` if that begins before the player's code listens."""

    class Both(edge.Room[Say, Said]):
        async def run(self) -> None:
            await trio.sleep(2)
            async for player, event in self.listen(Say):
                player.send(Said(event.text))

        async def player(self, player: edge.Player[Say, Said]) -> None:
            await trio.sleep_forever()

    room = await edge_room(Both)
    (ana,) = await room.join("ana")
    ana.send(Say("early"))
    assert await ana.receive(Said) == Said("early")
    assert trio.current_time() == 2


@seeds(10)
async def test_a_player_who_leaves_drops_its_early_events(edge_room: EdgeRoom) -> None:
    """The wait of early events ends with their player."""

    class Late(edge.Room[Say, Said]):
        async def player(self, player: edge.Player[Say, Said]) -> None:
            await trio.sleep(3)
            async for event in player:
                player.send(Said(event.text))

    room = await edge_room(Late)
    ana, ben = await room.join("ana", "ben")
    ana.send(Say("early"))
    await trio.sleep(1)
    ana.leave()
    ben.send(Say("hello"))
    assert await ben.receive(Said) == Said("hello")


@pytest.mark.parametrize("where", ["greet", "admit", "authorize"])
@seeds(10)
async def test_a_player_who_is_kicked_before_its_start_never_starts(edge_room: EdgeRoom, where: str) -> None:
    """`kick` in `greet`, or of another player in `admit` or `authorize`, means that `player` is not called."""
    started: list[str] = []

    class Kicking(edge.Room[Say, Said]):
        def kick_all(self) -> None:
            for player in self.players:
                player.kick("not today")

        async def authorize(self, applicant: edge.Applicant) -> None:
            if where == "authorize" and applicant.name == "ben":
                self.kick_all()

        def admit(self, applicant: edge.Applicant) -> None:
            if where == "admit" and applicant.name == "ben":
                self.kick_all()

        def greet(self, player: edge.Player[Say, Said]) -> None:
            if where == "greet" and player.name == "ana":
                player.kick("not today")

        async def player(self, player: edge.Player[Say, Said]) -> None:
            started.append(player.name)
            await trio.sleep_forever()

    room = await edge_room(Kicking)
    async with trio.open_nursery() as nursery:

        async def join_ana() -> None:
            async def play() -> None:
                (ana,) = await room.join("ana")
                await ana.receive()

            assert (await refusal(play)).code is Code.KICKED

        nursery.start_soon(join_ana)
        if where != "greet":
            await room.join("ben")
            await trio.sleep(1)
            room.room.kick_all()
    if where == "greet":
        assert started == []


def clean_up_errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR and "cut short" in each.msg]


async def test_a_clean_up_may_take_as_long_as_the_class_says(
    edge_room: EdgeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    """`cleanup_seconds` is the deadline of `shielded_cleanup`. A block that is cut short is logged with the place at
    which it waited."""
    saved = []

    class Saving(edge.Room[Say, Said]):
        cleanup_seconds = 6

        async def save(self, seconds: float) -> None:
            await trio.sleep(seconds)
            saved.append(seconds)

        async def player(self, player: edge.Player[Say, Said]) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with player.shielded_cleanup():
                    await self.save(5 if player.name == "ana" else 7)

    room = await edge_room(Saving)
    room.expect_crash("cut short")
    ana, ben = await room.join("ana", "ben")
    ana.leave()
    await trio.sleep(10)
    assert (saved, clean_up_errors(caplog)) == ([5], [])
    ben.leave()
    await trio.sleep(10)
    assert saved == [5]
    (error,) = clean_up_errors(caplog)
    assert "player() of seat 1 ('ben'): its clean-up was cut short after 6 s, in save() (" in error
    assert __file__ in error


async def test_an_await_in_a_finally_block_without_a_shield_is_logged(
    edge_room: EdgeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    """An await in a `finally` block that the cancellation cuts short is logged, also in `run`. A block that only closes
    a resource is not."""

    class Forgetful(edge.Room[Say, Said]):
        async def run(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                await self.save()

        async def save(self) -> None:
            await trio.sleep(1)

        async def player(self, player: edge.Player[Say, Said]) -> None:
            send, receive = trio.open_memory_channel[int](0)
            async with send, receive:
                await trio.sleep_forever()

    room = await edge_room(Forgetful)
    room.expect_crash("cut short")
    await room.join("ana")
    room.room.close()
    await room.room.wait_closed()
    (error,) = clean_up_errors(caplog)
    assert "run(): an await in a `finally` block was cut short, in save() (" in error


async def test_a_room_of_the_same_name_does_not_open_before_the_old_one_has_saved() -> None:
    """While a closing room saves, no room of its name is opened."""
    saved: list[float] = []

    class Saving(edge.Room[Say, Said]):
        cleanup_seconds = 5

        async def run(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with self.shielded_cleanup():
                    await trio.sleep(4)
                    saved.append(trio.current_time())

    async with open_directory(saving=Saving) as directory:
        old = directory.open("saving", "one")
        await trio.sleep(1)
        old.close()
        await trio.sleep(1)
        assert directory.open("saving", "one") is old
        await old.wait_closed()
        await trio.testing.wait_all_tasks_blocked()
        assert saved == [5]
        assert directory.open("saving", "one") is not old
