"""Reply scopes, streams of replies, and cancelled requests."""

from __future__ import annotations

import gc

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.client.client import Status
from edge.rooms.player import member_of
from edge.testing import EdgeRoom, MemoryClient, seeds
from tests.rooms.inside import open_turn
from tests.rooms.quiet import Choose, Chosen, Guess, Player, Quiet, Verdict


class Ponderous(Quiet):
    """Answers each guess in its own reply scope, after one second. The scope raises for "crash", and does not reply to
    "nothing"."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    async def player(self, player: Player) -> None:
        async with trio.open_nursery() as nursery:
            async for guess in player.listen(Guess):
                nursery.start_soon(self.answer, player, guess)

    async def answer(self, player: Player, guess: Guess) -> None:
        with player.answering(guess) as answering:
            try:
                await trio.sleep(1)
                match guess.word:
                    case "crash":
                        raise ValueError("as told")
                    case "nothing":
                        pass
                    case _:
                        answering.reply(Verdict(True))
            finally:
                self.ends.append(f"{guess.word} at {trio.current_time():g}")


async def ask(client: MemoryClient, word: str, outcomes: list[str]) -> None:
    try:
        outcomes.append(f"{word}: {(await client.request(Guess(word), Verdict)).right}")
    except edge.RequestFailed as exc:
        outcomes.append(f"{word}: {exc.problem}")


@seeds(50)
async def test_a_cancelled_request_cancels_its_block(edge_room: EdgeRoom, edge_seed: int) -> None:
    """If a client cancels a request, the reply scope of that request is cancelled, and other requests continue."""
    room = await edge_room(Ponderous)
    (ana,) = await room.join("ana")
    outcomes: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, ana, "other", outcomes)
        with trio.move_on_after(0.4):
            await ask(ana, "given up", outcomes)
    await wait_all_tasks_blocked()
    assert outcomes == ["other: True"]
    assert room.room.ends == ["given up at 0.4", "other at 1"]
    assert ana.status is Status.OPEN
    (player,) = room.room.players
    assert len(member_of(player).requests) == 0


async def test_the_deadline_travels(edge_room: EdgeRoom) -> None:
    """A reply scope is cancelled at the deadline that the client had for the request, even if the connection is
    lost."""
    room = await edge_room(Ponderous)
    (ana,) = await room.join("ana")
    with trio.move_on_after(0.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, ana, "slow", [])
            await wait_all_tasks_blocked()
            ana.drop()
    await trio.sleep(3)
    assert room.room.ends == ["slow at 0.5"]


async def test_a_block_that_was_cut_answers_with_an_error(edge_room: EdgeRoom) -> None:
    """If a reply scope is cancelled, or ends without a reply, the client gets an error."""

    class Resetting(Ponderous):
        async def run(self) -> None:
            async for player, guess in self.listen(Guess):
                async with self.open_round() as round:
                    round.start_soon(self.answer, player, guess)
                    if guess.word == "reset":
                        self.reset()
                    await trio.sleep(2)

        async def player(self, player: Player) -> None:
            await trio.sleep_forever()

    room = await edge_room(Resetting)
    (ana,) = await room.join("ana")
    outcomes: list[str] = []
    for word in ("reset", "nothing", "fine"):
        await ask(ana, word, outcomes)
    assert outcomes == ["reset: cancelled", "nothing: unanswered", "fine: True"]
    await trio.sleep(2)


async def test_a_block_that_crashed_answers_with_an_error(edge_room: EdgeRoom) -> None:
    """If a reply scope raises, the client gets an error as the answer, and the exception crashes the player as
    usual."""
    room = await edge_room(Ponderous)
    room.expect_crash("as told")
    (ana,) = await room.join("ana")
    outcomes: list[str] = []
    await ask(ana, "crash", outcomes)
    assert outcomes == ["crash: crashed"]
    await ana.wait_status(Status.CLOSED)


class Library(Quiet):
    """Answers a guess with a stream of verdicts. The word of the guess is the number of verdicts."""

    def __init__(self) -> None:
        self.given = 0
        self.ended = False

    async def player(self, player: Player) -> None:
        async for guess in player.listen(Guess):
            with player.answering(guess) as answering:
                try:
                    for _ in range(int(guess.word)):
                        await answering.send(Verdict(True))
                        self.given += 1
                finally:
                    self.ended = True


@seeds(20)
async def test_a_stream_of_replies(edge_room: EdgeRoom, edge_seed: int) -> None:
    """A stream of replies arrives completely, even if the connection is cut during the stream."""
    room = await edge_room(Library)
    (ana,) = await room.join("ana", limits=edge.Limits(outbox_frames=64))
    got = 0
    with ana.stream(Guess("300"), Verdict) as verdicts:
        async for _ in verdicts:
            got += 1
            if got == 100:
                ana.drop()
                await ana.resume()
    assert got == 300


async def test_a_stream_waits_for_a_client_that_is_behind(edge_room: EdgeRoom) -> None:
    """A stream of replies pauses while the client does not acknowledge them, and continues after the client has
    resumed."""
    room = await edge_room(Library)
    (ana,) = await room.join("ana", limits=edge.Limits(outbox_frames=64))
    (player,) = room.room.players
    with ana.stream(Guess("1000"), Verdict) as verdicts:
        await anext(verdicts)
        ana.drop()
        await trio.sleep(2)
        held = room.room.given
        await trio.sleep(2)
        assert room.room.given == held < 300
        assert player.connected is False
        await ana.resume()
        assert len([verdict async for verdict in verdicts]) == 999


async def test_a_client_stops_a_stream(edge_room: EdgeRoom) -> None:
    """When a client leaves the block of its `stream`, the room's reply scope ends, and neither side still has the
    request."""
    room = await edge_room(Library)
    (ana,) = await room.join("ana")
    ana._capacity = 100
    with ana.stream(Guess("1000000"), Verdict) as verdicts:
        async for _ in verdicts:
            if room.room.given > 50:
                break
    await wait_all_tasks_blocked()
    await trio.sleep(2)
    assert room.room.ended
    assert room.room.given < 5000
    (player,) = room.room.players
    assert (len(member_of(player).requests), len(ana._requests)) == (0, 0)
    with ana.stream(Guess("2"), Verdict) as again:
        assert len([verdict async for verdict in again]) == 2


async def test_a_room_that_stops_asking_is_heard_by_the_client(edge_room: EdgeRoom) -> None:
    """When a turn ends, the client's reply scope for the room's request is cancelled, and a late answer is ignored."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask_player() -> None:
            with open_turn(player, 3):
                await player.ask(Choose([]), Chosen)

        question = await ana.receive(Choose)
        with ana.answering(question) as answering:
            await trio.sleep_forever()
        assert answering.cancelled
        assert trio.current_time() == 3
        answering.reply(Chosen("late"))
        ana.reply(question, Chosen("late"))
        await wait_all_tasks_blocked()
    assert list(ana.errors) == []


