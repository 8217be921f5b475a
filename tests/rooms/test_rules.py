"""The ten rules that rooms guarantee; each test's name has the number of its rule."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked

import edge
from edge import Code, Outcome
from edge.errors import SendOverflow
from edge.protocol.codec import JSON
from edge.rooms.seat import Seat
from edge.testing import MemoryClient, RoomUnderTest, seeds
from edge.transports.memory import open_memory_transports
from tests.rooms.inside import held_seat, open_turn
from tests.small_rooms import Say

Open = Callable[..., Any]


@edge.event("buzz")
class Buzz:
    pass


@edge.event("crash")
class Crash:
    where: str


@edge.event("said")
class Said:
    who: str
    text: str


@edge.event("state", delivery="latest")
class StateOf:
    value: int


@edge.event("cursor", delivery="volatile")
class Cursor:
    x: int


FromPlayer = Say | Buzz | Crash
ToPlayer = Said | StateOf | Cursor
Player = edge.Player[FromPlayer, ToPlayer]


class Chat(edge.Room[FromPlayer, ToPlayer]):
    """Sends each text to all players, reports leaves to them, and logs joins and leaves."""

    seats = edge.Seats(minimum=1, maximum=3, grace=30)

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def admit(self, applicant: edge.Applicant) -> None:
        if applicant.name == "mallory":
            raise edge.Refused("not you")

    async def player(self, player: Player) -> None:
        self.log.append(f"+{player.name}")
        try:
            async for event in player:
                match event:
                    case Say(text):
                        self.broadcast(Said(player.name, text))
                    case Crash():
                        raise RuntimeError("crashed by request")
        finally:
            self.log.append(f"-{player.name}")
            self.broadcast(Said(player.name, "left"))


async def refusal(room: RoomUnderTest[Any], name: str) -> Code:
    with pytest.raises(edge.Disconnected) as caught:
        await room.join(name)
    return caught.value.code


@seeds(200)
async def test_rule_1_a_room_is_never_overfilled(edge_room: Open, edge_seed: int) -> None:
    """A room never has more seats than its maximum, however clients join, disconnect and leave. Clients beyond the
    maximum are refused as FULL."""
    room = await edge_room(Chat)
    outcomes: list[str] = []
    seated: list[int] = []

    async def try_to_join(number: int) -> None:
        try:
            (client,) = await room.join(f"p{number}")
        except edge.Disconnected as exc:
            outcomes.append(exc.code.name)
            return
        outcomes.append("seated")
        seated.append(len(room.room.seats))
        await trio.sleep(number % 3)
        if number % 2:
            client.leave()
        else:
            client.drop()

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(try_to_join, number)
    assert max(seated) <= 3
    assert outcomes.count("FULL") >= 4
    assert set(outcomes) == {"seated", "FULL"}


async def test_rule_1_a_seat_in_grace_is_taken(edge_room: Open) -> None:
    """A seat whose connection was lost is not free during its grace."""
    room = await edge_room(Chat)
    ana, _, _ = await room.join("ana", "ben", "cyn")
    ana.drop()
    await wait_all_tasks_blocked()
    assert await refusal(room, "dan") is Code.FULL
    await trio.sleep(30.1)
    await room.join("dan")


async def test_rule_1_refusals_are_typed(edge_room: Open) -> None:
    """A client is refused as LOCKED by a locked room, as CLOSING by a closing room, and as REFUSED if `admit`
    refuses."""
    room = await edge_room(Chat)
    with pytest.raises(edge.Disconnected, match="not you") as caught:
        await room.join("mallory")
    assert caught.value.code is Code.REFUSED
    room.room.lock()
    assert await refusal(room, "ana") is Code.LOCKED
    room.room.unlock()
    (ana,) = await room.join("ana")
    room.room.close()
    with pytest.raises(edge.Refused) as refused:
        room.runtime.take_seat(FakeSeat("late"))
    assert refused.value.code is Code.CLOSING
    with pytest.raises(edge.Disconnected):
        await ana.receive(StateOf)


async def test_rule_1_a_crash_in_admit_is_a_refusal(edge_room: Open, caplog: pytest.LogCaptureFixture) -> None:
    """An exception in `admit` is logged, and refuses only that applicant."""

    class Broken(Chat):
        def admit(self, applicant: edge.Applicant) -> None:
            assert applicant.name == "ana"

    room = await edge_room(Broken)
    room.expect_crash("admit() raised")
    assert await refusal(room, "ben") is Code.REFUSED
    assert "admit() raised" in caplog.text
    await room.join("ana")


async def test_rule_2_a_bad_message_harms_that_message(edge_room: Open, caplog: pytest.LogCaptureFixture) -> None:
    """An invalid message gets an error with the fault and its path, is not logged, and does not affect the next
    message."""
    room = await edge_room(Chat)
    async with raw_client(room) as send:
        assert await send(["say", {"text": 7}]) == ["!invalid", {"message": "text: expected text", "about": "say"}]
        assert await send(["shout", {}, 3]) == [
            "!unknown_event",
            {"message": "no event 'shout' is known here", "about": "shout"},
            3,
        ]
        assert await send(["say", {"text": "hi"}]) == ["said", {"who": "raw", "text": "hi"}]
    assert caplog.records == []


async def test_rule_2_a_crash_in_player_ends_that_seat(edge_room: Open, caplog: pytest.LogCaptureFixture) -> None:
    """A crash in `player` ends that seat with CRASHED, and is logged with room, seat and exception. The other players
    stay."""
    room = await edge_room(Chat)
    room.expect_crash("crashed by request")
    ana, ben = await room.join("ana", "ben")
    ana.send(Crash("player"))
    with pytest.raises(edge.Disconnected) as caught:
        await ana.receive(StateOf)
    assert caught.value.code is Code.CRASHED
    ben.send(Say("still here"))
    assert await ben.receive() == Said("ana", "left")
    assert await ben.receive() == Said("ben", "still here")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    for part in ("room room/0", "seat 0", "'ana'", "crashed by request"):
        assert part in record.getMessage()


async def test_rule_2_a_crash_in_run_closes_that_room(edge_room: Open, caplog: pytest.LogCaptureFixture) -> None:
    """A crash in `run` ends all seats of that room and runs the players' `finally` blocks. Other rooms continue."""

    class Fragile(Chat):
        async def run(self) -> None:
            async for player, _ in self.listen(Crash):
                raise ValueError(player.name)

    fragile, sturdy = await edge_room(Fragile), await edge_room(Chat)
    fragile.expect_crash("run() raised")
    ana, ben = await fragile.join("ana", "ben")
    (cyn,) = await sturdy.join("cyn")
    ana.send(Crash("run"))
    for client in (ana, ben):
        await client.wait_status("away", "closed")
    assert "run() raised" in caplog.text
    assert "ValueError: ana" in caplog.text
    assert sorted(fragile.room.log) == ["+ana", "+ben", "-ana", "-ben"]
    assert len(fragile.room.seats) == 0
    cyn.send(Say("hi"))
    assert await cyn.receive() == Said("cyn", "hi")


