"""A broker in one process: for a single server, and for several in one test."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from .broker import FORGOTTEN_SECONDS, LOST_SECONDS, Broker, Claim, Entry, Lease, Mailbox, Renewal, Renewed, Written


@attrs.define
class _Held:
    """A lease."""

    server: str
    fence: int
    until: float
    about: bytes = b""
    kept: bool = False


@attrs.define
class _Log:
    """A room's log."""

    top: tuple[int, int] = (0, 0)
    """The fence and number of the newest entry: only higher ones follow."""
    entries: list[bytes] = attrs.field(factory=list)


class _MemoryMailbox(Mailbox):
    def __init__(self) -> None:
        self.letters: list[bytes] = []
        self.come = trio.Event()

    async def receive(self) -> Sequence[bytes]:
        await trio.lowlevel.checkpoint()
        while not self.letters:
            self.come = trio.Event()
            await self.come.wait()
        letters, self.letters = self.letters, []
        return letters


class MemoryBroker(Broker):
    """What an `App` has that is given no other. Several apps of one process may share one.

    Args:
      lease_seconds: how long a lease lasts; for ever, where nobody shares it.
    """

    def __init__(self, *, lease_seconds: float = math.inf) -> None:
        self.lease_seconds = lease_seconds
        self.shared = lease_seconds < math.inf
        self._fence = 0
        self._named = 0
        self._leases: dict[str, _Held] = {}
        self._logs: dict[str, _Log] = {}
        self._servers: dict[str, tuple[float, bytes]] = {}
        self._mailboxes: dict[str, _MemoryMailbox] = {}

    def name_server(self) -> str:
        self._named += 1
        return f"server-{self._named}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    async def claim(self, room: str, server: str) -> Claim:
        await trio.lowlevel.checkpoint()
        now, held = trio.current_time(), self._leases.get(room)
        if held is not None and held.until > now and held.server != server:
            return Claim(held.server, held.until - now, held.fence)
        self._fence += 1
        kept = held is not None and held.kept
        self._leases[room] = _Held(server, self._fence, now + self.lease_seconds, kept=kept)
        self._logs.setdefault(room, _Log()).top = (self._fence, 0)
        abandoned = held is not None and (held.kept or held.server != server)
        return Claim(server, self.lease_seconds, self._fence, abandoned)

    async def renew(self, server: str, leases: Mapping[str, Renewal], about: bytes) -> Renewed:
        await trio.lowlevel.checkpoint()
        now, kept = trio.current_time(), []
        for room, renewal in leases.items():
            held, log = self._leases.get(room) or _Held(server, 0, now), self._logs.get(room, _Log())
            if renewal.fence < max(held.fence, log.top[0]):
                continue
            if held.fence < renewal.fence:  # it was forgotten meanwhile
                held = self._leases[room] = _Held(server, renewal.fence, now, kept=bool(log.entries))
            held.until = now + self.lease_seconds
            held.about = renewal.about
            kept.append(room)
        self._servers[server] = now + self.lease_seconds, about
        self._sweep(now)
        return Renewed(frozenset(kept), {name: said for name, (_, said) in sorted(self._servers.items())})

    async def release(self, room: str, fence: int, *, hand_over: bool) -> None:
        await trio.lowlevel.checkpoint()
        held = self._leases.get(room)
        if held is None or held.fence != fence:
            return
        if hand_over:
            held.until = trio.current_time()
        else:
            del self._leases[room]
            self._logs.pop(room, None)

    async def lease(self, room: str) -> Lease | None:
        await trio.lowlevel.checkpoint()
        held = self._leases.get(room)
        return None if held is None else self._shown(room, held)

    async def leases(self, *, left: bool = False) -> Sequence[Lease]:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        for room, held in [*self._leases.items()]:
            if held.until + (FORGOTTEN_SECONDS if held.kept else LOST_SECONDS) < now:
                del self._leases[room]
                self._logs.pop(room, None)
        return [
            self._shown(room, held)
            for room, held in sorted(self._leases.items())
            if not left or (held.kept and held.until <= now)
        ]

    def _shown(self, room: str, held: _Held) -> Lease:
        return Lease(room, held.server, held.fence, held.until - trio.current_time(), held.about, held.kept)

    async def append(self, entries: Sequence[Entry]) -> Sequence[Written]:
        await trio.lowlevel.checkpoint()
        return [self._append(entry) for entry in entries]

    def _append(self, entry: Entry) -> Written:
        held, top = self._leases.get(entry.room), self._logs.get(entry.room, _Log()).top
        if entry.fence < max(top[0], held.fence if held is not None else 0):
            return Written.REFUSED
        if held is None or held.fence != entry.fence or held.until <= trio.current_time():
            return Written.FORGOTTEN
        if top == (entry.fence, entry.number):
            return Written.THERE
        if top != (entry.fence, entry.number - 1) and not (entry.whole and top < (entry.fence, entry.number)):
            return Written.FORGOTTEN
        log = self._logs.setdefault(entry.room, _Log())
        if entry.whole:
            log.entries.clear()
        log.entries.append(entry.data)
        held.kept = True
        log.top = (entry.fence, entry.number)
        return Written.THERE

    async def read(self, room: str) -> Sequence[bytes]:
        await trio.lowlevel.checkpoint()
        log = self._logs.get(room)
        return [] if log is None else [*log.entries]

    async def post(self, letters: Mapping[str, bytes]) -> frozenset[str]:
        await trio.lowlevel.checkpoint()
        self._sweep(trio.current_time())
        there = frozenset(letters.keys() & self._servers.keys())
        for server in sorted(there):
            mailbox = self._mailbox(server)
            mailbox.letters.append(letters[server])
            mailbox.come.set()
        return there

    @asynccontextmanager
    async def mailbox(self, server: str) -> AsyncIterator[Mailbox]:
        yield self._mailbox(server)

    async def leave(self, server: str) -> None:
        await trio.lowlevel.checkpoint()
        self._forget(server)

    def _mailbox(self, server: str) -> _MemoryMailbox:
        return self._mailboxes.setdefault(server, _MemoryMailbox())

    def _sweep(self, now: float) -> None:
        """Forget the servers that have not renewed, and their mail."""
        for server in [server for server, (until, _) in self._servers.items() if until <= now]:
            self._forget(server)

    def _forget(self, server: str) -> None:
        self._servers.pop(server, None)
        self._mailbox(server).letters.clear()