async def test_answering_is_checked(edge_room: EdgeRoom) -> None:
    """A reply must be an event that the room sends. A second answer, or an answer without a request, returns False."""

    class Careless(Quiet):
        async def player(self, player: Player) -> None:
            async for guess in player.listen(Guess):
                with player.answering(Guess("another")) as unasked:
                    assert not unasked.reply(Verdict(True))
                    assert not await unasked.send(Verdict(True))
                with player.answering(guess) as answering:
                    with pytest.raises(TypeError, match="not one of the events"):
                        answering.reply(Guess("x"))  # type: ignore[arg-type]  # the mistake under test
                    assert answering.reply(Verdict(True))
                    assert not answering.reply(Verdict(False))
                    assert not await answering.send(Verdict(False))

    room = await edge_room(Careless)
    (ana,) = await room.join("ana")
    assert await ana.request(Guess("x"), Verdict) == Verdict(True)


async def test_no_client_can_crash_a_room_by_what_it_asks(edge_room: EdgeRoom) -> None:
    """Replies of a room to a plain event and to two hundred cancelled requests have no effect, and do not crash the
    room."""

    class Obliging(Quiet):
        answered = 0

        async def run(self) -> None:
            async with trio.open_nursery() as nursery:
                async for player, guess in self.listen(Guess):
                    nursery.start_soon(self.answer, player, guess)

        async def answer(self, player: Player, guess: Guess) -> None:
            await trio.sleep(1)
            self.answered += player.reply(guess, Verdict(True))

    room = await edge_room(Obliging)
    (ana,) = await room.join("ana")
    ana.send(Guess("by the way"))
    for _ in range(200):
        with trio.move_on_after(0):
            await ana.request(Guess("never mind"), Verdict)
        await wait_all_tasks_blocked()
    assert await ana.request(Guess("now"), Verdict) == Verdict(True)
    assert room.room.answered == 1
    (player,) = room.room.players
    gc.collect()
    assert len(member_of(player).requests._given_up) == 0


