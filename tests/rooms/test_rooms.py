"""What rooms offer beyond the ten rules: questions, ticks, the directory, presence, and what a cancellation loses."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.protocol.messages import Reply
from edge.protocol.outgoing import Outgoing, outgoing_error, outgoing_reply, outgoing_request
from edge.rooms.dialogue import MAX_REQUESTS
from edge.rooms.ticks import Ticks
from edge.testing import seeds

Open = Callable[..., Any]


@edge.event
class Choose:
    options: list[str]


@edge.event
class Chosen:
    option: str


@edge.event
class Guess:
    word: str


@edge.event
class Verdict:
    right: bool


FromPlayer = Chosen | Guess
ToPlayer = Choose | Verdict
Player = edge.Player[FromPlayer, ToPlayer]


class Quiet(edge.Room[FromPlayer, ToPlayer]):
    """Listens to nothing by itself."""

    seats = edge.Seats(minimum=1, maximum=3, grace=5)


# --- ask and reply


async def test_ask_is_one_expression(edge_room: Open) -> None:
    """An event to the player, and the typed answer; over a cut of the connection, too."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    answers: list[Chosen] = []

    async def ask() -> None:
        answers.append(await player.ask(Choose(["a", "b"]), Chosen))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        question = await ana.receive(Choose)
        ana.drop()
        ana.reply(question, Chosen("b"))
        await ana.resume()
    assert answers == [Chosen("b")]
    with pytest.raises(LookupError):
        ana.reply(question, Chosen("a"))


async def test_an_answer_that_does_not_fit_is_refused_and_the_wait_goes_on(edge_room: Open) -> None:
    """No client can crash a room by answering nonsense: that message is refused, and the right one still counts."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    answers: list[Chosen] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask() -> None:
            answers.append(await player.ask(Choose([]), Chosen))

        question = await ana.receive(Choose)
        ana._send(outgoing_reply(Guess("x"), 1))
        ana._send(Outgoing(Reply("Chosen", {"option": 7}, 1)))
        await wait_all_tasks_blocked()
        assert [(error.problem, error.about) for error in ana.errors] == [("invalid", "Guess"), ("invalid", "Chosen")]
        ana.reply(question, Chosen("a"))
    assert answers == [Chosen("a")]


async def test_a_client_that_refuses_to_answer(edge_room: Open) -> None:
    """The error comes out of `ask`; a turn of the player makes it its outcome."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask() -> None:
            with pytest.raises(edge.RequestFailed, match="no thanks") as caught:
                await player.ask(Choose([]), Chosen)
            assert caught.value.problem == "not_now"
            with edge.Turn(player, 10) as turn:
                await player.ask(Choose([]), Chosen)
            assert turn.outcome is edge.Outcome.REFUSED

        for number in (1, 2):
            await ana.receive(Choose)
            ana._send(outgoing_error("not_now", "no thanks", "", number))


