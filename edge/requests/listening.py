"""Listeners give each received event to the task that listens for the event, or report that no task listens.

There are two ways to listen. A task in `receive` has a `Waiter`, and gets its event directly. An ``async for`` loop has
a `Subscription`: events that arrive while the body of the loop runs are queued. A subscription exists as long as its
`Listener` object exists. When a task leaves the loop, in any way, the events that are still queued are refused.
"""

from __future__ import annotations

import abc
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import outcome
import trio

from ..aio.wakeup import WakeUp

# The maximum numbers of queued events and of bytes that a loop takes before other tasks may run. `TOGETHER_BYTES` is a
# quarter of an outbox. So the write scheduler runs before an outbox is full, even if a room broadcasts each event.
TOGETHER = 16
TOGETHER_BYTES = 64 * 1024
# The largest number of events in a short queue.
SHORT = 64

E = TypeVar("E")
V = TypeVar("V")


class Waiter(Generic[V]):
    """One task that waits for one value. `give` passes the value directly to the task, so that no value can be lost.

    Before you call `give` or `fail`, remove the waiter from all tables, so that no other code finds the waiter.
    """

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._outcome: outcome.Outcome[V] | None = None

    async def wait(self, forget: Callable[[], object]) -> V:
        """Wait until `give` or `fail` is called, or return at once if one of them has been called already.

        Args:
          forget: called on a cancellation; has to remove the waiter from all tables.

        *Cancellation*: no value is lost, because `give` cannot be called after `forget`.
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
    """A received event that waits in the inbox for a listener."""

    __slots__ = ()

    event: Any
    size: int
    """The size of the event's frame, in bytes."""

    @abc.abstractmethod
    def take(self) -> Callable[[], object] | None:
        """Remove the event from the inbox, because a listener takes the event.

        Returns: for a request, a function that a loop calls before it waits for its next event; otherwise None. The
          function refuses the request if only one variable still refers to the event: the variable of the loop.
        """

    @abc.abstractmethod
    def refuse_unheard(self) -> None:
        """Remove the event from the inbox and refuse the event, because no listener takes it."""


@attrs.define(eq=False)
class _Sharing:
    """An event that several loops get. The first loop that takes the event takes it from the inbox."""

    arrival: Arrival
    pending: int
    """The number of loops that have not taken or refused the event."""
    taken: bool = False

    def take(self) -> Callable[[], object] | None:
        """Record that a loop takes the event."""
        self.pending -= 1
        if self.taken:
            return None
        self.taken = True
        return self.arrival.take()

    def refuse(self) -> None:
        """Record that a loop refuses the event."""
        self.pending -= 1
        if not (self.taken or self.pending):
            self.arrival.refuse_unheard()


class _SharedArrival(Arrival):
    """An event in the queue of one of several loops."""

    __slots__ = ("_sharing", "event", "member", "size")

    def __init__(self, sharing: _Sharing) -> None:
        self._sharing = sharing
        self.event, self.size = sharing.arrival.event, sharing.arrival.size
        self.member = getattr(sharing.arrival, "member", None)  # events of a room's players have one

    def take(self) -> Callable[[], object] | None:
        return self._sharing.take()

    def refuse_unheard(self) -> None:
        self._sharing.refuse()


@attrs.define(eq=False)
class Subscription:
    """The state of one loop: its event classes, its queued events, and its waiting task."""

    kinds: frozenset[type[Any]] | None
    """The event classes; None for all events that no other listener takes."""
    value: Callable[[Any], Any]
    """Converts an `Arrival` into the object that the loop yields."""
    closed: bool = False
    shares: bool = False
    """True if another loop may get the same events."""
    queue: list[Arrival] | deque[Arrival] = attrs.field(factory=list)
    """The queued events. A short queue is a list, which needs less memory than a deque."""
    wake_up: WakeUp = attrs.field(factory=WakeUp)
    drop_last: Callable[[], object] | None = None
    """See `Arrival.take`; None unless the loop has taken a request."""
    taken: int = 0
    """The number of events that the loop has taken since other tasks last ran."""
    taken_bytes: int = 0
    """The number of bytes that the loop has taken since other tasks last ran."""

    def put(self, arrival: Arrival) -> None:
        self.queue.append(arrival)
        if len(self.queue) > SHORT and isinstance(self.queue, list):
            self.queue = deque(self.queue)
        self.wake_up.wake()

    def close(self) -> None:
        """Refuse the queued events, except latest values, and end the loop."""
        self.closed = True
        while self.queue:
            arrival = self.queue[0]
            del self.queue[0]
            arrival.refuse_unheard()
        self.wake_up.wake()

    async def receive(self, end: Callable[[], object] | None = None, listener: object = None) -> Any:
        """Wait for the next event.

        Args:
          end: for a loop: ends this subscription. Called if the loop ends by an exception, because the exception's
            traceback may refer to the listener for a long time. None for a single event.
          listener: is not freed during this call. A listener that is freed ends its subscription.

        Raises:
          trio.EndOfChannel: the subscription is closed. In a loop, this is `StopAsyncIteration`.
          trio.BusyResourceError: another task already waits.

        *Cancellation*: no event is lost.
        """
        try:
            self.taken += 1  # counts the event that this call takes
            if self.taken >= TOGETHER or self.taken_bytes >= TOGETHER_BYTES or self.closed:
                self.taken = self.taken_bytes = 0
                await trio.lowlevel.checkpoint()
            elif self.queue:  # no other task runs between events that arrived together: one write sends the results
                await trio.lowlevel.checkpoint_if_cancelled()
            while not self.queue:
                self.taken = self.taken_bytes = 0
                if self.closed:
                    raise trio.EndOfChannel
                if end is not None and self.drop_last is not None:
                    self.drop_last()
                    self.drop_last = None
                await self.wake_up.wait()
            arrival = self.queue[0]
            del self.queue[0]
            self.taken_bytes += arrival.size
            self.drop_last = arrival.take()
            return self.value(arrival)
        except trio.EndOfChannel:
            if end is None:
                raise
            raise StopAsyncIteration from None
        except trio.BusyResourceError:
            raise  # the listener belongs to another task's loop, which continues
        except BaseException:
            if end is not None:
                end()
            raise


