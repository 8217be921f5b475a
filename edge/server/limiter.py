"""The door: what every address has taken of a server, and all of them together."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from ..codes import Code
from ..errors import Refused
from ..protocol.pace import Pace
from ..seats.pending import PendingConnection
from .addresses import Addresses

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

log = logging.getLogger("edge.server")

POSITIVE = attrs.validators.gt(0)

# Which part of the files that a process may have are for connections: some of those that give way linger.
FILES = 0.9

# How many may be told at a time that there is no space for them; and what part of the files they may take.
MAX_TOLD, TOLD_FILES = 100, 0.05

# How long a draining server waits for those who may ask for its last words.
ASKING_SECONDS = 2.0

# How many addresses that have nothing any more may be remembered before they are looked through.
SWEEP_AT = 1000


@attrs.frozen(kw_only=True)
class AddressLimits:
    """What one address may take of a server, and all of them together. An IPv6 address stands for its /64.

    For what comes through a proxy, the address is the one that the proxy names in ``X-Forwarded-For``.
    """

    connections: int = attrs.field(default=20_000, validator=POSITIVE)
    """How many connections may be open; in any case no more than the process may have files. One more takes the place
    of the one that has held no seat and been waited for, for a request, its body or a hello, for longest; where there
    is none, it is turned away."""

    connections_each: int = attrs.field(default=1000, validator=POSITIVE)
    """The same of one address, whose own connections are dropped first. HTTP transports count, too. A whole school may
    share one address."""

    requests_each: float = attrs.field(default=200, validator=POSITIVE)
    """Connections and requests of one address that are served per second, in the long run. The requests of an open HTTP
    transport have a pace of their own."""

    burst_each: int = attrs.field(default=2000, validator=POSITIVE)
    """The same at once, for a school that opens a page."""

    bulk_bytes_each: float = attrs.field(default=512 * 1024, validator=POSITIVE)
    """Bytes a second that are read from all connections of one address, beside 8 KiB a second of each; later ones wait
    unread. A server can read about a megabyte a second of the dearest messages."""

    bulk_burst_each: int = attrs.field(default=1024 * 1024, validator=POSITIVE)
    """The same at once: a school that saves its pictures."""

    body_bytes: int = 256 * 1024 * 1024
    """The bytes of request bodies that may be in memory."""

    body_bytes_each: int = 16 * 1024 * 1024
    """The same of one address."""

    proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """The networks of your proxies: those who connect from there are believed to say for whom, and are not counted
    themselves. By default, this machine."""

    def __attrs_post_init__(self) -> None:
        Addresses(self.proxies)  # here, so that a typo is found when it is made


@attrs.define(eq=False)
class _Peer:
    """The connections, bytes and paces of one address."""

    pace: Pace
    bulk: Pace
    """The byte pace of all its connections."""
    connections: int = 0
    body_bytes: int = 0
    told: bool = False
    """True if it is in the log that it wants too much."""
    waiting: dict[PendingConnection, None] = attrs.field(factory=dict)
    """Its pending connections, the oldest first."""


class ConnectionLimiter:
    """Limits connections, requests and bodies, for each address and in total."""

    def __init__(self, address_limits: AddressLimits) -> None:
        self._limits = address_limits
        self._most = min(address_limits.connections, FILES * _most_files())
        self.max_told = int(min(MAX_TOLD, TOLD_FILES * _most_files()))
        """The most refusals that are written at a time. For one more, the oldest is cut off."""
        self._draining = False
        self._connections = 0
        self._body_bytes = 0
        self._peers: dict[str, _Peer] = {}
        self._waiting: dict[PendingConnection, None] = {}
        """All pending connections, the oldest first."""
        self._sweep_at = SWEEP_AT

    @contextmanager
    def waiting(self, peer: str, *, may_ask: bool = False) -> Iterator[PendingConnection]:
        """While somebody is waited for, who comes for this peer."""
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
        """Wait for nobody any more; for those who may ask for last words, two seconds yet."""
        self._draining = True
        for waiting in [*self._waiting]:
            self._drain(waiting)

    def _drain(self, waiting: PendingConnection) -> None:
        if waiting.may_ask:
            waiting.scope.deadline = trio.current_time() + ASKING_SECONDS
        else:
            waiting.turn_away()

    @contextmanager
    def connection(self, peer: str) -> Iterator[None]:
        """While one is open.

        Raises:
          Refused: there are too many, or too many come.
        """
        self.check_pace(peer)
        with self.place(peer) as instead:
            if self._connections >= self._most and not (instead or _make_space(self._waiting)):
                raise Refused("the server has as many connections as it takes", Code.CROWDED)
            self._connections += 1
            try:
                yield
            finally:
                self._connections -= 1

    @contextmanager
    def place(self, peer: str) -> Iterator[bool]:
        """While something of a peer's is under way that may have come on another's connection.

        Returns: whether another of theirs gives way for it.

        Raises:
          Refused: it has too many.
        """
        known = self._know(peer)
        crowded = bool(peer) and known.connections >= self._limits.connections_each
        if crowded and not _make_space(known.waiting):
            raise self._refused(peer, "has as many connections as one address may")
        known.connections += 1
        try:
            yield crowded
        finally:
            known.connections -= 1

    def connections(self, peer: str) -> int:
        """The number of connections of a peer."""
        return self._know(peer).connections

    def bulk_pace(self, peer: str) -> Pace | None:
        """The pace in bytes of a peer, for a connection that has a place. None for a proxy of ours."""
        return self._know(peer).bulk if peer else None

    def check_pace(self, peer: str) -> None:
        """Somebody from an address wants something.

        Raises:
          Refused: too much for now.
        """
        if not peer:
            return
        pace, now = self._know(peer).pace, trio.current_time()
        if not pace.allows(now):
            raise self._refused(peer, "asks for too much at once")
        pace.take(now)

    @contextmanager
    def body(self, peer: str) -> Iterator[Callable[[int], None]]:
        """While the body of a request is kept: call the function with every so many bytes that come.

        Raises:
          Refused: by the function: more are kept than may be.
        """
        known, kept = self._know(peer), 0

        def keep(size: int) -> None:
            nonlocal known, kept
            if not kept:  # it may have been forgotten meanwhile
                known = self._know(peer)
            if self._body_bytes + size > self._limits.body_bytes:
                raise Refused("too much is being sent to this server", Code.CROWDED)
            if peer and known.body_bytes + size > self._limits.body_bytes_each:
                raise self._refused(peer, "is sending too much at once")
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
        if not known.told:  # once, for it may be many times a second
            known.told = True
            log.warning("%s %s: if it is a proxy, name it in AddressLimits.proxies", peer, why)
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
        """Forget those who have nothing; the next time when there are twice as many as are left."""
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
    """Turn away whoever of these has been waited for longest; False if there is nobody."""
    for longest in waiting:
        if not longest.scope.cancel_called:
            longest.turn_away(Refused("others have come, and this connection was waited for", Code.CROWDED))
            return True
    return False


def _most_files() -> float:
    """The number of files and sockets that this process may have open."""
    if resource is None:
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft
