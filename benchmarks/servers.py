"""Measure several servers that share rooms: ``python -m benchmarks.servers [rounds]``.

* Deliveries per second of two servers that share a Redis. Half of the clients of each room connect to each server. The
  benchmark compares edge, Socket.IO with its Redis adapter, and python-socketio with its Redis manager. The two servers
  and Redis run on one core, and the load generator on another.
* The time of a join at the server that has the room, and at another server.
* The time from the death of a server until its seats are resumed on other servers, for a hundred seats and for five
  thousand seats.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import attrs

from .run import _wait_listening, load_command, pinned
from .table import BUILD, HERE, PYTHON, SOCKET_IO_PATH, build

SECONDS = 4
# The longest random delay before an attempt to reconnect, as before the first attempt of edge's clients.
BACK_OFF_SECONDS = 0.5
# The first byte of a WebSocket frame without fragments: RFC 6455 section 5.2.
TEXT, CLOSE = 0x81, 0x88
EDGE_APP = (*PYTHON, "-m", "edge.cli", "run", "benchmarks.peers.with_edge:app", "--port", "PORT", "--broker", "REDIS")
PEERS = {
    "edge": (EDGE_APP, "edge", "/rooms/room/%d"),
    "Socket.IO": (("node", str(BUILD / "with_socketio.mjs"), "PORT", "room", "REDIS"), "socketio", SOCKET_IO_PATH),
    "python-socketio": (
        (*PYTHON, str(HERE / "peers" / "with_socketio.py"), "PORT", "room", "REDIS"),
        "socketio",
        SOCKET_IO_PATH,
    ),
}


# Seconds after which new servers have discovered each other, and a broker in a new Redis grants claims.
FIRST_SECONDS = 4.5


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def process(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on the first core until the block ends. Enter the block when the program listens on the port."""
    environment = {**os.environ, "NODE_ENV": "production", "EDGE_SECRET": "the secret of the servers of the bench"}
    with subprocess.Popen(
        [*pinned(0), *command], cwd=HERE.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    ) as started:
        try:
            _wait_listening(started, port)
            yield started
        finally:
            started.kill()


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis until the block ends."""
    port = free_port()
    with process(["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"], port):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def servers(command: tuple[str, ...], count: int) -> Iterator[list[tuple[int, subprocess.Popen[bytes]]]]:
    """Run `count` servers of one kind, with their own Redis."""
    with ExitStack() as stack:
        url = stack.enter_context(redis())
        started = []
        for _ in range(count):
            port = free_port()
            filled = [part.replace("PORT", str(port)).replace("REDIS", url) for part in command]
            started.append((port, stack.enter_context(process(filled, port))))
        time.sleep(FIRST_SECONDS)
        yield started


def across(name: str, owner: int | None, **options: int) -> dict[str, float]:
    """Return the deliveries per second and the latencies in microseconds of two servers. Half of the clients of each
    room connect to each server, and the senders connect to the first server.

    Args:
      owner: the index of the server that has the rooms, or None for the peers, whose rooms belong to no server.
    """
    command, dialect, path = PEERS[name]
    with servers(command, 2) as ((one, _), (other, _)):
        if owner is not None:
            first = Crowd("room", [(one, other)[owner]], options["rooms"], options["rooms"])
            first.join()
            first.leave()
        given: dict[str, float | str] = {"port": one, "other": other, "dialect": dialect, "path": path}
        given |= {"mode": "broadcast", "seconds": SECONDS, **options}
        printed = subprocess.run(load_command(given), check=True, capture_output=True, text=True).stdout
    found = json.loads(printed)
    return {
        "rate": found["received"] / found["seconds"],
        "p50": found["latency_us"]["p50"],
        "p99": found["latency_us"]["p99"],
    }


@attrs.define(eq=False)
class Seat:
    """A client that sends a hello, counts the received messages, and reconnects after it is cut off."""

    number: int
    room: int
    socket: socket.socket | None = None
    received: int = 0
    attempt: int = 0
    since: int | None = None
    buffer: bytearray = attrs.field(factory=bytearray)
    upgraded: bool = False
    welcomed: bool = False
    resumed: bool = False
    closing: bool = False
    due: float = 0.0

    def open(self, port: int, kind: str) -> None:
        """Connect, and send the WebSocket request and the hello in one write."""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.attempt += 1
        self.upgraded = self.welcomed = self.closing = False
        self.buffer.clear()
        hello: dict[str, object] = {"client": f"a-seat-of-the-bench-{self.number:06}", "attempt": self.attempt}
        if self.since is not None:
            hello |= {"received": self.received, "since": self.since}
        text = json.dumps(["$hello", hello]).encode()
        # RFC 6455 section 5.3: a mask of zeros changes nothing
        size = struct.pack("!B", 0x80 | len(text)) if len(text) < 126 else struct.pack("!BH", 0x80 | 126, len(text))
        head = b"\x81" + size + bytes(4)
        request = (
            f"GET /rooms/{kind}/{self.room} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: edge.1.json\r\n\r\n"
        )
        self.socket.sendall(request.encode() + head + text)

    def read(self) -> bool:
        """Read and process the available data. Return False if the connection has ended."""
        assert self.socket is not None
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            return False
        self.buffer += data
        if not self.upgraded and (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            self.upgraded = self.buffer.startswith(b"HTTP/1.1 101")
            del self.buffer[: end + 4]
        while self.upgraded and (frame := self._frame()) is not None:
            self._hear(frame)
        return bool(data) and not self.closing

    def _frame(self) -> bytes | None:
        if len(self.buffer) < 2:
            return None
        size, start = self.buffer[1] & 0x7F, 2
        if size == 126:
            size, start = struct.unpack_from("!H", self.buffer, 2)[0] if len(self.buffer) >= 4 else 1 << 20, 4
        if len(self.buffer) < start + size:
            return None
        self.closing |= self.buffer[0] == CLOSE
        frame = bytes(self.buffer[start : start + size]) if self.buffer[0] == TEXT else b"[0]"
        del self.buffer[: start + size]
        return frame

    def _hear(self, frame: bytes) -> None:
        name, *rest = json.loads(frame)
        if name == "$welcome":
            self.welcomed, self.resumed = True, rest[0]["resumed"]
            if not self.resumed:
                self.received, self.since = 0, self.attempt
        elif isinstance(name, str) and name[0] not in "$~":
            self.received += 1


class Crowd:
    """Clients in rooms of one kind, which connect to several servers."""

    def __init__(self, kind: str, ports: list[int], count: int, rooms: int) -> None:
        self.kind, self.ports = kind, ports
        self.seats = [Seat(number, number % rooms) for number in range(count)]
        self._selector = selectors.DefaultSelector()

    def connect(self, seat: Seat) -> None:
        port = self.ports[(seat.number + seat.attempt) % len(self.ports)]
        try:
            seat.open(port, self.kind)
        except OSError:
            seat.due = time.monotonic() + BACK_OFF_SECONDS
            return
        assert seat.socket is not None
        self._selector.register(seat.socket, selectors.EVENT_READ, seat)

    def turn(self, seconds: float) -> None:
        """Read available data, and schedule the reconnections of seats that were cut off."""
        for key, _ in self._selector.select(seconds):
            seat: Seat = key.data
            if not seat.read():
                assert seat.socket is not None
                self._selector.unregister(seat.socket)
                seat.socket.close()
                seat.socket, seat.welcomed = None, False
                seat.due = time.monotonic() + BACK_OFF_SECONDS * (hash((seat.number, seat.attempt)) % 1000) / 1000

    def come_back(self) -> None:
        now = time.monotonic()
        for seat in self.seats:
            if seat.socket is None and seat.due <= now:
                self.connect(seat)

    def join(self) -> list[float]:
        """Let all clients join, one after the other, and return the seconds of each join."""
        took = []
        for seat in self.seats:
            began = time.monotonic()
            self.connect(seat)
            while not seat.welcomed:
                self.turn(1)
            took.append(time.monotonic() - began)
        return took

    def leave(self) -> None:
        """Close all sockets, without a goodbye."""
        for seat in self.seats:
            assert seat.socket is not None
            seat.socket.close()

    def lose(self) -> None:
        """Close all sockets, without a goodbye, so that `come_back` connects all seats again."""
        for seat in self.seats:
            assert seat.socket is not None
            self._selector.unregister(seat.socket)
            seat.socket.close()
            seat.socket, seat.welcomed, seat.due = None, False, 0.0


def joins(rounds: int) -> tuple[float, float]:
    """Return the median seconds of a join at the server that has the room, and at another server."""
    with servers(EDGE_APP, 2) as ((one, _), (other, _)):
        Crowd("kept", [one], 1, 1).join()
        here = Crowd("kept", [one], 100 * rounds, 1)
        there = Crowd("kept", [other], 100 * rounds, 1)
        for number, seat in enumerate(here.seats + there.seats):
            seat.number = 1000 + number
        return statistics.median(here.join()), statistics.median(there.join())


def storm(count: int, rooms: int) -> tuple[float, float, int]:
    """Kill the server that has `count` seats. Return the seconds until half of them and all of them are connected
    again, and the number of resumed seats."""
    with servers(EDGE_APP, 3) as ((one, owner), (two, _), (three, _)):
        first = Crowd("kept", [one], rooms, rooms)
        first.join()  # opens all rooms at the server that is killed later
        crowd = Crowd("kept", [one, two, three], count, rooms)
        for number, seat in enumerate(crowd.seats):
            seat.number = 100_000 + number
        crowd.join()
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:  # time in which the joins are written to the journal
            crowd.turn(0.1)
        owner.kill()
        began = time.monotonic()
        crowd.ports.remove(one)
        half = 0.0
        time.sleep(0.1)
        while True:
            crowd.turn(0.01)
            crowd.come_back()
            waited = time.monotonic() - began
            back = sum(seat.welcomed and seat.attempt > 1 for seat in crowd.seats)
            if not half and 2 * back >= count:
                half = waited
            if back == count:
                return half, waited, sum(seat.resumed for seat in crowd.seats)
            if waited > 120:
                raise RuntimeError(f"{back} of {count} have reconnected after {waited:.0f} s")


def main(rounds: int) -> None:
    """Run all measurements, and print the results."""
    build()
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is missing: install Debian's package redis-server")
    for title, options in (
        ("one room of 100, 50 at either server", {"rooms": 1, "seats": 100, "depth": 4}),
        ("50 rooms of 4, half of each at either server", {"rooms": 50, "seats": 4, "depth": 1}),
    ):
        measured: dict[tuple[str, int | None], list[dict[str, float]]] = {
            ("edge", 0): [],
            ("edge", 1): [],
            ("Socket.IO", None): [],
            ("python-socketio", None): [],
        }
        for _ in range(rounds):
            for (name, owner), runs in measured.items():
                runs.append(across(name, owner, **options))
        print(f"{title}:")
        for (name, owner), runs in measured.items():
            where = {None: "", 0: ", senders at the rooms' server", 1: ", senders at the other one"}[owner]
            rate, p50, p99 = (statistics.median(run[key] for run in runs) for key in ("rate", "p50", "p99"))
            print(f"  {name}{where}: {rate:,.0f} deliveries a second, p50 {p50 / 1000:.1f} ms, p99 {p99 / 1000:.1f} ms")
    here, there = joins(rounds)
    print(f"a join takes {1000 * here:.1f} ms at the room's server, {1000 * there:.1f} ms at another")
    for count, rooms in ((100, 1), (5000, 50)):
        storms = [storm(count, rooms) for _ in range(rounds)]
        half, whole = (statistics.median(times) for times in list(zip(*storms, strict=True))[:2])
        resumed = min(each[2] for each in storms)
        print(
            f"{count} seats after kill -9: half are back after {half:.1f} s, all after {whole:.1f} s; {resumed} resumed"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
