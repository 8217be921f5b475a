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

A fence is the time in microseconds, or one more than the last: so it grows even where Redis has forgotten the last.
Redis may forget: it writes to its disk, and to its replicas, after it has answered. For as long as a lease lasts after
its start nobody can claim a room, and whoever has one renews what Redis has forgotten.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import coredis
import trio

from ..errors import BrokerDown
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
)

T = TypeVar("T")

# How long an answer may take; but no longer than half a lease.
ANSWER_SECONDS = 2.0
# How long Redis holds a question for mail that does not come.
HOLD_SECONDS = 5.0
# How many letters are read at once, and after how many those that were read are dropped.
LETTERS = 256

# What every script begins with: the time, leases, and how long Redis has been there.
COMMON = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function held(value)
  local till, fence, kept, server = string.match(value, '^(%d+) (%d+) (%d) (.*)$')
  return tonumber(till), tonumber(fence), server, kept
end
local function text(number) return string.format('%.0f', number) end
local function top(log)
  local found = redis.pcall('XINFO', 'STREAM', log)
  if found.err then return 0, 0 end
  for at = 1, #found, 2 do
    if found[at] == 'last-generated-id' then
      local fence, number = string.match(found[at + 1], '^(%d+)-(%d+)$')
      return tonumber(fence), tonumber(number)
    end
  end
end
local function young(milliseconds)
  local up = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)')) * 1000
  return math.max(0, milliseconds - up)
end
"""

CLAIM = (
    COMMON
    + """
local leases, log = KEYS[1], KEYS[2]
local room, server, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local value, last, abandoned, kept = redis.call('HGET', leases, room), 0, 0, '0'
if value then
  local till, fence, owner, is_kept = held(value)
  if till > now and owner ~= server then return {owner, text(till - now), text(fence), 0} end
  last, kept = fence, is_kept
  if kept == '1' or owner ~= server then abandoned = 1 end
end
local wait = young(lease)
if wait > 0 then return {'', text(wait), '0', 0} end
local logged = top(log)
local fence = math.max(last + 1, logged + 1, time[1] * 1000000 + time[2])
redis.call('HSET', leases, room, text(now + lease) .. ' ' .. text(fence) .. ' ' .. kept .. ' ' .. server)
redis.call('XADD', log, text(fence) .. '-0', 'claimed', server)
return {server, text(lease), text(fence), abandoned}
"""
)

RENEW = (
    COMMON
    + """
