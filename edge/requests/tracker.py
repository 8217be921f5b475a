"""Questions and answers on one seat, from either side: who waits for which reply, and what is still to be answered."""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import attrs
import trio

from ..errors import InvalidEvent, MessageProblem, RequestFailed
from ..protocol import messages
from ..protocol.events import Vocabulary
from ..protocol.outgoing import Outgoing, outgoing_cancel, outgoing_error, outgoing_reply, outgoing_request
from ..protocol.structure import structure
from .listening import Waiter
from .reply import Answering, Asked, deadline_of

E = TypeVar("E")

# How many requests of the other side may be unanswered; more are refused as `busy`.
MAX_REQUESTS = 64


@attrs.define(eq=False)
class _Question:
    """A request of this side, while its answers are wanted."""

    answer: type[Any]
    message: Outgoing
    single: bool
    parts: deque[Any] = attrs.field(factory=deque)
    """The answers that came, and are not taken yet."""
    fault: Exception | None = None
    """Why no more come."""
    ended: bool = False
    """Whether no more come."""
    waiter: Waiter[None] = attrs.field(factory=Waiter)
    """For a single answer: whoever waits gets it, or is cancelled, in one step."""
    woken: trio.Event = attrs.field(factory=trio.Event)
    on_take: Callable[[], object] = lambda: None
    """Called whenever one was taken."""

    def settle(self) -> None:
        """There is something new."""
        if self.single:
            self.waiter.give(None)
        woken, self.woken = self.woken, trio.Event()
        woken.set()


