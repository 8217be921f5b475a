"""A broker in Redis. Only this file imports coredis.

Lua scripts inside Redis make every decision, by Redis's clock. Each key begins with the prefix of the broker:

| key                | value                                                                                      |
|--------------------|--------------------------------------------------------------------------------------------|
| `leases`           | hash: room → `fence kept claim server`; `kept` is 1 if the room can be restored, 2 if it   |
|                    | has closed for good, else 0                                                                |
| `abouts`           | hash: room → its owner's description of it                                                 |
| `left`, `lost`     | sorted sets: abandoned rooms by the time at which their leases ended: in `left` the rooms  |
|                    | that can be restored, in `lost` all others                                                 |
| `servers`          | hash: server → `until since oldest`: the end of its leases, and the time since which its   |
|                    | leases have never ended, in milliseconds; the highest `Stamp.oldest` of its requests. The  |
|                    | word `swept` follows if the server is gone and all its rooms are marked as abandoned       |
| `words`            | hash: server → its status                                                                  |
| `log:<room>`       | stream: the journal; ids are `fence-number`, so Redis rejects writes of a former owner     |
| `mailbox:<server>` | stream: the mailbox, which expires with the server's leases                                |
| `redis`            | string: the id of the Redis process, and the time at which a script first found this id    |

A fence is the higher of two numbers: the time in microseconds, and the previous fence of the room plus one. Therefore,
fences grow even if Redis has lost the previous fence. Redis may lose data, because it answers before it writes to its
disk and its replicas. The first script that runs in a new Redis process records this process under the key `redis`. For
one lease period afterwards, no server can claim a room. In this period, each server compares its own rooms and journals
with those in Redis, and writes the missing rooms and journals again.

Every script declares the keys that it uses.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import coredis
import trio

from ...errors import BrokerDown
from ...journal.entries import Entry, Written
from . import scripts
from .broker import (
    FORGOTTEN_SECONDS,
    LEASE_SECONDS,
    LEFT,
    LOST_SECONDS,
    Broker,
    Claim,
    Lease,
    Mailbox,
    News,
    Renewed,
    Stamp,
)

T = TypeVar("T")

log: logging.Logger = logging.getLogger("edge.servers")

# The maximum number of unreadable fields that are logged, so that they can't fill the log.
MAX_PASSED_OVER = 100
# The maximum number of rooms that one script handles, so that other requests are not delayed for long.
BATCH = 500
# Seconds that Redis may take to answer. A shorter limit applies if half a lease period is shorter.
ANSWER_SECONDS = 2.0
# Seconds for which Redis blocks a read of an empty mailbox.
HOLD_SECONDS = 5.0
# The maximum number of batches in one read. After reads of BATCHES batches or of BATCHES_BYTES bytes in total, the
# batches that were read are deleted from the mailbox.
BATCHES, BATCHES_BYTES = 256, 1024 * 1024


class RedisBroker(Broker):
    """A broker that servers on one or several machines share: ``RedisBroker("redis://localhost:6379/0")``.

    It needs Redis 7 or newer, and the extra ``edge-rooms[redis]``.

    Args:
      url: ``redis://[user:password@]host[:port][/database]``, ``rediss://`` for TLS, or ``unix:///path``.
      prefix: the beginning of all keys. Apps that share one Redis need different prefixes.
      lease_seconds: the seconds after which another server may claim the rooms of a server that does not renew. Must
        be the same on all servers.

    Raises:
      ValueError: the URL has none of these forms.
    """

    def __init__(self, url: str, *, prefix: str = "edge:", lease_seconds: float = LEASE_SECONDS) -> None:
        _check_url(url)
        self.lease_seconds = lease_seconds
        self._url, self._prefix = url, prefix
        self._passed_over = set[tuple[str, str | bytes]]()
        self._client = _Client(url, min(ANSWER_SECONDS, lease_seconds / 2))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self._client.open():
            await self._check_alone()
            yield

    async def _check_alone(self) -> None:
        """Raise `BrokerDown` for a Redis Cluster, because each script uses keys that a cluster spreads over nodes."""
        try:
            info = await self._client.ask(lambda redis: redis.info("server"))
        except BrokerDown:  # the next request reports the outage
            return
        if info.get("redis_mode") == "cluster":
            raise BrokerDown("the broker can't be a Redis Cluster: use a single Redis, with or without replicas")

    async def claim(self, room: str, server: str, stamp: Stamp) -> Claim:
        keys = self._keys("leases", "servers", f"log:{room}", "redis", "left", "lost")
        arguments: list[str | bytes | int] = [room, server, self._lease, stamp.number, stamp.oldest]
        owner, left, fence, abandoned = await self._client.run(scripts.CLAIM, keys, arguments)
        return Claim(owner.decode(), int(left) / 1000, int(fence), bool(abandoned))

    async def renew(self, server: str, stamp: Stamp, about: bytes, news: Sequence[News] = ()) -> Renewed:
        keys = self._keys("leases", "abouts", "servers", "words", f"mailbox:{server}", "redis", "left", "lost")
        keys += [self._key(f"log:{each.room}") for each in news]
        arguments: list[str | bytes | int] = [server, self._lease, stamp.number, stamp.oldest, about]
        for each in news:
            arguments += [each.wish.value, each.room, each.fence, each.about, each.entries, each.claim]
        mark, living, refused, forgotten = await self._client.run(scripts.RENEW, keys, arguments)
        servers = {name.decode(): said for name, said in zip(living[::2], living[1::2], strict=True)}
        return Renewed(mark.decode(), dict(sorted(servers.items())), _names(refused), _names(forgotten))

    async def lease(self, room: str) -> Lease | None:
        found = await self._client.run(scripts.LEASE, self._keys("leases", "abouts", "servers"), [room])
        if not found:
            return None
        name, server, fence, seconds, about, kept = found
        return Lease(name.decode(), server.decode(), int(fence), int(seconds) / 1000, about, kept == b"1")

    async def leases(self) -> Sequence[Lease]:
        servers = await self._servers()
        abouts = await self._client.ask(lambda redis: redis.hgetall(self._key("abouts")))
        leases = []
        for room, value in (await self._client.ask(lambda redis: redis.hgetall(self._key("leases")))).items():
            try:
                fence, kept, _, server = _bytes(value).decode().split(" ", 3)
                name, number = _bytes(room).decode(), int(fence)
            except ValueError:
                self._pass_over("leases", room)
                continue
            left = servers[server].left if server in servers else 0.0
            leases.append(Lease(name, server, number, left, _bytes(abouts.get(room, b"")), kept == "1"))
        return sorted(leases, key=lambda lease: lease.room)

    async def left(self) -> Sequence[str]:
        for server, known in (await self._servers()).items():
            if known.left <= 0 and not (known.swept and known.left + FORGOTTEN_SECONDS > 0):
                await self._sweep(server)
        for name, seconds in (("left", FORGOTTEN_SECONDS), ("lost", LOST_SECONDS)):
            await self._forget(name, seconds)
        found = await self._client.ask(lambda redis: redis.zrange(self._key("left"), 0, LEFT - 1))
        return [_bytes(room).decode() for room in found]

    async def _servers(self) -> dict[str, _Server]:
        """Return all servers of which Redis has a record, including servers that are gone."""
        now, found = await self._client.run(scripts.SERVERS, self._keys("servers"), [])
        servers = {}
        for server, value in zip(found[::2], found[1::2], strict=True):
            try:
                until, _, _, *swept = value.split()
                servers[server.decode()] = _Server((int(until) - int(now)) / 1000, bool(swept))
            except ValueError:
                self._pass_over("servers", server)
        return dict(sorted(servers.items()))

    async def _sweep(self, server: str) -> None:
        """Mark the rooms of a server that is gone as abandoned."""
        keys, rooms, cursor = self._keys("leases", "servers", "left", "lost"), list[bytes](), 0
        while True:
            cursor, found = await self._client.ask(partial(_scan, key=self._key("leases"), cursor=cursor))
            rooms += [room for room, value in found.items() if _owner(value) == server]
            if not cursor:
                break
        for first in range(0, len(rooms), BATCH):
            await self._client.run(scripts.ABANDON, keys, [server, *rooms[first : first + BATCH]])
        await self._client.run(
            scripts.SWEPT, self._keys("servers", "words"), [server, _milliseconds(FORGOTTEN_SECONDS)]
        )

    def _pass_over(self, key: str, field: str | bytes) -> None:
        """Log that a field can't be read, because edge has not written it. Log each field once."""
        if (key, field) not in self._passed_over and len(self._passed_over) < MAX_PASSED_OVER:
            self._passed_over.add((key, field))
            log.warning("Redis: field %r of %s can't be read and is ignored", _bytes(field), self._key(key))

    async def _forget(self, name: str, seconds: float) -> None:
        """Delete the rooms of a sorted set that were abandoned more than `seconds` ago."""
        oldest = await self._client.ask(lambda redis: redis.zrange(self._key(name), 0, BATCH - 1))
        rooms = [_bytes(room).decode() for room in oldest]
        if rooms:
            keys = [*self._keys("leases", "abouts", name), *(self._key(f"log:{room}") for room in rooms)]
            await self._client.run(scripts.FORGET, keys, [_milliseconds(seconds), *rooms])

    async def append(self, entries: Sequence[Entry]) -> Sequence[Written]:
        keys = [*self._keys("leases", "servers"), *(self._key(f"log:{entry.room}") for entry in entries)]
        arguments: list[str | bytes | int] = []
        for entry in entries:
            kind = "over" if entry.over else "whole" if entry.whole else "news"
            arguments += [entry.room, entry.fence, entry.number, kind, entry.data]
        return [Written(what.decode()) for what in await self._client.run(scripts.APPEND, keys, arguments)]

    async def read(self, room: str) -> Sequence[bytes]:
        found = await self._client.ask(lambda redis: redis.xrange(self._key(f"log:{room}")))
        return [_bytes(entry.field_values[b"entry"]) for entry in found if b"entry" in entry.field_values]

    async def send(self, batches: Mapping[str, bytes]) -> frozenset[str]:
        keys = [self._key(f"mailbox:{server}") for server in batches]
        there = await self._client.run(scripts.POST, keys, [*batches.values()])
        return frozenset(server for server, good in zip(batches, there, strict=True) if good)

    @asynccontextmanager
    async def mailbox(self, server: str) -> AsyncIterator[Mailbox]:
        # a separate client, because a blocked read would delay all other requests
        client = _Client(self._url, HOLD_SECONDS + ANSWER_SECONDS)
        async with client.open():
            yield _RedisMailbox(client, self._key(f"mailbox:{server}"))

    async def leave(self, server: str) -> None:
        await self._client.run(scripts.LEAVE, self._keys("servers", f"mailbox:{server}"), [server])

    @property
    def _lease(self) -> int:
        return _milliseconds(self.lease_seconds)

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _keys(self, *names: str) -> list[str]:
        return [self._key(name) for name in names]


