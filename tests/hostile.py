"""A proxy that causes one of the faults of real proxies: ``python -m tests.hostile <deed> <port> [<seconds>]``.

On SIGUSR1 the proxy cuts all its connections, and accepts none until the next SIGUSR1. The proxy works on any streams,
so that a test can also place it between a client and a server in memory.
"""

from __future__ import annotations

import contextlib
import enum
import math
import random
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import trio

Connect = Callable[[], Awaitable[trio.abc.Stream]]


class Deed(enum.StrEnum):
    """The fault that the proxy causes.

    `BUFFER`, `CUT` and `REFUSE` change the responses of a connection only after its first request for a room.
    """

    BUFFER = "buffer"
    """Forwards a response only when it is complete, and forwards nothing to the client after an upgrade."""
    CUT = "cut"
    """Closes a connection after `CUT_BYTES` of responses."""
    POSTS = "posts"
    """Reads POST requests, and never answers them."""
    KILL = "kill"
    """Closes a connection after `seconds`."""
    STRIP = "strip"
    """Removes the upgrade from requests, so that no WebSocket is opened."""
    REFUSE = "refuse"
    """Answers upgrade requests with its own 403, and forwards other responses only when they are complete."""
    LAG = "lag"
    """Delays all bytes, in each direction by half of `seconds`, plus or minus two fifths of this half."""


CUT_BYTES = 1500


class Hostile:
    """The proxy, which causes one kind of fault.

    Args:
      connect: opens a connection to the server.
      seconds: the lifetime of a connection for `Deed.KILL`, or the mean round trip for `Deed.LAG`.
    """

    def __init__(self, deed: Deed, connect: Connect, *, seconds: float = 30) -> None:
        self.deed = deed
        self.connect = connect
        self.seconds = seconds
        self.chance = random.Random(2012)

    async def serve(self, client: trio.abc.Stream) -> None:
        """Forward the bytes of one connection until one side closes it."""
        async with client:
            try:
                upstream = await self.connect()
            except OSError:
                return
            async with upstream, trio.open_nursery() as nursery:
                hostile = trio.Event()
                if self.deed is Deed.LAG:
                    for one, other in ((client, upstream), (upstream, client)):
                        nursery.start_soon(self._run, self._lag, one, other, hostile, nursery.cancel_scope)
                    await trio.sleep_forever()
                nursery.start_soon(self._run, self._up, client, upstream, hostile, nursery.cancel_scope)
                nursery.start_soon(self._run, self._down, client, upstream, hostile, nursery.cancel_scope)

    async def _run(
        self,
        way: Callable[[trio.abc.Stream, trio.abc.Stream, trio.Event], Awaitable[None]],
        client: trio.abc.Stream,
        upstream: trio.abc.Stream,
        hostile: trio.Event,
        scope: trio.CancelScope,
    ) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await way(client, upstream, hostile)
        scope.cancel("one side has closed the connection")

    async def _up(self, client: trio.abc.Stream, upstream: trio.abc.Stream, hostile: trio.Event) -> None:
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = await client.receive_some()
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            upgrade = b"upgrade: websocket" in head.lower()
            room = b" /rooms/" in head.partition(b"\r\n")[0]
            if room:
                hostile.set()
            if self.deed is Deed.POSTS and head.startswith(b"POST"):
                await trio.sleep_forever()
            if self.deed is Deed.REFUSE and upgrade:
                await client.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
                return
            if self.deed is Deed.STRIP and upgrade:
                head = re.sub(rb"\r\n(upgrade|connection|sec-websocket-[a-z]+):[^\r]*", b"", head, flags=re.IGNORECASE)
                upgrade = False
            await upstream.send_all(head + b"\r\n\r\n")
            if upgrade:
                await upstream.send_all(buffer)
                while data := await client.receive_some():
                    await upstream.send_all(data)
                return
            left = int(length[1]) if length else 0
            while left > len(buffer):
                data = await client.receive_some()
                if not data:
                    return
                buffer += data
            await upstream.send_all(buffer[:left])
            buffer = buffer[left:]

    async def _lag(self, source: trio.abc.Stream, sink: trio.abc.Stream, hostile: trio.Event) -> None:
        late, coming = trio.open_memory_channel[tuple[float, bytes]](math.inf)

        async def pass_on() -> None:
            async for due, data in coming:
                await trio.sleep_until(due)
                await sink.send_all(data)

        async with trio.open_nursery() as nursery, late:
            nursery.start_soon(pass_on)
            due = 0.0
            while data := bytes(await source.receive_some()):
                due = max(due, trio.current_time() + self.seconds / 2 * self.chance.uniform(0.6, 1.4))
                late.send_nowait((due, data))

    async def _down(self, client: trio.abc.Stream, upstream: trio.abc.Stream, hostile: trio.Event) -> None:
        held, count = b"", 0
        deadline = trio.current_time() + self.seconds if self.deed is Deed.KILL else float("inf")
        with trio.move_on_at(deadline):
            while data := bytes(await upstream.receive_some()):
                if not hostile.is_set():
                    await client.send_all(data)
                    continue
                if self.deed is Deed.CUT:
                    await client.send_all(data[: CUT_BYTES - count])
                    count += len(data)
                    if count >= CUT_BYTES:
                        return
                elif self.deed in (Deed.BUFFER, Deed.REFUSE):
                    held += data
                    passed = whole(held)
                    await client.send_all(held[:passed])
                    held = held[passed:]
                else:
                    await client.send_all(data)


def whole(data: bytes) -> int:
    """Return the length of the complete responses at the start of `data`. An upgrade response ends with its head."""
    passed = 0
    while (end := data.find(b"\r\n\r\n", passed)) >= 0:
        head, start = data[passed:end].lower(), end + 4
        length = re.search(rb"content-length: *(\d+)", head)
        if head.startswith(b"http/1.1 101"):
            return max(passed, start) if passed == 0 else passed
        if length:
            start += int(length[1])
        elif b"transfer-encoding: chunked" in head:
            last = data.find(b"\r\n0\r\n\r\n", end)
            if last < 0:
                return passed
            start = last + 7
        if start > len(data):
            return passed
        passed = start
    return passed


async def main(deed: str, port: str, seconds: str = "30") -> None:
    async def connect() -> trio.abc.Stream:
        return await trio.open_tcp_stream("127.0.0.1", int(port))

    hostile = Hostile(Deed(deed), connect, seconds=float(seconds))
    scopes: set[trio.CancelScope] = set()
    down = False

    async def serve(stream: trio.abc.Stream) -> None:
        if down:
            await trio.aclose_forcefully(stream)
            return
        with trio.CancelScope() as scope:
            scopes.add(scope)
            await hostile.serve(stream)
        scopes.discard(scope)

    with trio.open_signal_receiver(signal.SIGUSR1) as signals:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, serve, 0)
            print(f"http://localhost:{listeners[0].socket.getsockname()[1]}/", flush=True)
            async for _ in signals:
                down = not down
                for scope in scopes:
                    scope.cancel("cut by SIGUSR1")


if __name__ == "__main__":
    trio.run(partial(main, *sys.argv[1:]))
