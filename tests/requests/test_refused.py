"""Refused requests, requests that nobody answers, and several classes of answers."""

from __future__ import annotations

import gc
import logging
from typing import Any

import attrs
import pytest
import trio

import edge
from edge.protocol import messages
from edge.protocol.events import Vocabulary, event_type
from edge.requests.tracker import RequestTracker
from edge.testing import EdgeRoom, seeds


@edge.event("bet")
class Bet:
    chips: int


@edge.event("taken")
class Taken:
    left: int


@edge.event("all_in")
class AllIn:
    pass


@edge.event("short")
class Short:
    missing: int


@edge.event("think")
class Think:
    pass


@edge.event("nod")
class Nod:
    pass


FromPlayer = Bet | Think | Nod
ToPlayer = Taken | AllIn | Short | Think


class Table(edge.Room[FromPlayer, ToPlayer]):
    """Answers bets: more than 10 chips are refused in a scope, more than 100 without one, 5 chips by another class."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
        async for event in player:
            match event:
                case Bet(chips) if chips > 100:
                    player.refuse(event, "far too much", data=Short(chips - 10))
                case Bet(chips) if chips > 10:
                    with player.answering(event):
                        raise edge.RequestRefused("not enough chips", data=Short(chips - 10))
                case Bet(5):
                    player.reply(event, AllIn())
                case Bet(6):
                    self.kept.append(event)
                case Bet(7):
                    pass
                case Bet(chips):
                    player.reply(event, Taken(10 - chips))
                case Think():
                    self.kept.clear()
                case Nod():
                    pass


async def failure(client: Any, event: Any, *answers: Any) -> edge.RequestFailed:
    with pytest.raises(edge.RequestFailed) as caught:
        await client.request(event, *answers)
    return caught.value


@pytest.mark.parametrize("chips", [20, 200])
async def test_a_refusal_has_a_message_and_typed_data(edge_room: EdgeRoom, chips: int) -> None:
    """A request that the room refuses fails at the client with the message and the event of the refusal, and the next
    request is answered."""
    room = await edge_room(Table)
    (ana,) = await room.join("ana")
    failed = await failure(ana, Bet(chips), Taken)
    assert (failed.problem, failed.data) == ("refused", Short(chips - 10))
    assert str(failed) == ("far too much" if chips > 100 else "not enough chips")
    assert await ana.request(Bet(1), Taken) == Taken(9)
    assert not ana.errors


async def test_one_of_several_classes_answers(edge_room: EdgeRoom) -> None:
    """A request may be answered by any of the given classes, also if they are given as a union; another class fails."""
    room = await edge_room(Table)
    (ana,) = await room.join("ana")
    assert await ana.request(Bet(5), Taken, AllIn) == AllIn()
    assert await ana.request(Bet(1), Taken | AllIn) == Taken(9)
    failed = await failure(ana, Bet(5), Taken, Short)
    assert str(failed) == "this request must be answered by a Taken or Short"
    with pytest.raises(TypeError, match="at least one event class"):
        await ana.request(Bet(5))


@seeds(20)
async def test_a_request_that_is_dropped_settles(edge_room: EdgeRoom, caplog: pytest.LogCaptureFixture) -> None:
    """When the room's code drops the event of a request without an answer, the request fails as unanswered, and the log
    names the code. As long as the code keeps the event, the request waits."""
    room = await edge_room(Table)
    (ana,) = await room.join("ana")
    failures: list[str] = []

    async def bet(chips: int) -> None:
        failures.append(f"{chips} {(await failure(ana, Bet(chips), Taken)).problem} at {trio.current_time():g}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bet, 7)
        await trio.sleep(1)
        nursery.start_soon(bet, 6)
        await trio.sleep(1)
        assert failures == ["7 unanswered at 0"]
        ana.send(Nod())
        await trio.sleep(1)
        assert failures == ["7 unanswered at 0"]
        ana.send(Think())
        await trio.sleep(1)
        gc.collect()
        await trio.sleep(1)
    assert failures[1].startswith("6 unanswered at ")
    (warning,) = [
        each.getMessage() for each in caplog.records if each.levelno == logging.WARNING and "dropped" in each.msg
    ]
    assert warning.startswith("player() (")
    assert "has dropped a request 'bet' of 'ana' without an answer, in the room 'room/0'" in warning


async def test_a_client_refuses(edge_room: EdgeRoom) -> None:
    """A client refuses a request of the room with a message and data, as a room does."""
    outcome: list[Any] = []

    class Asking(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
            try:
                await player.ask(Think(), Nod, Bet)
            except edge.RequestFailed as exc:
                outcome.extend([exc.problem, str(exc), exc.data])

    room = await edge_room(Asking)
    (ana,) = await room.join("ana")
    with ana.answering(await ana.receive(Think)):
        raise edge.RequestRefused("no time", data=Bet(3))
    await trio.sleep(1)
    assert outcome == ["refused", "no time", Bet(3)]


@seeds(20)
@pytest.mark.parametrize("loop", ["player", "listen", "shared", "room"])
async def test_the_last_request_of_a_loop_settles(edge_room: EdgeRoom, loop: str) -> None:
    """A request that a loop has passed over fails when the loop waits for its next event. A request that other code
    still refers to does not."""

    class Forgetful(edge.Room[FromPlayer, ToPlayer]):
        tasks: trio.Nursery

        async def run(self) -> None:
            if loop == "room":
                async for player, event in self.listen(Bet):
                    if event.chips > 1:
                        self.tasks.start_soon(self.think, player, event)
            await trio.sleep_forever()

        async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
            if loop == "room":
                await trio.sleep_forever()
            listener = player if loop == "player" else player.listen(Bet, share=loop == "shared")
            async for event in listener:
                if isinstance(event, Bet) and event.chips > 1:
                    self.tasks.start_soon(self.think, player, event)

        async def think(self, player: edge.Player[FromPlayer, ToPlayer], event: Any) -> None:
            await trio.sleep(5)
            player.reply(event, Taken(0))

    async with trio.open_nursery() as nursery:
        Forgetful.tasks = nursery
        room = await edge_room(Forgetful)
        (ana,) = await room.join("ana")
        began = trio.current_time()
        for _ in range(2):
            assert (await failure(ana, Bet(1), Taken)).problem == "unanswered"
            assert trio.current_time() == began
        assert await ana.request(Bet(2), Taken) == Taken(0)


@pytest.mark.parametrize("side", ["room", "client"])
async def test_a_loop_does_not_drop_the_event_of_another_task(edge_room: EdgeRoom, side: str) -> None:
    """Two tasks may loop over one listener, or one client, in turn: while one works on a request, the other waits."""

    async def work(listener: Any, answer: Any, to: Any) -> None:
        async for event in listener:
            await trio.sleep(5)
            to.reply(event, answer)
            return

    class Working(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
            if side == "room":
                await two_tasks(player.listen(Bet), Taken(0), player)
            else:
                assert await player.ask(Think(), Nod) == Nod()
                assert await player.ask(Think(), Nod) == Nod()
                player.send(Taken(1))
            await trio.sleep_forever()

    async def two_tasks(listener: Any, answer: Any, to: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, listener, answer, to)
            await trio.sleep(1)
            nursery.start_soon(work, listener, answer, to)

    room = await edge_room(Working)
    (ana,) = await room.join("ana")
    if side == "room":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ana.request, Bet(1), Taken)
            await trio.sleep(3)
            nursery.start_soon(ana.request, Bet(2), Taken)
    else:
        await two_tasks(ana, Nod(), ana)
        assert await ana.receive(Taken) == Taken(1)


async def test_two_requests_are_taken_before_one_is_answered(edge_room: EdgeRoom) -> None:
    """A request that code has received without a loop waits for its answer, while the code waits for another event."""

    class Pairs(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
            bets = player.listen(Bet)
            first = await bets.receive()
            second = await bets.receive()
            player.reply(first, Taken(second.chips))
            player.reply(second, Taken(first.chips))

    room = await edge_room(Pairs)
    (ana,) = await room.join("ana")
    answers: list[Any] = []

    async def bet(chips: int) -> None:
        answers.append(await ana.request(Bet(chips), Taken))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bet, 1)
        await trio.sleep(1)
        nursery.start_soon(bet, 2)
    assert answers == [Taken(2), Taken(1)]


async def test_a_refusal_in_a_nursery(edge_room: EdgeRoom) -> None:
    """`RequestRefused` refuses the request also if a task of the block's nursery raises it."""

    class Checking(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
            async for event in player:
                with player.answering(event):
                    async with trio.open_nursery() as outer, trio.open_nursery() as inner:
                        outer.start_soon(trio.sleep_forever)
                        inner.start_soon(self.check)

        async def check(self) -> None:
            raise edge.RequestRefused("no", data=Short(1))

    room = await edge_room(Checking)
    (ana,) = await room.join("ana")
    for _ in range(2):
        failed = await failure(ana, Bet(1), Taken)
        assert (failed.problem, str(failed), failed.data) == ("refused", "no", Short(1))


async def test_a_refused_event_that_is_not_a_request(edge_room: EdgeRoom) -> None:
    """Who sends an event that is refused, but not as a request, gets an error about it."""

    class Refusing(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
            async for event in player:
                with player.answering(event):
                    raise edge.RequestRefused("no chips", data=Bet(3))

    room = await edge_room(Refusing)
    (ana,) = await room.join("ana")
    ana.send(Bet(1))
    await trio.sleep(1)
    assert [(error.problem, error.message, error.about) for error in ana.errors] == [("refused", "no chips", "bet")]


async def test_data_that_the_room_may_not_send(edge_room: EdgeRoom) -> None:
    """Data of a refusal that is not one of the room's events is an error in the room's code, and the request fails."""

    class Wrong(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
            event = await player.receive(Bet)
            with player.answering(event):
                raise edge.RequestRefused("no", data=Nod())

    room = await edge_room(Wrong)
    room.expect_crash("Nod is not one of the events that Wrong sends")
    (ana,) = await room.join("ana")
    assert (await failure(ana, Bet(1), Taken)).problem == "crashed"


@attrs.frozen
class Heard:
    one: list[int] = attrs.field(factory=list)
    other: list[int] = attrs.field(factory=list)


@seeds(20)
async def test_two_loops_share_their_events(edge_room: EdgeRoom) -> None:
    """With ``share=True``, two loops over the same class each get each event, for one player and for the room; the
    event counts as taken once."""
    heard = Heard()

    class Shared(edge.Room[FromPlayer, ToPlayer]):
        async def run(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.loop, heard.one, self.listen(Bet))
                nursery.start_soon(self.loop, heard.other, self.listen(Bet, Think, share=True))

        async def loop(self, heard: list[int], events: Any) -> None:
            async for _, event in events:
                if isinstance(event, Bet):
                    heard.append(event.chips)

    room = await edge_room(Shared)
    (ana,) = await room.join("ana")
    for chips in range(5):
        ana.send(Bet(chips))
    await trio.sleep(1)
    assert heard == Heard([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    assert room.runtime.counters.received == 5
    assert not ana.errors


async def test_a_second_loop_is_an_error_that_says_so(edge_room: EdgeRoom) -> None:
    """A second loop over a class is an error unless it shares; once the first loop has ended, it is not."""

    class Twice(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
            first = player.listen(Bet, Think)
            with pytest.raises(RuntimeError, match=r"another loop listens for Bet: with share=True"):
                player.listen(Bet, Nod)
            player.listen(Nod)
            del first
            player.listen(Bet)
            general = aiter(player)
            with pytest.raises(RuntimeError, match="another loop over this player"):
                aiter(player)
            del general
            aiter(player)

    room = await edge_room(Twice)
    await room.join("ana")
    await trio.sleep(1)


async def test_a_shared_event_that_no_loop_takes_is_refused_once(edge_room: EdgeRoom) -> None:
    """An event that two loops share is refused, once, only if both loops end before they take it."""

    class Leaving(edge.Room[FromPlayer, ToPlayer]):
        async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
            one, other = player.listen(Bet), player.listen(Bet, share=True)
            await trio.sleep(1)
            taken = await one.receive()
            assert taken == Bet(1)
            del one, other
            await trio.sleep_forever()

    room = await edge_room(Leaving)
    (ana,) = await room.join("ana")
    ana.send(Bet(1))
    ana.send(Bet(2))
    await trio.sleep(2)
    assert [error.problem for error in ana.errors] == ["not_now"]


async def test_a_new_request_with_the_id_of_a_dropped_one_is_answered() -> None:
    """A request is answered although its event has the `id()` of an event that was dropped just before."""
    sent: list[Any] = []
    tracker = RequestTracker(
        lambda message: sent.append(message.plain),
        Vocabulary.of(Bet),
        lambda event: event_type(type(event)),
        wait_relief=trio.lowlevel.checkpoint,
        check_size=lambda message: None,
    )
    number, same = 0, False
    while not same:  # Python usually reuses the memory of the first event for the second
        number += 2
        dropped = tracker.read_event(messages.Request("bet", {"chips": 1}, number))
        before = id(dropped)
        del dropped
        event = tracker.read_event(messages.Request("bet", {"chips": 2}, number + 1))
        same = id(event) == before
        await trio.lowlevel.checkpoint()
        await trio.sleep(0.1)
        assert tracker.reply(event, Taken(3)) is True
    assert sent[-2:] == [
        ["!unanswered", {"message": sent[-2][1]["message"], "about": "bet"}, number],
        ["=taken", {"left": 3}, number + 1],
    ]