async def test_questions_that_nobody_answers_do_not_pile_up(edge_room: Open) -> None:
    """A player who is away from the keyboard can be asked for ever."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    for _ in range(3 * MAX_REQUESTS):
        with edge.Turn(player, 1) as turn:
            await player.ask(Choose([]), Chosen)
        assert turn.outcome is edge.Outcome.TIMEOUT
    assert len(ana._dialogue) == MAX_REQUESTS


async def test_an_answer_behind_a_full_inbox_is_read(edge_room: Open) -> None:
    """A room that asks while its inbox is full still hears the answer; what does not fit is refused as busy."""

    class Asking(Quiet):
        async def player(self, player: Player) -> None:
            async for _ in player.listen(Guess):
                await player.ask(Choose([]), Chosen)
                await trio.sleep_forever()

    room = await edge_room(Asking)
    (ana,) = await room.join("ana", limits=edge.Limits(inbox=4))
    for number in range(10):
        ana.send(Guess(str(number)))
    ana.reply(await ana.receive(Choose), Chosen("a"))
    await wait_all_tasks_blocked()
    (player,) = room.room.players
    assert not player._dialogue.asking
    assert {error.problem for error in ana.errors} == {"busy"}


async def test_a_reply_to_somebody_who_left_is_in_vain(edge_room: Open) -> None:
    """No client can crash a room by sending a request and leaving."""

    class Ponderous(Quiet):
        async def run(self) -> None:
            async for player, guess in self.listen(Guess):
                await trio.sleep(1)
                player.reply(guess, Verdict(True))

    room = await edge_room(Ponderous)
    ana, ben = await room.join("ana", "ben")
    ana._send(outgoing_request(Guess("x"), 1))
    await trio.sleep(0.5)
    ana.leave()
    assert await ben.request(Guess("y"), Verdict) == Verdict(True)


async def test_backpressure_returns_when_the_acks_have_come(edge_room: Open) -> None:
    """After a burst that was acknowledged, a full inbox waits again instead of refusing."""

    class Slow(Quiet):
        async def player(self, player: Player) -> None:
            async for _ in player.listen(Guess):
                await trio.sleep(1)

    room = await edge_room(Slow)
    (ana,) = await room.join("ana", limits=edge.Limits(inbox=2, outbox_frames=14))
    ana.drop()
    await wait_all_tasks_blocked()
    for _ in range(20):
        room.room.broadcast(Verdict(True))
    await ana.resume()
    await trio.sleep(5)
    for number in range(8):
        ana.send(Guess(str(number)))
    await trio.sleep(20)
    assert list(ana.errors) == []


async def test_a_client_that_only_sends_still_hears_the_acks(edge_room: Open) -> None:
    """Its inbox is full and nobody takes from it: it reads on, up to twice as much, for the acks of what it sends."""

    class Listening(Quiet):
        async def player(self, player: Player) -> None:
            for _ in range(4):
                player.send(Verdict(True))
            async for _ in player.listen(Guess):
                pass

    room = await edge_room(Listening)
    (ana,) = await room.join("ana", limits=edge.Limits(outbox_frames=8))
    ana._capacity = 4
    for _ in range(50):
        ana.send(Guess("x"))
        await trio.sleep(1)
    assert ana.state is edge.State.OPEN


async def test_a_slow_room_keeps_a_client_that_acks(edge_room: Open) -> None:
    """However long the body of its loop takes, a healthy client is not taken for one that fell behind."""

    class Slow(Quiet):
        async def player(self, player: Player) -> None:
            async for _ in player.listen(Guess):
                await trio.sleep(1000)

    room = await edge_room(Slow)
    limits = edge.Limits(inbox=2, outbox_frames=20)
    (ana,) = await room.join("ana", limits=limits)
    for _ in range(5):
        ana.send(Guess("x"))
    for _ in range(200):
        room.room.broadcast(Verdict(True))
        await trio.sleep(0.1)
    assert room.room.players[0].connected
    assert len(ana._inbox) == 200


async def test_who_has_left_is_not_waited_for(edge_room: Open) -> None:
    """A loop over the events of somebody who has left ends at once; so does one over those of a closed room."""
    room = await edge_room(Quiet)
    ana, _ = await room.join("ana", "ben")
    player = room.room.players[0]
    ana.leave()
    await wait_all_tasks_blocked()
    assert [event async for event in player] == []
    assert [event async for event in player.listen(Guess)] == []
    room.room.close()
    assert [event async for event in room.room.listen(Guess)] == []


async def test_a_loop_that_was_cancelled_listens_no_more(edge_room: Open) -> None:
    """Not even while the exception that left it is being handled."""
    heard: list[str] = []

    class Handling(Quiet):
        async def player(self, player: Player) -> None:
            try:
                with trio.fail_after(1):
                    async for _ in player.listen(Guess):
                        heard.append("first loop")
            except trio.TooSlowError:
                async for _ in player:
                    heard.append("second loop")

    room = await edge_room(Handling)
    (ana,) = await room.join("ana")
    await trio.sleep(2)
    ana.send(Guess("x"))
    await wait_all_tasks_blocked()
    assert heard == ["second loop"]


async def test_a_long_replay_arrives(edge_room: Open) -> None:
    """A seat that missed more than an outbox holds is resumed, also when the room speaks at that very moment."""

    class Talkative(Quiet):
        async def run(self) -> None:
            while True:
                await self.seats.wait_change()
                self.broadcast(Verdict(False))

    room = await edge_room(Talkative)
    (ana,) = await room.join("ana", limits=edge.Limits(outbox_frames=8))
    ana.drop()
    await wait_all_tasks_blocked()
    for _ in range(12):
        room.room.broadcast(Verdict(True))
    await ana.resume()
    verdicts = [(await ana.receive(Verdict)).right for _ in range(14)]
    assert verdicts.count(True) == 12
    assert room.room.players[0].connected


async def test_a_restarted_seat_keeps_its_place(edge_room: Open) -> None:
    """A session that starts afresh is not admitted again, and its new player begins when the old one has ended."""
    order: list[str] = []

    class Orderly(Quiet):
        async def player(self, player: Player) -> None:
            order.append("begin")
            try:
                await trio.sleep_forever()
            finally:
                with player.farewell():
                    await trio.sleep(1)
                order.append("end")

    room = await edge_room(Orderly)
    (ana,) = await room.join("ana")
    room.room.lock()
    ana.drop()
    ana._seated = False  # as after a reload that kept the key alone
    await ana.resume()
    assert ana.welcome is not None
    assert (ana.welcome.resumed, ana.welcome.why) == (False, "replaced")
    assert order == ["begin", "end", "begin"]
    assert [player.name for player in room.room.players] == ["ana"]


async def test_restarts_in_a_row_do_not_overlap(edge_room: Open) -> None:
    """However fast a session starts afresh, each of its players begins when all before have ended."""
    living: list[int] = []

    class Lingering(Quiet):
        async def player(self, player: Player) -> None:
            assert living == []
            living.append(player.number)
            try:
                await trio.sleep_forever()
            finally:
                with player.farewell():
                    await trio.sleep(1.5)
                living.remove(player.number)

    room = await edge_room(Lingering)
    player = room.room.take_seat(StubSeat("ana"))
    await trio.sleep(0.1)
    for _ in range(3):
        player = room.room.take_seat(StubSeat("ana"), instead_of=player)
        await trio.sleep(0.3)
    await trio.sleep(3)
    assert living == [player.number]


async def test_a_number_is_free_when_its_player_has_ended(edge_room: Open) -> None:
    """Not while their `finally` still runs: what it does for this number is done to nobody else."""

    class Lingering(Quiet):
        async def player(self, player: Player) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with player.farewell():
                    await trio.sleep(1)

    room = await edge_room(Lingering)
    ana, _ = await room.join("ana", "ben")
    ana.leave()
    await wait_all_tasks_blocked()
    await room.join("cyn")
    await trio.sleep(2)
    room.room.players[1].kick()
    await room.join("dan")
    assert [(player.name, player.number) for player in room.room.players] == [("ben", 1), ("dan", 0)]


async def test_what_cant_be_encoded_is_sent_to_nobody(edge_room: Open) -> None:
    """It raises where it was made, in one piece: nobody has it, and nobody is harmed."""
    room = await edge_room(Quiet)
    clients = [*(await room.join("ana")), *(await room.join("ben", codec=edge.MESSAGEPACK))]
    with pytest.raises(ValueError, match="surrogates not allowed"):
        room.room.broadcast(Choose(["\ud800"]))
    room.room.broadcast(Verdict(True))
    assert [await client.receive() for client in clients] == [Verdict(True), Verdict(True)]


async def test_nothing_is_kept_for_one_who_has_gone(edge_room: Open) -> None:
    """What is still sent to a player after the end is not recorded."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    ana.leave()
    await wait_all_tasks_blocked()
    for _ in range(100):
        player.send(Verdict(True))
    assert player.seat.counts.unacked() == []


