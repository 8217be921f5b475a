"""Count the instructions of one event, with valgrind: ``python -m benchmarks.instructions``.

Unlike times, the counts are nearly the same on a busy machine. They contain everything that the process does for the
event: edge, Trio, Python, and the few calls with which this program plays the client. They do not contain the kernel.
"""

from __future__ import annotations

import gc
import math
import os
import re
import socket
import subprocess
import sys
from functools import partial

import trio

import edge
from edge.server.limiter import AddressLimits
from edge.server.serve import serve

from .peers.with_edge import Echo, State, Stated
from .walk import HEAD, SAY, frame

CLIENTS = 10
# How often the event happens in the two runs. The difference of their counts has no start of the process.
FEW, MANY = 20, 120
HELLO = '["$hello",{"version":1,"name":"ana","client":"a-client-that-counts-%03d"}]'
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"
STATE = State(1, 0, "x" * 260)
open_rooms: list[Still] = []


class Still(Stated):
    """A room that sends a state only when this program tells it to."""

    async def run(self) -> None:
        open_rooms.append(self)
        await trio.sleep_forever()


async def send(client: socket.socket, data: bytes) -> None:
    """Send bytes, and wait for the answer."""
    client.send(data)
    await receive(client)


async def receive(client: socket.socket) -> None:
    """Wait for bytes of the server."""
    while True:
        await trio.lowlevel.checkpoint()
        try:
            client.recv(65536)
            return
        except BlockingIOError:
            pass


async def join(port: int, room: bytes, number: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.setblocking(False)
    await send(client, HEAD.replace(b"/echo/", b"/%b/" % room))
    await send(client, frame(HELLO % number))
    return client


async def count(what: str, times: int) -> None:
    """Let an event happen so many times, and end the process."""
    limits = edge.Limits(events_per_second=math.inf, bytes_per_second=math.inf)
    app = edge.App({"echo": Echo, "still": Still}, limits=limits, address_limits=AddressLimits(connections=1000))
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(serve, app, host="127.0.0.1", port=0))
        port = listener.socket.getsockname()[1]
        gc.disable()
        if what == "visit":
            for number in range(times):
                client = await join(port, b"echo", number)
                await send(client, CLOSE)
                client.close()
        else:
            clients = [await join(port, b"still" if what == "broadcast" else b"echo", each) for each in range(CLIENTS)]
            for _ in range(times):
                if what == "broadcast":
                    open_rooms[0].broadcast(STATE)
                else:
                    for client in clients:
                        client.send(frame(SAY))
                for client in clients:
                    await receive(client)
        os._exit(0)


def instructions(what: str) -> int:
    """Return the instructions of one visit, of one echo, or of a broadcast to one player."""
    counts = []
    for times in (FEW, MANY):
        command = [
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            sys.executable,
            "-m",
            __spec__.name,
        ]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        ran = subprocess.run([*command, what, str(times)], stderr=subprocess.PIPE, text=True, env=environment)
        found = re.search(r"Collected : (\d+)", ran.stderr)
        if found is None:
            raise RuntimeError(ran.stderr)
        counts.append(int(found[1]))
    return round((counts[1] - counts[0]) / (MANY - FEW) / (1 if what == "visit" else CLIENTS))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        trio.run(count, sys.argv[1], int(sys.argv[2]))
    for each in ("echo", "broadcast", "visit"):
        print(f"{each}: {instructions(each):,} instructions", flush=True)