local leases, abouts, servers, words, mail, logs = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local server, lease, said = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local kept = {}
for at = 4, #ARGV, 4 do
  local room, fence, told = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local value, mine, is_kept = redis.call('HGET', leases, room), false, '0'
  if value then
    local _, number, _, before = held(value)
    mine, is_kept = text(number) == fence, before
  else
    local logged, number = top(logs .. room)
    mine = logged <= tonumber(fence)
    if number > 0 then is_kept = '1' end
  end
  if mine then
    redis.call('HSET', leases, room, text(now + lease) .. ' ' .. fence .. ' ' .. is_kept .. ' ' .. server)
    if told == '1' then redis.call('HSET', abouts, room, ARGV[at + 3]) end
    kept[#kept + 1] = room
  end
end
redis.call('HSET', servers, server, text(now + lease))
redis.call('HSET', words, server, said)
if redis.call('EXISTS', mail) == 0 then redis.call('XADD', mail, '*', 'opened', server) end
redis.call('PEXPIRE', mail, lease)
local found, living = redis.call('HGETALL', servers), {}
for at = 1, #found, 2 do
  if tonumber(found[at + 1]) > now then
    living[#living + 1] = found[at]
    living[#living + 1] = redis.call('HGET', words, found[at]) or ''
  else
    redis.call('HDEL', servers, found[at])
    redis.call('HDEL', words, found[at])
  end
end
return {kept, living}
"""
)

RELEASE = (
    COMMON
    + """
local leases, abouts, log = KEYS[1], KEYS[2], KEYS[3]
local room, fence, handed = ARGV[1], ARGV[2], ARGV[3]
local value = redis.call('HGET', leases, room)
if not value then return end
local _, number, server, kept = held(value)
if text(number) ~= fence then return end
if handed == '1' then
  redis.call('HSET', leases, room, text(now) .. ' ' .. fence .. ' ' .. kept .. ' ' .. server)
else
  redis.call('HDEL', leases, room)
  redis.call('HDEL', abouts, room)
  redis.call('DEL', log)
end
"""
)

LEASES = (
    COMMON
    + """
local leases, abouts, prefix = KEYS[1], KEYS[2], KEYS[3]
local forgotten, lost, left = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local found, all = redis.call('HGETALL', leases), {}
for at = 1, #found, 2 do
  local room = found[at]
  local till, fence, server, kept = held(found[at + 1])
  if till + (kept == '1' and forgotten or lost) < now then
    redis.call('HDEL', leases, room)
    redis.call('HDEL', abouts, room)
    redis.call('DEL', prefix .. room)
  elseif left == '0' or (kept == '1' and till <= now) then
    local about = redis.call('HGET', abouts, room) or ''
    for _, each in ipairs({room, server, text(fence), text(till - now), about, kept}) do all[#all + 1] = each end
  end
end
return all
"""
)

APPEND = (
    COMMON
    + """
local leases, there = KEYS[1], {}
for index = 2, #KEYS do
  local log, at = KEYS[index], 5 * (index - 2)
  local room, fence, number = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local whole, data = ARGV[at + 4], ARGV[at + 5]
  local value, good = redis.call('HGET', leases, room), 0
  if value then
    local till, held_fence, server, kept = held(value)
    if till > now and text(held_fence) == fence then
      local id, last, last_number = fence .. '-' .. text(number), top(log)
      if text(last) == fence and last_number == number then
        good = 1
      elseif text(last) == fence and last_number == number - 1 then
        redis.call('XADD', log, id, 'entry', data)
        if kept ~= '1' then redis.call('HSET', leases, room, text(till) .. ' ' .. fence .. ' 1 ' .. server) end
        if whole == '1' then redis.call('XTRIM', log, 'MINID', id) end
        good = 1
      end
    end
  end
  there[#there + 1] = good
end
return there
"""
)

POST = """
local there = {}
for at = 1, #KEYS do
  there[at] = redis.call('XADD', KEYS[at], 'NOMKSTREAM', '*', 'letter', ARGV[at]) and 1 or 0
end
return there
"""


LEAVE = """
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
"""

TRIM = "redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])"


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
        keys = [self._key("leases"), self._key(f"log:{room}")]
        owner, left, fence, abandoned = await self._client.run(CLAIM, keys, [room, server, self._lease])
        return Claim(owner.decode(), int(left) / 1000, int(fence), bool(abandoned))

    async def renew(self, server: str, leases: Mapping[str, Renewal], about: bytes) -> Renewed:
        keys = [self._key(name) for name in ("leases", "abouts", "servers", "words", f"mail:{server}", "log:")]
        arguments: list[str | bytes | int] = [server, self._lease, about]
        for room, renewal in leases.items():
            arguments += [room, renewal.fence, int(renewal.about is not None), renewal.about or b""]
        kept, living = await self._client.run(RENEW, keys, arguments)
        servers = {name.decode(): said for name, said in zip(living[::2], living[1::2], strict=True)}
        return Renewed(frozenset(room.decode() for room in kept), dict(sorted(servers.items())))

    async def release(self, room: str, fence: int, *, hand_over: bool) -> None:
        keys = [self._key(name) for name in ("leases", "abouts", f"log:{room}")]
        await self._client.run(RELEASE, keys, [room, fence, int(hand_over)])

    async def leases(self, *, left: bool = False) -> Sequence[Lease]:
        keys = [self._key("leases"), self._key("abouts"), self._key("log:")]
        arguments = [_milliseconds(FORGOTTEN_SECONDS), _milliseconds(LOST_SECONDS), int(left)]
        found = await self._client.run(LEASES, keys, arguments)
        rows = [found[at : at + 6] for at in range(0, len(found), 6)]
        leases = [
            Lease(room.decode(), server.decode(), int(fence), int(seconds) / 1000, about, kept == b"1")
            for room, server, fence, seconds, about, kept in rows
        ]
        return sorted(leases, key=lambda lease: lease.room)

    async def append(self, entries: Sequence[Entry]) -> Sequence[bool]:
        keys = [self._key("leases"), *(self._key(f"log:{entry.room}") for entry in entries)]
        arguments: list[str | bytes | int] = []
        for entry in entries:
            arguments += [entry.room, entry.fence, entry.number, int(entry.whole), entry.data]
        return [bool(there) for there in await self._client.run(APPEND, keys, arguments)]

    async def read(self, room: str) -> Sequence[bytes]:
        found = await self._client.ask(lambda redis: redis.xrange(self._key(f"log:{room}")))
        return [_bytes(entry.field_values[b"entry"]) for entry in found if b"entry" in entry.field_values]

    async def post(self, letters: Mapping[str, bytes]) -> frozenset[str]:
        keys = [self._key(f"mail:{server}") for server in letters]
        there = await self._client.run(POST, keys, [*letters.values()])
        return frozenset(server for server, good in zip(letters, there, strict=True) if good)

    @asynccontextmanager
    async def mailbox(self, server: str) -> AsyncIterator[Mailbox]:
        client = _Client(
            self._url, HOLD_SECONDS + ANSWER_SECONDS
        )  # of its own: a question that is held would hold up all that follow it
        async with client.open():
            yield _RedisMailbox(client, self._key(f"mail:{server}"))

    async def leave(self, server: str) -> None:
        await self._client.run(LEAVE, [self._key(name) for name in ("servers", "words", f"mail:{server}")], [server])

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
        self._read = 0

    async def receive(self) -> Sequence[bytes]:
        while True:
            if self._read >= LETTERS:  # here, where there are no letters that could be lost
                await self._client.run(TRIM, [self._key], [self._last])
                self._read = 0
            found = await self._client.ask(self._next)
            entries = [entry for stream in (found or {}).values() for entry in stream]
            if entries:
                self._last = entries[-1].identifier
                self._read += len(entries)
            letters = [_bytes(entry.field_values[b"letter"]) for entry in entries if b"letter" in entry.field_values]
            if letters:
                return letters

    def _next(self, redis: coredis.Redis[bytes]) -> Awaitable[Any]:
        return redis.xread({self._key: self._last}, count=LETTERS, block=_milliseconds(HOLD_SECONDS))


class _Client:
    """A client of coredis, and another after each failure: its pool gives no connection twice that broke while it was
    used, and would run out of them."""

    def __init__(self, url: str, patience: float) -> None:
        self._url = url
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
            down = BrokerDown(f"Redis: {group.exceptions[0]!r}")
        if self._redis is redis:
            self._redis = None
        failed.set()
        raise down


def _bytes(value: str | bytes) -> bytes:
    assert isinstance(value, bytes)  # nothing is decoded
    return value


def _check_url(url: str) -> None:
    """Raise `ValueError` unless coredis could go there."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"{url!r} is not a redis://, rediss:// or unix:// address")
    try:
        whole = bool(parts.path if parts.scheme == "unix" else parts.hostname) and parts.port != 0
    except ValueError as exc:
        raise ValueError(f"{url!r} is no address: {exc}") from None
    if not whole or (parts.scheme != "unix" and not re.fullmatch(r"(/\d*)?", parts.path)):
        raise ValueError(f"{url!r} is no address: redis://host:port/database, or unix:///path")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