async def test_rule_2_a_crash_while_leaving_stays_in_the_room(
    edge_room: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in a `finally` block of a leaving player, which Trio raises together with `Cancelled`, is logged and
    does not end the room."""

    class Careless(Chat):
        async def player(self, player: Player) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.fail_to_clean_up)
                await trio.sleep_forever()

        async def fail_to_clean_up(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while leaving")

    room = await edge_room(Careless)
    room.expect_crash("while leaving")
    ana, ben = await room.join("ana", "ben")
    ana.leave()
    await wait_all_tasks_blocked()
    assert "while leaving" in caplog.text
    assert [player.name for player in room.room.players] == ["ben"]
    assert ben.status == "open"


async def test_rule_3_overflow_ends_the_connection_and_can_be_resumed(edge_room: Open) -> None:
    """The connection of a client that does not read ends with OVERFLOW, and the seat stores all its messages for a
    resume."""
    room = await edge_room(Chat)
    limits = edge.Limits(outbox_frames=20, inbox=10_000)
    ana, ben = await room.join("ana", "ben")
    async with stuck_client(room, limits) as codes:
        await wait_all_tasks_blocked()
        before = trio.current_time()
        for number in range(3):  # the transport's buffer has no space for the third
            room.room.broadcast(Said("room", str(number)))
            await wait_all_tasks_blocked()
        for number in range(3, 30):
            room.room.broadcast(Said("room", str(number)))
        assert trio.current_time() == before
        await trio.sleep(4)
        assert codes() == Code.OVERFLOW
    assert [(await ana.receive(Said)).text for _ in range(30)] == [str(number) for number in range(30)]
    stuck = room.room.players[2]
    assert not stuck.connected
    assert not stuck.left
    assert len(held_seat(stuck).counts.unacked()) == 30
    assert ben.status == "open"


async def test_rule_3_a_seat_that_falls_too_far_behind_starts_afresh(edge_room: Open) -> None:
    """If the window of a seat in grace overflows, the window is dropped. The player stays, and the client starts fresh
    when it reconnects."""
    room = await edge_room(Chat)
    limits = edge.Limits(outbox_frames=20)
    (ana,) = await room.join("ana", limits=limits)
    ana.drop()
    await wait_all_tasks_blocked()
    player = room.room.players[0]
    for number in range(40):
        room.room.broadcast(Said("room", str(number)))
    assert len(held_seat(player).counts.unacked()) == 40
    room.room.broadcast(Said("room", "one too many"))
    assert held_seat(player).counts.unacked() == []
    await ana.resume()
    assert ana.welcome is not None
    assert (ana.welcome.resumed, ana.welcome.why) == (False, "behind")
    room.room.broadcast(Said("room", "afresh"))
    assert await ana.receive(Said) == Said("room", "afresh")
    assert room.room.log == ["+ana"]


async def test_rule_3_latest_keeps_only_the_newest_and_comes_again_on_resume(edge_room: Open) -> None:
    """Of many `latest` values in one step of the event loop, a client gets only the newest. After a resume, it gets
    that value again."""
    room = await edge_room(Chat)
    (ana,) = await room.join("ana")
    for value in range(100):
        room.room.broadcast(StateOf(value))
    assert await ana.receive() == StateOf(99)
    ana.drop()
    await ana.resume()
    assert await ana.receive() == StateOf(99)
    await wait_all_tasks_blocked()
    assert len(ana._inbox) == 0


async def test_rule_3_volatile_is_dropped_when_it_cant_be_written_at_once(edge_room: Open) -> None:
    """A volatile event is sent together with a reliable event before it. Without a connection, a volatile event is
    dropped."""
    room = await edge_room(Chat)
    (ana,) = await room.join("ana")
    await wait_all_tasks_blocked()
    room.room.broadcast(Said("room", "first"))
    room.room.broadcast(Cursor(1))
    await wait_all_tasks_blocked()
    ana.drop()
    await wait_all_tasks_blocked()
    room.room.broadcast(Cursor(3))
    await ana.resume()
    room.room.broadcast(Said("room", "end"))
    assert [await ana.receive() for _ in range(3)] == [Said("room", "first"), Cursor(1), Said("room", "end")]


@seeds(200)
async def test_rule_4_everyone_hears_one_order(edge_room: Open, edge_seed: int) -> None:
    """All clients receive all broadcasts in the same order, whatever the schedule of the tasks."""
    room = await edge_room(Chat)
    clients = await room.join("ana", "ben", "cyn")

    async def chatter(client: MemoryClient, name: str) -> None:
        for number in range(5):
            client.send(Say(f"{name}{number}"))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for client, name in zip(clients, "abc", strict=True):
            nursery.start_soon(chatter, client, name)
    heard = [[(await client.receive(Said)).text for _ in range(15)] for client in clients]
    assert heard[0] == heard[1] == heard[2]
    for name in "abc":
        assert [text for text in heard[0] if text[0] == name] == [f"{name}{number}" for number in range(5)]


async def test_rule_4_a_broadcast_is_encoded_once(edge_room: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broadcast is encoded once for all its receivers."""
    room = await edge_room(Chat)
    clients = await room.join("ana", "ben", "cyn")
    await wait_all_tasks_blocked()
    encoded: list[Any] = []
    encode = JSON.encode

    def noting(plain: Any) -> Any:
        encoded.append(plain)
        return encode(plain)

    monkeypatch.setattr(JSON, "encode", noting, raising=False)
    room.room.broadcast(Said("room", "once"))
    for client in clients:
        await client.receive(Said)
    assert [plain for plain in encoded if plain[0] == "said"] == [["said", {"who": "room", "text": "once"}]]


async def test_rule_4_to_and_besides(edge_room: Open) -> None:
    """`to` limits a broadcast to some players, and `exclude` omits some."""
    room = await edge_room(Chat)
    ana, ben, cyn = await room.join("ana", "ben", "cyn")
    first, second, third = room.room.players
    room.room.broadcast(Said("room", "to ana"), to=[first])
    room.room.broadcast(Said("room", "not ben"), exclude=second)
    room.room.broadcast(Said("room", "only cyn"), exclude=[first, second])
    room.room.broadcast(Said("room", "all"))
    heard: dict[MemoryClient, list[str]] = {client: [] for client in (ana, ben, cyn)}
    for client, texts in heard.items():
        while "all" not in texts:
            texts.append((await client.receive(Said)).text)
    assert list(heard.values()) == [["to ana", "not ben", "all"], ["all"], ["not ben", "only cyn", "all"]]
    assert third.connected


@seeds(200)
async def test_rule_4_listen_keeps_the_order_of_arrival(edge_room: Open, edge_seed: int) -> None:
    """`Room.listen` gives the events of all players in order of arrival, and loses no event while the loop's body
    waits."""

    class Quiz(edge.Room[FromPlayer, ToPlayer]):
        async def run(self) -> None:
            async for player, _ in self.listen(Buzz):
                await trio.sleep(1)
                self.broadcast(Said(player.name, "buzzed"))

    room = await edge_room(Quiz)
    names = ["ana", "ben", "cyn"]
    clients = await room.join(*names)
    await wait_all_tasks_blocked()
    order = [0, 2, 1, 2, 0]
    for index in order:
        clients[index].send(Buzz())
        await wait_all_tasks_blocked()
    heard = [(await clients[0].receive(Said)).who for _ in order]
    assert heard == [names[index] for index in order]


class Turns(edge.Room[FromPlayer, ToPlayer]):
    """Accepts at most one `Say`, only in the second half of each second."""

    seats = edge.Seats(minimum=1, maximum=3, grace=30)

    async def run(self) -> None:
        await self.seats.wait_minimum()
        while True:
            await trio.sleep(0.5)
            with trio.move_on_after(0.5):
                for player in self.players[:1]:
                    self.broadcast(Said("room", (await player.receive(Say)).text))
                    await trio.sleep_forever()


async def test_rule_5_out_of_turn_is_not_now(edge_room: Open) -> None:
    """An event that no code waits for is refused at once as `not_now`, and is not stored for code that waits later."""
    room = await edge_room(Turns)
    async with raw_client(room) as send:
        not_now = {"message": "nobody is listening for this now", "about": "say"}
        assert await send(["say", {"text": "early"}]) == ["!not_now", not_now]
        assert await send(["say", {"text": "early"}, 1]) == ["!not_now", not_now, 1]
        await trio.sleep(0.6)
        assert await send(["say", {"text": "in time"}]) == ["said", {"who": "room", "text": "in time"}]
        assert await send(["say", {"text": "late"}]) == ["!not_now", not_now]


async def test_rule_5_narrow_listeners_come_first(edge_room: Open) -> None:
    """If several listeners match an event, only one gets it: first a waiting `receive`, then `player.listen`, then
    `room.listen`, then the loop over the player."""
    heard: list[str] = []

    class Layers(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: Player) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.all_buzzes)
                nursery.start_soon(self.own_buzzes, player)
                nursery.start_soon(self.one_buzz, player)
                async for event in player:
                    heard.append(f"loop {type(event).__name__}")

        async def all_buzzes(self) -> None:
            async for _ in self.listen(Buzz):
                heard.append("room.listen")

        async def own_buzzes(self, player: Player) -> None:
            with trio.move_on_after(10):
                async for _ in player.listen(Buzz):
                    heard.append("player.listen")

        async def one_buzz(self, player: Player) -> None:
            await player.receive(Buzz)
            heard.append("receive")

    room = await edge_room(Layers)
    (ana,) = await room.join("ana")
    await wait_all_tasks_blocked()
    for event in (Buzz(), Say("x"), Buzz()):
        ana.send(event)
        await wait_all_tasks_blocked()
    await trio.sleep(11)
    ana.send(Buzz())
    await wait_all_tasks_blocked()
    assert heard == ["receive", "loop Say", "player.listen", "room.listen"]


