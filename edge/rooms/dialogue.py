"""Questions and answers on one seat, from either side: who waits for which reply, and what is still to be answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from ..errors import InvalidEvent, MessageProblem, RequestFailed
from ..protocol import messages
from ..protocol.events import Vocabulary
from ..protocol.outgoing import Outgoing, outgoing_error, outgoing_reply, outgoing_request
from ..protocol.structure import structure
from .listening import Waiter

E = TypeVar("E")

# How many requests of the other side may be unanswered; of more, one is refused as `busy`.
MAX_REQUESTS = 64


@attrs.define(eq=False)
class _Question:
    answer: type[Any]
    waiter: Waiter[Any]


class Dialogue:
    """The questions of one side, and the other side's.

    Args:
      send: takes a message for the other side.
      heard: what the other side may say.
      newest_matter: of too many unanswered requests, give up the oldest instead of the newest.
    """

    def __init__(self, send: Callable[[Outgoing], None], heard: Vocabulary, *, newest_matter: bool = False) -> None:
        self._send = send
        self._heard = heard
        self._newest_matter = newest_matter
        self._questions: dict[int, _Question] = {}
        self._requests: dict[int, tuple[int, Any]] = {}
        self._given_up: dict[int, tuple[int, Any]] = {}
        self._asked = 0

    def __len__(self) -> int:
        return len(self._questions) + len(self._requests)

    @property
    def asking(self) -> bool:
        """Whether an answer is waited for."""
        return bool(self._questions)

    async def ask(self, question: Any, answer: type[E]) -> E:
        """Send an event as a request and wait for the typed answer.

        Raises:
          RequestFailed: it was answered with an error.
          Exception: whatever `close` was told.
        """
        self._asked += 1
        id = self._asked
        waiter: Waiter[E] = Waiter()
        self._questions[id] = _Question(answer, waiter)
        try:
            self._send(outgoing_request(question, id))
        except BaseException:
            del self._questions[id]
            raise
        return await waiter.wait(lambda: self._questions.pop(id))

    def reply(self, request: Any, answer: Any) -> None:
        """Answer a request of the other side, given the very object that was received; in vain, if they have gone.

        Raises:
          LookupError: it was not a request, or is answered already.
        """
        if id(request) in self._given_up:
            return  # who asked has gone, or no longer waits
        number, _ = self._requests.get(id(request), (None, None))
        if number is None:
            raise LookupError(f"{type(request).__name__} is not an unanswered request")
        message = outgoing_reply(answer, number)
        del self._requests[id(request)]
        self._send(message)

    def heard(self, message: messages.Event | messages.Request) -> Any | None:
        """The event of a message; None if it was refused, and the other side told."""
        number = message.id if isinstance(message, messages.Request) else None
        try:
            event = self._structure(message.name, message.body)
        except InvalidEvent as exc:
            self.refuse(exc.problem, str(exc), message.name, number)
            return None
        if number is not None:
            if len(self._requests) >= MAX_REQUESTS and not self._make_room(message.name, number):
                return None
            self._requests[id(event)] = (number, event)  # the event is kept, so that its id() stays its own
        return event

    def answered(self, message: messages.Reply | messages.Error) -> None:
        """Settle the question that this answers; a late answer to a cancelled one is dropped.

        An answer that does not fit is refused, and the question still waits.
        """
        if message.id is None or message.id not in self._questions:
            return
        question = self._questions[message.id]
        if isinstance(message, messages.Error):
            del self._questions[message.id]
            question.waiter.fail(RequestFailed(message.problem, message.message))
            return
        try:
            event = self._structure(message.name, message.body)
            if type(event) is not question.answer:
                raise InvalidEvent("invalid", f"this question is answered by a {question.answer.__name__}")
        except InvalidEvent as exc:
            self.refuse(exc.problem, str(exc), message.name, None)
            return
        del self._questions[message.id]
        question.waiter.give(event)

    def refuse(self, problem: MessageProblem, text: str, about: str, request: int | None) -> None:
        """Tell the other side that a message of theirs was refused."""
        self._send(outgoing_error(problem, text, about, request))

    def forget_request(self, event: Any) -> None:
        """It will be answered otherwise, or never."""
        self._requests.pop(id(event), None)

    def close(self, fault: Callable[[], Exception]) -> None:
        """Fail every question, each with an error of its own, and forget the other side's."""
        questions, self._questions = self._questions, {}
        self._given_up, self._requests = self._requests, {}
        for question in questions.values():
            question.waiter.fail(fault())

    def _structure(self, name: str, body: Any) -> Any:
        kind = self._heard.by_name.get(name)
        if kind is None:
            raise InvalidEvent("unknown_event", f"no event {name[:64]!r} is known here")
        return structure(body, kind.cls)

    def _make_room(self, name: str, number: int) -> bool:
        """Too many requests are unanswered: refuse this one, or the oldest, for which nobody may wait any more."""
        if not self._newest_matter:
            self.refuse("busy", f"{MAX_REQUESTS} requests are waiting for their answers", name, number)
            return False
        oldest, event = next(iter(self._requests.values()))
        self._given_up = {id(event): self._requests.pop(id(event))}
        self.refuse("busy", f"{MAX_REQUESTS} newer questions are waiting", "", oldest)
        return True