async def test_a_crash_of_a_room_that_cant_be_made(caplog: pytest.LogCaptureFixture) -> None:
    """An author's mistake in a constructor refuses who asked for the room, and the directory goes on."""

    class Broken(Quiet):
        def __init__(self) -> None:
            raise RuntimeError("no database")

    class Forgetful(Quiet):
        def __init__(self) -> None:
            self.mine = 1  # without super().__init__(), which is not needed

    directory = edge.Directory({"broken": Broken, "forgetful": Forgetful})
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        with pytest.raises(edge.Refused) as refused:
            directory.open("broken", "a")
        assert refused.value.code is edge.Code.ROOM_CRASHED
        assert "no database" in caplog.text
        assert directory.open("forgetful", "a").take_seat(StubSeat("ana")).number == 0
        directory.close()


async def test_a_refusal_inside_a_nursery_of_a_turn(edge_room: Open) -> None:
    """It is the turn's outcome all the same, not the room's crash."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    async with trio.open_nursery() as outer:

        @outer.start_soon
        async def refuse() -> None:
            await ana.receive(Choose)
            ana._send(outgoing_error("not_now", "no thanks", "", 1))

        with edge.Turn(player, 10) as turn:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(player.ask, Choose([]), Chosen)
    assert turn.outcome is edge.Outcome.REFUSED


async def test_a_second_task_in_a_loop_is_refused_and_the_first_goes_on(edge_room: Open) -> None:
    """The mistake is told to who made it."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    loop = player.listen(Guess)
    heard: list[Guess] = []

    async def first() -> None:
        async for guess in loop:
            heard.append(guess)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await anext(loop)
        ana.send(Guess("x"))
        await wait_all_tasks_blocked()
        assert heard == [Guess("x")]
        nursery.cancel_scope.cancel()


