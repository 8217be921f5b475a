"""The core of a room's run time: the state that the room and its players share."""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any, Protocol

import trio

from ..codes import Code
from ..errors import Gone, SendOverflow
from ..protocol.outgoing import outgoing_event
from ..requests.listening import Listeners
from .cleanup import ShieldedCleanup
from .counters import Counters
from .journal import Journal
from .kind import RoomKind
from .lease import Lease
from .ledger import Ledger, Member
from .opening import Opening
from .rounds_runtime import Outcome, RoundRuntime
from .seat import Applicant
from .sharing import LARGE_BYTES, Sharing

log: logging.Logger = logging.getLogger("edge.rooms")

NOT_OPEN = "a room has its clock and its random numbers once it is open: use them in run, player, admit or greet"


class AuthoredRoom(Protocol):
    """The methods of an author's `Room` that its run time calls. `Room` documents each method."""

    async def setup(self) -> object: ...
    async def authorize(self, applicant: Applicant, /) -> object: ...
    async def run(self) -> object: ...
    async def player(self, player: Any, /) -> object: ...
    def admit(self, applicant: Applicant, /) -> object: ...
    def greet(self, player: Any, /) -> object: ...
    def publish(self, event: Any, /) -> object: ...
    def snapshot(self) -> object: ...
    def restore(self, state: Any, /) -> object: ...
    def apply(self, fact: Any, /) -> object: ...