async def test_rule_5_a_loop_that_is_left_refuses_what_it_had_queued(edge_room: Open) -> None:
    """When code leaves a loop with `break`, the events that are queued for the loop are refused as `not_now`."""

    class Once(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: Player) -> None:
            async for _ in player:
                await trio.sleep(1)
                break
            await trio.sleep_forever()

    room = await edge_room(Once)
    (ana,) = await room.join("ana")
    for _ in range(3):
        ana.send(Buzz())
    await trio.sleep(2)
    assert [error.problem for error in ana.errors] == ["not_now", "not_now"]


@seeds(200)
async def test_rule_6_leaving_happens_once(edge_room: Open, edge_seed: int) -> None:
    """The `finally` block of each player runs once, even if a player is kicked, leaves, disconnects and crashes at the
    same time."""
    room = await edge_room(Chat)
    ana, ben, cyn = await room.join("ana", "ben", "cyn")
    players = room.room.players

    async def kick() -> None:
        players[0].kick("first")
        players[0].kick("again")

    async def leave() -> None:
        ana.leave()
        ben.leave()

    async def drop() -> None:
        ben.drop()
        cyn.drop()

    async def crash() -> None:
        with trio.move_on_after(1):
            await cyn.wait_status("open")
            if cyn.status == "open":
                cyn.send(Crash("player"))

    async with trio.open_nursery() as nursery:
        for act in (kick, leave, drop, crash):
            nursery.start_soon(act)
    await trio.sleep(40)
    log = room.room.log
    assert sorted(log) == ["+ana", "+ben", "+cyn", "-ana", "-ben", "-cyn"]
    assert len(room.room.seats) == 0