async def test_who_leaves_before_the_room_has_begun_is_told() -> None:
    """A seat taken and lost before the room's first step has its goodbye all the same."""
    directory = edge.Directory({"quiet": Quiet})
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        seats = [StubSeat("ana"), StubSeat("ben")]
        room = directory.open("quiet", "a")
        with trio.testing.assert_no_checkpoints():
            first = room.take_seat(seats[0])
            room.take_seat(seats[1])
            first.kick()
        await wait_all_tasks_blocked()
        assert [seat.ended for seat in seats] == [[edge.Code.KICKED], []]
        directory.close()


async def test_a_round_needs_its_own_players(edge_room: Open) -> None:
    """Those who watch do not make up for one who plays and leaves."""
    room = await edge_room(Quiet)
    ana, ben, _ = await room.join("ana", "ben", "cyn")
    async with room.room.open_round(room.room.players[:2], minimum=2) as round:
        ana.leave()
        await trio.sleep_forever()
    assert round.outcome is edge.Outcome.TOO_FEW
    assert round.reason == "1 of 2 players"
    assert ben.state is edge.State.OPEN


async def test_a_reset_inside_a_nursery_of_a_turn(edge_room: Open) -> None:
    """The outcome of the turn is told, whatever its block held open."""
    room = await edge_room(Quiet)
    await room.join("ana")
    async with room.room.open_round() as round:
        turn = round.turn(round.players[0], seconds=10)
        with turn:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                room.room.reset()
                await trio.sleep_forever()
    assert turn.outcome is edge.Outcome.RESET


@seeds(50)
async def test_ask_of_someone_who_leaves(edge_room: Open, edge_seed: int) -> None:
    """The wait ends with `Gone`, and nothing stays registered."""
    room = await edge_room(Quiet)
    (ana, _) = await room.join("ana", "ben")
    player = room.room.players[0]
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask() -> None:
            with pytest.raises(edge.Gone):
                await player.ask(Choose([]), Chosen)

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises(edge.Gone):
                await player.receive(Guess)

        @nursery.start_soon
        async def listen() -> None:
            assert [event async for event in player.listen(Guess)] == []

        await wait_all_tasks_blocked()
        ana.leave()
    assert (len(player._dialogue), len(player.listeners)) == (0, 0)
    with pytest.raises(edge.Gone):
        await player.ask(Choose([]), Chosen)


async def test_requests_are_answered_once_and_bounded(edge_room: Open) -> None:
    """The author answers with the object received; too many unanswered ones are refused as busy."""

    class Hoarder(Quiet):
        async def player(self, player: Player) -> None:
            kept: list[FromPlayer] = []
            async for event in player:
                match event:
                    case Guess("now"):
                        for each in [*kept, event]:
                            player.reply(each, Verdict(True))
                        kept.clear()
                    case Guess():
                        kept.append(event)
                        with pytest.raises(LookupError):
                            player.reply(Guess("x"), Verdict(True))

    room = await edge_room(Hoarder)
    (ana,) = await room.join("ana", limits=edge.Limits(inbox=1000))
    outcomes: list[str] = []

    async def guess(word: str) -> None:
        try:
            assert await ana.request(Guess(word), Verdict) == Verdict(True)
            outcomes.append("answered")
        except edge.RequestFailed as exc:
            outcomes.append(exc.problem)

    async with trio.open_nursery() as nursery:
        for _ in range(MAX_REQUESTS - 1):
            nursery.start_soon(guess, "later")
        await wait_all_tasks_blocked()
        nursery.start_soon(guess, "now")
        await wait_all_tasks_blocked()
        assert outcomes == ["answered"] * MAX_REQUESTS
        for _ in range(MAX_REQUESTS + 1):
            nursery.start_soon(guess, "later")
        await wait_all_tasks_blocked()
        assert outcomes[MAX_REQUESTS:] == ["busy"]
        nursery.cancel_scope.cancel()


