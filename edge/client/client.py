"""The Python client, which connects one player to a room. `edge.js` is the corresponding client for browsers."""

from __future__ import annotations

import enum
import logging
import math
import re
import typing
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import UnionType
from typing import Any, Generic, TypeVar, overload

import attrs
import trio

from ..codes import Code, Retry
from ..connections.driver import Ended, close_transport, drive_connection
from ..connections.outbox import Outbox
from ..connections.sending import SendBuffer
from ..errors import Disconnected, InvalidEvent, RemoteProtocolError, RequestFailed
from ..protocol import messages
from ..protocol.clock import Clock
from ..protocol.codec import JSON, VERSION, Codec, size_of
from ..protocol.connection import Connection, Side
from ..protocol.connection import State as Phase
from ..protocol.events import EventType, Vocabulary
from ..protocol.field_kinds import Rename
from ..protocol.fingerprint import fingerprint
from ..protocol.limits import Limits
from ..protocol.messages import MAX_OPTIONS_BYTES, Create
from ..protocol.outgoing import Outgoing, outgoing_event
from ..protocol.unstructure import unstructure
from ..requests.listening import Waiter
from ..requests.reply import ReplyScope
from ..requests.tracker import Replies, RequestTracker
from ..shared.mirrors import MirroredDocument, Mirrors, MirrorTable
from ..shared.patches import UnfitPatch
from ..transports.transport import Transport
from .connector import Connector

Sent = TypeVar("Sent")
Heard = TypeVar("Heard")
E = TypeVar("E")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
E4 = TypeVar("E4")
E5 = TypeVar("E5")
E6 = TypeVar("E6")

log: logging.Logger = logging.getLogger("edge.client")

# A connection that lasted longer than this many seconds resets the backoff. Shorter connections do not, because clients
# must not reconnect rapidly to a room that always crashes at once.
STABLE_SECONDS = 5.0
# The seconds within which the client must have written its hello.
HELLO_SECONDS = 2.0
# The seconds within which the caller's `key` function must return.
KEY_SECONDS = 20.0
# The first AGAIN_ATTEMPTS reconnections wait at most AGAIN_SECONDS for the welcome. AGAIN_SECONDS is longer than a
# lease, so that another server can take over the room. AGAIN_SECONDS is shorter than the usual time, because the
# operating system of a suspended server still accepts connections.
AGAIN_SECONDS, AGAIN_ATTEMPTS = 4.0, 2
# The maximum number of different problems that a client reports. Two problems that differ only in a position in a list
# count as the same problem.
MAX_REPORTED = 256
INDEX = re.compile(r"\[\d+\]")
# The codes of a connection that ended without a goodbye of the server. The client then dials the original address.
BROKEN = (Code.LOST, Code.SILENT, Code.STALLED)


class Status(enum.StrEnum):
    """The status of a client's connection."""

    CONNECTING = "connecting"
    """The client has not received its first welcome."""
    OPEN = "open"
    AWAY = "away"
    """The connection has ended, and the client reconnects."""
    CLOSED = "closed"
    """The client has closed for good. `Client.ending` has the reason."""


