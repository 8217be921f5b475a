"""The connection limiter: limits connections, requests and request bodies, for each address and for the server."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import attrs
import trio

from ..aio.options import check_option
from ..codes import Code
from ..errors import Refused
from ..protocol.pace import Pace
from ..seats.pending import PendingConnection
from .addresses import Addresses

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

log: logging.Logger = logging.getLogger("edge.server")


def _check_positive(limits: AddressLimits, field: attrs.Attribute[Any], value: object) -> None:
    types = (int,) if str(field.type) == "int" else (int, float)
    check_option(f"AddressLimits.{field.name}", value, *types, example="a number above 0")
    if not cast("float", value) > 0:
        raise ValueError(f"AddressLimits.{field.name} must be a number above 0, not {value!r}")


# The fraction of the process's file descriptors for open connections. Dropped connections that linger, and files, use
# the rest.
FILES = 0.9

# The maximum number of rejected connections that are answered at the same time, and the largest fraction of the file
# descriptors that they may use.
MAX_TOLD, TOLD_FILES = 100, 0.05

# A draining server waits this many seconds for clients of HTTP transports to request the goodbye.
ASKING_SECONDS = 2.0

# The records of idle addresses are deleted when the number of records reaches this value. After a sweep, the next sweep
# is due at twice the number of remaining records, but not below this value.
SWEEP_AT = 1000


@attrs.frozen(kw_only=True)
class AddressLimits:
    """Limits of each client address, and of the whole server. All IPv6 addresses of a /64 network count as one address.

    For a request through a trusted proxy, the client address is the address that the proxy reports in
    ``X-Forwarded-For`` or ``Forwarded``.
    """

    connections: int = attrs.field(default=20_000, validator=_check_positive)
    """The maximum number of open connections of the server. The limit is lower if this number exceeds 90 % of the
    process's file descriptors.

    At the limit, a new connection replaces the oldest pending connection. A connection is pending while the server
    waits for its request, its body or its hello. If no connection is pending, the new connection is rejected."""

    connections_each: int = attrs.field(default=1000, validator=_check_positive)
    """The maximum number of open connections of one address, HTTP transports included. At the limit, a new connection
    replaces the oldest pending connection of the same address. The default suits a school whose pupils share one
    address."""

    rooms: int = attrs.field(default=10_000, validator=_check_positive)
    """The maximum number of open rooms of the server. Further rooms are refused as ``full``. A room costs some
    kilobytes and a few tasks."""

    rooms_each: int = attrs.field(default=200, validator=_check_positive)
    """The maximum number of open rooms that one address has opened."""

    requests_each: float = attrs.field(default=200, validator=_check_positive)
    """The long-term rate of connections and requests of one address, per second. Requests of an open HTTP transport
    have their own pace."""

    burst_each: int = attrs.field(default=2000, validator=_check_positive)
    """The number of connections and requests of one address that may come in one burst. The default suits a school
    whose pupils open a page at the same time."""

    bulk_bytes_each: float = attrs.field(default=512 * 1024, validator=_check_positive)
    """The bytes per second that are read from all connections of one address, in addition to 8 KiB per second of each
    connection. Further bytes are read later. A server can read about 1 MB per second of the most expensive messages."""

    bulk_burst_each: int = attrs.field(default=1024 * 1024, validator=_check_positive)
    """The number of bytes that may be read in one burst from all connections of one address. The default suits a school
    whose pupils save their pictures at the same time."""

    body_bytes: int = attrs.field(default=256 * 1024 * 1024, validator=_check_positive)
    """The maximum size of all request bodies in memory together, in bytes."""

    body_bytes_each: int = attrs.field(default=16 * 1024 * 1024, validator=_check_positive)
    """The maximum size of all request bodies of one address in memory together, in bytes."""

    proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """The networks of your trusted proxies. The server uses the client address that a trusted proxy reports, and does
    not limit the proxy's own address. The default is the loopback networks."""

    def __attrs_post_init__(self) -> None:
        Addresses(self.proxies)  # raises ValueError for an invalid network


@attrs.define(eq=False)
class _Peer:
    """The connections, bytes and paces of one address."""

    pace: Pace
    bulk: Pace
    """The pace of all connections of the address, in bytes."""
    connections: int = 0
    body_bytes: int = 0
    told: bool = False
    """True once a warning was logged that the address exceeds a limit."""
    waiting: dict[PendingConnection, None] = attrs.field(factory=dict)
    """The pending connections of the address, the oldest first."""


