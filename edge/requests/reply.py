"""The reply scope: a block in which a request is answered. It is cancelled when the other side no longer waits."""

from __future__ import annotations

import math
import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

import attrs
import trio

from ..errors import MessageProblem, RequestRefused
from ..protocol.events import EventType
from ..protocol.outgoing import Outgoing, outgoing_end, outgoing_error, outgoing_part, outgoing_reply

Answer = TypeVar("Answer")


@attrs.define(eq=False)
class IncomingRequest:
    """An unanswered request of the other side."""

    number: int
    """The number of the request; -1 for an event that is not a request."""
    event_id: int
    """The `id()` of the event of the request."""
    deadline: float
    """The time, on Trio's clock, until which the other side waits for the answer."""
    event: weakref.ref[Any] | None = None
    """The event, as long as other code refers to it. None once answered."""
    name: str = ""
    """The name of the event."""
    size: int = 0
    """The size of the request's frame, in bytes."""
    place: str = ""
    """The place in the author's code that has taken the event; empty if no code has taken it."""
    scope: trio.CancelScope | None = None
    answered: bool = False
    """True once the last answer is sent, or once no answer will be sent."""
    wanted: bool = True
    """True while the other side waits for the answer."""


class ReplyScope(Generic[Answer]):
    """A block in which a request is answered: ``with player.answering(request) as answering:``.

    The block is cancelled, and ends without an exception, when the other side cancels the request, when the request's
    deadline expires, or when the other side is gone. In these cases, the request is answered with an error. The request
    is also answered with an error if the block raises an exception or is cancelled from outside. If the block ends
    without a reply, the other side is informed that no answer follows.

    If the block raises `RequestRefused`, the request is refused with the message and the data of this error, and the
    block ends without an exception. For an event that is not a request, the sender gets only the message, as an error
    about one of its messages.
    """

    def __init__(
        self,
        incoming: IncomingRequest,
        event: Any,
        send: Callable[[Outgoing], None],
        wait_relief: Callable[[], Awaitable[None]],
        type_of_sent: Callable[[Any], EventType],
        check_size: Callable[[Outgoing], None],
        mark_answered: Callable[[IncomingRequest], None],
        abandon: Callable[[IncomingRequest, str], None],
    ) -> None:
        self._incoming = incoming
        self._event = event  # the request stays unanswered as long as this scope exists
        self._send = send
        self._wait_relief = wait_relief
        self._type_of_sent = type_of_sent
        self._check_size = check_size
        self._mark_answered = mark_answered
        self._abandon = abandon
        self._scope = trio.CancelScope()

    @property
    def cancelled(self) -> bool:
        """True once the other side no longer waits for the answer."""
        return not self._incoming.wanted or self._scope.cancel_called

    def reply(self, answer: Answer) -> bool:
        """Send the only or the last answer.

        Returns: True if the answer was sent; False if the request was already answered or cancelled.

        Raises:
          TypeError, ValueError: `answer` is not an event that may be sent, has a value that can't be encoded, or is too
            large.
        """
        message = outgoing_reply(answer, self._type_of_sent(answer), self._incoming.number)
        self._check_size(message)
        return self._finish(message)

    async def send(self, answer: Answer) -> bool:
        """Send one of several answers.

        Returns: True if the answer was sent; False if the request was already answered or cancelled.

        *Backpressure*: the method waits while more than half of the window is in use.

        *Cancellation*: the answer is not sent.

        Raises:
          TypeError, ValueError: `answer` is not an event that may be sent, has a value that can't be encoded, or is too
            large.
        """
        message = outgoing_part(answer, self._type_of_sent(answer), self._incoming.number)
        self._check_size(message)
        await self._wait_relief()
        if self._incoming.answered:
            return False
        self._send(message)
        return True

    def __enter__(self) -> ReplyScope[Answer]:
        self._scope.deadline = self._incoming.deadline
        self._incoming.scope = self._scope
        if not self._incoming.wanted:
            self._scope.cancel("the other side no longer waits for the answer")
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        asked_off = self._scope.cancel_called or trio.current_time() >= self._scope.deadline
        self._incoming.scope = None
        try:
            caught = bool(self._scope.__exit__(kind, exc, trace))
        except BaseException:  # raised for a group of a cancellation and another error: the other error propagates
            self._fail("crashed", "an error was raised while the request was answered")
            raise
        refusal = _refusal_of(exc)
        if refusal is not None and not caught:
            self._refuse(refusal)
            caught = True
        elif exc is None and not asked_off:
            self._finish(outgoing_end(self._incoming.number))
        elif isinstance(exc, Exception) and not caught:
            self._fail("crashed", "an error was raised while the request was answered")
        else:
            self._fail("cancelled", "the request's deadline expired" if caught else "the answering code was cancelled")
        if asked_off:
            self._abandon(self._incoming, "the request's deadline expired")
        return caught

    def _refuse(self, exc: RequestRefused) -> None:
        if self._incoming.number < 0:
            if self._incoming.wanted:
                self._send(outgoing_error("refused", str(exc), self._incoming.name, None))
            return
        try:
            data = None if exc.data is None else (exc.data, self._type_of_sent(exc.data))
            message = outgoing_error("refused", str(exc), self._incoming.name, self._incoming.number, data)
            self._check_size(message)
        except Exception:
            self._fail("crashed", "an error was raised while the request was answered")
            raise
        self._finish(message)

    def _fail(self, problem: MessageProblem, text: str) -> None:
        self._finish(outgoing_error(problem, text, "", self._incoming.number))

    def _finish(self, message: Outgoing) -> bool:
        if self._incoming.answered:
            return False
        self._mark_answered(self._incoming)
        self._send(message)
        return True


def _refusal_of(exc: BaseException | None) -> RequestRefused | None:
    """Return the error that refuses the request, also out of a group with only such errors: a nursery makes one."""
    while isinstance(exc, BaseExceptionGroup) and exc.split(RequestRefused)[1] is None:
        exc = exc.exceptions[0]
    return exc if isinstance(exc, RequestRefused) else None


def deadline_of(seconds: float | None) -> float:
    """Return the deadline, on Trio's clock, of a request whose sender waits for this many seconds from now.

    Args:
      seconds: the number of seconds; None for no limit.
    """
    return math.inf if seconds is None else trio.current_time() + seconds
