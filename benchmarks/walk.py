"""Print the calls that one event causes in a server: ``python -m benchmarks.walk``.

A client sends one short event to an echo, and receives it back. The program prints every call of a Python function of
edge, including resumptions of coroutines. At the end, it prints the number of calls, files and tasks.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import trio
import trio.testing

import edge
from edge.server.serve import serve
from edge.transports.websocket.framing import MASKED, TEXT

from .peers.with_edge import app

ROOT = Path(edge.__file__).parent
HEAD = (
    b"GET /rooms/echo/one HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: edge.1.json\r\n\r\n"
)
HELLO = '["$hello",{"version":1,"name":"ana","client":"a-client-that-walks"}]'
SAY = '["say",{"at":1,"text":"hello"}]'
# The echo must arrive within this number of seconds, because the recording of calls then ends.
SECONDS = 0.2


def frame(text: str) -> bytes:
    """Return a client's text frame of up to 125 bytes, with a mask of zeros."""
    return bytes((TEXT, MASKED | len(text))) + bytes(4) + text.encode()


async def walk() -> list[tuple[str, str, str]]:
    """Return the file, the function and the task of each call that an event and its echo cause."""
    calls: list[tuple[str, str, str]] = []

    def note(called: FrameType, event: str, arg: Any) -> None:
        path = Path(called.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            task = trio.lowlevel.current_task().name
            calls.append((str(path.relative_to(ROOT)), called.f_code.co_qualname, task))

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(serve, app, host="127.0.0.1", port=0))
        stream = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        for data in (HEAD, frame(HELLO), frame(SAY), frame(SAY)):  # the first two events fill all caches
            await stream.send_all(data)
            await stream.receive_some()
        await trio.testing.wait_all_tasks_blocked(0.01)
        sys.setprofile(note)
        os.write(stream.socket.fileno(), frame(SAY))
        await trio.sleep(SECONDS)
        sys.setprofile(None)
        await stream.receive_some()
        await stream.aclose()
        nursery.cancel_scope.cancel("the echo has arrived")
    return calls


if __name__ == "__main__":
    found = trio.run(walk)
    for path, function, _ in found:
        print(f"{path:45} {function}")
    files, tasks = ({call[at] for call in found} for at in (0, 2))
    print(f"{len(found)} calls in {len(files)} files and {len(tasks)} tasks")