# --- ticks


async def test_ticks_keep_absolute_time() -> None:
    """A step each period, whatever the body takes of it; dt is constant; lateness is told."""
    steps = []
    async for step in Ticks(hz=10, catch_up=5):
        steps.append((round(trio.current_time(), 6), step))
        await trio.sleep(0.25 if step.number == 3 else 0.05)
        if step.number == 7:
            break
    assert [at for at, _ in steps] == pytest.approx([0.1, 0.2, 0.3, 0.55, 0.6, 0.65, 0.7])
    assert [round(step.late, 6) for _, step in steps] == pytest.approx([0, 0, 0, 0.15, 0.1, 0.05, 0])
    assert {step.dt for _, step in steps} == {0.1}
    assert [step.skipped for _, step in steps] == [0] * 7


async def test_ticks_give_up_what_they_cant_catch_up() -> None:
    """After a long stop, at most `catch_up` steps are made up for, and the rest are told as skipped."""
    steps = []
    async for step in Ticks(hz=10, catch_up=2):
        steps.append(step)
        if step.number == 1:
            await trio.sleep(1.04)
        if step.number == 5:
            break
    assert [step.skipped for step in steps] == [0, 7, 0, 0, 0]
    assert [round(step.late, 2) for step in steps] == [0, 0.24, 0.14, 0.04, 0]
    with pytest.raises(ValueError, match="hz > 0"):
        Ticks(hz=0, catch_up=1)


# --- the directory


async def test_the_directory_opens_finds_lists_and_forgets() -> None:
    """One room a name; closed when nobody has sat for `idle` seconds; then a new one under the same name."""
    directory = edge.Directory({"quiet": Quiet}, max_rooms=2, idle=60)
    with pytest.raises(edge.Refused, match="shutting down"):
        directory.open("quiet", "early")
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        room = directory.open("quiet", "a")
        assert directory.open("quiet", "a") is room
        directory.open("quiet", "b").lock()
        assert [(each.name, each.seated, each.locked) for each in directory.list("quiet")] == [
            ("a", 0, False),
            ("b", 0, True),
        ]
        assert directory.list("other") == ()
        for kind, name, code in [
            ("quiet", "c", edge.Code.FULL),
            ("other", "a", edge.Code.NO_ROOM),
            ("quiet", "../a", edge.Code.NO_ROOM),
        ]:
            with pytest.raises(edge.Refused) as refused:
                directory.open(kind, name)
            assert refused.value.code is code
        await trio.sleep(61)
        assert len(directory) == 0
        assert room.closing
        assert directory.open("quiet", "a") is not room
        directory.close()
    assert len(directory) == 0


async def test_a_room_with_somebody_in_it_is_not_idle(edge_room: Open) -> None:
    """Idle counts from the last one's leaving, grace included."""
    directory = edge.Directory({"quiet": Quiet}, idle=60)
    async with trio.open_nursery() as nursery:
        await nursery.start(directory.run)
        room = directory.open("quiet", "a")
        player = room.take_seat(StubSeat("ana"))
        await trio.sleep(3600)
        assert not room.closing
        player.leave(edge.Code.LEFT)
        await trio.sleep(59)
        assert not room.closing
        await trio.sleep(2)
        assert room.closing
        directory.close()


# --- seats and presence


