"""What a broker is: the one place that knows which server has which room."""

from __future__ import annotations

import abc
import enum
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import attrs

# How long a lease lasts, unless it is renewed: shorter than a client waits for its welcome, so that the failure of a
# server does not look to it like one of its transport; and longer than a process ever stops for by itself.
LEASE_SECONDS = 3.0
# After how long a room that nobody has let go of is forgotten: if it is kept, with its log; if not, once its players
# need no longer be told why it is a fresh one.
FORGOTTEN_SECONDS = 24 * 3600.0
LOST_SECONDS = 60.0


@attrs.frozen
class Claim:
    """What became of a claim."""

    server: str
    """Whose the room is: the claimant's, if the claim was granted; empty if nobody may have it yet."""

    seconds: float
    """For how long, unless it is renewed; or how long nobody may."""

    fence: int = 0
    """Higher than that of any claim of this room before."""

    abandoned: bool = False
    """If it was granted: whether whoever had the room before had not let go of it, and may have opened it."""


@attrs.frozen
class Lease:
    """One room's lease, as all see it."""

    room: str
    server: str
    fence: int
    seconds: float
    """How long it still lasts; 0 or less: nobody has the room, and nobody has let go of it."""
    about: bytes = b""
    """What its owner says of the room."""
    kept: bool = False
    """Whether the room can go on from its log: whether that has an entry."""


@attrs.frozen
class Renewal:
    """A lease that its owner wants to keep."""

    fence: int
    about: bytes = b""
    """What its owner says of the room."""


@attrs.frozen
class Renewed:
    """What became of renewals."""

    kept: frozenset[str]
    """The rooms that are still the server's."""

    servers: Mapping[str, bytes]
    """Every server that has renewed within the time of a lease, and what it says of itself."""


@attrs.frozen
class Entry:
    """What a room did, for its log."""

    room: str
    fence: int
    number: int
    """Counts this owner's entries, from 1: the same entry twice is one."""
    data: bytes
    whole: bool = False
    """Whether all that came before may be forgotten."""


class Written(enum.Enum):
    """What became of an entry."""

    THERE = "there"
    """It is in the log."""
    FORGOTTEN = "forgotten"
    """It is not: the broker does not know the lease, or the entries before. Once the lease is renewed, a whole entry
    will do."""
    REFUSED = "refused"
    """It is not, and never will be: another has claimed the room since."""


class Mailbox(abc.ABC):
    """What others have posted to one server, in order."""

    @abc.abstractmethod
    async def receive(self) -> Sequence[bytes]:
        """What has come, one piece at least.

        Raises:
          BrokerDown: the broker can't be reached now. Call again: what was posted meanwhile is not lost, unless the
            server was away for longer than a lease.

        *Cancellation*: nothing is lost.
        """


class Broker(abc.ABC):
    """Who has which room, for all servers that share it. `edge.testing.BROKER_CONFORMANCE` tests all of this.

    Every decision is the broker's own, by its own clock, in one atomic step. Every method may raise `BrokerDown`: it
    can't be reached, or did not answer in time. Then what was asked for may have been done, or not, or be done yet; and
    all can be asked for again.

    *Cancellation*: as with `BrokerDown`.
    """

    lease_seconds: float = LEASE_SECONDS
    """How long a lease lasts. The same for all servers."""

    shared = True
    """Whether there may be other servers."""

    def name_server(self) -> str:
        """A name for another server, which none has had."""
        return secrets.token_hex(6)

    @abc.abstractmethod
    def open(self) -> AbstractAsyncContextManager[None]:
        """Connect while a block runs."""

    @abc.abstractmethod
    async def claim(self, room: str, server: str) -> Claim:
        """Take a room's lease, if nobody has it. The only way in which a room is opened.

        From then on nobody with a lower fence can write to its log.
        """

    @abc.abstractmethod
    async def renew(self, server: str, leases: Mapping[str, Renewal], about: bytes) -> Renewed:
        """Keep these leases for their full time from now; and be one of the servers, with a mailbox, for as long. A
        lease that the broker has forgotten is taken again, if it knows of no higher fence."""

    @abc.abstractmethod
    async def release(self, room: str, fence: int, *, hand_over: bool) -> None:
        """Let go of a room: its log is forgotten; or, to hand it over, anybody may claim it now and go on from its log.
        Nothing happens if it is another's by now."""

    @abc.abstractmethod
    async def lease(self, room: str) -> Lease | None:
        """A room's lease, if it has one, abandoned or not."""

    @abc.abstractmethod
    async def leases(self, *, left: bool = False) -> Sequence[Lease]:
        """Every lease, the abandoned ones included, by room. Those are forgotten after a while: a minute, or a day, if
        the room is kept.

        Args:
          left: only those of rooms that are kept, and that nobody has.
        """

    @abc.abstractmethod
    async def append(self, entries: Sequence[Entry]) -> Sequence[Written]:
        """Write to rooms' logs, in this order, and say what became of each: an entry needs the lease, and the one
        before it; a whole one only needs to be newer than what is there."""

    @abc.abstractmethod
    async def read(self, room: str) -> Sequence[bytes]:
        """A room's log, from its last whole entry on."""

    @abc.abstractmethod
    async def post(self, letters: Mapping[str, bytes]) -> frozenset[str]:
        """Put a letter each into the mailboxes of servers: to which of them, for the others are gone."""

    @abc.abstractmethod
    def mailbox(self, server: str) -> AbstractAsyncContextManager[Mailbox]:
        """Open a server's mailbox, which `renew` has made."""

    @abc.abstractmethod
    async def leave(self, server: str) -> None:
        """Be no server any more. Its leases go on by themselves."""
