"""The interface of brokers. The broker alone decides which server has a room."""

from __future__ import annotations

import abc
import enum
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import attrs

from ...journal.entries import Entry, Written

# Seconds that a lease lasts without a renewal. This time is longer than the pauses of a healthy process. It is shorter
# than the time for which clients wait for a welcome, so that clients do not mistake a failed server for a failed
# transport.
LEASE_SECONDS = 3.0
# Seconds after which an abandoned room is deleted, with its journal: FORGOTTEN_SECONDS if the room can be restored, or
# else LOST_SECONDS. During LOST_SECONDS, clients that reconnect still learn that the previous room was lost. The record
# of a server that is gone is deleted after FORGOTTEN_SECONDS.
FORGOTTEN_SECONDS = 24 * 3600.0
LOST_SECONDS = 60.0
# The maximum number of rooms that `Broker.left` returns.
LEFT = 1000


@attrs.frozen
class Stamp:
    """The numbers with which a server marks a request. Once the broker has read a request, it ignores requests of the
    same server with lower numbers than `oldest`."""

    number: int
    """The number of this request. Each request of a server has a higher number than the server's previous request."""

    oldest: int
    """The lowest number of all requests whose answers the server still waits for. This request is one of them."""


@attrs.frozen
class Claim:
    """The result of a claim of a room's lease."""

    server: str
    """The server that has the room. This is the claimant if the claim was granted. Empty if the claim was rejected
    although no other server has the room."""

    seconds: float
    """The seconds that the lease lasts. For a rejected claim: the shortest time until a claim can be granted."""

    fence: int = 0
    """The fence of the lease, higher than those of all earlier leases of this room. If `server` is empty: 0."""

    abandoned: bool = False
    """True if the claim was granted, and an earlier owner may have opened the room and did not close it for good."""


@attrs.frozen
class Lease:
    """The lease of a room, as the broker reports it to every server."""

    room: str
    server: str
    """The server that has the lease, or the last server that had it. Empty if the room was handed over. May be empty if
    the room is abandoned."""
    fence: int
    seconds: float
    """The seconds until the lease ends; 0 or less if the room is abandoned or was handed over."""
    about: bytes = b""
    """The description of the room that its owner has published."""
    kept: bool = False
    """True if the room can be restored: its journal has an entry, and no entry that ends the room."""


class Wish(enum.Enum):
    """The kinds of requests that a server makes about the lease of its room."""

    TELL = "tell"
    """Store a new description of the room."""
    KEEP = "keep"
    """Record this server as the owner of the room again, and restore the lease, because the broker may have lost data.
    A server sends this request when `Renewed.mark` has changed. The broker refuses the request if another server has
    claimed the room."""
    RELEASE = "release"
    """Delete the lease and the journal, because the room has closed for good."""
    HAND_OVER = "hand over"
    """End the lease, so that any server can claim the room and restore it. If the journal says that the room has closed
    for good, delete the lease and the journal instead."""


@attrs.frozen
class News:
    """A server's request about one of its rooms. The request has no effect if another server has claimed the room after
    this server."""

    wish: Wish
    room: str
    fence: int
    """The fence of the lease; 0 if the server has received no answer to its claim of the room."""
    about: bytes = b""
    """With `Wish.TELL` and `Wish.KEEP`: the description of the room."""
    entries: int = 0
    """With `Wish.KEEP`: the number of the newest entry that the journal should have with this fence; 0 if none."""
    claim: int = 0
    """If the fence is 0: the `Stamp.number` of the request that claimed the room."""


@attrs.frozen
class Renewed:
    """The result of a renewal."""

    mark: str
    """If the mark is the same as in the previous renewal, the broker has lost no lease of this server, and no other
    server has had its rooms since then. A different mark means that the leases had run out, or that the broker may have
    lost data. After a change of the mark, each lease counts as renewed only after a `Wish.KEEP` that was not
    refused."""

    servers: Mapping[str, bytes]
    """Every server that has renewed within a lease period, and its status."""

    refused: frozenset[str] = frozenset()
    """The rooms whose `Wish.KEEP` was refused, because another server has claimed the room."""

    forgotten: frozenset[str] = frozenset()
    """The rooms of `Wish.KEEP` requests whose journals are incomplete. The server has to write these journals again."""