class Replies(Generic[E]):
    """The answers to one request, as they come: ``async for line in lines``. Leaving its block stops them.

    It ends when the other side says that no more come.
    """

    def __init__(self, question: _Question) -> None:
        self._question = question

    def __aiter__(self) -> Replies[E]:
        return self

    async def __anext__(self) -> E:
        """The next answer.

        Raises:
          RequestFailed: the other side could not go on.

        *Cancellation*: nothing is lost.
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


class Dialogue:
    """The questions of one side, and the other side's.

    Args:
      send: takes a message for the other side.
      heard: what the other side may say.
      wait_relief: waits while too much is unacknowledged to send many answers.
      check_size: raises an error for a message of this side's user that is too large.
      on_refusal: told of each message that is refused: what was wrong, in a word and in a sentence, and its name.
      on_unusable: told of each event of the other side that does not fit, with its name: whether to tell that side.
      on_ignored: told once of each event that comes with fields which its class does not have; those are ignored. By
        default such an event does not fit.
      patient: whether a question still waits when its answer does not fit: so a client can't fail what a room does by
        a bad one. If not, it fails.
      max_request_bytes: how many bytes of the other side's requests may be unanswered; more are refused as `busy`.
    """

    def __init__(
        self,
        send: Callable[[Outgoing], None],
        heard: Vocabulary,
        *,
        wait_relief: Callable[[], Awaitable[None]],
        check_size: Callable[[Outgoing], None],
        on_refusal: Callable[[MessageProblem, str, str], object] = lambda problem, text, about: None,
        on_unusable: Callable[[InvalidEvent, str], bool] = lambda fault, about: True,
        on_ignored: Callable[[InvalidEvent, str], object] | None = None,
        patient: bool = True,
        max_request_bytes: float = math.inf,
    ) -> None:
        self._patient = patient
        self._max_request_bytes = max_request_bytes
        self._request_bytes = 0
        """The length of the other side's requests."""
        self._send = send
        self._check_size = check_size
        self._on_refusal = on_refusal
        self._on_unusable = on_unusable
        self._on_ignored = on_ignored
        self._loose = {name for name, kind in heard.by_name.items() if kind.ignores_extra}
        """Names of events whose extra fields are ignored: by their classes, or because such fields have come."""
        self._heard = heard
        self._wait_relief = wait_relief
        self._questions: dict[int, _Question] = {}
        self._requests: dict[int, Asked] = {}
        """Of the other side, by the `id()` of their events."""
        self._given_up: dict[int, weakref.ref[Any]] = {}
        """Events of requests that were given up, as long as somebody else has them."""
        self._asked = 0

    def __len__(self) -> int:
        return len(self._questions) + len(self._requests)

    @property
    def asked(self) -> int:
        """How many questions this side has asked."""
        return self._asked

    def go_on(self, asked: int) -> None:
        """Number this side's questions after so many that were asked before."""
        self._asked = asked

    @property
    def asking(self) -> bool:
        """Whether a single answer is waited for."""
        return any(question.single for question in self._questions.values())

    @property
    def queued(self) -> int:
        """How many answers have come that nobody has taken yet."""
        return sum(len(question.parts) for question in self._questions.values())

    @property
    def unanswered(self) -> frozenset[int]:
        """The numbers of this side's questions that have not had their last answer."""
        return frozenset(number for number, question in self._questions.items() if not question.ended)

    @property
    def unsettled(self) -> frozenset[int]:
        """The numbers of the other side's questions that this side has not given its last answer to."""
        return frozenset(asked.number for asked in self._requests.values())

    # --- asking

    async def ask(self, question: Any, answer: type[E]) -> E:
        """Send an event as a request and wait for the typed answer. The caller's deadline travels with it.

        Raises:
          RequestFailed: it was answered with an error.
          Exception: whatever `close` was told.

        *Cancellation* is told to the other side.
        """
        number, asked = self._begin(question, answer, single=True)
        try:
            await asked.waiter.wait(lambda: self._give_up(number))
        finally:
            del self._questions[number]
        if asked.fault is not None:
            raise asked.fault
        if not asked.parts:
            raise RequestFailed("unanswered", "the other side says that there is no answer")
        value: E = asked.parts[0]
        return value

    def open_stream(
        self, question: Any, answer: type[E], on_take: Callable[[], object]
    ) -> tuple[Replies[E], Callable[[], None]]:
        """Send an event as a request with several answers: those, and what to call when no more are wanted.

        Args:
          on_take: called whenever an answer was taken.
        """
        number, asked = self._begin(question, answer, single=False)
        asked.on_take = on_take

        def stop() -> None:
            if not asked.ended:
                self._give_up(number)
            del self._questions[number]

        return Replies(asked), stop

    def answered(self, message: messages.Reply | messages.Part | messages.Error) -> None:
        """Settle the question that this answers; a late answer to a cancelled one is dropped.

        An answer that does not fit is refused, and the question still waits, or fails.
        """
        question = self._questions.get(message.id) if message.id is not None else None
        if question is None or question.ended:
            return
        if isinstance(message, messages.Error):
            question.fault = RequestFailed(message.problem, message.message)
        elif message.name:
            try:
                event = self._structure(message.name, message.body)
                if type(event) is not question.answer:
                    raise InvalidEvent("invalid", f"this question is answered by a {question.answer.__name__}")
            except InvalidEvent as exc:
                if not self._patient:
                    question.fault = RequestFailed(exc.problem, str(exc))
                    self._end(question, message)
                if self._patient or not isinstance(message, messages.Part):  # a part has been cancelled
                    self.refuse(exc.problem, str(exc), message.name, None)
                return
            question.parts.append(event)
        if question.single or question.fault is not None or not isinstance(message, messages.Part):
            self._end(question, message)
        else:
            question.settle()

    def _end(self, question: _Question, message: messages.Reply | messages.Part | messages.Error) -> None:
        """Take no more answers after this one; where more would come, say so: last, for it may end the conversation."""
        question.ended = True
        question.settle()
        if isinstance(message, messages.Part):
            self._send(outgoing_cancel(message.id))

    def ask_again(self) -> None:
        """The other side knows nothing any more: give up what it asked, and repeat what it was asked."""
        self._give_up_requests()
        for question in self._questions.values():
            if not question.ended:
                self._send(question.message)

    # --- being asked

    def heard(self, message: messages.Event | messages.Request) -> Any | None:
        """The event of a message; None if it was refused, and the other side told."""
        number = message.id if isinstance(message, messages.Request) else None
        kind = self._heard.by_name.get(message.name)
        try:
            if kind is None or self._on_ignored is not None or message.name in self._loose:
                event = self._structure(message.name, message.body)
            else:  # nearly always, at a server
                event = structure(message.body, kind.cls)
        except InvalidEvent as exc:
            if self._on_unusable(exc, message.name) or number is not None:
                self.refuse(exc.problem, str(exc), message.name, number)
            return None
        if isinstance(message, messages.Request):
            if len(self._requests) >= MAX_REQUESTS:
                text = f"{MAX_REQUESTS} requests are waiting for their answers"
                self.refuse("busy", text, message.name, message.id)
                return None
            if self._request_bytes >= self._max_request_bytes:
                text = f"{self._request_bytes} bytes of requests are waiting for their answers"
                self.refuse("busy", text, message.name, message.id)
                return None
            self._request_bytes += message.size
            self._requests[id(event)] = Asked(message.id, event, deadline_of(message.seconds), message.size)
        return event

    def cancelled(self, message: messages.Cancel) -> None:
        """The other side does not wait for this answer any more: end its block, and answer with an error."""
        for asked in self._requests.values():
            if asked.number == message.id:
                self._give_up_request(asked, "the asker has cancelled")
                self.refuse("cancelled", "you cancelled it", "", message.id)
                return

    def reply(self, request: Any, answer: Any) -> bool:
        """Answer a request of the other side, given the very object that was received.

        Returns: whether an answer was waited for: in vain if it was no request, is answered already, or given up.
        """
        asked = self._requests.get(id(request))
        if asked is None:
            return False
        message = outgoing_reply(answer, asked.number)
        self._check_size(message)
        self._settle(asked)
        self._send(message)
        return True

    def answering(self, request: Any, check: Callable[[Any], Any]) -> Answering[Any]:
        """A block in which a request is answered; in vain if it was none. It ends at once if it was given up."""
        asked = self._requests.get(id(request))
        if asked is None:
            asked = Asked(0, None, math.inf, settled=True, wanted=id(request) not in self._given_up)
        return Answering(
            asked, self._send, self._wait_relief, check, self._check_size, self._settle, self._give_up_request
        )

    def refuse(self, problem: MessageProblem, text: str, about: str, request: int | None) -> None:
        """Tell the other side that a message of theirs was refused."""
        self._on_refusal(problem, text, about)
        self._send(outgoing_error(problem, text, about, request))

    def forget_request(self, event: Any) -> None:
        """It will be answered otherwise, or never."""
        asked = self._requests.get(id(event))
        if asked is not None:
            self._settle(asked)

    def close(self, fault: Callable[[], Exception]) -> None:
        """Fail every question, each with an error of its own, and forget the other side's."""
        self._give_up_requests()
        for question in self._questions.values():
            if not question.ended:
                question.ended, question.fault = True, fault()
                question.settle()

    # --- both

    def _begin(self, question: Any, answer: type[Any], *, single: bool) -> tuple[int, _Question]:
        self._asked += 1
        number = self._asked
        left = trio.current_effective_deadline() - trio.current_time()
        seconds = None if left == math.inf else max(0.0, round(left, 3))
        message = outgoing_request(question, number, seconds)
        self._check_size(message)
        self._questions[number] = _Question(answer, message, single)
        try:
            self._send(message)
        except BaseException:
            del self._questions[number]
            raise
        return number, self._questions[number]

    def _give_up(self, number: int) -> None:
        self._questions[number].ended = True
        self._send(outgoing_cancel(number))

    def _settle(self, asked: Asked) -> None:
        """It has its last answer."""
        asked.settled = True
        self._request_bytes -= asked.size
        del self._requests[id(asked.event)]
        asked.event = None

    def _give_up_request(self, asked: Asked, why: str) -> None:
        """Its answer is not wanted any more."""
        asked.wanted = False
        if asked.scope is not None:
            asked.scope.cancel(why)
        if not asked.settled:
            key = id(asked.event)
            self._given_up[key] = weakref.ref(asked.event, lambda _: self._given_up.pop(key, None))
            self._settle(asked)

    def _give_up_requests(self) -> None:
        for asked in [*self._requests.values()]:
            self._give_up_request(asked, "the asker has gone")

    def _structure(self, name: str, body: Any) -> Any:
        kind = self._heard.by_name.get(name)
        if kind is None:
            raise InvalidEvent("unknown_event", f"no event {name[:64]!r} is known here")
        if name in self._loose:
            return structure(body, kind.cls, ignore_extra=True)
        try:
            return structure(body, kind.cls)
        except InvalidEvent as exc:
            if self._on_ignored is None:
                raise
            event = structure(body, kind.cls, ignore_extra=True)
            self._loose.add(name)
            self._on_ignored(exc, name)
            return event