@attrs.frozen
class _Server:
    """The record of a server in Redis."""

    left: float
    """The seconds until the server's leases end; negative if they have ended."""
    swept: bool
    """True if the server is gone, and all its rooms are marked as abandoned."""


async def _scan(redis: coredis.Redis[bytes], *, key: str, cursor: int) -> tuple[int, dict[bytes, bytes]]:
    """Read a part of a hash. Returns: the cursor of the next part, 0 at the end; and the fields."""
    return await redis.hscan(key, cursor=cursor, count=BATCH)


class _RedisMailbox(Mailbox):
    def __init__(self, client: _Client, key: str) -> None:
        self._client = client
        self._key = key
        self._last: str | bytes = b"0"
        """The id of the newest batch that was read."""
        self._read = self._read_bytes = 0

    async def receive(self) -> Sequence[bytes]:
        while True:
            # delete batches before the next read: if the deletion fails or is cancelled, no batch is lost
            if self._read >= BATCHES or self._read_bytes >= BATCHES_BYTES:
                await self._client.run(scripts.TRIM, [self._key], [self._last])
                self._read = self._read_bytes = 0
            found = await self._client.ask(self._next)
            entries = [entry for stream in (found or {}).values() for entry in stream]
            if entries:
                self._last = entries[-1].identifier
                self._read += len(entries)
            batches = [_bytes(entry.field_values[b"batch"]) for entry in entries if b"batch" in entry.field_values]
            self._read_bytes += sum(map(len, batches))
            if batches:
                return batches

    def _next(self, redis: coredis.Redis[bytes]) -> Awaitable[Any]:
        return redis.xread({self._key: self._last}, count=BATCHES, block=_milliseconds(HOLD_SECONDS))


