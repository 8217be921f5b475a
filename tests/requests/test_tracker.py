"""Requests of clients and of rooms: answers, refusals, cancellations, invalid answers, and players that leave."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge.protocol.events import EventType, Vocabulary, event_type
from edge.protocol.messages import Part, Reply
from edge.protocol.outgoing import Outgoing, outgoing_error, outgoing_reply, outgoing_request
from edge.requests.tracker import MAX_REQUESTS, RequestTracker
from edge.rooms.player import member_of
from edge.testing import EdgeRoom, seeds
from tests.rooms.inside import open_turn
from tests.rooms.quiet import Choose, Chosen, FromPlayer, Guess, Player, Quiet, Verdict


async def test_ask_is_one_expression(edge_room: EdgeRoom) -> None:
    """`ask` sends a request and returns its typed answer, even if the connection is cut before the answer."""
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
    assert not ana.reply(question, Chosen("a"))


async def test_an_answer_that_does_not_fit_is_refused_and_the_wait_goes_on(edge_room: EdgeRoom) -> None:
    """The room refuses an invalid answer to its request, and still accepts a valid answer later."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    answers: list[Chosen] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask() -> None:
            answers.append(await player.ask(Choose([]), Chosen))

        question = await ana.receive(Choose)
        ana._send(outgoing_reply(Guess("x"), event_type(Guess), 1))
        ana._send(Outgoing.of(Reply("Chosen", {"option": 7}, 1)))
        await wait_all_tasks_blocked()
        assert [(error.problem, error.about) for error in ana.errors] == [("invalid", "Guess"), ("invalid", "Chosen")]
        ana.reply(question, Chosen("a"))
    assert answers == [Chosen("a")]


async def test_a_request_that_is_answered_otherwise_fails(edge_room: EdgeRoom) -> None:
    """If the answer is another event than the expected one, the request raises RequestFailed."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def answer() -> None:
            async for guess in player.listen(Guess):
                player.reply(guess, Verdict(True))

        with pytest.raises(edge.RequestFailed, match="answered by a Choose") as caught:
            await ana.request(Guess("owl"), Choose)
        assert caught.value.problem == "invalid"
        with ana.stream(Guess("owl"), Choose) as several, pytest.raises(edge.RequestFailed, match="by a Choose"):
            await anext(several)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("answer", [Reply("Guess", {"word": "x"}, 1), Part("Guess", {"word": "x"}, 1)])
async def test_a_refusal_that_ends_the_conversation(answer: Reply | Part) -> None:
    """If a request gets an unexpected event as the answer, and the error that reports this closes the tracker, the
    request still fails with the first fault only."""
    sent: list[Outgoing] = []

    def send(message: Outgoing) -> None:
        sent.append(message)
        if len(sent) == 2:  # as happens if too many messages are unacknowledged
            requests.close(lambda: edge.Gone("everybody"))

    def event_type_of(event: object) -> EventType:
        return event_type(type(event))

    events, wait = Vocabulary.of(Guess | Chosen), trio.lowlevel.checkpoint
    requests = RequestTracker(
        send, events, event_type_of, wait_relief=wait, check_size=lambda message: None, tolerant=False
    )
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask() -> None:
            with pytest.raises(edge.RequestFailed, match="answered by a Chosen"):
                await requests.ask(Choose([]), Chosen)

        await wait_all_tasks_blocked()
        requests.receive_reply(answer)
    assert len(sent) == 2


async def test_a_client_that_refuses_to_answer(edge_room: EdgeRoom) -> None:
    """If a client answers a request with an error, `ask` raises RequestFailed. If `ask` is called in a turn, the
    outcome of the turn is REFUSED."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask() -> None:
            with pytest.raises(edge.RequestFailed, match="no thanks") as caught:
                await player.ask(Choose([]), Chosen)
            assert caught.value.problem == "not_now"
            with open_turn(player, 10) as turn:
                await player.ask(Choose([]), Chosen)
            assert turn.outcome is edge.Outcome.REFUSED

        for number in (1, 2):
            await ana.receive(Choose)
            ana._send(outgoing_error("not_now", "no thanks", "", number))


async def test_questions_that_nobody_answers_do_not_pile_up(edge_room: EdgeRoom) -> None:
    """If a player never answers, each request is withdrawn when its turn ends, so that the client does not collect
    requests."""
    room = await edge_room(Quiet)
    (ana,) = await room.join("ana")
    (player,) = room.room.players
    for _ in range(3 * MAX_REQUESTS):
        with open_turn(player, 1) as turn:
            await player.ask(Choose([]), Chosen)
        assert turn.outcome is edge.Outcome.TIMEOUT
    await wait_all_tasks_blocked()
    assert len(ana._requests) == 0


async def test_an_answer_behind_a_full_inbox_is_read(edge_room: EdgeRoom) -> None:
    """A room that waits for an answer while the player's inbox is full still receives the answer. Further events of
    this player are refused as `busy`."""

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
    assert not member_of(player).requests.asking
    assert {error.problem for error in ana.errors} == {"busy"}


async def test_a_reply_to_somebody_who_left_is_in_vain(edge_room: EdgeRoom) -> None:
    """A reply to a player that has left has no effect, and the room continues."""

    class Ponderous(Quiet):
        async def run(self) -> None:
            async for player, guess in self.listen(Guess):
                await trio.sleep(1)
                player.reply(guess, Verdict(True))

    room = await edge_room(Ponderous)
    ana, ben = await room.join("ana", "ben")
    ana._send(outgoing_request(Guess("x"), event_type(Guess), 1))
    await trio.sleep(0.5)
    ana.leave()
    assert await ben.request(Guess("y"), Verdict) == Verdict(True)


@seeds(50)
async def test_ask_of_someone_who_leaves(edge_room: EdgeRoom, edge_seed: int) -> None:
    """`ask` and `receive` raise `Gone` when the player leaves, loops end, and no request and no listener stays
    registered."""
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
    assert (len(member_of(player).requests), len(member_of(player).listeners)) == (0, 0)
    with pytest.raises(edge.Gone):
        await player.ask(Choose([]), Chosen)


async def test_requests_are_answered_once_and_bounded(edge_room: EdgeRoom) -> None:
    """A room can answer each request later by passing the received event to `reply`. Unanswered requests beyond
    `MAX_REQUESTS` are refused as `busy`."""

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
                        assert not player.reply(Guess("x"), Verdict(True))

    room = await edge_room(Hoarder)
    (ana,) = await room.join("ana", limits=edge.Limits(inbox=1000, events_burst=1000))
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
