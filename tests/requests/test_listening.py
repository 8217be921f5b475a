"""Loops over events and waits for events end at the right time, and unregister their listeners."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from edge.client.client import Status
from edge.protocol.messages import Event
from edge.requests.listening import Arrival, Subscription
from edge.rooms.player import member_of
from edge.testing import EdgeRoom
from tests.rooms.quiet import Choose, Chosen, Guess, Player, Quiet, Verdict


async def test_who_has_left_is_not_waited_for(edge_room: EdgeRoom) -> None:
    """A loop over the events of a player that has left, or of a closed room, ends at once."""
    room = await edge_room(Quiet)
    ana, _ = await room.join("ana", "ben")
    player = room.room.players[0]
    ana.leave()
    await wait_all_tasks_blocked()
    assert [event async for event in player] == []
    assert [event async for event in player.listen(Guess)] == []
    room.room.close()
    assert [event async for event in room.room.listen(Guess)] == []


async def test_a_loop_that_was_cancelled_listens_no_more(edge_room: EdgeRoom) -> None:
    """A loop over events that was cancelled gets no more events, even while the exception that ended the loop is
    handled."""
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


async def test_a_second_task_in_a_loop_is_refused_and_the_first_goes_on(edge_room: EdgeRoom) -> None:
    """If a second task uses the loop object of another task, the second task gets BusyResourceError, and the first task
    continues."""
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


async def test_cancelled_waits_leave_nothing_behind(edge_room: EdgeRoom) -> None:
    """After the cancellation of each of nine public methods that wait, no listener, waiter or request stays registered,
    and no event is lost."""
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
        lambda: ana.wait_status(Status.CLOSED),
    ]
    for wait in waits:
        with trio.move_on_after(1) as scope:
            await wait()
        assert scope.cancelled_caught
    assert len(member_of(player).listeners) == 0
    assert (len(ana._requests._outgoing), len(ana._waiters)) == (0, 0)
    assert len(member_of(player).requests._outgoing) == 0
    await wait_all_tasks_blocked()
    assert len(member_of(player).requests) == 0
    _, guess = await loop.receive()  # this event is the request above, which was sent and then cancelled
    player.reply(guess, Verdict(False))  # has no effect, because the request was cancelled


class _Turns(trio.abc.Instrument):
    """Counts the steps of all tasks."""

    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_what_arrived_together_is_taken_together_and_others_have_their_turn(edge_room: EdgeRoom) -> None:
    """A loop takes up to sixteen queued events in one step of its task, and then lets other tasks run."""
    turns = _Turns()
    steps: list[int] = []

    class Noting(Quiet):
        async def player(self, player: Player) -> None:
            async for _ in player:
                steps.append(turns.count)

    room = await edge_room(Noting)
    await room.join("ana")
    await wait_all_tasks_blocked()
    trio.lowlevel.add_instrument(turns)
    for _ in range(40):
        room.runtime.players[0].deliver(Event("Guess", {"word": "x"}))
    await wait_all_tasks_blocked()
    trio.lowlevel.remove_instrument(turns)
    assert sorted(Counter(steps).values()) == [8, 16, 16]


async def test_a_loop_with_much_to_take_can_be_cancelled(edge_room: EdgeRoom) -> None:
    """If the body of a loop kicks the player, the loop takes no more queued events of that player."""
    heard: list[str] = []

    class Strict(Quiet):
        async def player(self, player: Player) -> None:
            async for _ in player.listen(Guess):
                heard.append(player.name)
                player.kick("once is enough")

    room = await edge_room(Strict)
    await room.join("ana")
    await wait_all_tasks_blocked()
    for _ in range(10):
        room.runtime.players[0].deliver(Event("Guess", {"word": "x"}))
    await wait_all_tasks_blocked()
    assert heard == ["ana"]


async def test_a_single_wait_on_a_temporary_loop(edge_room: EdgeRoom) -> None:
    """`anext` waits on a listener to which nothing else refers."""
    heard: list[object] = []

    class Waiting(Quiet):
        async def run(self) -> None:
            player, event = await anext(self.listen(Guess))
            heard.append((player.name, event))
            await trio.sleep_forever()

        async def player(self, player: Player) -> None:
            heard.append(await anext(player.listen(Chosen)))
            heard.append(await anext(aiter(player)))
            heard.append(await anext(player.listen(Chosen), None))

    room = await edge_room(Waiting)
    (ana,) = await room.join("ana")
    await wait_all_tasks_blocked()
    expected = [Guess("a"), Chosen("b"), Chosen("c"), Chosen("d")]
    for event in expected:
        ana.send(event)
        await wait_all_tasks_blocked()
    assert heard == [("ana", expected[0]), *expected[1:]]


def test_a_long_queue_ends_in_linear_time() -> None:
    """The queue of a room's loop may be as long as the queues of all its players together. It keeps its order."""

    class Refused(Arrival):
        size = 0

        def __init__(self, number: int) -> None:
            self.event = number

        def take(self) -> None:
            raise AssertionError

        def refuse_unheard(self) -> None:
            refused.append(self.event)

    refused: list[Any] = []
    subscription = Subscription(None, lambda arrival: arrival)
    for number in range(1000):
        subscription.put(Refused(number))
    assert isinstance(subscription.queue, deque)
    subscription.close()
    assert refused == [*range(1000)]