class Listener(Generic[E]):
    """A subscription to events: the result of `Player.listen` and `Room.listen`. Loop over it, or call `receive`.

    The loop ends when the player has left or the room has ended.
    """

    def __init__(self, subscription: Subscription, end: Callable[[], None]) -> None:
        self._subscription = subscription
        self._end = end

    def __aiter__(self) -> Listener[E]:
        return self

    def __anext__(self) -> Coroutine[Any, Any, E]:
        return self._subscription.receive(self._end, self)

    async def receive(self) -> E:
        """Wait for the next event. Each call is a cancellation point, but other tasks may run only every 16 events.

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
      value: converts an `Arrival` into the object that a listener gets: the event, or the pair of player and event.
      on_listen: called when a listener begins.
    """

    def __init__(self, value: Callable[[Any], Any], on_listen: Callable[[], object] = lambda: None) -> None:
        self._value = value
        self._on_listen = on_listen
        self._waiters: list[tuple[frozenset[type[Any]], Waiter[Arrival]]] = []
        self._specific: list[Subscription] = []
        self._general: list[Subscription] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiters) + len(self._specific) + len(self._general)

    async def receive(self, kinds: frozenset[type[Any]]) -> Any:
        """Wait for one event of these classes.

        *Cancellation*: no event is lost.
        """
        entry = (kinds, Waiter[Arrival]())
        self._waiters.append(entry)
        self._on_listen()
        arrival = await entry[1].wait(lambda: self._waiters.remove(entry))
        # `give` does not call `take`, because a journal entry that is made before this task runs must contain the event
        arrival.take()
        return self._value(arrival)

    def listen(self, kinds: frozenset[type[Any]] | None, *, share: bool = False) -> Listener[Any]:
        """Begin a subscription. It ends when its listener is no longer referenced.

        Args:
          share: True if other loops may get the same events.

        Raises:
          RuntimeError: another loop listens for one of these classes, and `share` is false.
        """
        rivals = [
            each for each in self._specific if kinds is not None and each.kinds is not None and each.kinds & kinds
        ]
        if rivals or (kinds is None and self._general):
            if not share:
                raise RuntimeError(_taken(kinds, rivals))
            for each in rivals:
                each.shares = True
        subscription = Subscription(kinds, self._value, self._closed, share)
        end = partial(self._end, subscription)
        listener: Listener[Any] = Listener(subscription, end)
        if not self._closed:
            self._like(subscription).append(subscription)
            weakref.finalize(listener, end).atexit = False  # the loop has ended if its listener is garbage-collected
            self._on_listen()
        return listener

    def give(self, arrival: Arrival, of_room: Listeners) -> bool:
        """Give an event to the most specific listener. Return False if there is no listener for the event.

        Listeners for the event's class come first: those in this object before those in `of_room`. After these
        listeners comes the newest loop in this object that takes all events.
        """
        if (self._waiters or self._specific) and self._give_by_class(arrival):  # usually, both lists are empty
            return True
        if (of_room._waiters or of_room._specific) and of_room._give_by_class(arrival):
            return True
        if not self._general:
            return False
        self._general[-1].put(arrival)
        return True

    def _give_by_class(self, arrival: Arrival) -> bool:
        """Give an event to the oldest waiter for its class, or queue the event for the newest loop over its class.

        Returns: False if there is no such waiter or loop.
        """
        kind = type(arrival.event)
        for entry in self._waiters:
            if kind in entry[0]:
                self._waiters.remove(entry)
                entry[1].give(arrival)
                return True
        for subscription in reversed(self._specific):
            if subscription.kinds is not None and kind in subscription.kinds:
                if subscription.shares:
                    self._share(arrival, kind)
                else:
                    subscription.put(arrival)
                return True
        return False

    def _share(self, arrival: Arrival, kind: type[Any]) -> None:
        """Queue an event for all loops over its class."""
        loops = [each for each in self._specific if each.kinds is not None and kind in each.kinds]
        sharing = _Sharing(arrival, len(loops))
        for each in loops:
            each.put(_SharedArrival(sharing))

    def close(self, fault: Callable[[], Exception]) -> None:
        """End all loops, also loops that begin later, and fail all waiting tasks.

        Args:
          fault: makes the error for each waiting task.
        """
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


def _taken(kinds: frozenset[type[Any]] | None, rivals: Sequence[Subscription]) -> str:
    """Return the error message for a loop over events that another loop gets."""
    if kinds is None:
        return "another loop over this player gets its events: use one loop, or `listen` with event classes"
    both = sorted(kind.__name__ for each in rivals for kind in each.kinds or () if kind in kinds)
    return f"another loop listens for {both[0]}: with share=True, each of the two loops gets each event"
