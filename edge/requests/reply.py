"""The reply scope: a block in which a request is answered. The block ends when the other side no longer waits."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

import attrs
import trio

from ..errors import MessageProblem
from ..protocol.outgoing import Outgoing, outgoing_error, outgoing_part, outgoing_reply

Answer = TypeVar("Answer")


@attrs.define(eq=False)
class IncomingRequest:
    """An unanswered request of the other side."""

    number: int
    event: Any
    """Referenced until the request is answered, so that Python does not reuse its `id()`. None afterwards."""
    deadline: float
    """The time until which the other side waits for the answer, on Trio's clock."""
    size: int = 0
    """The size of the request's frame, in bytes."""
    scope: trio.CancelScope | None = None
    answered: bool = False
    """True once the last answer is sent."""
    wanted: bool = True
    """True while the other side waits for the answer."""


class ReplyScope(Generic[Answer]):
    """``with player.answering(request) as answering:``: a block in which a request is answered.

    The block is cancelled, and ends without an exception, when the other side cancels the request, when the request's
    deadline expires, or when the other side is gone. In these cases, and if the block raises an error or is cancelled
    from outside, the request is answered with an error. If the block ends without a reply, the other side is informed
    that no answer follows.
    """

    def __init__(
        self,
        incoming: IncomingRequest,
        send: Callable[[Outgoing], None],
        wait_relief: Callable[[], Awaitable[None]],
        check: Callable[[Any], Any],
        check_size: Callable[[Outgoing], None],
        mark_answered: Callable[[IncomingRequest], None],
        abandon: Callable[[IncomingRequest, str], None],
    ) -> None:
        self._incoming = incoming
        self._send = send
        self._wait_relief = wait_relief
        self._check = check
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

        Returns: True if the answer was sent; False if the request is answered or cancelled already.

        Raises:
          TypeError, ValueError: `answer` is not an event that may be sent, has a value that can't be encoded, or is too
            large.
        """
        message = outgoing_reply(self._check(answer), self._incoming.number)
        self._check_size(message)
        return self._finish(message)

    async def send(self, answer: Answer) -> bool:
        """Send one of several answers.

        Returns: True if the answer was sent; False if the request is answered or cancelled already.

        *Backpressure*: waits while more than half of the window is unacknowledged.

        *Cancellation*: the answer is not sent.

        Raises:
          TypeError, ValueError: `answer` is not an event that may be sent, has a value that can't be encoded, or is too
            large.
        """
        message = outgoing_part(self._check(answer), self._incoming.number)
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
        except BaseException:  # an exception group of a cancellation and another error, which propagates
            self._fail("crashed", "an error was raised while the request was answered")
            raise
        if exc is None and not asked_off:
            self._finish(outgoing_reply(None, self._incoming.number))
        elif isinstance(exc, Exception) and not caught:
            self._fail("crashed", "an error was raised while the request was answered")
        else:
            self._fail("cancelled", "its deadline expired" if caught else "it was cancelled before it was answered")
        if asked_off:
            self._abandon(self._incoming, "the request's deadline expired")
        return caught

    def _fail(self, problem: MessageProblem, text: str) -> None:
        self._finish(outgoing_error(problem, text, "", self._incoming.number))

    def _finish(self, message: Outgoing) -> bool:
        if self._incoming.answered:
            return False
        self._mark_answered(self._incoming)
        self._send(message)
        return True


def deadline_of(seconds: float | None) -> float:
    """Return the deadline, on Trio's clock, of a request whose sender waits for this many seconds."""
    return math.inf if seconds is None else trio.current_time() + seconds