async def test_two_streams_at_once_both_go_on(edge_room: EdgeRoom) -> None:
    """All streams of replies to the same slow client continue when the client has acknowledged enough messages."""

    class Libraries(Library):
        async def player(self, player: Player) -> None:
            async with trio.open_nursery() as nursery:
                async for guess in player.listen(Guess):
                    nursery.start_soon(self.give, player, guess)

        async def give(self, player: Player, guess: Guess) -> None:
            with player.answering(guess) as answering:
                for _ in range(int(guess.word)):
                    await answering.send(Verdict(True))

    room = await edge_room(Libraries)
    (ana,) = await room.join("ana", limits=edge.Limits(outbox_frames=64))
    counts: list[int] = []

    async def read() -> None:
        with ana.stream(Guess("2000"), Verdict) as verdicts:
            counts.append(len([verdict async for verdict in verdicts]))

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read)
    assert counts == [2000] * 3


async def test_nothing_of_an_old_page_reaches_the_new(edge_room: EdgeRoom) -> None:
    """After a page has cancelled a request and another page of its session has joined, `send` of a further part returns
    False."""

    class Stubborn(Quiet):
        async def player(self, player: Player) -> None:
            async for guess in player.listen(Guess):
                with player.answering(guess) as answering, trio.CancelScope(shield=True):
                    await trio.sleep(1)
                    assert not await answering.send(Verdict(True))

    room = await edge_room(Stubborn)
    session = edge.Session("u1")
    (page,) = await room.join(session=session)
    with trio.move_on_after(0.5):
        await page.request(Guess("x"), Verdict)
    await room.join(session=session)
    await trio.sleep(2)


def test_what_decides_at_once_is_not_async() -> None:
    """An async `admit` is refused when the room class is defined, because `admit` is called without await."""
    with pytest.raises(TypeError, match="admit is async"):

        class Open(Quiet):
            async def admit(self, applicant: edge.Applicant) -> None:  # type: ignore[override]  # the mistake under test
                raise edge.Refused("nobody")


async def test_an_error_in_the_clean_up_of_a_block_answers_too(edge_room: EdgeRoom) -> None:
    """A cancelled request is removed even if the clean-up in its reply scope raises."""

    class Messy(Quiet):
        async def player(self, player: Player) -> None:
            async for guess in player.listen(Guess):
                try:
                    with player.answering(guess):
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(trio.sleep_forever)
                            nursery.start_soon(self.fail)
                except* ValueError:
                    pass

        async def fail(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("in the clean-up")

    room = await edge_room(Messy)
    (ana,) = await room.join("ana")
    with trio.move_on_after(1):
        await ana.request(Guess("x"), Verdict)
    await trio.sleep(1)
    (player,) = room.room.players
    assert len(member_of(player).requests) == 0