async def test_rule_6_a_farewell_may_wait_but_not_for_long(edge_room: Open) -> None:
    """The `finally` block of a player may wait in `shielded_cleanup` for two seconds in all, even when the room
    closes."""
    done: list[str] = []

    class Polite(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: Player) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with player.shielded_cleanup():
                    await trio.sleep(1)
                    done.append(player.name)
                with player.shielded_cleanup():
                    await trio.sleep(100)
                    done.append("never")

    room = await edge_room(Polite)
    room.expect_crash("its clean-up was cut short")
    ana, ben = await room.join("ana", "ben")
    before = trio.current_time()
    room.room.close("enough")
    await room.room.wait_closed()
    assert trio.current_time() - before == pytest.approx(2)
    assert sorted(done) == ["ana", "ben"]
    for client in (ana, ben):
        with pytest.raises(edge.Disconnected, match="enough"):
            await client.receive()


async def test_rule_6_a_bare_wait_in_finally_is_cut_short(edge_room: Open) -> None:
    """Without `shielded_cleanup`, a wait in a `finally` block is cancelled at once, as always in Trio."""
    log: list[str] = []

    class Naive(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: Player) -> None:
            try:
                await trio.sleep_forever()
            finally:
                log.append("leaving")
                await trio.sleep(100)
                log.append("never")

    room = await edge_room(Naive)
    room.expect_crash("an await in a `finally` block was cut short")
    (ana,) = await room.join("ana")
    ana.leave()
    await wait_all_tasks_blocked()
    assert log == ["leaving"]


