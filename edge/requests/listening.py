"""Who is listening for what: the one place that decides where an arriving event goes, or that nobody wants it.

Two ways to listen. A `Waiter` is one task in `receive`: it is given its event directly. A `Subscription` is an
``async for``: it queues what arrives while the loop's body is busy. A subscription lives as long as somebody holds
its `Listener`; when the loop is left, by whatever way, what it still had is refused, not kept.
"""

from __future__ import annotations

import abc
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import outcome
import trio

from ..aio.wakeup import WakeUp

# Events that have arrived are taken together, up to so many or so many bytes, before other tasks run. The bytes are a
# quarter of an outbox, so that a room which repeats events to everybody lets the writers run in between.
TOGETHER = 16
TOGETHER_BYTES = 64 * 1024

E = TypeVar("E")
V = TypeVar("V")


class Waiter(Generic[V]):
    """One task that waits for one value, handed over in the step in which it is settled.

    Whoever settles it must first have taken it out of wherever others would find it.
    """

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._outcome: outcome.Outcome[V] | None = None

    async def wait(self, forget: Callable[[], object]) -> V:
        """Wait until `give` or `fail`, which may also have come before.

        *Cancellation*: `forget` is called, and nothing is lost: a value is given either to this task or not at all.
        """
        if self._outcome is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return self._outcome.unwrap()

        def abort(_: object) -> trio.lowlevel.Abort:
            forget()
            return trio.lowlevel.Abort.SUCCEEDED

        self._task = trio.lowlevel.current_task()
        value: V = await trio.lowlevel.wait_task_rescheduled(abort)
        return value

    def give(self, value: V) -> None:
        """Wake the task with this value."""
        self._settle(outcome.Value(value))

    def fail(self, exc: Exception) -> None:
        """Wake the task with this error."""
        self._settle(outcome.Error(exc))

    def _settle(self, result: outcome.Outcome[V]) -> None:
        self._outcome = result
        if self._task is not None:
            trio.lowlevel.reschedule(self._task, result)


class Arrival(abc.ABC):
    """One event that somebody may be listening for."""

    __slots__ = ()

    event: Any
    size: int
    """The length of its frame."""

    @abc.abstractmethod
    def take(self) -> None:
        """A listener has taken it."""

    @abc.abstractmethod
    def turn_away(self) -> None:
        """Nobody takes it."""


@attrs.define(eq=False)
class Subscription:
    """A loop's place among the listeners: what it wants, what it has not taken yet, and its waiting task."""

    kinds: frozenset[type[Any]] | None
    """Event classes; None for whatever nobody else wants."""
    value: Callable[[Any], Any]
    """What the loop is given of an arrival."""
    closed: bool = False
    queue: deque[Arrival] = attrs.field(factory=deque)
    wake_up: WakeUp = attrs.field(factory=WakeUp)
    taken: int = 0
    """How many were taken since others had their turn..."""
    taken_bytes: int = 0
    """...and how many bytes."""

    def put(self, arrival: Arrival) -> None:
        self.queue.append(arrival)
        self.wake_up.wake()

    def close(self) -> None:
        """Turn away what is queued, and end the loop."""
        self.closed = True
        while self.queue:
            self.queue.popleft().turn_away()
        self.wake_up.wake()

    async def receive(self) -> Any:
        self.taken += 1
        if self.taken >= TOGETHER or self.taken_bytes >= TOGETHER_BYTES or self.closed:
            self.taken = self.taken_bytes = 0
            await trio.lowlevel.checkpoint()
        elif self.queue:  # what arrived together is taken in one step, so that its effects leave together
            await trio.lowlevel.checkpoint_if_cancelled()
        while not self.queue:
            self.taken = self.taken_bytes = 0
            if self.closed:
                raise trio.EndOfChannel
            await self.wake_up.wait()
        arrival = self.queue.popleft()
        self.taken_bytes += arrival.size
        arrival.take()
        return self.value(arrival)


class Listener(Generic[E]):
    """An open ``async for`` over events. Use it at once, as ``async for event in player``, or hold it and `receive`.

    It ends when the player, or the room, is gone.
    """

    def __init__(self, subscription: Subscription, end: Callable[[], None]) -> None:
        self._subscription = subscription
        self._end = end

    def __aiter__(self) -> Listener[E]:
        return self

    async def __anext__(self) -> E:
        try:
            event: E = await self._subscription.receive()
            return event
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        except trio.BusyResourceError:
            raise  # another task's loop, which goes on
        except BaseException:
            # The loop is left: now, not when the exception's traceback lets go of this frame.
            self._end()
            raise

    async def receive(self) -> E:
        """The next event. Always a point of cancellation; of what is there already, sixteen may be taken in one step.

        Raises:
          trio.EndOfChannel: the player or the room is gone.

        *Cancellation*: nothing is taken.
        """
        event: E = await self._subscription.receive()
        return event


class Listeners:
    """The listeners of one player, or of one room, in the order in which they began.

    Args:
      value: what a listener is given of an arrival.
    """

    def __init__(self, value: Callable[[Any], Any]) -> None:
        self._value = value
        self._waiters: list[tuple[frozenset[type[Any]], Waiter[Arrival]]] = []
        self._narrow: list[Subscription] = []
        self._wide: list[Subscription] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiters) + len(self._narrow) + len(self._wide)

    async def receive(self, kinds: frozenset[type[Any]]) -> Any:
        """Wait for one event of these kinds."""
        entry = (kinds, Waiter[Arrival]())
        self._waiters.append(entry)
        arrival = await entry[1].wait(lambda: self._waiters.remove(entry))
        arrival.take()  # here, in the step in which its listener goes on: not before, lest a log lose it in between
        return self._value(arrival)

    def listen(self, kinds: frozenset[type[Any]] | None) -> Listener[Any]:
        """Begin a subscription, which ends when its listener is let go of."""
        subscription = Subscription(kinds, self._value, self._closed)
        end = partial(self._end, subscription)
        listener: Listener[Any] = Listener(subscription, end)
        if not self._closed:
            self._like(subscription).append(subscription)
            weakref.finalize(listener, end).atexit = False
        return listener

    def give(self, arrival: Arrival, others: Listeners) -> bool:
        """Hand an event to whoever listens for it most narrowly: here, then among others, then to the newest loop here
        that takes any. False if nobody does."""
        if (self._waiters or self._narrow) and self._give_narrowly(arrival):  # nearly always there are none
            return True
        if (others._waiters or others._narrow) and others._give_narrowly(arrival):
            return True
        if not self._wide:
            return False
        self._wide[-1].put(arrival)
        return True

    def _give_narrowly(self, arrival: Arrival) -> bool:
        """Hand an event to the task that waits for just this, or else queue it for the newest loop that wants its kind;
        False if nobody does."""
        kind = type(arrival.event)
        for entry in self._waiters:
            if kind in entry[0]:
                self._waiters.remove(entry)
                entry[1].give(arrival)
                return True
        for subscription in reversed(self._narrow):
            if subscription.kinds is not None and kind in subscription.kinds:
                subscription.put(arrival)
                return True
        return False

    def close(self, fault: Callable[[], Exception]) -> None:
        """End every loop, now and later, and fail every wait, each with an error of its own."""
        self._closed = True
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            waiter.fail(fault())
        for subscription in [*self._narrow, *self._wide]:
            self._end(subscription)

    def _like(self, subscription: Subscription) -> list[Subscription]:
        return self._wide if subscription.kinds is None else self._narrow

    def _end(self, subscription: Subscription) -> None:
        if subscription in self._like(subscription):
            self._like(subscription).remove(subscription)
            subscription.close()
