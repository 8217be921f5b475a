"""Measure whether slow readers delay other clients: ``python -m benchmarks.slow [rounds]``.

A room of a hundred clients sends 3 KB of state to each client, 30 times per second. Ten clients read only a thirtieth
of these bytes, through small socket buffers, so that writes to these clients always wait. In half of the measurements,
the ten clients read all bytes. The result is the ratio of the latencies of the other ninety clients.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .run import Server, serving
from .table import EDGE, build

SEATS, SLOW = 90, 10
SECONDS = 5
# The bytes of one read of a slow client, and the seconds between two reads: a client reads 3 of its 90 KB per second.
PIECE_BYTES, PIECE_SECONDS = 300, 0.1
MOST = 1.5
"""The promised bound for the ratio of the other clients' latencies, with and without slow readers."""

HANDSHAKE = (
    b"GET /rooms/wide/0 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: edge.1.json\r\n\r\n"
)


def join(port: int, number: int) -> socket.socket:
    """Connect a client that has a small socket buffer, send its hello, and return its socket."""
    seat = socket.socket()
    seat.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    seat.connect(("127.0.0.1", port))
    hello = b'["$hello",{"client":"a-reader-of-the-bench-%04d"}]' % number
    # RFC 6455 section 5.3: a mask of zeros changes nothing
    seat.sendall(HANDSHAKE + struct.pack("!BB", 0x81, 0x80 | len(hello)) + bytes(4) + hello)
    seat.setblocking(False)
    return seat


@contextmanager
def reading(port: int, *, slowly: bool) -> Iterator[list[int]]:
    """Read with ten clients until the block ends. Yield the list of the bytes that each client has read, which is
    updated."""
    seats = [join(port, number) for number in range(SLOW)]
    read, over = [0] * SLOW, threading.Event()

    def run() -> None:
        while not over.wait(PIECE_SECONDS):
            for number, seat in enumerate(seats):
                with contextlib.suppress(BlockingIOError):
                    read[number] += len(seat.recv(PIECE_BYTES if slowly else 1 << 20))

    reader = threading.Thread(target=run)
    reader.start()
    try:
        yield read
    finally:
        over.set()
        reader.join()
        for seat in seats:
            seat.close()


def late(server: Server, *, slowly: bool) -> float:
    """Return the 99th percentile of the latency of the other ninety clients, in microseconds."""
    options: dict[str, float | str] = {"mode": "states", "rooms": 1, "seats": SEATS, "rate": 1, "seconds": SECONDS}
    with reading(server.port, slowly=slowly) as read:
        measured = server.measure("wide", options)
        time.sleep(PIECE_SECONDS)
    most = PIECE_BYTES * (SECONDS + 3) / PIECE_SECONDS
    if slowly and not all(0 < each <= most for each in read):
        raise RuntimeError(f"the slow clients read too much, or were cut off; bytes read: {read}")
    return float(measured.load["latency_us"]["p99"])


def main(rounds: int) -> None:
    """Measure `rounds` times with slow readers and `rounds` times without, and print the ratio of the medians."""
    build()
    found: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds):
        for slowly in (False, True) if number % 2 else (True, False):
            with serving(EDGE, "wide") as server:
                found[slowly].append(late(server, slowly=slowly))
    without, with_slow = (statistics.median(found[slowly]) for slowly in (False, True))
    print(
        f"p99 latency of the other clients: without slow readers {without:,.0f} µs, with one in ten {with_slow:,.0f} µs"
    )
    print(f"ratio {with_slow / without:.2f}, and at most {MOST} is promised")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