class Rounds(edge.Room[FromPlayer, ToPlayer]):
    """Plays rounds with turns, a timer and a listener, and records their outcomes."""

    seats = edge.Seats(minimum=2, maximum=3, grace=5)

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[Any] = []
        self.fired: list[str] = []

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.outside)
            while True:
                await self.seats.wait_minimum()
                async with self.open_round() as round:
                    round.start_soon(self.timer)
                    for player in round.players:
                        turn = round.turn(player, seconds=60)
                        self.outcomes.append(turn)
                        with turn:
                            await player.receive(Say)
                self.outcomes.append(round)
                await trio.sleep(1)

    async def outside(self) -> None:
        await trio.sleep(1000)
        self.fired.append("outside the round")

    async def timer(self) -> None:
        await trio.sleep(30)
        self.fired.append("timer")


def outcomes_of(room: RoomUnderTest[Rounds]) -> list[Any]:
    return [each.outcome for each in room.room.outcomes]


@seeds(200)
async def test_rule_7_a_reset_leaves_nothing_of_the_round(edge_room: Open, edge_seed: int) -> None:
    """A reset ends all tasks, timers and listeners of the round. Tasks outside the round continue."""
    room = await edge_room(Rounds)
    ana, ben = await room.join("ana", "ben")
    await wait_all_tasks_blocked()
    before = trio.lowlevel.current_statistics().tasks_living
    ana.send(Say("done"))
    await trio.sleep(10)
    assert room.room.reset("asked")
    await trio.sleep(0.5)
    assert outcomes_of(room) == [Outcome.DONE, Outcome.RESET, Outcome.RESET]
    assert room.room.outcomes[-1].reason == "asked"
    assert all(len(player.listeners) == 0 and not player.turns for player in room.runtime.players)
    assert trio.lowlevel.current_statistics().tasks_living == before - 1
    assert not room.room.reset("again")
    await trio.sleep(35)
    assert room.room.fired == ["timer"]
    assert ben.status == "open"
    await trio.sleep(1000)
    assert "outside the round" in room.room.fired


