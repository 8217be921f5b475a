"""A broker in memory, for a single server, or for several servers in one process, as in tests."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice

import attrs
import trio

from ...journal.entries import Entry, Written
from .broker import FORGOTTEN_SECONDS, LEFT, LOST_SECONDS, Broker, Claim, Lease, Mailbox, News, Renewed, Stamp, Wish


@attrs.define
class _Server:
    """The broker's record of a server."""

    until: float
    """The time at which the server's leases end."""
    since: float
    """The time since which the server has renewed its leases without an interruption."""
    about: bytes = b""
    oldest: int = 0
    """The highest `Stamp.oldest` of the server's requests. Requests with a lower number have no effect."""


@attrs.define
class _Held:
    """The broker's record of a lease."""

    server: str
    """The server that has the lease; empty if the room was handed over."""
    fence: int
    claim: int
    """The number of the request that claimed the lease: `Stamp.number`."""
    about: bytes = b""
    kept: bool = False
    over: bool = False
    left_at: float = 0.0
    """The time at which the room was handed over."""


@attrs.define
class _Log:
    """The journal of a room."""

    top: tuple[int, int] = (0, 0)
    """The fence and the number of the newest entry. A new entry needs a higher pair."""
    entries: list[bytes] = attrs.field(factory=list)


class _MemoryMailbox(Mailbox):
    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.come = trio.Event()

    async def receive(self) -> Sequence[bytes]:
        await trio.lowlevel.checkpoint()
        while not self.batches:
            self.come = trio.Event()
            await self.come.wait()
        batches, self.batches = self.batches, []
        return batches


class MemoryBroker(Broker):
    """A broker in memory, which an `App` uses by default.

    Args:
      lease_seconds: the seconds that a lease lasts. Set it if several apps of one process share the broker. By default,
        leases last for ever, and the broker serves a single app.
    """

    def __init__(self, *, lease_seconds: float = math.inf) -> None:
        self.lease_seconds = lease_seconds
        self.shared: bool = lease_seconds < math.inf
        self._fence = 0
        self._named = 0
        self._leases: dict[str, _Held] = {}
        self._logs: dict[str, _Log] = {}
        self._servers: dict[str, _Server] = {}
        self._mailboxes: dict[str, _MemoryMailbox] = {}

    def name_server(self) -> str:
        self._named += 1
        return f"server-{self._named}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    async def claim(self, room: str, server: str, stamp: Stamp) -> Claim:
        await trio.lowlevel.checkpoint()
        if not (self._is_there(server) and self._take_note(server, stamp)):
            return Claim("", 0.0)
        held = self._leases.get(room)
        if held is not None and held.server != server and (left := self._seconds(held)) > 0:
            return Claim(held.server, left, held.fence)
        self._fence += 1
        abandoned = held is not None and not held.over and (held.kept or held.server != server)
        kept = held is not None and held.kept
        self._leases[room] = _Held(server, self._fence, stamp.number, kept=kept)
        self._logs.setdefault(room, _Log()).top = (self._fence, 0)
        return Claim(server, self._servers[server].until - trio.current_time(), self._fence, abandoned)

    async def renew(self, server: str, stamp: Stamp, about: bytes, news: Sequence[News] = ()) -> Renewed:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        known = self._servers.get(server)
        if not self._is_there(server):
            known = self._servers[server] = _Server(now, now, oldest=0 if known is None else known.oldest)
        assert known is not None
        if not self._take_note(server, stamp):
            return Renewed("", {})
        known.until, known.about = now + self.lease_seconds, about
        refused, forgotten = set(), set()
        for each in news:
            held = self._leases.get(each.room)
            if each.wish is Wish.KEEP:
                if self._keep(server, each):
                    log = self._logs.get(each.room, _Log())
                    if each.entries and not (log.top[0] == each.fence and log.top[1] >= each.entries):
                        forgotten.add(each.room)
                else:
                    refused.add(each.room)
            elif held is None or held.server != server:
                continue
            elif each.wish is Wish.TELL:
                if held.fence == each.fence:
                    held.about = each.about
            elif held.fence == each.fence or (not each.fence and held.claim == each.claim):
                self._let_go(each.room, held, hand_over=each.wish is Wish.HAND_OVER)
        servers = {name: each.about for name, each in sorted(self._servers.items()) if self._is_there(name)}
        return Renewed(self._mark(known), servers, frozenset(refused), frozenset(forgotten))

    def _mark(self, known: _Server) -> str:
        return str(known.since)

    def _keep(self, server: str, news: News) -> bool:
        held, log = self._leases.get(news.room), self._logs.get(news.room, _Log())
        if news.fence < max(held.fence if held is not None else 0, log.top[0]):
            return False
        if held is None or held.fence < news.fence:  # the broker has no record of this lease
            held = self._leases[news.room] = _Held(server, news.fence, 0, kept=bool(log.entries))
        held.server, held.about = server, news.about
        return True

    def _let_go(self, room: str, held: _Held, *, hand_over: bool) -> None:
        if hand_over and not held.over:
            held.server, held.left_at = "", trio.current_time()
        else:
            del self._leases[room]
            self._logs.pop(room, None)

    async def lease(self, room: str) -> Lease | None:
        await trio.lowlevel.checkpoint()
        held = self._leases.get(room)
        return None if held is None else self._shown(room, held)

    async def leases(self) -> Sequence[Lease]:
        await trio.lowlevel.checkpoint()
        return [self._shown(room, held) for room, held in sorted(self._leases.items())]

    async def left(self) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        left = []
        for room, held in [*self._leases.items()]:
            seconds = self._seconds(held)
            if seconds + (FORGOTTEN_SECONDS if held.kept else LOST_SECONDS) < 0:
                del self._leases[room]
                self._logs.pop(room, None)
            elif held.kept and seconds <= 0:
                left.append((seconds, room))
        gone = trio.current_time() - FORGOTTEN_SECONDS
        self._servers = {name: each for name, each in self._servers.items() if each.until > gone}
        return [room for _, room in islice(sorted(left), LEFT)]

    def _seconds(self, held: _Held) -> float:
        """Return the seconds until a lease ends. The result is negative if the lease has ended."""
        server = self._servers.get(held.server)
        return (held.left_at if server is None else server.until) - trio.current_time()

    def _shown(self, room: str, held: _Held) -> Lease:
        return Lease(room, held.server, held.fence, self._seconds(held), held.about, held.kept)

    async def append(self, entries: Sequence[Entry]) -> Sequence[Written]:
        await trio.lowlevel.checkpoint()
        return [self._append(entry) for entry in entries]

    def _append(self, entry: Entry) -> Written:
        held, top = self._leases.get(entry.room), self._logs.get(entry.room, _Log()).top
        if entry.fence < max(top[0], held.fence if held is not None else 0):
            return Written.REFUSED
        if held is None or held.fence != entry.fence or self._seconds(held) <= 0:
            return Written.FORGOTTEN
        if top == (entry.fence, entry.number):
            return Written.THERE
        rewritten = (entry.whole or entry.over) and top < (entry.fence, entry.number)
        if top != (entry.fence, entry.number - 1) and not rewritten:
            return Written.FORGOTTEN
        log = self._logs.setdefault(entry.room, _Log())
        if entry.whole or entry.over:
            log.entries.clear()
        if not entry.over:
            log.entries.append(entry.data)
        held.kept, held.over = not entry.over, entry.over
        log.top = (entry.fence, entry.number)
        return Written.THERE

    async def read(self, room: str) -> Sequence[bytes]:
        await trio.lowlevel.checkpoint()
        log = self._logs.get(room)
        return [] if log is None else [*log.entries]

    async def send(self, batches: Mapping[str, bytes]) -> frozenset[str]:
        await trio.lowlevel.checkpoint()
        there = frozenset(server for server in batches if self._is_there(server))
        for server in sorted(there):
            mailbox = self._mailbox(server)
            mailbox.batches.append(batches[server])
            mailbox.come.set()
        return there

    @asynccontextmanager
    async def mailbox(self, server: str) -> AsyncIterator[Mailbox]:
        yield self._mailbox(server)

    async def leave(self, server: str) -> None:
        await trio.lowlevel.checkpoint()
        if server in self._servers:
            self._servers[server].until = trio.current_time()
            self._is_there(server)

    def _mailbox(self, server: str) -> _MemoryMailbox:
        return self._mailboxes.setdefault(server, _MemoryMailbox())

    def _is_there(self, server: str) -> bool:
        """Return whether a server has renewed its leases in time. If not, empty its mailbox."""
        known = self._servers.get(server)
        if known is not None and known.until > trio.current_time():
            return True
        self._mailbox(server).batches.clear()
        return False

    def _take_note(self, server: str, stamp: Stamp) -> bool:
        """Record the stamp of a request. Return False if the server no longer waits for the answer to this request."""
        known = self._servers[server]
        known.oldest = max(known.oldest, stamp.oldest)
        return stamp.number >= known.oldest