@attrs.define(eq=False)
class _Connection:
    """A coredis client, with its own pool of connections."""

    redis: coredis.Redis[bytes]
    calls: int = 0
    """The number of requests under way."""
    failed: trio.Event = attrs.field(factory=trio.Event)
    """The event that is set when a request has failed. No further requests use this client."""
    idle: trio.Event = attrs.field(factory=trio.Event)
    """The event that is set once `failed` is set and no request is under way."""


class _Client:
    """Sends requests through a coredis client, and replaces this client after each failure.

    The pool of coredis does not replace a connection that broke during a request, and would run out of connections.
    Requests that are under way at a failure continue with the previous client.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self._secrets = _secrets_of(url)
        """The pattern of the user and the password, to remove them from errors. Redis answers an unknown command with
        an error that contains the arguments of the command."""
        self._seconds = seconds
        self._connection: _Connection | None = None
        self._changed = trio.Event()
        self._nursery: trio.Nursery

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep a client open during an ``async with`` block. Raise an error of the block without an exception group."""
        fault: Exception | None = None
        async with trio.open_nursery() as self._nursery:
            await self._nursery.start(self._hold)
            try:
                yield
            except Exception as exc:
                fault = exc
            self._nursery.cancel_scope.cancel("closed")
        if fault is not None:
            raise fault

    async def _hold(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with coredis.Redis.from_url(self._url, decode_responses=False) as redis:
            self._connection = connection = _Connection(redis)
            self._changed.set()
            task_status.started()
            await connection.failed.wait()
            self._nursery.start_soon(self._hold)
            if connection.calls:
                await connection.idle.wait()

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """Run a script, and return its result. Raises: see `ask`."""
        return await self.ask(lambda redis: redis.register_script(script)(keys, arguments))

    async def ask(self, ask: Callable[[coredis.Redis[bytes]], Awaitable[T]]) -> T:
        """Send a request to Redis, and return its answer.

        Raises:
          BrokerDown: no answer arrived in time, or the answer was an error.
        """
        failed = False
        try:
            with trio.fail_after(self._seconds):
                while self._connection is None:
                    await self._changed.wait()
                connection = self._connection
                connection.calls += 1
                try:
                    return await ask(connection.redis)
                except BaseException as exc:
                    failed = not _is_answer(exc)
                    raise
                finally:
                    self._note_done(connection, failed=failed)
        except* Exception as group:  # coredis and AnyIO raise various errors if a connection breaks
            down = BrokerDown(f"Redis: {self._secrets.sub('***', repr(group.exceptions[0]))}")
        raise down

    def _note_done(self, connection: _Connection, *, failed: bool) -> None:
        """Record that a request has ended. If the request failed, use a new connection to Redis from now on."""
        connection.calls -= 1
        if failed:
            connection.failed.set()
            if self._connection is connection:
                self._connection, self._changed = None, trio.Event()
        if connection.failed.is_set() and not connection.calls:
            connection.idle.set()


def _is_answer(exc: BaseException) -> bool:
    """Return whether Redis itself answered with this error, so that the connection is usable.

    The result is False for `ReadOnlyError`: the Redis has become a replica, and another Redis has replaced it.
    """
    return isinstance(exc, coredis.exceptions.ResponseError) and not isinstance(exc, coredis.exceptions.ReadOnlyError)


def _owner(value: str | bytes) -> str:
    """Return the name of the server in a value of the hash `leases`."""
    return _bytes(value).decode(errors="replace").split(" ", 3)[-1]


def _names(found: Sequence[bytes]) -> frozenset[str]:
    return frozenset(room.decode() for room in found)


def _bytes(value: str | bytes) -> bytes:
    assert isinstance(value, bytes)  # `decode_responses` is off
    return value


def _check_url(url: str) -> None:
    """Raise `ValueError` if coredis can't use a URL. The error does not quote the URL, which may contain a password."""
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
            "the URL of the broker must be redis://[user:password@]host[:port][/database], rediss:// for TLS, or \
unix:///path"
        )
    try:
        coredis.Redis.from_url(url)  # does not connect
    except Exception:
        names = ", ".join(sorted({name for name, _ in parse_qsl(parts.query)}))
        raise ValueError(f"one of the options {names} in the URL of the broker has an invalid value") from None


def _secrets_of(url: str) -> re.Pattern[str]:
    """Return a pattern that matches the user and the password of a URL, percent-encoded or decoded."""
    parts = urlsplit(url)
    said = [part for part in (parts.username, parts.password) if part]
    said += [value for name, value in parse_qsl(parts.query) if name in ("username", "password")]
    return re.compile("|".join(re.escape(each) for part in said for each in (part, unquote(part))) or r"(?!)")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
