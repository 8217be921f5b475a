"""The door: what every address has taken of a server, and all of them together."""

from __future__ import annotations

import ipaddress
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import attrs
import trio

from ..codes import Code
from ..errors import Refused
from ..protocol.pace import Pace

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

log = logging.getLogger("edge.server")

# How many files a process needs besides its connections.
SPARE_FILES = 100

# How long a draining server waits for those who may ask for its last words.
ASKING_SECONDS = 2.0

# How many addresses that have nothing any more may be remembered before they are looked through.
SWEEP_AT = 1000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.frozen(kw_only=True)
class Caps:
    """What one address may take of a server, and all of them together. An IPv6 address stands for its /64.

    For what comes through a proxy, the address is the one that the proxy names in ``X-Forwarded-For``.
    """

    connections: int = 20_000
    """How many connections may be open; in any case no more than the process may have files. One more takes the place
    of the one that has been idle for longest, or that owes its hello for longest; where there is none, it is turned
    away."""

    connections_each: int = 500
    """The same of one address; lines count, too. A school may be behind one."""

    requests_each: float = 200
    """How many connections and requests of one address are served a second, in the long run: those of lines that are
    open are not counted."""

    burst_each: int = 2000
    """How many at once: a school that opens a page."""

    body_bytes: int = 256 * 1024 * 1024
    """How many bytes of requests' bodies may be kept."""

    body_bytes_each: int = 16 * 1024 * 1024
    """The same of one address."""

    proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """The networks of your proxies: those who connect from there are believed to say for whom, and are not counted
    themselves. By default, this machine."""

    def __attrs_post_init__(self) -> None:
        self.trusted()  # here, so that a typo is found when it is made

    def trusted(self) -> list[Network]:
        """The networks of proxies.

        Raises:
          ValueError: one is none.
        """
        return [ipaddress.ip_network(proxy) for proxy in self.proxies]


@attrs.define(eq=False)
class _Visitor:
    """What one address has taken."""

    pace: Pace
    connections: int = 0
    body_bytes: int = 0
    told: bool = False
    """Whether it is in the log that it wants too much."""


