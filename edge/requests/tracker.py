"""The request tracker: the record of the unanswered requests of both sides of one seat."""

from __future__ import annotations

import contextlib
import math
import sys
import typing
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import trio

from ..aio.places import authors_place
from ..errors import InvalidEvent, MessageProblem, RequestFailed
from ..protocol import messages
from ..protocol.events import EventType, Vocabulary
from ..protocol.field_types import MAX_INTEGER
from ..protocol.outgoing import Outgoing, outgoing_cancel, outgoing_error, outgoing_reply, outgoing_request
from ..protocol.structure import structure
from .listening import Waiter
from .reply import IncomingRequest, ReplyScope, deadline_of

E = TypeVar("E")


@attrs.frozen
class _Probe:
    """An object whose references are counted."""


def _references(of: weakref.ref[Any]) -> int:
    """Return the number of references to an object, in CPython's terms."""
    event = of()
    return sys.getrefcount(event)


def _count_one_variable() -> int:
    variable = _Probe()
    return _references(weakref.ref(variable))


# What `_references` returns for an object to which only one variable refers. Versions of CPython count differently.
ONE_VARIABLE = _count_one_variable()
# The maximum number of unanswered requests of the other side. Further requests are refused as `busy`.
MAX_REQUESTS = 64


@attrs.define(eq=False)
class _OutgoingRequest:
    """A request of this side that still expects answers, or has answers that the asking task has not taken yet."""

    answers: tuple[type[Any], ...]
    message: Outgoing
    single: bool
    deadline: float
    """The deadline of the asking task, on Trio's clock."""
    parts: deque[Any] = attrs.field(factory=deque)
    """The received answers that the asking task has not taken yet."""
    fault: Exception | None = None
    """The error with which the request failed."""
    ended: bool = False
    """True once no more answers are accepted."""
    waiter: Waiter[None] = attrs.field(factory=Waiter)
    """The task in `ask`, which waits for a single answer. A `Waiter` ensures that a cancelled task loses no answer."""
    woken: trio.Event = attrs.field(factory=trio.Event)
    on_take: Callable[[], object] = lambda: None
    """Called whenever the asking task takes an answer."""

    def wake(self) -> None:
        """Wake the waiting task, because an answer or the end of the answers has arrived."""
        if self.single:
            self.waiter.give(None)
        woken, self.woken = self.woken, trio.Event()
        woken.set()


class Replies(Generic[E]):
    """An iterator over the answers to one request, in order: ``async for line in lines``.

    The loop ends after the last answer. If the code leaves the block that opened the stream, the request is cancelled.
    """

    def __init__(self, question: _OutgoingRequest) -> None:
        self._question = question

    def __aiter__(self) -> Replies[E]:
        return self

    async def __anext__(self) -> E:
        """Wait for the next answer.

        Raises:
          RequestFailed: the other side answered with an error, or with an event of another class.
          Exception: the error with which the tracker was closed, such as `Gone`.

        *Cancellation*: no answer is lost.
        """
        await trio.lowlevel.checkpoint()
        while not self._question.parts:
            if self._question.fault is not None:
                raise self._question.fault
            if self._question.ended:
                raise StopAsyncIteration
            await self._question.woken.wait()
        answer: E = self._question.parts.popleft()
        self._question.on_take()
        return answer


class RequestTracker:
    """A tracker for the unanswered requests of this side and of the other side.

    Args:
      send: sends a message to the other side.
      receives: the events that the other side may send.
      type_of_sent: returns the type of an event, or raises an error if this side may not send the event.
      wait_relief: waits while more than half of the window is in use.
      check_size: raises an error if a message of this side's code is too large.
      on_refusal: called for each refused message, with the problem, a text for the other side, and the event's name.
      on_unusable: called for each event that does not fit its class, with the error and the event's name. Returns True
        if the other side must get an error.
      on_ignored: called for the first event of each name that has unknown fields, with the error and the name. From
        then on, unknown fields of events with this name are ignored. If None, an event with unknown fields is invalid.
      on_dropped: called with an event's name and a place in the code, if the code at this place has taken a request,
        did not answer it, and no longer refers to its event.
      tolerant: True to continue to wait if an answer does not fit, so that a client can't break a room with a wrong
        answer. False to let the request fail.
      max_request_bytes: the maximum number of bytes of unanswered requests of the other side. Further requests are
        refused as `busy`."""

    def __init__(
        self,
        send: Callable[[Outgoing], None],
        receives: Vocabulary,
        type_of_sent: Callable[[Any], EventType],
        *,
        wait_relief: Callable[[], Awaitable[None]],
        check_size: Callable[[Outgoing], None],
        on_refusal: Callable[[MessageProblem, str, str], object] = lambda problem, text, about: None,
        on_unusable: Callable[[InvalidEvent, str], bool] = lambda fault, about: True,
        on_ignored: Callable[[InvalidEvent, str], object] | None = None,
        on_dropped: Callable[[str, str], object] = lambda name, place: None,
        tolerant: bool = True,
        max_request_bytes: float = math.inf,
    ) -> None:
        self._tolerant = tolerant
        self._max_request_bytes = max_request_bytes
        self._request_bytes = 0
        """The total size, in bytes, of the other side's unanswered requests."""
        self._send = send
        self._type_of_sent = type_of_sent
        self._check_size = check_size
        self._on_refusal = on_refusal
        self._on_unusable = on_unusable
        self._on_ignored = on_ignored
        self._on_dropped = on_dropped
        self._loose = receives.loose
        """The names of events whose unknown fields are ignored, by their class or because `on_ignored` was called."""
        self._receives = receives
        self._wait_relief = wait_relief
        self._outgoing: dict[int, _OutgoingRequest] = {}
        self._incoming: dict[int, IncomingRequest] = {}
        """The unanswered requests of the other side, by the `id()` of their events."""
        self._given_up: dict[int, weakref.ref[Any]] = {}
        """The events of cancelled requests, by their `id()`, as long as other code refers to the events."""
        self._sent_requests = 0

    def __len__(self) -> int:
        return len(self._outgoing) + len(self._incoming)

    @property
    def sent_requests(self) -> int:
        """The number of requests that this side has sent."""
        return self._sent_requests

    def restore(self, sent_requests: int) -> None:
        """Set the number of requests that another server has sent, so that new requests get higher numbers."""
        self._sent_requests = sent_requests

    @property
    def asking(self) -> bool:
        """True while this side waits for a single answer."""
        return any(question.single for question in self._outgoing.values())

    @property
    def queued(self) -> int:
        """The number of received answers that the asking tasks have not taken yet."""
        return sum(len(question.parts) for question in self._outgoing.values())

    @property
    def unanswered(self) -> frozenset[int]:
        """The numbers of this side's requests that still expect answers."""
        return frozenset(number for number, question in self._outgoing.items() if not question.ended)

    @property
    def unsettled(self) -> frozenset[int]:
        """The numbers of the other side's requests that this side still has to answer."""
        return frozenset(incoming.number for incoming in self._incoming.values())

    async def ask(self, question: Any, *answers: Any) -> Any:
        """Send an event as a request and wait for the typed answer. The request includes the caller's deadline.

        Args:
          question: the event to send.
          answers: the event classes of the answer, or unions of them.

        Raises:
          RequestFailed: the request was answered with an error, or ended without an answer.
          TypeError, ValueError: the event cannot be sent.
          Exception: `close` was called. Its argument `fault` made this error.

        *Cancellation*: the request is cancelled on the other side, too. A later answer is dropped.
        """
        number, request = self._begin(question, answer_classes(*answers), single=True)
        try:
            await request.waiter.wait(lambda: self._give_up(number))
        finally:
            del self._outgoing[number]
        if request.fault is not None:
            raise request.fault
        if not request.parts:
            raise RequestFailed("unanswered", "the other side ended the request without an answer")
        return request.parts[0]

    def open_stream(
        self, question: Any, answer: type[E], on_take: Callable[[], object]
    ) -> tuple[Replies[E], Callable[[], None]]:
        """Send an event as a request with several answers.

        Args:
          question: the event to send.
          answer: the event class of the answers.
          on_take: called whenever the asking task takes an answer.

        Returns: the answers, and a function that stops tracking the request, and cancels the request unless it has
          ended.
        """
        number, request = self._begin(question, answer_classes(answer), single=False)
        request.on_take = on_take

        def stop() -> None:
            if not request.ended:
                self._give_up(number)
            del self._outgoing[number]

        return Replies(request), stop

    def receive_reply(self, message: messages.Reply | messages.Part | messages.Error) -> None:
        """Give an answer to the request of this side. A late answer to a cancelled request is dropped.

        An answer that does not have the expected class is refused. In this case, the request fails unless the tracker
        is `tolerant`.
        """
        question = self._outgoing.get(message.id) if message.id is not None else None
        if question is None or question.ended:
            return
        if isinstance(message, messages.Error):
            question.fault = RequestFailed(message.problem, message.message, self._read_data(message.data))
        elif message.name:
            try:
                event = self._structure(message.name, message.body)
                if type(event) not in question.answers:
                    expected = " or ".join(answer.__name__ for answer in question.answers)
                    raise InvalidEvent("invalid", f"this request must be answered by a {expected}")
            except InvalidEvent as exc:
                if not self._tolerant:
                    question.fault = RequestFailed(exc.problem, str(exc))
                    self._end(question, message)
                if self._tolerant or not isinstance(message, messages.Part):  # `_end` has cancelled a part's request
                    self.refuse(exc.problem, str(exc), message.name, None)
                return
            question.parts.append(event)
        if question.single or question.fault is not None or not isinstance(message, messages.Part):
            self._end(question, message)
        else:
            question.wake()

    def _read_data(self, data: Any) -> Any:
        """Return the event that a refusal contains; None if there is none, or if this side cannot read it."""
        match data:
            case [str(name), body]:
                try:
                    return self._structure(name, body)
                except InvalidEvent as exc:
                    self._on_unusable(exc, name)
        return None

    def _end(self, question: _OutgoingRequest, message: messages.Reply | messages.Part | messages.Error) -> None:
        """Accept no answers after this message, and cancel the request if the other side would send more answers."""
        question.ended = True
        question.wake()
        if isinstance(message, messages.Part):
            self._send(outgoing_cancel(message.id))

    def ask_again(self) -> None:
        """Drop the requests of the other side, which has lost its state, and resend this side's unanswered requests."""
        self._give_up_requests()
        for question in self._outgoing.values():
            if not question.ended:
                self._send(question.message)

    def read_event(self, message: messages.Event | messages.Request) -> Any | None:
        """Build the typed event of a message, and track it if it is a request. Return None if it is refused or
        ignored."""
        number = message.id if isinstance(message, messages.Request) else None
        kind = self._receives.by_name.get(message.name)
        try:
            if kind is None or self._on_ignored is not None or message.name in self._loose:
                event = self._structure(message.name, message.body)
            else:  # on a server, nearly all events
                event = structure(message.body, kind.cls, rename=kind.rename)
        except InvalidEvent as exc:
            if self._on_unusable(exc, message.name) or number is not None:
                self.refuse(exc.problem, str(exc), message.name, number)
            return None
        if isinstance(message, messages.Request):
            if len(self._incoming) >= MAX_REQUESTS:
                text = f"{MAX_REQUESTS} requests are unanswered: wait for answers before you send more"
                self.refuse("busy", text, message.name, message.id)
                return None
            if self._request_bytes >= self._max_request_bytes:
                text = f"{self._request_bytes} bytes of requests are unanswered: wait for answers before you send more"
                self.refuse("busy", text, message.name, message.id)
                return None
            self._request_bytes += message.size
            self._track(event, message)
        return event

    def _track(self, event: Any, message: messages.Request) -> None:
        """Track a request of the other side, until it is answered or this side's code drops its event."""
        token = trio.lowlevel.current_trio_token()
        incoming = IncomingRequest(
            message.id, id(event), deadline_of(message.seconds), name=message.name, size=message.size
        )

        def drop(_: object) -> None:  # may run in any thread, and while Trio is busy
            self._stop_tracking(incoming)
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._refuse_dropped, incoming)

        incoming.event = weakref.ref(event, drop)
        self._incoming[incoming.event_id] = incoming

    def _stop_tracking(self, incoming: IncomingRequest) -> None:
        if self._incoming.get(incoming.event_id) is incoming:  # a newer event may have got the `id()` of a dropped one
            del self._incoming[incoming.event_id]

    def _refuse_dropped(self, incoming: IncomingRequest) -> None:
        if not incoming.answered:
            self._mark_answered(incoming)
            self._on_dropped(incoming.name, incoming.place)
            text = "the code that received the request has dropped it without an answer"
            self.refuse("unanswered", text, incoming.name, incoming.number)

    def note_taken(self, event: Any) -> Callable[[], object] | None:
        """Record the place in the author's code that takes an event, if the event is a request. See `Arrival.take`."""
        incoming = self._incoming.get(id(event))
        if incoming is None:
            return None
        incoming.place = authors_place()
        return partial(self._drop_if_alone, incoming, trio.lowlevel.current_task())

    def _drop_if_alone(self, incoming: IncomingRequest, taker: trio.lowlevel.Task) -> None:
        """Refuse an unanswered request if only one variable refers to its event, and the task that has taken the event
        calls this. The variable of another task's loop may be the one."""
        if taker is not trio.lowlevel.current_task():
            return
        if not incoming.answered and incoming.event is not None and _references(incoming.event) <= ONE_VARIABLE:
            self._stop_tracking(incoming)
            self._refuse_dropped(incoming)

    def receive_cancel(self, message: messages.Cancel) -> None:
        """Cancel the block that answers a request, because the other side cancelled it, and confirm with an error.

        If the other side waits for another time, move the deadline of the block instead.
        """
        for incoming in [*self._incoming.values()]:
            if incoming.number == message.id and message.seconds is not None:
                incoming.deadline = deadline_of(message.seconds)
                if incoming.scope is not None:
                    incoming.scope.deadline = incoming.deadline
                return
            if incoming.number == message.id:
                self._give_up_request(incoming, "the other side cancelled the request")
                self.refuse("cancelled", "the sender of the request cancelled it", "", message.id)
                return

    def reply(self, request: Any, answer: Any) -> bool:
        """Answer a request of the other side.

        Args:
          request: the received object itself, not an equal object.
          answer: the event to send as the answer.

        Returns: True if the answer was sent; False if the event was not a request, or if the request was already
          answered or cancelled.

        Raises:
          TypeError, ValueError: the answer cannot be sent.
        """
        sent = self._type_of_sent(answer)
        incoming = self._incoming.get(id(request))
        if incoming is None:
            return False
        message = outgoing_reply(answer, sent, incoming.number)
        self._check_size(message)
        self._mark_answered(incoming)
        self._send(message)
        return True

    def refuse_request(self, request: Any, message: str, data: Any) -> bool:
        """Refuse a request of the other side.

        Args:
          request: the received object itself, not an equal object.
          data: an event with details, or None.

        Returns: True if the refusal was sent; False if the event was not a request, or if the request was already
          answered or cancelled.

        Raises:
          TypeError, ValueError: `data` cannot be sent.
        """
        details = None if data is None else (data, self._type_of_sent(data))
        incoming = self._incoming.get(id(request))
        if incoming is None:
            return False
        refusal = outgoing_error("refused", message, incoming.name, incoming.number, details)
        self._check_size(refusal)
        self._mark_answered(incoming)
        self._send(refusal)
        return True

    def answering(self, request: Any) -> ReplyScope[Any]:
        """Return a scope for a block that answers a request. If the request is cancelled, the block is cancelled.

        Args:
          request: the received object itself, not an equal object.
        """
        incoming = self._incoming.get(id(request))
        if incoming is None:
            received = self._receives.by_class.get(type(request))
            if received is None:
                raise TypeError(f"{type(request).__name__} is not one of the events that the other side sends")
            wanted = id(request) not in self._given_up
            incoming = IncomingRequest(-1, 0, math.inf, name=received.name, answered=True, wanted=wanted)
        return ReplyScope(
            incoming,
            request,
            self._send,
            self._wait_relief,
            self._type_of_sent,
            self._check_size,
            self._mark_answered,
            self._give_up_request,
        )

    def refuse(self, problem: MessageProblem, text: str, about: str, request: int | None) -> None:
        """Send the other side an error about one of its messages.

        Args:
          about: the name of the event; empty if the error is not about an event.
          request: the number of the request that the error answers; None for other messages.
        """
        self._on_refusal(problem, text, about)
        self._send(outgoing_error(problem, text, about, request))

    def forget_request(self, event: Any) -> None:
        """Stop tracking a request that this side will not answer."""
        incoming = self._incoming.get(id(event))
        if incoming is not None:
            self._mark_answered(incoming)

    def close(self, fault: Callable[[], Exception]) -> None:
        """Fail all requests of this side, each with a new error from `fault`, and drop the other side's requests."""
        self._give_up_requests()
        for question in self._outgoing.values():
            if not question.ended:
                question.ended, question.fault = True, fault()
                question.wake()

    def _begin(self, question: Any, answers: tuple[type[Any], ...], *, single: bool) -> tuple[int, _OutgoingRequest]:
        sent = self._type_of_sent(question)
        self._sent_requests += 1
        number = self._sent_requests
        deadline = trio.current_effective_deadline()
        seconds = _seconds_until(deadline)
        message = outgoing_request(question, sent, number, seconds)
        self._check_size(message)
        self._outgoing[number] = _OutgoingRequest(answers, message, single, deadline)
        try:
            self._send(message)
        except BaseException:
            del self._outgoing[number]
            raise
        return number, self._outgoing[number]

    def move_deadline(self, before: float, after: float) -> None:
        """Tell the other side that the deadline of this side's requests has moved.

        Args:
          before: requests that were asked with this deadline, on Trio's clock, have moved.
          after: the new deadline.
        """
        for number, question in self._outgoing.items():
            if question.deadline == before and not question.ended:
                question.deadline = after
                seconds = _seconds_until(after)
                self._send(outgoing_cancel(number, MAX_INTEGER if seconds is None else seconds))

    def _give_up(self, number: int) -> None:
        self._outgoing[number].ended = True
        self._send(outgoing_cancel(number))

    def _mark_answered(self, incoming: IncomingRequest) -> None:
        """Stop tracking a request, because its last answer is being sent or no answer will be sent."""
        incoming.answered = True
        self._request_bytes -= incoming.size
        self._stop_tracking(incoming)
        incoming.event = None

    def _give_up_request(self, incoming: IncomingRequest, why: str) -> None:
        """Stop tracking a request and cancel the block that answers it, because the other side no longer waits."""
        incoming.wanted = False
        if incoming.scope is not None:
            incoming.scope.cancel(why)
        if not incoming.answered:
            event, key = incoming.event() if incoming.event is not None else None, incoming.event_id
            if event is not None:
                self._given_up[key] = weakref.ref(event, lambda _: self._given_up.pop(key, None))
            self._mark_answered(incoming)

    def _give_up_requests(self) -> None:
        for incoming in [*self._incoming.values()]:
            self._give_up_request(incoming, "the other side is gone")

    def _structure(self, name: str, body: Any) -> Any:
        kind = self._receives.by_name.get(name)
        if kind is None:
            raise InvalidEvent("unknown_event", f"no event {name[:64]!r} is known here")
        if name in self._loose:
            return structure(body, kind.cls, ignore_extra=True, rename=kind.rename)
        try:
            return structure(body, kind.cls, rename=kind.rename)
        except InvalidEvent as exc:
            if self._on_ignored is None:
                raise
            event = structure(body, kind.cls, ignore_extra=True, rename=kind.rename)
            self._loose |= {name}
            self._on_ignored(exc, name)
            return event


def answer_classes(*answers: Any) -> tuple[type[Any], ...]:
    """Return the classes of these event classes and unions of event classes.

    Raises:
      TypeError: no class is given.
    """
    found = tuple(each for answer in answers for each in (typing.get_args(answer) or (answer,)))
    if not found:
        raise TypeError("name at least one event class for the answer")
    return found


def _seconds_until(deadline: float) -> float | None:
    """Return the seconds until a deadline, rounded to milliseconds; None for an infinite deadline."""
    return None if deadline == math.inf else max(0.0, round(deadline - trio.current_time(), 3))