class RoomCore:
    """The part of a room's run time that players and rounds use: its state, and sending.

    Args:
      facade: the author's `Room`.
      kind: the declarations of the room's class.
      ledger: the ledger of the room's players.
    """

    def __init__(self, facade: AuthoredRoom, kind: RoomKind, ledger: Ledger) -> None:
        self.facade = facade
        self.kind = kind
        self.ledger = ledger
        ledger.on_remove = self._note_left
        self.kind_name: str = ""
        self.name: str = ""
        """`kind_name` and `name` are the kind and the name of the room; empty until a `Directory` opens the room."""
        self.opening: Opening = Opening()
        """By whom and how the room was opened."""
        self.set_up: trio.Event = trio.Event()
        """Set once the room is set up, or closes before that: see `Room.setup`."""
        if not kind.has_setup:
            self.set_up.set()
        self.recover: Callable[[], object] | None = None
        """Restores the room from its journal once it is set up; None if there is nothing to restore."""
        self.entering: dict[trio.CancelScope, None] = {}
        """The scopes of `Room.authorize`, one for each applicant."""
        self.nursery: trio.Nursery | None = None
        """Runs the tasks of the room; None until `RoomRuntime.live`."""
        self.counters: Counters = Counters()
        """The counters, which all rooms of a directory share."""
        self.sleep_until: Callable[[float], Awaitable[object]] = trio.sleep_until
        """Sleeps until a time on Trio's clock. All rooms of a directory share a task that waits for the time."""
        self.call_soon: Callable[[Callable[[], object]], object] = _call_soon
        """Calls a function after all tasks that are ready have run. All rooms of a directory share a task for it."""
        self.lease: Lease = Lease()
        self.journal: Journal | None = None
        """The journal of a persistent room; None for other rooms."""
        self.lost = False
        """True if another server had a room of this kind and name, and the state of that room is lost."""
        self.listeners: Listeners = Listeners(operator.attrgetter("member.facade", "event"), self._note_listening)
        self.round: RoundRuntime | None = None
        """The open round; None if no round is open."""
        self.ending: tuple[Code, str] | None = None
        """The code and the reason with which the room closes; None until the room closes."""
        self.run_scope: trio.CancelScope = trio.CancelScope()
        self.timer_scope: trio.CancelScope = trio.CancelScope()
        self.sharing_scope: trio.CancelScope = trio.CancelScope()
        self.crashed_on: int | None = None
        """The number of players who held a seat when the room crashed; 0 if the room could not be set up or restored;
        None otherwise."""
        self.sharing: Sharing | None = None
        """The run time of the shared documents; None if the room has none."""
        if kind.documents:
            self.sharing = Sharing(kind.documents, kind.patch_seconds, self._note_sharing_fault, self._count_patches)
        self.strained: set[Member] = set()
        """The connected players for whom more than half of a window is in use. As long as the set contains a
        player, the server reads later from other players who send at more than half of their byte pace."""
        self._opened_at: float | None = None
        self._random: Random | None = None
        self._cleanup_until = math.inf

    def __repr__(self) -> str:
        return f"<{self.kind.class_name} {self.path!r}: {len(self.ledger)} seated>"

    @property
    def path(self) -> str:
        """``<kind>/<name>``; empty until a `Directory` opens the room."""
        return f"{self.kind_name}/{self.name}" if self.name else ""

    @property
    def log_context(self) -> dict[str, object]:
        """The attributes of a log record about this room."""
        return {"room": self.path}

    @property
    def closing(self) -> bool:
        """True once the room is closing or closed, and admits no more applicants."""
        return self.ending is not None

    def open(self, kind: str, name: str, *, seed: int) -> None:
        """Set the room's kind and name, start the room's clock, and seed the room's random numbers."""
        self.kind_name, self.name = kind, name
        self._opened_at, self._random = trio.current_time(), Random(seed)  # noqa: S311  # for games, not for secrets

    def restore(self) -> None:
        """Restore the room from its journal, if there is anything to restore."""
        if self.recover is not None:
            self.recover()
            self.recover = None

    def set_age(self, age: float) -> None:
        """Set the room's clock to this age, in seconds. A restored room continues the clock of the previous server."""
        self._opened_at = trio.current_time() - age

    def now(self) -> float:
        """See `Room.now`."""
        if self._opened_at is None:
            raise RuntimeError(NOT_OPEN)
        return trio.current_time() - self._opened_at

    @property
    def random(self) -> Random:
        """See `Room.random`."""
        if self._random is None:
            raise RuntimeError(NOT_OPEN)
        return self._random

    def broadcast(self, event: Any, members: Iterable[Member]) -> None:
        """Encode an event once, and send the message to these players; see `Room.broadcast`."""
        if self.sharing is not None:
            self.sharing.note_event()
        message = outgoing_event(event, self.kind.type_of_sent(event))
        if self.lease.over:
            return
        if message.size > LARGE_BYTES:
            members = [*members]
            for member in members:
                member.seat.check_size(message)
        sent, overflow = 0, None
        for member in members:
            if member.ending is None:
                if member.seat.crowded:
                    try:
                        member.seat.check_crowded(message)
                    except SendOverflow as exc:
                        overflow = exc
                        continue
                sent += 1
                member.seat.send(message)
        self.counters.sent += sent
        if overflow is not None:
            raise overflow

    def note_strain(self, member: Member, *, strained: bool) -> None:
        """Add a player to `strained`, or remove the player and let the other players' connections be read again."""
        if strained:
            self.strained.add(member)
        elif member in self.strained:
            self.strained.remove(member)
            for each in self.ledger.members:
                each.recheck_space()

    def strained_except(self, member: Member) -> bool:
        """Return True if `strained` contains a player other than this one."""
        return len(self.strained) > (member in self.strained)

    def reset(self, reason: str) -> bool:
        """See `Room.reset`."""
        if self.round is None:
            return False
        self.round.cancel(Outcome.RESET, reason)
        return True

    def close(self, reason: str = "", *, code: Code = Code.ROOM_CLOSED) -> None:
        """See `Room.close`."""
        if self.closing:
            return
        if self.sharing is not None:
            self.sharing.flush(last=True)  # the last changes come before the goodbye
            if self.closing:  # a document cannot be sent
                return
        self.ending = (code, reason)
        if self.recover is not None:
            self.lease.lose()  # the journal stays as it is, for a later attempt
        elif not self.lease.over:
            (self.lease if self.journal is None else self.journal).conclude()
        self._cleanup_until = trio.current_time() + (0 if self.lease.over else self.kind.cleanup_seconds)
        self.reset("the room is closing")
        self.run_scope.cancel("the room is closing")
        self.timer_scope.cancel("the room is closing")
        self.sharing_scope.cancel("the room is closing")
        self.set_up.set()
        for scope in self.entering:
            scope.cancel("the room is closing")
        for member in self.ledger.members:
            member.leave(code, reason)
        self.listeners.close(lambda: Gone(self.path))

    def shielded_cleanup(self, since: float, what: str, log_context: dict[str, object]) -> ShieldedCleanup:
        """Return a shielded scope for the clean-up of a task that began to end at `since`, on Trio's clock.

        Args:
          what: the name of the task in the log message.
        """
        over = self.lease.over
        until = since if over else min(since + self.kind.cleanup_seconds, self._cleanup_until)
        return ShieldedCleanup(until, since, "" if over else what, log_context)

    def _count_patches(self, count: int) -> None:
        self.counters.patches += count

    def _note_sharing_fault(self, exc: Exception, name: str) -> None:
        """Close the room, because its shared documents cannot be sent."""
        self.counters.crashes += 1
        self.crashed_on = len(self.ledger)
        what = "room %s: the shared document %r cannot be sent"
        log.error(what, self.path, name, exc_info=exc, extra=self.log_context)
        self.close(code=Code.ROOM_CRASHED)

    def _note_listening(self) -> None:
        for member in self.ledger.members:
            member.offer_early()

    def _note_left(self, member: Member) -> None:
        if self.journal is not None:
            self.journal.note_left(member)
        if self.round is not None:
            self.round.check_enough()


def _call_soon(call: Callable[[], object]) -> None:
    trio.lowlevel.current_trio_token().run_sync_soon(call)