class Mailbox(abc.ABC):
    """The queue of the batches of messages that were sent to one server."""

    @abc.abstractmethod
    async def receive(self) -> Sequence[bytes]:
        """Wait for batches, and return at least one, in the order in which they were sent.

        Raises:
          BrokerDown: the broker can't be reached now. Call `receive` again: no batch is lost, unless the server does
            not renew its leases within a lease period.

        *Cancellation* loses no batch.
        """


class Broker(abc.ABC):
    """The store and message bus that servers share. `edge.testing.BROKER_CONFORMANCE` tests implementations.

    A server renews all its leases in one request, so the cost does not grow with the number of its rooms. The broker
    decides every request by its own clock, in one atomic step. Every method may raise `BrokerDown` if the broker can't
    be reached, or did not answer in time. Such a request may have taken effect or not. It can still take effect until a
    later request of the same server takes effect. Every request can be repeated.

    *Cancellation*: the request may take effect or not, as after `BrokerDown`.
    """

    lease_seconds: float = LEASE_SECONDS
    """The seconds that a lease lasts. The value must be the same on all servers."""

    shared = True
    """True if several servers may use this broker."""

    def name_server(self) -> str:
        """Return a new, unique name for a server."""
        return secrets.token_hex(6)

    @abc.abstractmethod
    def open(self) -> AbstractAsyncContextManager[None]:
        """Keep a connection to the broker open during an ``async with`` block.

        Raises:
          BrokerDown: the broker was reached, but can't be used.
        """

    @abc.abstractmethod
    async def claim(self, room: str, server: str, stamp: Stamp) -> Claim:
        """Claim the lease of a room. The claim can be granted only if no other server has the lease.

        A server may open a room only after a granted claim, and may claim only if it has renewed its leases within a
        lease period. After the claim is granted, no server with a lower fence can write to the room's journal.
        """

    @abc.abstractmethod
    async def renew(self, server: str, stamp: Stamp, about: bytes, news: Sequence[News] = ()) -> Renewed:
        """Renew all leases of a server for their full length from now, and carry out the requests in `news`.

        The first renewal registers the server and creates its mailbox. The registration and the mailbox expire with the
        leases.

        Args:
          about: the status of the server, for `Renewed.servers`.
        """

    @abc.abstractmethod
    async def lease(self, room: str) -> Lease | None:
        """Return the lease of a room, even if the room is abandoned; None if the broker has no lease of this room."""

    @abc.abstractmethod
    async def leases(self) -> Sequence[Lease]:
        """Return all leases, sorted by room, including those of abandoned rooms. Leases may change during the call."""

    @abc.abstractmethod
    async def left(self) -> Sequence[str]:
        """Return at most `LEFT` rooms that can be restored and that no server has, the longest abandoned first.

        Delete rooms that were abandoned more than a day ago, or more than a minute ago if they can't be restored.
        """

    @abc.abstractmethod
    async def append(self, entries: Sequence[Entry]) -> Sequence[Written]:
        """Append entries to journals, in this order. Returns: the result for each entry.

        Every entry needs the current lease of its room. A whole entry, or an entry that ends the room, has to be newer
        than the newest entry of the journal. Any other entry has to follow directly after the newest entry.
        """

    @abc.abstractmethod
    async def read(self, room: str) -> Sequence[bytes]:
        """Return the entries of a room's journal, from its newest whole entry on. The result is empty if the room has
        closed for good, or has no entries."""

    @abc.abstractmethod
    async def send(self, batches: Mapping[str, bytes]) -> frozenset[str]:
        """Put one batch into the mailbox of each server. Returns: the servers that have a mailbox. All others are
        gone."""

    @abc.abstractmethod
    def mailbox(self, server: str) -> AbstractAsyncContextManager[Mailbox]:
        """Open the mailbox of a server, for an ``async with`` block."""

    @abc.abstractmethod
    async def leave(self, server: str) -> None:
        """End the leases of a server that shuts down, and empty its mailbox. Other servers can then claim its rooms."""
