"""The interface of brokers. A broker alone decides which server has which room."""

from __future__ import annotations

import abc
import enum
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import attrs

from ...journal.entries import Entry, Written

# How long a lease lasts, unless it is renewed: shorter than a client waits for its welcome, so that the failure of a
# server does not look to it like one of its transport; and longer than a process ever stops for by itself.
LEASE_SECONDS = 3.0
# After how long a room that nobody has let go of is forgotten: if it is kept, with its log; if not, once its players
# need no longer be told why it is a fresh one. For as long as the former a server is remembered that has gone.
FORGOTTEN_SECONDS = 24 * 3600.0
LOST_SECONDS = 60.0
# How many rooms that nobody has are told of at once.
LEFT = 1000


@attrs.frozen
class Stamp:
    """Tells a request of a server from its others. What a server has given up is not done any more once the broker has
    seen a later request of that server."""

    number: int
    """Grows from each request of a server to its next."""

    oldest: int
    """The lowest number of those whose answers that server still waits for, this one included."""


@attrs.frozen
class Claim:
    """The result of a claim."""

    server: str
    """Whose the room is: the claimant's, if the claim was granted; empty if nobody may have it yet."""

    seconds: float
    """The seconds that the lease lasts; or, for a claim that failed, the seconds until another is possible."""

    fence: int = 0
    """Higher than that of any claim of this room before."""

    abandoned: bool = False
    """If it was granted: whether whoever had the room before had not let go of it, and may have opened it."""


@attrs.frozen
class Lease:
    """One room's lease, as all see it."""

    room: str
    server: str
    """Whose it is, or was last; empty if it was handed over."""
    fence: int
    seconds: float
    """The seconds that it still lasts. 0 or less: no server has the room, and none has returned it."""
    about: bytes = b""
    """The description of the room by its owner."""
    kept: bool = False
    """True if the room can go on from its log: whether that has an entry, and none that says it is over."""


class Wish(enum.Enum):
    """A request about a lease."""

    TELL = "tell"
    """It is as it was; its owner has something else to say of the room."""
    KEEP = "keep"
    """Its owner wants to keep it, whatever the broker knows of it: see `Renewed.mark`."""
    RELEASE = "release"
    """The room has closed: its log is forgotten."""
    HAND_OVER = "hand over"
    """Anybody may claim it now, and go on from its log. The log of one that is over is forgotten."""


@attrs.frozen
class News:
    """A server's request about one of its rooms. It has no effect if another server has the room by now."""

    wish: Wish
    room: str
    fence: int
    """That of the lease; or 0, if its server has claimed the room and had no answer."""
    about: bytes = b""
    """To tell or keep: what is said of the room."""
    entries: int = 0
    """To keep: the number of the newest entry that should be in its log under this fence; 0 if none need be."""
    claim: int = 0
    """If the fence is 0: the number of the stamp of that claim."""


@attrs.frozen
class Renewed:
    """The result of a renewal."""

    mark: str
    """As long as it is the same, so is what the broker knows of this server, and nobody else can have had its rooms.
    It changes where the server's time had run out, and where the broker has forgotten something, or may have: then each
    lease counts as renewed only once the server has asked to keep it, and was not refused."""

    servers: Mapping[str, bytes]
    """Every server that has renewed within the time of a lease, and what it says of itself."""

    refused: frozenset[str] = frozenset()
    """The rooms to keep that other servers have by now."""

    forgotten: frozenset[str] = frozenset()
    """The rooms whose journal is incomplete: it has to be written again."""


class Mailbox(abc.ABC):
    """The messages to one server, in order."""

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

    A room belongs to a server, and a server renews all that it has at once: so what that costs does not grow with its
    rooms. Every decision is the broker's own, by its own clock, in one atomic step. Every method may raise
    `BrokerDown`: it can't be reached, or did not answer in time. Then what was asked for may have been done, or not, or
    be done yet, until a later request of this server is; and all can be asked for again.

    *Cancellation*: as with `BrokerDown`.
    """

    lease_seconds: float = LEASE_SECONDS
    """The length of a lease, in seconds. The same for all servers."""

    shared = True
    """True if there may be other servers."""

    def name_server(self) -> str:
        """A name for another server, which none has had."""
        return secrets.token_hex(6)

    @abc.abstractmethod
    def open(self) -> AbstractAsyncContextManager[None]:
        """Connect while a block runs.

        Raises:
          BrokerDown: what is there can't be used.
        """

    @abc.abstractmethod
    async def claim(self, room: str, server: str, stamp: Stamp) -> Claim:
        """Take a room's lease, if nobody has it. The only way in which a room is opened, and only a server that has
        renewed within the time of a lease may.

        From then on nobody with a lower fence can write to its log.
        """

    @abc.abstractmethod
    async def renew(self, server: str, stamp: Stamp, about: bytes, news: Sequence[News] = ()) -> Renewed:
        """Keep all of a server's leases for their full time from now, and do what it wishes; and be one of the servers,
        with a mailbox, for as long."""

    @abc.abstractmethod
    async def lease(self, room: str) -> Lease | None:
        """A room's lease, if it has one, abandoned or not."""

    @abc.abstractmethod
    async def leases(self) -> Sequence[Lease]:
        """Every lease, the abandoned ones included, by room: not quite as they are at one instant."""

    @abc.abstractmethod
    async def left(self) -> Sequence[str]:
        """Rooms that are kept, and that nobody has: a thousand at most, those first that were left first.

        What has been abandoned for a while is forgotten here: for a minute, or a day, if the room is kept.
        """

    @abc.abstractmethod
    async def append(self, entries: Sequence[Entry]) -> Sequence[Written]:
        """Write to rooms' logs, in this order, and say what became of each: an entry needs the lease, and the one
        before it; one that is whole, or says that the room is over, only needs to be newer than what is there."""

    @abc.abstractmethod
    async def read(self, room: str) -> Sequence[bytes]:
        """A room's log, from its last whole entry on; empty if the room is over."""

    @abc.abstractmethod
    async def send(self, batches: Mapping[str, bytes]) -> frozenset[str]:
        """Put a batch each into the mailboxes of servers: to which of them, for the others are gone."""

    @abc.abstractmethod
    def mailbox(self, server: str) -> AbstractAsyncContextManager[Mailbox]:
        """Open a server's mailbox, which `renew` has made."""

    @abc.abstractmethod
    async def leave(self, server: str) -> None:
        """Be no server any more. What it has not let go of, anybody may claim."""