class Client(Generic[Sent, Heard]):
    """A client that connects one player to a room. Open it with `join`.

    ``async for event in client`` yields the room's events in order, until the client is closed. A request of the room
    that the loop has dropped without an answer fails in the room as ``unanswered``.

    *Backpressure*: the client stops reading while `inbox` events (see `join`) wait to be received. The server's writes
    then block. While the client waits for a reply or for acks, it stops only at twice that number.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        sends: object,
        receives: object,
        name: str,
        codec: Codec,
        limits: Limits,
        wait_before: Callable[[int], Awaitable[object]],
        inbox: float,
        client: str,
        key: str | Callable[[], Awaitable[str]] | None,
        documents: Sequence[MirroredDocument] = (),
        options: object = None,
        create: Create = "if needed",
    ) -> None:
        self.status: Status = Status.CONNECTING
        self.ending: Ended | None = None
        """The code and the reason with which the client closed; None until the client has closed."""
        self.lost: Ended | None = None
        """The code and the reason of the last connection that ended or could not be opened; None if there was none."""
        self.welcome: messages.Welcome | None = None
        """The newest welcome. It has this player's `number`, and reports a resume, or a fresh start with its reason."""
        self.errors: deque[messages.Error] = deque(maxlen=100)
        """The newest 100 problems, the newest last. A problem is a message that the room refused, an event of the room
        that this client cannot use (once for each event and field), or a dropped window (see `send`). The first problem
        of each kind is also logged at WARNING."""
        self._told_outdated = False
        self._reported: set[tuple[str, str, str]] = set()
        """The problems, events and fields that were logged."""
        self._connector = connector
        self._clock = Clock()
        self._connection: Connection | None = None
        self._welcomed_at: float | None = None
        self._sends = Vocabulary.of(sends)
        self._receives = Vocabulary.of(receives)
        self._vocabulary = fingerprint(self._sends, self._receives, [(each.wire_name, each.cls) for each in documents])
        self._mirrors = MirrorTable(
            documents, self._receives.rename, self._report, partial(self._report, dropped=False)
        )
        self.state: Mirrors = self._mirrors.documents
        """The room's shared documents, by the names of the room's attributes: ``client.state.table``. Each patch of the
        room makes new objects. While the client is open, it has all documents."""
        self._name = name
        self._client = client
        self._key = key
        if create not in typing.get_args(Create):
            choices = ", ".join(map(repr, typing.get_args(Create)))
            raise ValueError(f"`create` must be one of {choices}, not {create!r:.100}")
        self._options, self._create = _plain_options(options, self._sends.rename), create
        self._hellos = 0
        self._codec = codec
        self._limits = limits
        self._wait_before = wait_before
        self._capacity = inbox
        self._message_bytes = limits.message_bytes
        self._send_buffer = SendBuffer(limits)
        self._send_buffer.counts.on_empty = self._note_change
        self._requests = RequestTracker(
            self._send,
            self._receives,
            self._type_of_sent,
            wait_relief=self._send_buffer.wait_relief,
            check_size=self._check_size,
            on_unusable=self._report,
            on_ignored=partial(self._report, dropped=False),
            on_dropped=self._log_dropped,
            tolerant=False,
        )
        self._inbox: deque[Any] = deque()
        self._waiters: list[tuple[tuple[type[Any], ...], Waiter[Any]]] = []
        self._drop_last: Callable[[], object] | None = None
        """See `RequestTracker.note_taken`; None unless a loop has taken a request as its last event."""
        self._since: int | None = None
        """The attempt number of the hello that led to the seat's last fresh start; None without a seat."""
        self._changed = trio.Event()
        self._scope = trio.CancelScope()

    def send(self, event: Sent) -> None:
        """Send an event to the room, without waiting.

        Without a connection, the client stores reliable and latest events, and drops volatile ones. If `waiting`
        exceeds its maximum, the client drops all unacknowledged messages, and the seat starts fresh. An entry of
        `errors` and a WARNING report the number of dropped messages. The room may have received some of them.

        Raises:
          Disconnected: the client is closed.
          TypeError: this client does not send events of this class, or a value does not have its field's type.
          ValueError: a value cannot be encoded, or the message is larger than the room reads.
        """
        message = outgoing_event(event, self._type_of_sent(event))
        self._check_size(message)
        self._send(message)

    @property
    def waiting(self) -> int:
        """The number of unacknowledged messages, sent or not. The default maximum is 2,048 messages and 512 KiB."""
        return self._send_buffer.counts.sent - self._send_buffer.counts.acked

    async def wait_acknowledged(self) -> None:
        """Wait until `waiting` is 0: the server has acknowledged all messages, or they were dropped (see `send`).

        Raises:
          Disconnected: the client is closed before `waiting` is 0.

        *Cancellation*: no message is lost.
        """
        await trio.lowlevel.checkpoint()
        while self.waiting:
            if self.ending is not None:
                raise self._disconnected(self.ending)
            await self._changed.wait()

    @overload
    async def receive(self) -> Heard: ...
    @overload
    async def receive(self, kind: type[E], /) -> E: ...
    @overload
    async def receive(self, kind: type[E], other: type[E2], /) -> E | E2: ...
    @overload
    async def receive(self, kind: type[E], other: type[E2], third: type[E3], /) -> E | E2 | E3: ...
    @overload
    async def receive(
        self, kind: type[E], other: type[E2], third: type[E3], fourth: type[E4], /
    ) -> E | E2 | E3 | E4: ...
    @overload
    async def receive(
        self, kind: type[E], other: type[E2], third: type[E3], fourth: type[E4], fifth: type[E5], /
    ) -> E | E2 | E3 | E4 | E5: ...
    @overload
    async def receive(
        self, kind: type[E], other: type[E2], third: type[E3], fourth: type[E4], fifth: type[E5], sixth: type[E6], /
    ) -> E | E2 | E3 | E4 | E5 | E6: ...
    async def receive(self, *kinds: type[Any]) -> Any:
        """Wait for the next event of these classes, or of any class if none is given. Other events stay in the inbox.

        Raises:
          Disconnected: the client is closed, and the inbox has no such event.
          TypeError: this client does not receive events of one of these classes.

        *Cancellation*: no event is lost.
        """
        for kind in kinds:
            if kind not in self._receives:
                raise TypeError(f"{getattr(kind, '__name__', kind)} is not one of the events that this client receives")
        event = await self._receive(kinds, lambda: None)
        self._requests.note_taken(event)  # for the log, if the caller drops a request
        return event

    async def _receive(self, kinds: tuple[type[Any], ...], before_wait: Callable[[], object]) -> Any:
        """See `receive`. `before_wait` is called if the inbox has no such event."""
        await trio.lowlevel.checkpoint()
        for index, event in enumerate(self._inbox):
            if not kinds or isinstance(event, kinds):
                del self._inbox[index]
                self._note_change()
                return event
        if self.ending is not None:
            raise self._disconnected(self.ending)
        before_wait()
        entry = (kinds, Waiter[Any]())
        self._waiters.append(entry)
        return await entry[1].wait(lambda: self._waiters.remove(entry))

    def __aiter__(self) -> Client[Sent, Heard]:
        return self

    async def __anext__(self) -> Heard:
        def drop_last() -> None:
            if self._drop_last is not None:
                self._drop_last()

        try:
            event: Heard = await self._receive((), drop_last)
        except Disconnected:
            raise StopAsyncIteration from None
        self._drop_last = self._requests.note_taken(event)
        return event

    @overload
    async def request(self, event: Sent, answer: type[E], /) -> E: ...
    @overload
    async def request(self, event: Sent, answer: type[E], other: type[E2], /) -> E | E2: ...
    @overload
    async def request(self, event: Sent, answer: type[E], other: type[E2], third: type[E3], /) -> E | E2 | E3: ...
    @overload
    async def request(
        self, event: Sent, answer: type[E], other: type[E2], third: type[E3], fourth: type[E4], /
    ) -> E | E2 | E3 | E4: ...
    @overload
    async def request(
        self, event: Sent, answer: type[E], other: type[E2], third: type[E3], fourth: type[E4], fifth: type[E5], /
    ) -> E | E2 | E3 | E4 | E5: ...
    @overload
    async def request(
        self,
        event: Sent,
        answer: type[E],
        other: type[E2],
        third: type[E3],
        fourth: type[E4],
        fifth: type[E5],
        sixth: type[E6],
        /,
    ) -> E | E2 | E3 | E4 | E5 | E6: ...
    @overload
    async def request(self, event: Sent, answer: UnionType, /) -> Any: ...
    async def request(self, event: Sent, *answers: Any) -> Any:
        """Send an event as a request, and wait for the room's typed answer.

        Args:
          answers: the event classes of the answer, or a union of them.

        Raises:
          RequestFailed: the room answered with an error or with an event of another class, or ended the request
            without an answer; or the seat was lost.
          Disconnected: the client is closed before the answer comes.
          TypeError, ValueError: see `send`.

        *Cancellation* cancels the request in the room. The caller's deadline is sent with the request.
        """
        # The reading task may wait for space in the inbox. It must read on, because the answer comes later.
        self._note_change()
        return await self._requests.ask(event, *answers)

    @contextmanager
    def stream(self, event: Sent, answer: type[E]) -> Iterator[Replies[E]]:
        """Send a request with several answers: ``with client.stream(Get(), Line) as lines: async for line in lines``.

        The end of the block cancels the request. Answers that the loop has not read yet count as events in the inbox.

        Raises:
          Disconnected: the client is closed. The loop also raises this error.
          RequestFailed: raised by the loop: the room failed, or answered with an event of another class.
          TypeError, ValueError: see `send`.
        """
        replies, stop = self._requests.open_stream(event, answer, self._note_change)
        try:
            yield replies
        finally:
            stop()

    def answering(self, request: Heard) -> ReplyScope[Sent]:
        """Answer a request of the room in a block: ``with client.answering(request) as answering:``.

        The block is cancelled when the room no longer waits for the answer. See `Player.answering`.
        """
        return self._requests.answering(request)

    def reply(self, request: Heard, answer: Sent) -> bool:
        """Answer an event that the room sent as a request. `request` is the received object itself.

        Returns: True if the room waits for the answer.
        """
        return self._requests.reply(request, answer)

    def leave(self) -> None:
        """Leave the room: send a goodbye, and close. Without a connection, unacknowledged messages are lost. To prevent
        this loss, call `wait_acknowledged` first."""
        if self.ending is None and self.waiting and self._send_buffer.outbox is None:
            log.warning("the client left with %d messages that were not sent, or not acknowledged", self.waiting)
        self._close(Ended(Code.LEFT, "left", by_peer=False))

    @property
    def outdated(self) -> bool:
        """True if this client and the room define different events, because the code of one of them is newer.

        Most events may still work. `errors` has the problems with the others. False before the first welcome."""
        return self.welcome is not None and self.welcome.vocabulary not in ("", self._vocabulary)

    @property
    def guest(self) -> bool | None:
        """True if this client has no key, or a guest's key: see `Session.guest`. None before the first welcome."""
        return None if self.welcome is None else self.welcome.guest

    def now(self) -> float:
        """Return this client's estimate of `Room.now`: the seconds since the room opened.

        The first call starts measurements of the room's clock. The measurements correct the estimate: gradually, or at
        once if the estimate was wrong by more than a second. Before the first welcome, the estimate is 0.
        """
        now = trio.current_time()
        outbox = self._send_buffer.outbox
        if self._connection is not None and outbox is not None and self._connection.ask_clock(now):
            outbox.wake()
        return self._clock.at(now)

    async def wait_status(self, *statuses: Status) -> Status:
        """Wait until the client is in one of these statuses, and return its status.

        Raises:
          Disconnected: the client is closed, and `statuses` does not contain `Status.CLOSED`.

        *Cancellation*: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        while self.status not in statuses:
            if self.ending is not None:
                raise self._disconnected(self.ending)
            await self._changed.wait()
        return self.status

    async def wait_state(self, condition: Callable[[Mirrors], object]) -> None:
        """Wait until the shared documents fulfil a condition: ``client.wait_state(lambda state: state.table.over)``.

        Args:
          condition: called with `state` once the client is open, and after each patch. A true result ends the wait.

        Raises:
          Disconnected: the client is closed before that.

        *Cancellation*: nothing is lost.
        """
        await self.wait_status(Status.OPEN, Status.AWAY)
        while not condition(self.state):
            if self.ending is not None:
                raise self._disconnected(self.ending)
            await self._changed.wait()

    async def run(self) -> None:
        """Connect, and reconnect as the codes of ended connections require, until the client closes.

        *Cancellation*: the client leaves the room.
        """
        try:
            with self._scope:
                await self._keep_connected()
        finally:
            self._close(Ended(Code.LEFT, "the client was cancelled", by_peer=False))

    async def _keep_connected(self) -> None:
        attempt = 0
        while self.ending is None:
            self._welcomed_at = None
            again = 1 <= attempt <= AGAIN_ATTEMPTS and self.welcome is not None
            ended, broken = await self._connect_once(
                min(AGAIN_SECONDS, self._connector.welcome_seconds) if again else None
            )
            self.lost = ended
            lasted = self._lasted()
            if lasted is not None and lasted > STABLE_SECONDS:
                attempt = 0
            at_once = broken and self._connector.ended(lasted)
            if ended.code in BROKEN:
                self._connector.send_to("")
            if ended.code.retry is Retry.NEVER or (ended.code is Code.KEY_EXPIRED and not callable(self._key)):
                self._close(ended)
            # Without a welcome, the code does not describe the seat, and the client still tries to resume.
            if ended.code.retry is Retry.FRESH and lasted is not None:
                self._lose_seat()
            self._set_status(Status.CONNECTING if self.welcome is None else Status.AWAY)
            if self.status is not Status.CLOSED and not at_once:
                await self._wait_before(attempt)
                attempt += 1

    def _lasted(self) -> float | None:
        """Return the seconds since the welcome of the connection; None without a welcome."""
        return None if self._welcomed_at is None else trio.current_time() - self._welcomed_at

    async def _connect_once(self, welcome_seconds: float | None) -> tuple[Ended, bool]:
        """Open a connection, and use it until it ends.

        Args:
          welcome_seconds: the seconds within which the welcome must come; None for the limit of the transport.

        Returns: the code and the reason of the end; and True if the connection broke without a known cause, so that
          the kind of transport may be at fault.
        """
        connection = Connection(Side.CLIENT, self._codec, now=trio.current_time(), limits=self._limits)
        connection.counts, connection.clock = self._send_buffer.counts, self._clock
        self._connection = connection
        outbox = Outbox(self._codec, self._limits)
        try:
            key = await self._find_key()
        except Exception as exc:  # the function is the caller's code, and may succeed later
            log.warning("the client's `key` function failed, and is called again later: %r", exc)
            return Ended(Code.LOST, f"the `key` function failed: {exc!r}", by_peer=False), False
        try:
            with trio.move_on_after(welcome_seconds or self._connector.welcome_seconds) as scope:
                async with self._connector.dial() as transport:
                    try:
                        refusal = await self._greet(transport, connection, key, scope)
                    except trio.Cancelled:
                        if not scope.cancel_called:  # the caller cancelled: end the seat now, not after its grace
                            await close_transport(transport, Code.LEFT, "left before the welcome")
                        raise
                    if refusal is not None:
                        await close_transport(transport, 1000, "")
                        return refusal, False
                    scope.deadline = math.inf
                    self._welcomed_at = trio.current_time()
                    self._send_buffer.attach(outbox)
                    if self._mirrors.is_complete:
                        self._set_status(Status.OPEN)
                    ended = await self._exchange(transport, connection, outbox)
                    return ended, ended.code in BROKEN
            return Ended(Code.SILENT, "no welcome came in time", by_peer=False), welcome_seconds is None
        except RemoteProtocolError as exc:
            if connection.state is Phase.OPEN:  # the welcome contradicts earlier acks, so the server has lost the seat
                self._welcomed_at = trio.current_time()
            return Ended(exc.code, str(exc), by_peer=False), False
        except trio.TooSlowError:
            return Ended(Code.STALLED, "the hello could not be written in time", by_peer=False), True
        except OSError as exc:
            return Ended(Code.LOST, str(exc), by_peer=True), False
        except (trio.BrokenResourceError, trio.EndOfChannel) as exc:
            return Ended(Code.LOST, str(exc), by_peer=True), True
        finally:
            self._send_buffer.detach(outbox)

    async def _find_key(self) -> str | None:
        if not callable(self._key):
            return self._key
        with trio.fail_after(KEY_SECONDS):
            return await self._key()

    async def _exchange(self, transport: Transport, connection: Connection, outbox: Outbox) -> Ended:
        async def make_way() -> None:
            await self._connector.wait_better()
            outbox.end(Code.LOST, "a better transport is available")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(make_way)
            ended = await drive_connection(transport, connection, outbox, self)
            nursery.cancel_scope.cancel("the connection has ended")
        return ended

    async def _greet(
        self, transport: Transport, connection: Connection, key: str | None, limit: trio.CancelScope
    ) -> Ended | None:
        """Send the hello and read the welcome.

        Args:
          limit: the time limit, which each ping of a server that needs longer restarts.

        Returns: why there is no welcome; None if there is one.
        """
        self._hellos += 1
        hello = messages.Hello(
            version=VERSION,
            name=self._name,
            key=key,
            client=self._client,
            vocabulary=self._vocabulary,
            attempt=self._hellos,
            received=None if self._since is None else self._send_buffer.counts.received,
            since=self._since,
            options=self._options,
            create=self._create,
        )
        transport.max_bytes = self._limits.read_bytes
        with trio.fail_after(HELLO_SECONDS, shield=True):  # a cancellation could leave half a frame on the stream
            await transport.send([connection.send(hello, now=trio.current_time())])
        answer: messages.Message | None = messages.Ping(0)
        try:
            while isinstance(answer, messages.Ping):
                answer = connection.receive(await transport.receive(), now=trio.current_time())
                limit.deadline = trio.current_time() + self._connector.welcome_seconds
        except trio.EndOfChannel:
            return Ended(
                Code.of(transport.close_code), transport.close_reason or "closed before the welcome", by_peer=True
            )
        if isinstance(answer, messages.Bye):
            self._connector.send_to(answer.where)
            return Ended(Code.of(answer.code), answer.reason, by_peer=True, unconfirmed=answer.unconfirmed)
        assert isinstance(answer, messages.Welcome)  # the connection machine rejects all other messages in this state
        if not answer.resumed:
            self._lose_seat()
            self._since = self._hellos
        self.welcome = answer
        self._mirrors.expect(answer.documents)
        self._message_bytes = answer.message_bytes
        transport.max_bytes = 4 * answer.sent_bytes
        if self.outdated and not self._told_outdated:
            self._told_outdated = True
            log.warning("this client and the room define different events: the client or the room is outdated")
        return None

    @property
    def has_space(self) -> bool:
        waiting = len(self._inbox) + self._requests.queued
        if self._requests.asking or self._send_buffer.pressed:
            return waiting < 2 * self._capacity  # the awaited answer or acks may come after other events
        return waiting < self._capacity

    async def wait_space(self) -> None:
        while not self.has_space:
            await self._changed.wait()

    def deliver(self, message: messages.Message) -> None:
        match message:
            case messages.Event() | messages.Request():
                event = self._requests.read_event(message)
                if event is not None:
                    self._give(event)
            case messages.Patch():
                self._update(message)
            case messages.Reply() | messages.Part() | messages.Error(id=int()):
                self._requests.receive_reply(message)
            case messages.Cancel():
                self._requests.receive_cancel(message)
            case messages.Error():
                self.errors.append(message)
                self._log_refusal(message)

    def _update(self, message: messages.Patch) -> None:
        """Update a mirror. If a patch does not fit, end the connection, because the next one brings whole documents."""
        was_complete = self._mirrors.is_complete
        try:
            changed = self._mirrors.receive(message)
        except UnfitPatch as exc:
            reason = f"{messages.UNFIT_PATCH}{message.name[:64]} does not fit: {exc}"
            raise RemoteProtocolError(reason, Code.LOST) from None
        if changed and not was_complete:
            self._set_status(Status.OPEN)
        elif changed:
            self._note_change()

    def refuse(self, fault: InvalidEvent) -> None:
        if self._report(fault, fault.about) or fault.request is not None:
            self._requests.refuse(fault.problem, str(fault), fault.about, fault.request)

    def _log_dropped(self, name: str, place: str) -> None:
        if ("unanswered", name, place) not in self._reported and len(self._reported) < MAX_REPORTED:
            self._reported.add(("unanswered", name, place))
            log.warning("%s has dropped a request %r of the room without an answer", place or "the client", name)

    def _report(self, fault: InvalidEvent, about: str, *, dropped: bool = True) -> bool:
        """Report an event of the room, or a field of an event, that this client cannot use. Return True if the problem
        is reported, and False if the same problem or too many problems were reported earlier."""
        problem = fault.problem if dropped else "extra_field"
        known = (problem, about[:64], INDEX.sub("[]", fault.path))
        if known in self._reported or len(self._reported) >= MAX_REPORTED:
            return False
        self._reported.add(known)
        sent = "document" if about.startswith("^") else "event"
        what = f"the room's {sent} is dropped" if dropped else f"a field of the room's {sent} is ignored"
        self.errors.append(messages.Error(problem, f"{what}: {fault}", about[:64]))
        log.warning("%r: %s: %s", about[:64], what, fault)
        if len(self._reported) == MAX_REPORTED:
            log.warning("too many different problems with the room's events: further ones are not reported")
        return True

    def _give(self, event: Any) -> None:
        for entry in self._waiters:
            if not entry[0] or isinstance(event, entry[0]):
                self._waiters.remove(entry)
                entry[1].give(event)
                return
        self._inbox.append(event)

    def _send(self, message: Outgoing) -> None:
        if self.ending is not None:
            raise self._disconnected(self.ending)
        waiting = self.waiting
        self._send_buffer.send(message)
        if self._send_buffer.counts.behind:
            self._give_up(waiting + 1)
        elif self._send_buffer.pressed:
            self._note_change()

    def _check_size(self, message: Outgoing) -> None:
        size = size_of(message.frame(self._codec))
        if size > self._message_bytes:
            text = f"{message.name} is {size} bytes, and the room reads {self._message_bytes} at most: send it in parts"
            raise ValueError(text)

    def _type_of_sent(self, event: Any) -> EventType:
        kind = self._sends.by_class.get(type(event))
        if kind is None:
            if isinstance(event, type):
                raise TypeError(f"{event.__name__} is a class: send an instance of it")
            raise TypeError(f"{type(event).__name__} is not one of the events that this client sends")
        return kind

    def _close(self, ended: Ended) -> None:
        if self.ending is not None:
            return
        self.ending = ended
        if self._send_buffer.outbox is not None:
            self._send_buffer.outbox.end(ended.code, ended.reason)
        else:
            self._scope.cancel("the client is closed")
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            waiter.fail(self._disconnected(ended))
        self._requests.close(lambda: self._disconnected(ended))
        self._set_status(Status.CLOSED)

    def _log_refusal(self, refused: messages.Error) -> None:
        """Log the first refusal of each kind for each event."""
        known = ("refused", refused.problem, refused.about)
        if known not in self._reported and len(self._reported) < MAX_REPORTED:
            self._reported.add(known)
            log.warning("the room refused %r: %s: %s", refused.about, refused.problem, refused.message)

    def _give_up(self, count: int) -> None:
        """Drop the unacknowledged messages because there are too many. The next connection starts fresh."""
        text = f"{count} messages were not acknowledged, which is too many: they are not sent again, and may be lost"
        log.warning("%s", text)
        self.errors.append(messages.Error("behind", text))
        self._forget_seat()
        if self._send_buffer.outbox is not None:
            self._send_buffer.outbox.end(Code.BEHIND, text)

    def _lose_seat(self) -> None:
        """Drop the unacknowledged messages of a lost seat, but not those sent before the client had a seat."""
        if self._since is not None:
            self._forget_seat()

    def _forget_seat(self) -> None:
        self._since = None
        self._send_buffer.reset_counts()
        self._send_buffer.forget_latest()
        self._requests.close(lambda: RequestFailed("gone", "the seat was lost"))

    def _disconnected(self, ended: Ended) -> Disconnected:
        return Disconnected(ended.code, ended.reason)

    def _set_status(self, status: Status) -> None:
        if self.ending is None or status is Status.CLOSED:
            self.status = status
        self._note_change()

    def _note_change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


def _plain_options(options: object, rename: Rename) -> Any:
    """Return join options as plain data; None for the defaults.

    Raises:
      TypeError: this is not an instance of an attrs class, or a value does not have its field's type.
      ValueError: a value cannot be encoded, or the options are too large for a hello.
    """
    if options is None:
        return None
    if isinstance(options, type) or not attrs.has(type(options)):
        raise TypeError(f"`options` must be an instance of the room's `join_options`, not {options!r:.100}")
    plain = unstructure(options, rename=rename)
    size = size_of(JSON.encode(plain))
    if size > MAX_OPTIONS_BYTES:
        raise ValueError(f"`options` has {size} bytes as JSON, and must not be longer than {MAX_OPTIONS_BYTES}")
    return plain
