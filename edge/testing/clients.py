"""The clients of tests: a test can cut their connection, wait for what they have received, and see their history."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import trio

from ..client.client import Client, Status
from ..client.join import back_off
from ..errors import InvalidEvent
from ..protocol import messages
from ..shared.mirrors import Mirrors

E = TypeVar("E")

# The number of newest happenings of each client that a failing test shows, and the longest text of each.
SHOWN, SHOWN_CHARACTERS = 8, 160
# The longest text of a client's mirrors in the report of a failing test.
STATE_CHARACTERS = 2000
# Events of at least this many bytes are shown without their content, because a text of it would cost time.
SHOWN_BYTES = 2000
# The number of newest events of each class that `Seen` has.
MAX_SEEN = 1000


class Seen:
    """The events that a client has received, for `ClientUnderTest.wait`."""

    def __init__(self, state: Mirrors) -> None:
        self.state = state
        """The shared documents of the client: see `Client.state`."""
        self._events: dict[type[Any], deque[Any]] = {}

    def newest(self, cls: type[E]) -> E | None:
        """Return the newest received event of a class; None if there is none."""
        events = self._events.get(cls)
        newest: E | None = events[-1] if events else None
        return newest

    def all(self, cls: type[E]) -> list[E]:
        """Return the newest 1,000 received events of a class, the oldest first."""
        return [*self._events.get(cls, ())]

    def note(self, event: Any) -> None:
        """Record a copy of a received event. A request fails when no other code refers to the event itself."""
        self._events.setdefault(type(event), deque(maxlen=MAX_SEEN)).append(copy.copy(event))


class ClientUnderTest(Client[Any, Any]):
    """A client whose connection a test can cut and restore. After each loss, it reconnects only on `resume`."""

    name: str
    """The name that the client requests."""

    def __init__(self, name: str, connector: Any, **options: Any) -> None:
        self.name = name
        self.history: deque[str] = deque(maxlen=SHOWN)
        """What happened to the client most recently, the newest last."""
        self.refused: deque[str] = deque(maxlen=SHOWN)
        """The newest messages of the client that the room refused, the newest last."""
        self._held_back = trio.Event()
        self._opened = False  # true once the client has been open
        self._attempts = 0  # the number of attempts to connect since the latest `resume`
        self._seen_more = trio.Event()
        super().__init__(connector, name=name, wait_before=self._wait_resume, **options)
        self.seen: Seen = Seen(self.state)
        """The events that the client has received, taken or not, and its shared documents."""

    def drop(self) -> None:
        """Cut the connection without a close; both sides notice. The client reconnects only on `resume`."""
        self._note("the test cuts the connection")
        self.cut()

    def cut(self) -> None:
        """Cut the current connection."""
        raise NotImplementedError

    async def resume(self) -> None:
        """Connect again, and wait until the connection is open. The client waits between attempts, like all clients.

        Raises:
          Disconnected: the server refused the client.

        *Cancellation*: the client continues to connect.
        """
        self._attempts = 0
        self._held_back.set()
        await self.wait_status(Status.AWAY, Status.CONNECTING, Status.CLOSED)
        await self.wait_status(Status.OPEN)

    async def wait(self, condition: Callable[[Seen], object]) -> None:
        """Wait until the client has received what a test needs: ``await ana.wait(lambda seen: seen.newest(Board))``.

        The events stay in the inbox for `receive`. A test that waits in vain fails as a deadlock, or after its hours.

        Args:
          condition: called with `seen` now, and after each event of the room and each patch of its shared documents. A
            true result ends the wait.

        Raises:
          Disconnected: the client is closed before that.

        *Cancellation*: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        while not condition(self.seen):
            if self.ending is not None:
                raise self._disconnected(self.ending)
            await self._seen_more.wait()

    def send(self, event: Any) -> None:
        self._note(f"sends {event!r}")
        super().send(event)

    async def request(self, event: Any, *answers: Any) -> Any:
        self._note(f"requests {event!r}")
        return await super().request(event, *answers)

    def deliver(self, message: messages.Message) -> None:
        if isinstance(message, messages.Error):
            text = f"{message.about or 'a message'}: {message.problem}: {message.message}"
            self.refused.append(f"{trio.current_time():9.3f}  {text}"[:SHOWN_CHARACTERS])
            self._note(f"is refused {text}")
        elif isinstance(message, messages.Event | messages.Request):
            self._note_received(message.name, message.body, message.size)
        elif isinstance(message, messages.Reply | messages.Part | messages.Cancel):
            self._note(f"receives {messages.to_plain(message)}")
        super().deliver(message)

    def _update(self, message: messages.Patch) -> None:
        super()._update(message)
        self._wake_waiting()

    def refuse(self, fault: InvalidEvent) -> None:
        self._note(f"cannot use an event: {fault}")
        super().refuse(fault)

    def _give(self, event: Any) -> None:
        self.seen.note(event)
        super()._give(event)
        self._wake_waiting()

    def _set_status(self, status: Status) -> None:
        if status is not self.status and self.status is not Status.CLOSED:
            why = f": {self.lost.reason}" if self.lost and status is not Status.OPEN else ""
            self._note(f"is {status.value}{why}")
        if status is Status.OPEN:
            self._opened = True
            self._held_back = trio.Event()  # after the next loss, the client again waits for `resume`
        super()._set_status(status)
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        seen_more, self._seen_more = self._seen_more, trio.Event()
        seen_more.set()

    def _note_received(self, name: str, body: object, size: int) -> None:
        self._note(f"receives {name} {body}" if size < SHOWN_BYTES else f"receives {name}, {size} bytes")

    def _note(self, text: str) -> None:
        self.history.append(f"{trio.current_time():9.3f}  {text}"[:SHOWN_CHARACTERS])

    async def _wait_resume(self, attempt: int) -> None:
        if not self._opened and self.lost is not None:
            self._close(self.lost)  # so that a join raises instead of trying again
        if not self._held_back.is_set():
            self._note("waits for `resume`")
        await self._held_back.wait()
        if self._attempts:
            await back_off(self._attempts - 1)
        self._attempts += 1


def report_of(clients: list[ClientUnderTest]) -> str:
    """Return what happened to these clients, for the report of a failing test: first what was refused."""
    names = [client.name or f"client {number}" for number, client in enumerate(clients)]
    refused = [f"{name}: {text}" for name, client in zip(names, clients, strict=True) for text in client.refused]
    lines = ["refused by the room:", *refused] if refused else []
    for name, client in zip(names, clients, strict=True):
        lines += [f"{name}, most recently:", *client.history]
        if shown := repr(client.state):
            lines.append(f"    mirrors {shown}"[:STATE_CHARACTERS])
    return "\n".join(lines)
