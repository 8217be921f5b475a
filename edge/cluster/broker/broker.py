"""The interface of brokers. Only the broker decides which server has a room."""

from __future__ import annotations

import abc
import enum
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import attrs

from ...journal.entries import Entry, Written

# Seconds that a lease lasts without a renewal. Shorter than a client waits for its welcome, so that the client does not
# mistake a failed server for a failed transport. Longer than a process ever pauses by itself.
LEASE_SECONDS = 3.0
# Seconds after which an abandoned room is deleted, with its journal: FORGOTTEN_SECONDS if the room can be restored. If
# not, LOST_SECONDS, in which clients that reconnect still learn why the room is a new one. A server that is gone is
# deleted after FORGOTTEN_SECONDS.
FORGOTTEN_SECONDS = 24 * 3600.0
LOST_SECONDS = 60.0
# The maximum number of rooms that `Broker.left` returns.
LEFT = 1000


@attrs.frozen
class Stamp:
    """The number of a server's request. The broker ignores a request whose number is lower than the `oldest` of a later
    request, because the server no longer waits for its answer."""

    number: int
    """Higher with each request of the server."""

    oldest: int
    """The lowest number of the requests that the server still waits for, this one included."""


@attrs.frozen
class Claim:
    """The result of a claim."""

    server: str
    """The server that has the room: the claimant, if the claim was granted. Empty if the claim was rejected, but not
    because of another owner."""

    seconds: float
    """The seconds that the lease lasts; for a rejected claim, the seconds until another claim is possible."""

    fence: int = 0
    """Higher than the fence of every earlier claim of this room."""

    abandoned: bool = False
    """True if the claim was granted, and an earlier owner may have opened the room without closing it for good."""


@attrs.frozen
class Lease:
    """The lease of a room, as the broker reports it to every server."""

    room: str
    server: str
    """The server that has the lease or had it last; empty if the room was handed over."""
    fence: int
    seconds: float
    """The seconds until the lease ends. 0 or less: the room is abandoned or handed over."""
    about: bytes = b""
    """The owner's description of the room."""
    kept: bool = False
    """True if the room can be restored: its journal has an entry, and no entry that ends the room."""


class Wish(enum.Enum):
    """An owner's request about the lease of a room."""

    TELL = "tell"
    """Store a new description of the room."""
    KEEP = "keep"
    """Keep the lease, even if the broker has lost its record: see `Renewed.mark`."""
    RELEASE = "release"
    """Delete the lease and the journal: the room has closed."""
    HAND_OVER = "hand over"
    """Let any server claim the room and restore it. If the room is over, delete its lease and its journal."""


@attrs.frozen
class News:
    """A server's request about one of its rooms. It has no effect if another server has claimed the room since."""

    wish: Wish
    room: str
    fence: int
    """The fence of the lease; 0 if the server has claimed the room and received no answer."""
    about: bytes = b""
    """With `Wish.TELL` and `Wish.KEEP`: the description of the room."""
    entries: int = 0
    """With `Wish.KEEP`: the number of the newest entry that the journal should have under this fence, or 0."""
    claim: int = 0
    """If the fence is 0: the number of the claim's stamp."""


@attrs.frozen
class Renewed:
    """The result of a renewal."""

    mark: str
    """While the mark stays the same, the broker has lost no lease of this server, and no other server has had its
    rooms. The mark changes if the leases had run out, or if the broker may have lost data. Then a lease counts as
    renewed only after a `Wish.KEEP` that was not refused."""

    servers: Mapping[str, bytes]
    """Every server that has renewed within a lease period, and its status."""

    refused: frozenset[str] = frozenset()
    """The rooms of a `Wish.KEEP` that other servers have claimed."""

    forgotten: frozenset[str] = frozenset()
    """The rooms of a `Wish.KEEP` whose journals are incomplete: the server has to write them again."""


class Mailbox(abc.ABC):
    """The batches that are sent to one server, in order."""

    @abc.abstractmethod
    async def receive(self) -> Sequence[bytes]:
        """Wait for batches, and return them: at least one.

        Raises:
          BrokerDown: the broker can't be reached now. Call again: no batch is lost, unless the server does not renew
            within a lease period.

        *Cancellation* loses no batch.
        """


class Broker(abc.ABC):
    """The store and message bus that servers share. `edge.testing.BROKER_CONFORMANCE` tests all of this.

    A server renews all its leases in one request, so the cost does not grow with the number of its rooms. The broker
    decides every request by its own clock, in one atomic step. Every method may raise `BrokerDown`: the broker can't be
    reached, or did not answer in time. Then the request may have taken effect or not, or may still take effect until a
    later request of this server does. Every request can be repeated.

    *Cancellation*: the request may take effect or not, as after `BrokerDown`.
    """

    lease_seconds: float = LEASE_SECONDS
    """The seconds that a lease lasts: the same for all servers."""

    shared = True
    """True if several servers may use this broker."""

    def name_server(self) -> str:
        """Return a new name for a server, unlike that of any other."""
        return secrets.token_hex(6)

    @abc.abstractmethod
    def open(self) -> AbstractAsyncContextManager[None]:
        """Keep a connection to the broker open during an ``async with`` block.

        Raises:
          BrokerDown: the broker was reached, but can't be used.
        """

    @abc.abstractmethod
    async def claim(self, room: str, server: str, stamp: Stamp) -> Claim:
        """Claim the lease of a room, which is granted if no other server has it.

        A server may open a room only after a claim, and may claim only if it has renewed within a lease period. After a
        claim, no server with a lower fence can write to the room's journal.
        """

    @abc.abstractmethod
    async def renew(self, server: str, stamp: Stamp, about: bytes, news: Sequence[News] = ()) -> Renewed:
        """Renew all leases of a server for their full length from now, and carry out its requests.

        The first renewal registers the server and creates its mailbox. Both last as long as the leases.

        Args:
          about: the status of the server.
        """

    @abc.abstractmethod
    async def lease(self, room: str) -> Lease | None:
        """Return the lease of a room, abandoned or not; None if there is none."""

    @abc.abstractmethod
    async def leases(self) -> Sequence[Lease]:
        """Return all leases, sorted by room, abandoned ones included. They may change while they are read."""

    @abc.abstractmethod
    async def left(self) -> Sequence[str]:
        """Return at most a thousand rooms that can be restored and that no server has, longest abandoned first.

        Also delete abandoned rooms: after a day if they can be restored, else after a minute.
        """

    @abc.abstractmethod
    async def append(self, entries: Sequence[Entry]) -> Sequence[Written]:
        """Append entries to journals, in this order. Returns: the result for each.

        An entry needs the lease and the entry before it. An entry that is whole, or that ends the room, needs only to
        be newer than the newest written entry.
        """

    @abc.abstractmethod
    async def read(self, room: str) -> Sequence[bytes]:
        """Return the journal of a room, from its newest whole entry on; empty if the room is over."""

    @abc.abstractmethod
    async def send(self, batches: Mapping[str, bytes]) -> frozenset[str]:
        """Put batches into the mailboxes of servers. Returns: the servers that got theirs; the others are gone."""

    @abc.abstractmethod
    def mailbox(self, server: str) -> AbstractAsyncContextManager[Mailbox]:
        """Open the mailbox of a server, for an ``async with`` block."""

    @abc.abstractmethod
    async def leave(self, server: str) -> None:
        """Remove a server. Other servers may then claim the rooms whose leases it has not returned."""