async def test_rule_7_outcomes_are_values(edge_room: Open) -> None:
    """The outcome of a turn or a round tells the way in which it ended: RESET, DONE, TIMEOUT or LEFT."""
    room = await edge_room(Rounds)
    ana, ben, cyn = await room.join("ana", "ben", "cyn")
    room.room.reset("everybody plays")
    await trio.sleep(2)
    room.room.outcomes.clear()
    room.room.reset("now with three")
    await trio.sleep(2)
    ana.send(Say("done"))
    await trio.sleep(61)
    cyn.leave()
    await wait_all_tasks_blocked()
    assert outcomes_of(room) == [
        *[Outcome.RESET],
        *[Outcome.DONE, Outcome.TIMEOUT, Outcome.LEFT, Outcome.DONE],
    ]
    assert ben.status == "open"


async def test_rule_7_too_few_players_end_the_round(edge_room: Open) -> None:
    """A round ends as TOO_FEW when fewer players than the minimum are left. The turn of the player that left ends as
    LEFT."""
    room = await edge_room(Rounds)
    ana, ben = await room.join("ana", "ben")
    await wait_all_tasks_blocked()
    ana.drop()
    await trio.sleep(6)
    assert outcomes_of(room) == [Outcome.LEFT, Outcome.TOO_FEW]
    assert ben.status == "open"


@seeds(200)
async def test_rule_7_an_answer_and_a_deadline_at_one_instant(edge_room: Open, edge_seed: int) -> None:
    """An answer that arrives at the deadline of its turn either ends the turn as DONE or is refused, and never both."""
    room = await edge_room(Rounds)
    ana, _ = await room.join("ana", "ben")
    await wait_all_tasks_blocked()
    await trio.sleep_until(room.room.outcomes[0].deadline)
    ana.send(Say("just in time"))
    await trio.sleep(0.1)
    refused = [error.problem for error in ana.errors]
    assert (outcomes_of(room)[0], refused) in ((Outcome.DONE, []), (Outcome.TIMEOUT, ["not_now"]))


async def test_rule_7_a_turn_of_someone_who_left_is_left(edge_room: Open) -> None:
    """A turn of a player that has already left ends as LEFT at the first wait in its block, even if that wait is a
    `receive`, which raises `Gone` outside a turn."""
    room = await edge_room(Chat)
    ana, ben = await room.join("ana", "ben")
    player = room.room.players[0]
    ana.leave()
    await wait_all_tasks_blocked()
    turns = [open_turn(player, 60), open_turn(player, 60)]
    with turns[0]:
        await trio.sleep(1)
    with turns[1]:
        await player.receive(Say)
    assert [turn.outcome for turn in turns] == [Outcome.LEFT, Outcome.LEFT]
    with pytest.raises(edge.Gone):
        await player.receive(Say)
    assert ben.status == "open"