class ConnectionLimiter:
    """Limits connections, requests and request bodies, for each peer and for the server.

    A peer is an address, or an IPv6 network, that the limits of one address apply to: see `Addresses.peer_of`.
    """

    def __init__(self, address_limits: AddressLimits) -> None:
        self._limits = address_limits
        self._most = min(address_limits.connections, FILES * _most_files())
        self.max_told: int = int(min(MAX_TOLD, TOLD_FILES * _most_files()))
        """The maximum number of rejected connections that are answered at the same time. If another connection is
        rejected, the oldest of them is closed without an answer."""
        self._draining = False
        self._connections = 0
        self._body_bytes = 0
        self._peers: dict[str, _Peer] = {}
        self._waiting: dict[PendingConnection, None] = {}
        """All pending connections, the oldest first."""
        self._sweep_at = SWEEP_AT

    @contextmanager
    def waiting(self, peer: str, *, may_ask: bool = False) -> Iterator[PendingConnection]:
        """Register a pending connection of a peer while a block runs.

        Args:
          may_ask: true if the next request of the connection may fetch the goodbye of an HTTP transport. A drain waits
            two seconds for that request.
        """
        waiting, theirs = PendingConnection(may_ask=may_ask), self._know(peer).waiting
        self._waiting[waiting] = theirs[waiting] = None
        if self._draining:
            self._drain(waiting)
        try:
            yield waiting
        finally:
            self._waiting.pop(waiting, None)
            theirs.pop(waiting, None)

    def drain(self) -> None:
        """Drop all pending connections, and drop each connection that becomes pending later.

        Connections with `may_ask` are dropped after two seconds, so that their clients can fetch a goodbye.
        """
        self._draining = True
        for waiting in [*self._waiting]:
            self._drain(waiting)

    def _drain(self, waiting: PendingConnection) -> None:
        if waiting.may_ask:
            waiting.scope.deadline = trio.current_time() + ASKING_SECONDS
        else:
            waiting.turn_away()

    def add_connection(self, peer: str, *, charge: bool = True) -> None:
        """Count an open connection of a peer until `remove_connection`, and charge it to the peer's pace.

        Args:
          charge: False if another worker has charged the connection to the peer's pace.

        Raises:
          Refused: the server or the peer has too many connections, or the peer exceeds its pace.
        """
        if charge:
            self.check_pace(peer)
        instead = self.add_place(peer)
        if self._connections >= self._most and not (instead or _make_space(self._waiting)):
            self.remove_place(peer)
            raise Refused("the server has reached its limit of connections", Code.CROWDED)
        self._connections += 1

    def remove_connection(self, peer: str) -> None:
        """Stop counting a connection that has ended."""
        self._connections -= 1
        self.remove_place(peer)

    @contextmanager
    def place(self, peer: str) -> Iterator[None]:
        """Count a request that a proxy forwarded for a peer while a block runs: see `add_place`."""
        self.add_place(peer)
        try:
            yield
        finally:
            self.remove_place(peer)

    def add_place(self, peer: str) -> bool:
        """Count a connection of a peer, or a request that a proxy forwarded for the peer, until `remove_place`.

        Returns: true if another connection of the peer was dropped to make space.

        Raises:
          Refused: the peer has too many connections.
        """
        known = self._know(peer)
        crowded = bool(peer) and known.connections >= self._limits.connections_each
        if crowded and not _make_space(known.waiting):
            raise self._refused(peer, "has reached the limit of connections of one address")
        known.connections += 1
        return crowded

    def remove_place(self, peer: str) -> None:
        """Stop counting a connection or a request that has ended."""
        self._know(peer).connections -= 1

    def connections(self, peer: str) -> int:
        """Return the number of connections of a peer."""
        return self._know(peer).connections

    def bulk_pace(self, peer: str) -> Pace | None:
        """Return the pace of the bytes that a peer sends; None for a trusted proxy."""
        return self._know(peer).bulk if peer else None

    def check_pace(self, peer: str) -> None:
        """Charge one request of a peer to its pace.

        Raises:
          Refused: the peer exceeds its pace.
        """
        if not peer:
            return
        pace, now = self._know(peer).pace, trio.current_time()
        if not pace.allows(now):
            raise self._refused(peer, "exceeds the limit of requests per second of one address")
        pace.take(now)

    @contextmanager
    def body(self, peer: str) -> Iterator[Callable[[int], None]]:
        """Count the bytes of a request's body, which is in memory while a block runs.

        Yields: a function to call with the number of bytes of each read. The function raises `Refused` if a limit is
          exceeded.
        """
        known, kept = self._know(peer), 0

        def keep(size: int) -> None:
            nonlocal known, kept
            if not kept:  # `_forget_peers` may have deleted the peer's record before the first read
                known = self._know(peer)
            if self._body_bytes + size > self._limits.body_bytes:
                raise Refused("the server has reached its limit of request bodies in memory", Code.CROWDED)
            if peer and known.body_bytes + size > self._limits.body_bytes_each:
                raise self._refused(peer, "exceeds the limit of request bodies of one address")
            kept += size
            known.body_bytes += size
            self._body_bytes += size

        try:
            yield keep
        finally:
            known.body_bytes -= kept
            self._body_bytes -= kept

    def _refused(self, peer: str, why: str) -> Refused:
        known = self._know(peer)
        if not known.told:  # once for each peer, because refusals may be frequent
            known.told = True
            log.warning("%s %s: if this is your proxy, add it to AddressLimits.proxies", peer, why)
        return Refused(f"{peer} {why}", Code.CROWDED)

    def _know(self, peer: str) -> _Peer:
        known = self._peers.get(peer)
        if known is None:
            if len(self._peers) >= self._sweep_at:
                self._forget_peers()
            known = self._peers[peer] = _Peer(
                Pace(self._limits.requests_each, self._limits.burst_each),
                Pace(self._limits.bulk_bytes_each, self._limits.bulk_burst_each),
            )
        return known

    def _forget_peers(self) -> None:
        """Delete the records of idle peers, and set the number of records at which the next sweep is due."""
        now = trio.current_time()
        self._peers = {
            peer: known
            for peer, known in self._peers.items()
            if known.connections
            or known.body_bytes
            or known.waiting
            or not (known.pace.at_rest(now) and known.bulk.at_rest(now))
        }
        self._sweep_at = max(SWEEP_AT, 2 * len(self._peers))


def _make_space(waiting: dict[PendingConnection, None]) -> bool:
    """Drop the oldest of these pending connections. Return false if there is none."""
    for longest in waiting:
        if not longest.scope.cancel_called:
            longest.turn_away(Refused("this connection was idle, and was dropped for a newer one", Code.CROWDED))
            return True
    return False


def _most_files() -> float:
    """Return the maximum number of open file descriptors of this process."""
    if resource is None:
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft
