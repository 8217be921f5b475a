"""Answering a request, under a scope that ends when nobody waits for the answer any more."""

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
    """A request of the other side that is not answered yet."""

    number: int
    event: Any
    """Kept until it is settled, so that its `id()` stays its own; None from then on."""
    deadline: float
    """Until when the other side waits, on Trio's clock."""
    size: int = 0
    """The length of its frame."""
    scope: trio.CancelScope | None = None
    settled: bool = False
    """Whether it has its last answer."""
    wanted: bool = True
    """Whether the other side still waits."""


class ReplyScope(Generic[Answer]):
    """``with player.answering(request) as answering:``: a block that ends when the answer is not wanted any more.

    When the asker cancels, when their time is up, or when they leave, the block is cancelled and ends quietly, and the
    request is answered with an error, never with success. When it is cancelled from outside, or raises, likewise; when
    it ends without a reply, the asker is told that no answer, or no other, comes.
    """

    def __init__(
        self,
        asked: IncomingRequest,
        send: Callable[[Outgoing], None],
        wait_relief: Callable[[], Awaitable[None]],
        check: Callable[[Any], Any],
        check_size: Callable[[Outgoing], None],
        settle: Callable[[IncomingRequest], None],
        give_up: Callable[[IncomingRequest, str], None],
    ) -> None:
        self._asked = asked
        self._send = send
        self._wait_relief = wait_relief
        self._check = check
        self._check_size = check_size
        self._settle = settle
        self._give_up = give_up
        self._scope = trio.CancelScope()

    @property
    def cancelled(self) -> bool:
        """Whether the answer is not wanted any more."""
        return not self._asked.wanted or self._scope.cancel_called

    def reply(self, answer: Answer) -> bool:
        """Give the one answer, or the last.

        Returns: whether it was waited for: in vain if it is answered already, or given up.

        Raises:
          TypeError, ValueError: not one of the events that may be sent, or something in it can't travel.
        """
        message = outgoing_reply(self._check(answer), self._asked.number)
        self._check_size(message)
        return self._finish(message)

    async def send(self, answer: Answer) -> bool:
        """Give one of several answers.

        Returns: whether it was waited for.

        *Backpressure*: waits while half of what the seat may leave unacknowledged is.

        *Cancellation*: the answer is given, or not at all.

        Raises:
          TypeError, ValueError: not one of the events that may be sent, or something in it can't travel.
        """
        message = outgoing_part(self._check(answer), self._asked.number)
        self._check_size(message)
        await self._wait_relief()
        if self._asked.settled:
            return False
        self._send(message)
        return True

    def __enter__(self) -> ReplyScope[Answer]:
        self._scope.deadline = self._asked.deadline
        self._asked.scope = self._scope
        if not self._asked.wanted:
            self._scope.cancel("the answer is not wanted any more")
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        asked_off = self._scope.cancel_called or trio.current_time() >= self._scope.deadline
        self._asked.scope = None
        try:
            caught = bool(self._scope.__exit__(kind, exc, trace))
        except BaseException:  # its cancellation was in a group with a real error, which comes out
            self._fail("crashed", "answering it failed")
            raise
        if exc is None and not asked_off:
            self._finish(outgoing_reply(None, self._asked.number))
        elif isinstance(exc, Exception) and not caught:
            self._fail("crashed", "answering it failed")
        else:
            self._fail("cancelled", "the time was up" if caught else "it was cancelled before it was answered")
        if asked_off:
            self._give_up(self._asked, "the time was up")
        return caught

    def _fail(self, problem: MessageProblem, text: str) -> None:
        self._finish(outgoing_error(problem, text, "", self._asked.number))

    def _finish(self, message: Outgoing) -> bool:
        if self._asked.settled:
            return False
        self._settle(self._asked)
        self._send(message)
        return True


def deadline_of(seconds: float | None) -> float:
    """When a request that waits for so long is given up."""
    return math.inf if seconds is None else trio.current_time() + seconds