@seeds(200)
async def test_rule_8_a_resume_is_exact(edge_room: Open, edge_seed: int) -> None:
    """Messages of both sides arrive once and in order, even if the connection is cut several times."""
    room = await edge_room(Chat)
    ana, ben = await room.join("ana", "ben")

    async def talk() -> None:
        for number in range(20):
            ana.send(Say(str(number)))
            await trio.sleep(0.1)

    async def cut() -> None:
        for _ in range(5):
            await trio.sleep(0.3 + edge_seed % 7 / 10)
            ana.drop()
            await trio.sleep(0.2)
            await ana.resume()
            assert ana.welcome is not None
            assert ana.welcome.resumed

    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk)
        nursery.start_soon(cut)
    for client in (ana, ben):
        assert [(await client.receive(Said)).text for _ in range(20)] == [str(number) for number in range(20)]
    await wait_all_tasks_blocked()
    assert not ana._inbox
    assert not ben._inbox


@seeds(200)
async def test_rule_8_the_newest_connection_wins(edge_room: Open, edge_seed: int) -> None:
    """A new connection of a client takes the seat even if the server still regards the old connection as alive. The old
    connection ends with REPLACED."""
    room = await edge_room(Chat)
    (ana,) = await room.join("ana")
    assert ana.welcome is not None
    ana.send(Say("before"))
    await ana.receive(Said)
    async with raw_client(room, client=ana, received=1) as send:
        with pytest.raises(edge.Disconnected) as caught:
            await ana.receive(StateOf)
        assert caught.value.code is Code.REPLACED
        assert await send(["say", {"text": "after"}]) == ["said", {"who": "ana", "text": "after"}]
        assert len(room.room.seats) == 1
    assert room.room.log == ["+ana"]


@seeds(200)
async def test_rule_8_a_reconnect_that_ties_with_the_grace_wins(edge_room: Open, edge_seed: int) -> None:
    """A client that reconnects at the instant when the grace ends still has its seat."""
    room = await edge_room(Chat)
    (ana,) = await room.join("ana")
    ana.drop()
    await wait_all_tasks_blocked()
    await trio.sleep_until(room.runtime.players[0].away_until)
    await ana.resume()
    assert ana.welcome is not None
    assert ana.welcome.resumed
    await trio.sleep(60)
    assert room.room.log == ["+ana"]


@seeds(200)
async def test_rule_8_late_words_of_an_old_connection_count_for_nothing(edge_room: Open, edge_seed: int) -> None:
    """After a resume, a message that arrives on the old connection is ignored, because the client repeats the message
    on the new one."""
    room = await edge_room(Chat)
    (ana,) = await room.join("ana")
    assert ana.welcome is not None
    old, theirs = open_memory_transports(buffer=1)
    room.serve_seat(theirs)
    await old.send([hello(ana, 0)])
    await old.receive()
    for _ in range(3):
        room.room.broadcast(Said("room", "stuck"))  # so that the server can't send a goodbye on the old connection
        await wait_all_tasks_blocked()
    async with raw_client(room, client=ana, received=3) as send:
        await old.send([JSON.encode(["say", {"text": "late"}])])
        await wait_all_tasks_blocked()
        assert await send(["say", {"text": "again"}]) == ["said", {"who": "ana", "text": "again"}]
    await old.close()


async def test_rule_8_after_the_grace_it_is_a_fresh_start(edge_room: Open) -> None:
    """After its grace, a player has left. A client that reconnects later starts fresh, and the welcome has the reason
    "expired"."""
    room = await edge_room(Chat)
    (ana,) = await room.join("ana")
    ana.drop()
    await trio.sleep(30.1)
    assert room.room.log == ["+ana", "-ana"]
    await ana.resume()
    assert ana.welcome is not None
    assert (ana.welcome.resumed, ana.welcome.why) == (False, "expired")
    assert room.room.log == ["+ana", "-ana", "+ana"]