async def test_presence_follows_the_ledger(edge_room: Open) -> None:
    """Joined, away, back, left; the lowest free number is given again."""
    room = await edge_room(Quiet)
    ana, ben = await room.join("ana", "ben")
    seats = room.room.seats
    await wait_all_tasks_blocked()
    seen: list[Any] = []

    async def watch() -> None:
        while True:
            seen.append([(each.number, each.name, each.connected) for each in seats.presence()])
            await seats.wait_change()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await wait_all_tasks_blocked()
        ana.drop()
        await wait_all_tasks_blocked()
        await ana.resume()
        await wait_all_tasks_blocked()
        ana.leave()
        await wait_all_tasks_blocked()
        await room.join("cyn")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert seen == [
        [(0, "ana", True), (1, "ben", True)],
        [(0, "ana", False), (1, "ben", True)],
        [(0, "ana", True), (1, "ben", True)],
        [(1, "ben", True)],
        [(1, "ben", True), (0, "cyn", True)],
    ]
    assert ben.welcome is not None


async def test_no_grace_ends_a_seat_at_once(edge_room: Open) -> None:
    """With `grace=0` a lost connection is leaving."""

    class Strict(Quiet):
        seats = edge.Seats(grace=0)

    room = await edge_room(Strict)
    (ana,) = await room.join("ana")
    ana.drop()
    await wait_all_tasks_blocked()
    assert room.room.players == ()


# --- what a cancellation loses


async def test_cancelled_waits_leave_nothing_behind(edge_room: Open) -> None:
    """Every public wait can be cancelled midway: nothing is registered any more, and nothing was taken."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    loop = room.room.listen(Guess)
    waits: list[Callable[[], Any]] = [
        lambda: player.receive(Guess),
        lambda: player.ask(Choose([]), Chosen),
        lambda: player.listen(Guess).receive(),
        loop.receive,
        room.room.seats.wait_change,
        room.room.wait_closed,
        lambda: ana.receive(Verdict),
        lambda: ana.request(Guess("x"), Verdict),
        lambda: ana.wait_state("closed"),
    ]
    for wait in waits:
        with trio.move_on_after(1) as scope:
            await wait()
        assert scope.cancelled_caught
    assert len(player.listeners) == 0
    assert (len(ana._dialogue._questions), len(ana._waiters)) == (0, 0)
    assert len(player._dialogue._questions) == 0
    _, guess = await loop.receive()  # the request had been sent, and is still to be answered
    assert len(player._dialogue) == 1
    player.reply(guess, Verdict(False))
    assert len(player._dialogue) == 0


async def test_a_second_round_is_refused(edge_room: Open) -> None:
    """A room plays one round at a time."""
    room = await edge_room(Quiet)
    await room.join("ana")
    async with room.room.open_round():
        with pytest.raises(RuntimeError, match="open already"):
            async with room.room.open_round():
                pass


async def test_what_a_round_raises_comes_out(edge_room: Open) -> None:
    """As a group, because a round may have tasks; its outcome is then no value."""
    room = await edge_room(Quiet)
    await room.join("ana")
    with pytest.raises(ExceptionGroup) as caught:
        async with room.room.open_round() as round:
            raise KeyError("mine")
    assert isinstance(caught.value.exceptions[0], KeyError)
    assert round.outcome is None
    assert not room.room.reset()


async def test_an_hour_of_play_is_a_moment(edge_room: Open) -> None:
    """Two players, turns that time out, an hour of it: the clock says an hour, and nothing was logged."""

    class Turns(Quiet):
        played = 0

        async def run(self) -> None:
            await self.seats.wait_minimum()
            while True:
                async with self.open_round() as round:
                    for player in round.players:
                        with round.turn(player, seconds=30) as turn:
                            await player.receive(Guess)
                        assert turn.outcome is edge.Outcome.TIMEOUT
                        self.played += 1

    room = await edge_room(Turns)
    await room.join("ana", "ben")
    await trio.sleep(3600)
    assert room.room.played >= 119
    assert math.isclose(trio.current_time(), 3600, abs_tol=1)


class StubSeat(edge.Seat):
    """A seat without anybody."""

    def __init__(self, name: str) -> None:
        self.who = self.name = name
        self.ended: list[edge.Code] = []

    def send(self, message: Any) -> None:
        logging.getLogger("tests").debug("%r", message)

    def end(self, code: edge.Code, reason: str) -> None:
        self.ended.append(code)
