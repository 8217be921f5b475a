"""Open and close many connections on real sockets: ``python -m tests.endurance.churn <connections> [seed]``.

At most a thousand connections are open at a time. The server's resources are checked after half of the connections and
at the end. Both times, the server must have as many files and tasks as at the start. In the second half, the number of
its objects may grow by `OBJECTS`, and its memory by the share `GROWTH`.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import attrs
import trio

ROOT = Path(__file__).parents[2]
AT_ONCE = 1000
# The share by which memory may grow. Large bodies and frames arrive in bursts, and the memory that the allocator stores
# after each burst varies.
GROWTH = 0.25
# The number of Python objects that may remain. It is less than one object for ten connections of the shortest run.
OBJECTS = 500

HANDSHAKE = (
    "GET /rooms/ledger/{room} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: edge.1.json\r\n\r\n"
)
LINE = (
    "POST /rooms/ledger/{room} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nEdge-Connection: {line}\r\n"
    "Edge-Has: 0\r\nEdge-First: 0\r\nEdge-Protocol: edge.1.json\r\nContent-Length: {length}\r\n\r\n"
)


@attrs.frozen
class Takes:
    """The resources that a server uses while it has no clients."""

    memory: int
    objects: int
    files: int
    tasks: int
    rooms: int


class Visitor:
    """A client that connects, and disconnects in one of many ways."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self.port = port
        self.chance = chance
        self.name = f"a-visitor-{chance.randrange(10**12):012}"
        self.room = f"room-{chance.randrange(50)}"

    async def visit(self) -> None:
        """Connect, and disconnect in a random way."""
        ways: list[Callable[[trio.SocketStream], Awaitable[object]]] = [
            self.play_and_leave,
            self.play_and_leave,
            self.play_and_vanish,
            self.play_and_vanish,
            self.reset,
            self.say_nothing,
            self.break_a_rule,
            self.send_half,
            self.ask_for_nothing,
            self.poll_once,
            self.flood,
            self.flood_with_fragments,
            self.send_a_body,
        ]
        with contextlib.suppress(trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                await self.chance.choice(ways)(stream)

    async def play_and_leave(self, stream: trio.SocketStream) -> None:
        """Play, then send a goodbye, as a page does when the user closes it."""
        await self._play(stream)
        await stream.send_all(_frame(b'["$bye",{"code":4200}]'))
        await _drain(stream)

    async def play_and_vanish(self, stream: trio.SocketStream) -> None:
        """Play, then disconnect without a goodbye, and do not resume."""
        await self._play(stream)

    async def reset(self, stream: trio.SocketStream) -> None:
        """Play, then reset the TCP connection."""
        await self._play(stream)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def say_nothing(self, stream: trio.SocketStream) -> None:
        """Open a WebSocket, and send no hello."""
        await stream.send_all(HANDSHAKE.format(room=self.room).encode())
        await stream.receive_some()

    async def break_a_rule(self, stream: trio.SocketStream) -> None:
        """Play, then send an invalid frame."""
        await self._play(stream)
        await stream.send_all(bytes((self.chance.choice((0xC1, 0x83, 0x01)), 0x80)) + bytes(40))
        await _drain(stream)

    async def send_half(self, stream: trio.SocketStream) -> None:
        """Play, then send half of a large frame."""
        await self._play(stream)
        await stream.send_all(struct.pack("!BBQ", 0x81, 0xFF, 60_000) + bytes(30_000))

    async def flood(self, stream: trio.SocketStream) -> None:
        """Play, then send too many events and pings at once."""
        await self._play(stream)
        await stream.send_all((_frame(b'["put",{"number":0}]') + bytes((0x89, 0x80, 0, 0, 0, 0))) * 400)

    async def flood_with_fragments(self, stream: trio.SocketStream) -> None:
        """Play, then send very many empty fragments of one message."""
        await self._play(stream)
        await stream.send_all(bytes((0x01, 0x80, 0, 0, 0, 0)) + bytes((0x00, 0x80, 0, 0, 0, 0)) * 100_000)
        await _drain(stream)

    async def send_a_body(self, stream: trio.SocketStream) -> None:
        """Send half of a large body."""
        await stream.send_all(
            b"POST /takes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + bytes(500_000)
        )

    async def ask_for_nothing(self, stream: trio.SocketStream) -> None:
        """Send bytes that are not HTTP, or half a request."""
        await stream.send_all(
            self.chance.choice((b"\x16\x03\x01", b"GET / HTTP/1.1\r\nHost:", b"GET /livez\n\n", bytes(5000)))
        )

    async def poll_once(self, stream: trio.SocketStream) -> None:
        """Open an HTTP transport with a hello, and abandon it."""
        hello = b'["$hello",{"client":"%s"}]' % self.name.encode()
        body = b"t%d\n" % len(hello) + hello
        await stream.send_all(LINE.format(room=self.room, line=self.name, length=len(body)).encode() + body)
        answer = await stream.receive_some()
        assert not answer.startswith(b"HTTP/1.1 400"), answer
        await _drain(stream)

    async def _play(self, stream: trio.SocketStream) -> None:
        hello = _frame(b'["$hello",{"client":"%s"}]' % self.name.encode())
        await stream.send_all(HANDSHAKE.format(room=self.room).encode() + hello)
        heard = b""
        while b"$welcome" not in heard and b"$bye" not in heard:
            received = await stream.receive_some()
            if not received:
                raise trio.BrokenResourceError
            heard += received
        for number in range(self.chance.randrange(20)):
            await stream.send_all(_frame(b'["put",{"number":%d}]' % number))
        await stream.send_all(_frame(b'["show",{},1]'))


def _frame(payload: bytes) -> bytes:
    """Return a text frame with a mask of zeros, which does not change the payload."""
    return bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload


async def _drain(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


async def churn(connections: int, seed: int) -> tuple[Takes, Takes]:
    """Open and close this number of connections, and return the server's resources after half of them and at the
    end."""
    command = [sys.executable, "-m", "edge.cli", "run", "tests.endurance.app:app", "--port", "0"]
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, command, stdout=subprocess.PIPE, cwd=ROOT, check=True)
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        found = re.search(rb":(\d+)/", await process.stdout.receive_some())
        assert found is not None
        port, chance = int(found[1]), random.Random(seed)
        empty = await _ask(port)
        before, after = [await _come_and_go(port, connections // 2, chance, empty) for _ in range(2)]
        process.terminate()
    assert after.memory <= before.memory * (1 + GROWTH), f"memory grows: {before} {after}"
    assert after.objects <= before.objects + OBJECTS, f"objects are left: {before} {after}"
    return before, after


async def _come_and_go(port: int, connections: int, chance: random.Random, empty: Takes) -> Takes:
    left = connections

    async def keep_coming() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await Visitor(port, chance).visit()

    async with trio.open_nursery() as nursery:
        for _ in range(min(AT_ONCE, connections)):
            nursery.start_soon(keep_coming)
    with trio.move_on_after(100):  # seats wait for their grace, and HTTP transports for their time-out
        while (takes := await _ask(port)).rooms or (takes.files, takes.tasks) != (empty.files, empty.tasks):
            await trio.sleep(0.5)
        return await _ask(port)
    raise AssertionError(f"something is left: {await _ask(port)} of {empty}")


async def _ask(port: int) -> Takes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /takes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while received := await stream.receive_some():
            answer += received
    return Takes(**json.loads(answer.partition(b"\r\n\r\n")[2]))


if __name__ == "__main__":
    first, last = trio.run(churn, int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"after half {first}\nat the end {last}")