async def test_rule_9_the_ledger_changes_in_one_step(edge_room: Open) -> None:
    """`kick`, `take_seat` and `close` change the list of players before they return, without a checkpoint."""
    room = await edge_room(Chat)
    ana, ben = await room.join("ana", "ben")
    first, second = room.room.players
    with trio.testing.assert_no_checkpoints():
        first.kick()
        assert room.room.players == (second,)
        assert room.room.seats.free == 2
        assert first.left
        seated = room.runtime.take_seat(FakeSeat("cyn"))
        assert room.room.players == (second, seated.facade)
        assert seated.number == 2  # number 0 is free only after the `finally` block of its last player
        room.room.close()
        assert room.room.players == ()
        assert room.room.closing
    for client in (ana, ben):
        await client.wait_status("closed")


@seeds(200)
async def test_rule_10_a_directory_drains(edge_room: Open, edge_seed: int) -> None:
    """A directory that closes opens no more rooms, and closes its rooms after the players' `finally` blocks."""
    room = await edge_room(Chat)
    ana, ben = await room.join("ana", "ben")
    ana.drop()
    await wait_all_tasks_blocked()
    directory = room._directory
    directory.close()
    with pytest.raises(edge.Refused) as refused:
        directory.open("room", "new")
    assert refused.value.code is Code.DRAINING
    await room.room.wait_closed()
    await wait_all_tasks_blocked()
    assert sorted(room.room.log) == ["+ana", "+ben", "-ana", "-ben"]
    assert len(directory) == 0
    assert ben.status == "away"


class FakeSeat(Seat):
    """A seat without a client, which records the messages that are sent to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.session = edge.Session(name)
        self.sent: list[Any] = []
        self.ended: list[Code] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def end(self, code: Code, reason: str) -> None:
        self.ended.append(code)


attempts = itertools.count(1000)


def hello(client: MemoryClient | None, received: int | None, name: str = "") -> Any:
    """Return the next hello of this client. Without a client, return the first hello of a new one."""
    attempt = next(attempts)
    named = client._client if client is not None else f"some-raw-client-{attempt}"
    since = client._since if client is not None else None
    body = {"version": 1, "name": name, "client": named, "attempt": attempt, "received": received, "since": since}
    return JSON.encode(["$hello", body])


@asynccontextmanager
async def raw_client(
    room: RoomUnderTest[Any], *, client: MemoryClient | None = None, received: int | None = None
) -> AsyncIterator[Callable[[Any], Any]]:
    """Connect with a bare transport, and yield a function that sends a message and returns the next received message
    that is not an ack or a ping."""
    ours, theirs = open_memory_transports()
    room.serve_seat(theirs)
    await ours.send([hello(client, received, "raw")])
    welcome = JSON.decode(await ours.receive())
    assert welcome[0] == "$welcome", welcome

    async def send(frame: Any) -> Any:
        await ours.send([JSON.encode(frame)])
        while True:
            answer = JSON.decode(await ours.receive())
            if answer[0] not in ("$ack", "$ping"):
                return answer

    yield send
    await ours.close()


@asynccontextmanager
async def stuck_client(room: RoomUnderTest[Any], limits: edge.Limits) -> AsyncIterator[Callable[[], int | None]]:
    """Connect a client that stops reading after its welcome, and yield a function that returns the connection's close
    code."""
    ours, theirs = open_memory_transports(buffer=1)
    room.serve_seat(theirs, JSON, limits)
    await ours.send([hello(None, None, "stuck")])
    await ours.receive()
    yield lambda: ours.close_code
    await ours.close()


async def test_rule_4_one_crowded_seat_costs_the_others_no_event(edge_room: Open) -> None:
    """If one seat has too many messages in one step of the event loop, a broadcast still reaches the other seats, and
    then raises SendOverflow."""

    class Crowded(FakeSeat):
        crowded = True

        def check_crowded(self, message: Any) -> None:
            raise SendOverflow("too much in one step")

    room = await edge_room(Chat)
    crowded, calm = Crowded("ana"), FakeSeat("ben")
    for seat in (crowded, calm):
        room.runtime.take_seat(seat)
    for size in (10, 100_000):
        with pytest.raises(SendOverflow):
            room.room.broadcast(Said("room", "x" * size))
    assert (len(crowded.sent), len(calm.sent)) == (0, 2)