@attrs.define(eq=False)
class Waiting:
    """Somebody who owes us something, a request or a hello, and holds no seat: whom to turn away first."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """What to wait for them in."""
    why: Refused = attrs.field(factory=lambda: Refused("the server is shutting down", Code.DRAINING))
    may_ask: bool = False
    """Whether a server that drains waits a little longer, so that they can ask for its last words."""

    def turn_away(self, why: Refused | None = None) -> None:
        """Wait no more; by default, because the server is shutting down."""
        self.why = why or self.why
        self.scope.cancel(str(self.why))


class Door:
    """Who may come in, and who is still in the way."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._most = min(caps.connections, _most_files() - SPARE_FILES)
        self._trusted = caps.trusted()
        self._whose = lru_cache(4096)(self._find_visitor)
        self._connections = 0
        self._body_bytes = 0
        self._visitors: dict[str, _Visitor] = {}
        self._waiting: dict[Waiting, None] = {}
        """For longest first."""
        self._sweep_at = SWEEP_AT

    @property
    def full(self) -> bool:
        """Whether one more connection would have to take the place of another."""
        return self._connections >= self._most

    def whose(self, address: str, forwarded: str = "") -> str:
        """For whom somebody from this address comes: an address, or the name of its network; empty where it can't be
        known, as in memory, or a proxy does not say.

        Args:
          forwarded: the ``X-Forwarded-For`` of a request. Each proxy adds whom it heard from at the end, so the last
            that is no proxy of ours is who it was; what stands before that is hearsay.
        """
        for said in (address, *reversed(forwarded.split(","))):
            visitor, trusted = self._whose(said.strip())
            if not trusted:
                return visitor
        return ""

    def _find_visitor(self, said: str) -> tuple[str, bool]:
        """Whom an address stands for, and whether it is a proxy's."""
        try:
            address = ipaddress.ip_address(said.partition("%")[0])
        except ValueError:
            return "", False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._trusted):
            return "", True
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((address, 64), strict=False)), False
        return str(address), False

    @contextmanager
    def waiting(self, *, may_ask: bool = False) -> Iterator[Waiting]:
        """While somebody is waited for."""
        waiting = Waiting(may_ask=may_ask)
        self._waiting[waiting] = None
        try:
            yield waiting
        finally:
            self._waiting.pop(waiting, None)

    def drain(self) -> None:
        """Wait for nobody any more who is waited for now; for those who may ask for last words, two seconds yet."""
        for waiting in [*self._waiting]:
            if waiting.may_ask:
                waiting.scope.deadline = trio.current_time() + ASKING_SECONDS
            else:
                waiting.turn_away()

    @contextmanager
    def connection(self, visitor: str) -> Iterator[None]:
        """While one is open.

        Raises:
          Refused: there are too many, or too many come.
        """
        if self.full and not self._make_space():
            raise Refused("the server has as many connections as it takes", Code.CROWDED)
        self._connections += 1
        try:
            self.check_pace(visitor)
            with self.place(visitor):
                yield
        finally:
            self._connections -= 1

    @contextmanager
    def place(self, visitor: str) -> Iterator[None]:
        """While one of an address is open that may have come on another's connection.

        Raises:
          Refused: it has too many.
        """
        known = self._know(visitor)
        if visitor and known.connections >= self._caps.connections_each:
            raise self._refused(visitor, "has as many connections as one address may")
        known.connections += 1
        try:
            yield
        finally:
            known.connections -= 1

    def check_pace(self, visitor: str) -> None:
        """Somebody from an address wants something.

        Raises:
          Refused: too much for now.
        """
        if not visitor:
            return
        pace, now = self._know(visitor).pace, trio.current_time()
        if not pace.allows(now):
            raise self._refused(visitor, "asks for too much at once")
        pace.take(now)

    @contextmanager
    def body(self, visitor: str) -> Iterator[Callable[[int], None]]:
        """While the body of a request is kept: call the function with every so many bytes that come.

        Raises:
          Refused: by the function: more are kept than may be.
        """
        known, kept = self._know(visitor), 0

        def keep(size: int) -> None:
            nonlocal known, kept
            if not kept:  # it may have been forgotten meanwhile
                known = self._know(visitor)
            if self._body_bytes + size > self._caps.body_bytes:
                raise Refused("too much is being sent to this server", Code.CROWDED)
            if visitor and known.body_bytes + size > self._caps.body_bytes_each:
                raise self._refused(visitor, "is sending too much at once")
            kept += size
            known.body_bytes += size
            self._body_bytes += size

        try:
            yield keep
        finally:
            known.body_bytes -= kept
            self._body_bytes -= kept

    def _make_space(self) -> bool:
        """Turn away whoever has been waited for longest; False if there is nobody."""
        for waiting in self._waiting:
            del self._waiting[waiting]
            waiting.turn_away(Refused("others have come, and this connection was idle", Code.CROWDED))
            return True
        return False

    def _refused(self, visitor: str, why: str) -> Refused:
        known = self._know(visitor)
        if not known.told:  # once, for it may be many times a second
            known.told = True
            log.warning("%s %s: if it is a proxy, name it in Caps.proxies", visitor, why)
        return Refused(f"{visitor} {why}", Code.CROWDED)

    def _know(self, visitor: str) -> _Visitor:
        known = self._visitors.get(visitor)
        if known is None:
            if len(self._visitors) >= self._sweep_at:
                self._forget_visitors()
            known = self._visitors[visitor] = _Visitor(Pace(self._caps.requests_each, self._caps.burst_each))
        return known

    def _forget_visitors(self) -> None:
        """Forget those who have nothing; the next time when there are twice as many as are left."""
        now = trio.current_time()
        self._visitors = {
            visitor: known
            for visitor, known in self._visitors.items()
            if known.connections or known.body_bytes or not known.pace.at_rest(now)
        }
        self._sweep_at = max(SWEEP_AT, 2 * len(self._visitors))


def _most_files() -> float:
    """How many files and sockets this process may have open."""
    if resource is None:
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft
