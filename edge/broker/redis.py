"""A broker in Redis, through coredis: the only file that knows it.

All that decides runs inside Redis, as scripts, by Redis's clock. What is kept there, below a prefix:

| key             | what                                                                                     |
|-----------------|------------------------------------------------------------------------------------------|
| `leases`        | hash: room → `until fence kept server`, in milliseconds of Redis's clock                  |
| `abouts`        | hash: room → what its owner says of it                                                    |
| `servers`       | hash: server → until when it is one                                                       |
| `words`         | hash: server → what it says of itself                                                     |
| `log:<room>`    | stream: its log; ids are `fence-number`, so that Redis refuses what a former owner writes |
| `mail:<server>` | stream: its mailbox, which expires with it                                                |
| `redis`         | which run of a Redis decides, and since when                                              |

A fence is the time in microseconds, or one more than the last: so it grows even where Redis has forgotten the last.
Redis may forget: it writes to its disk, and to its replicas, after it has answered. For as long as a lease lasts after
its start, or after a replica has taken its place, nobody can claim a room, and whoever has one renews what Redis has
forgotten, and writes its log anew.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import coredis
import trio

from ..errors import BrokerDown
from . import scripts
from .broker import (
    FORGOTTEN_SECONDS,
    LEASE_SECONDS,
    LOST_SECONDS,
    Broker,
    Claim,
    Entry,
    Lease,
    Mailbox,
    Renewal,
    Renewed,
    Written,
)

T = TypeVar("T")

# How long an answer may take; but no longer than half a lease.
ANSWER_SECONDS = 2.0
# How long Redis holds a question for mail that does not come.
HOLD_SECONDS = 5.0
# How many letters are read at once, and after how many letters or bytes those that were read are dropped.
LETTERS, LETTERS_BYTES = 256, 1024 * 1024


class RedisBroker(Broker):
    """A broker that servers on any number of machines share: ``RedisBroker("redis://localhost:6379/0")``.

    Needs Redis 7 or newer, and the extra ``redis``.

    Args:
      url: ``redis://[user:password@]host[:port][/database]``, ``rediss://`` for TLS, or ``unix:///path``.
      prefix: what its keys begin with: one for each app that shares the Redis.
      lease_seconds: how long a room stays a server's that is not heard of. The same on all servers.

    Raises:
      ValueError: no such URL.
    """

    def __init__(self, url: str, *, prefix: str = "edge:", lease_seconds: float = LEASE_SECONDS) -> None:
        _check_url(url)
        self.lease_seconds = lease_seconds
        self._url, self._prefix = url, prefix
        self._client = _Client(url, min(ANSWER_SECONDS, lease_seconds / 2))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self._client.open():
            yield

    async def claim(self, room: str, server: str) -> Claim:
        keys = [self._key(name) for name in ("leases", f"log:{room}", "redis")]
        owner, left, fence, abandoned = await self._client.run(scripts.CLAIM, keys, [room, server, self._lease])
        return Claim(owner.decode(), int(left) / 1000, int(fence), bool(abandoned))

    async def renew(self, server: str, leases: Mapping[str, Renewal], about: bytes) -> Renewed:
        keys = [self._key(name) for name in ("leases", "abouts", "servers", "words", f"mail:{server}", "log:", "redis")]
        arguments: list[str | bytes | int] = [server, self._lease, about]
        for room, renewal in leases.items():
            arguments += [room, renewal.fence, renewal.about]
        kept, living = await self._client.run(scripts.RENEW, keys, arguments)
        servers = {name.decode(): said for name, said in zip(living[::2], living[1::2], strict=True)}
        return Renewed(frozenset(room.decode() for room in kept), dict(sorted(servers.items())))

    async def release(self, room: str, fence: int, *, hand_over: bool) -> None:
        keys = [self._key(name) for name in ("leases", "abouts", f"log:{room}")]
        await self._client.run(scripts.RELEASE, keys, [room, fence, int(hand_over)])

    async def lease(self, room: str) -> Lease | None:
        found = await self._client.run(scripts.LEASE, [self._key("leases"), self._key("abouts")], [room])
        return _lease(found) if found else None

    async def leases(self, *, left: bool = False) -> Sequence[Lease]:
        keys = [self._key("leases"), self._key("abouts"), self._key("log:")]
        arguments = [_milliseconds(FORGOTTEN_SECONDS), _milliseconds(LOST_SECONDS), int(left)]
        found = await self._client.run(scripts.LEASES, keys, arguments)
        leases = [_lease(found[at : at + 6]) for at in range(0, len(found), 6)]
        return sorted(leases, key=lambda lease: lease.room)

    async def append(self, entries: Sequence[Entry]) -> Sequence[Written]:
        keys = [self._key("leases"), *(self._key(f"log:{entry.room}") for entry in entries)]
        arguments: list[str | bytes | int] = []
        for entry in entries:
            arguments += [entry.room, entry.fence, entry.number, int(entry.whole), entry.data]
        return [Written(what.decode()) for what in await self._client.run(scripts.APPEND, keys, arguments)]

    async def read(self, room: str) -> Sequence[bytes]:
        found = await self._client.ask(lambda redis: redis.xrange(self._key(f"log:{room}")))
        return [_bytes(entry.field_values[b"entry"]) for entry in found if b"entry" in entry.field_values]

    async def post(self, letters: Mapping[str, bytes]) -> frozenset[str]:
        keys = [self._key(f"mail:{server}") for server in letters]
        there = await self._client.run(scripts.POST, keys, [*letters.values()])
        return frozenset(server for server, good in zip(letters, there, strict=True) if good)

    @asynccontextmanager
    async def mailbox(self, server: str) -> AsyncIterator[Mailbox]:
        client = _Client(
            self._url, HOLD_SECONDS + ANSWER_SECONDS
        )  # of its own: a question that is held would hold up all that follow it
        async with client.open():
            yield _RedisMailbox(client, self._key(f"mail:{server}"))

    async def leave(self, server: str) -> None:
        await self._client.run(
            scripts.LEAVE, [self._key(name) for name in ("servers", "words", f"mail:{server}")], [server]
        )

    @property
    def _lease(self) -> int:
        return _milliseconds(self.lease_seconds)

    def _key(self, name: str) -> str:
        return self._prefix + name


class _RedisMailbox(Mailbox):
    def __init__(self, client: _Client, key: str) -> None:
        self._client = client
        self._key = key
        self._last: str | bytes = b"0"
        """The id of the newest letter that was read."""
        self._read = self._read_bytes = 0

    async def receive(self) -> Sequence[bytes]:
        while True:
            # here, where there are no letters that could be lost
            if self._read >= LETTERS or self._read_bytes >= LETTERS_BYTES:
                await self._client.run(scripts.TRIM, [self._key], [self._last])
                self._read = self._read_bytes = 0
            found = await self._client.ask(self._next)
            entries = [entry for stream in (found or {}).values() for entry in stream]
            if entries:
                self._last = entries[-1].identifier
                self._read += len(entries)
            letters = [_bytes(entry.field_values[b"letter"]) for entry in entries if b"letter" in entry.field_values]
            self._read_bytes += sum(map(len, letters))
            if letters:
                return letters

    def _next(self, redis: coredis.Redis[bytes]) -> Awaitable[Any]:
        return redis.xread({self._key: self._last}, count=LETTERS, block=_milliseconds(HOLD_SECONDS))


class _Client:
    """A client of coredis, and another after each failure: its pool gives no connection twice that broke while it was
    used, and would run out of them."""

    def __init__(self, url: str, patience: float) -> None:
        self._url = url
        self._secrets = _secrets_of(url)
        """Matches the user and the password. An error must not have them, but Redis repeats the arguments of a command
        that it does not know."""
        self._patience = patience
        self._redis: coredis.Redis[bytes] | None = None
        self._failed = trio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Have one while a block runs."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._hold)
            yield
            nursery.cancel_scope.cancel("closed")

    async def _hold(self, *, task_status: trio.TaskStatus[None]) -> None:
        while True:
            self._failed = trio.Event()
            async with coredis.Redis.from_url(self._url, decode_responses=False) as self._redis:
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                await self._failed.wait()

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """What a script returns."""
        return await self.ask(lambda redis: redis.register_script(script)(keys, arguments))

    async def ask(self, ask: Callable[[coredis.Redis[bytes]], Awaitable[T]]) -> T:
        """An answer of Redis.

        Raises:
          BrokerDown: none came in time, or it was an error.
        """
        redis, failed = self._redis, self._failed
        if redis is None:
            await trio.lowlevel.checkpoint()
            raise BrokerDown("Redis: no connection")
        try:
            with trio.fail_after(self._patience):
                return await ask(redis)
        except* Exception as group:  # whatever coredis and AnyIO make of a connection that breaks
            down = BrokerDown(f"Redis: {self._secrets.sub('***', repr(group.exceptions[0]))}")
        if self._redis is redis:
            self._redis = None
        failed.set()
        raise down


def _lease(row: Sequence[bytes]) -> Lease:
    room, server, fence, seconds, about, kept = row
    return Lease(room.decode(), server.decode(), int(fence), int(seconds) / 1000, about, kept == b"1")


def _bytes(value: str | bytes) -> bytes:
    assert isinstance(value, bytes)  # nothing is decoded
    return value


def _check_url(url: str) -> None:
    """Raise `ValueError` unless coredis could go there. It says nothing of the URL, wherever in it the password is."""
    try:
        parts = urlsplit(url)
        whole = bool(parts.path if parts.scheme == "unix" else parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    else:
        whole &= parts.scheme in ("redis", "rediss", "unix")
        whole &= parts.scheme == "unix" or re.fullmatch(r"(/\d*)?", parts.path) is not None
    if not whole:
        raise ValueError(
            "the broker's address should be redis://[user:password@]host[:port][/database], rediss:// for TLS, or \
unix:///path"
        )


def _secrets_of(url: str) -> re.Pattern[str]:
    """The user and the password of a URL, as it has them, and as they are meant."""
    parts = urlsplit(url)
    said = [part for part in (parts.username, parts.password) if part]
    said += [value for name, value in parse_qsl(parts.query) if name in ("username", "password")]
    return re.compile("|".join(re.escape(each) for part in said for each in (part, unquote(part))) or r"(?!)")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
