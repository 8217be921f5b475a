"""Listeners give each received event to the task that listens for it, or report that no task listens.

There are two ways to listen. A `Waiter` is one task in `receive`, which gets its event directly. A `Subscription` is an
``async for`` loop: events that arrive while the body of the loop runs are queued. A subscription exists as long as its
`Listener` object. When a task leaves the loop, in any way, the events that are still queued are refused.
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

# The maximum number of queued events and bytes that a loop takes without a checkpoint. `TOGETHER_BYTES` is a quarter of
# an outbox, so that a room that broadcasts each event yields to the write scheduler before an outbox is full.
TOGETHER = 16
TOGETHER_BYTES = 64 * 1024

E = TypeVar("E")
V = TypeVar("V")


class Waiter(Generic[V]):
    """One task that waits for one value. The task gets the value in the step in which `give` is called.

    Before you call `give` or `fail`, remove the waiter from all tables, so that no other code finds it.
    """

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._outcome: outcome.Outcome[V] | None = None

    async def wait(self, forget: Callable[[], object]) -> V:
        """Wait for `give` or `fail`, one of which may have been called already.

        *Cancellation*: `forget` is called. No value is lost: a value is given to this task or not at all.
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
    """An event that has arrived."""

    __slots__ = ()

    event: Any
    size: int
    """The size of the event's frame, in bytes."""

    @abc.abstractmethod
    def take(self) -> None:
        """Called when a listener takes the event: remove the event from the inbox."""

    @abc.abstractmethod
    def refuse_unheard(self) -> None:
        """Refuse the event, and remove it from the inbox, because no listener takes it."""


@attrs.define(eq=False)
class Subscription:
    """The state of one loop: its event classes, its queued events, and its waiting task."""

    kinds: frozenset[type[Any]] | None
    """Event classes; None for all events that no other listener takes."""
    value: Callable[[Any], Any]
    """Converts an arrival into the object that the loop gets."""
    closed: bool = False
    queue: deque[Arrival] = attrs.field(factory=deque)
    wake_up: WakeUp = attrs.field(factory=WakeUp)
    taken: int = 0
    """Events that the loop has taken since the last checkpoint."""
    taken_bytes: int = 0
    """Bytes that the loop has taken since the last checkpoint."""

    def put(self, arrival: Arrival) -> None:
        self.queue.append(arrival)
        self.wake_up.wake()

    def close(self) -> None:
        """Refuse the queued events, drop the queued latest values, and end the loop."""
        self.closed = True
        while self.queue:
            self.queue.popleft().refuse_unheard()
        self.wake_up.wake()

    async def receive(self) -> Any:
        self.taken += 1  # counts this call, which takes one event
        if self.taken >= TOGETHER or self.taken_bytes >= TOGETHER_BYTES or self.closed:
            self.taken = self.taken_bytes = 0
            await trio.lowlevel.checkpoint()
        elif self.queue:  # events that arrived together are taken in one step: one write then sends the results
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
    """A subscription to events. Loop over it, as in ``async for event in player``, or store it and call `receive`.

    The loop ends when the player has left or the room has ended.
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
            raise  # the listener belongs to another task's loop, which continues
        except BaseException:
            # The loop has ended. End the subscription now, not when the exception's traceback is garbage-collected.
            self._end()
            raise

    async def receive(self) -> E:
        """Wait for the next event. Always a cancellation point, but up to 16 queued events are taken in one step.

        Raises:
          trio.EndOfChannel: the player has left or the room has ended.
          trio.BusyResourceError: another task already waits on this listener.

        *Cancellation*: no event is lost.
        """
        event: E = await self._subscription.receive()
        return event


class Listeners:
    """The listeners of one player or of one room, the oldest first.

    Args:
      value: converts an arrival into the object that a listener gets: the event, or the pair of player and event.
    """

    def __init__(self, value: Callable[[Any], Any]) -> None:
        self._value = value
        self._waiters: list[tuple[frozenset[type[Any]], Waiter[Arrival]]] = []
        self._specific: list[Subscription] = []
        self._general: list[Subscription] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiters) + len(self._specific) + len(self._general)

    async def receive(self, kinds: frozenset[type[Any]]) -> Any:
        """Wait for one event of these classes. A cancellation loses no event."""
        entry = (kinds, Waiter[Arrival]())
        self._waiters.append(entry)
        arrival = await entry[1].wait(lambda: self._waiters.remove(entry))
        arrival.take()  # not in `give`: a journal entry that is written before this task continues would lose the event
        return self._value(arrival)

    def listen(self, kinds: frozenset[type[Any]] | None) -> Listener[Any]:
        """Begin a subscription. It ends when its listener is no longer referenced."""
        subscription = Subscription(kinds, self._value, self._closed)
        end = partial(self._end, subscription)
        listener: Listener[Any] = Listener(subscription, end)
        if not self._closed:
            self._like(subscription).append(subscription)
            weakref.finalize(listener, end).atexit = False  # ends the subscription when the loop drops its listener
        return listener

    def give(self, arrival: Arrival, of_room: Listeners) -> bool:
        """Give an event to the most specific listener. False if there is none.

        Listeners for the event's class are tried first: those in this object, then those in `of_room`. After them
        comes the newest loop in this object that takes all events.
        """
        if (self._waiters or self._specific) and self._give_by_class(arrival):  # usually, no listener is by class
            return True
        if (of_room._waiters or of_room._specific) and of_room._give_by_class(arrival):
            return True
        if not self._general:
            return False
        self._general[-1].put(arrival)
        return True

    def _give_by_class(self, arrival: Arrival) -> bool:
        """Give an event to a task that waits for its class, or queue the event for the newest loop over its class.

        Returns: False if there is no such task or loop.
        """
        kind = type(arrival.event)
        for entry in self._waiters:
            if kind in entry[0]:
                self._waiters.remove(entry)
                entry[1].give(arrival)
                return True
        for subscription in reversed(self._specific):
            if subscription.kinds is not None and kind in subscription.kinds:
                subscription.put(arrival)
                return True
        return False

    def close(self, fault: Callable[[], Exception]) -> None:
        """End all loops, also those that begin later, and fail all waiting tasks, each with a new `fault()`."""
        self._closed = True
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            waiter.fail(fault())
        for subscription in [*self._specific, *self._general]:
            self._end(subscription)

    def _like(self, subscription: Subscription) -> list[Subscription]:
        return self._general if subscription.kinds is None else self._specific

    def _end(self, subscription: Subscription) -> None:
        if subscription in self._like(subscription):
            self._like(subscription).remove(subscription)
            subscription.close()
