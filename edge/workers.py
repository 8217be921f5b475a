"""Several processes of one app on one port: each a server of its own, that shares the rooms with the others."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence

import trio

from .server.listeners import reserve
from .server.signals import open_stop_receiver
from .server.site import SECRET

# How long a worker has to run before the next failure counts as the first again; and how long to wait after each of a
# row before another takes its place.
STABLE_SECONDS = 10.0
WAITS = (0.0, 1.0, 5.0, 15.0)


async def run_workers(
    count: int, host: str, port: int, command: Callable[[int], Sequence[str]], on_ready: Callable[[int], object]
) -> None:
    """Run so many workers until SIGTERM or SIGINT, which each of them gets, too; a second signal is passed on likewise.

    A worker that dies is followed by another. If this process dies, they drain.

    Args:
      command: what starts a worker on a port. It says one line once it serves, and drains when its input ends.
      on_ready: told the port, once all serve.

    Raises:
      OSError: the port is taken.
    """
    os.environ[SECRET] = os.environ.get(SECRET) or secrets.token_urlsafe(32)
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with reserve(family, kind, protocol, address) as reserved:
        bound = reserved.getsockname()[1]
        crew = _Crew(command(bound), count)
        with open_stop_receiver() as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crew.pass_on, signals)
                async with trio.open_nursery() as working:
                    for _ in range(count):
                        working.start_soon(crew.work)
                    await crew.ready.wait()
                    if not crew.stopping.is_set():
                        on_ready(bound)
                nursery.cancel_scope.cancel("every worker has ended")


class _Crew:
    def __init__(self, command: Sequence[str], count: int) -> None:
        self.stopping = trio.Event()
        self.ready = trio.Event()
        self._command = command
        self._missing = count
        self._working: dict[trio.Process, None] = {}

    async def pass_on(self, signals: AsyncIterator[int]) -> None:
        """Give the workers the signals that come."""
        async for _ in signals:
            self.stopping.set()
            self.ready.set()
            for worker in [*self._working]:
                worker.send_signal(signal.SIGTERM)

    async def work(self) -> None:
        """One worker after the other."""
        failures = 0
        while not self.stopping.is_set():
            began = trio.current_time()
            code = await self._work_once()
            if self.stopping.is_set():
                return
            failures = failures + 1 if trio.current_time() - began < STABLE_SECONDS else 0
            wait = WAITS[min(failures, len(WAITS) - 1)]
            print(f"edge: a worker ended with {code}; another follows in {wait:g} s", file=sys.stderr, flush=True)
            with trio.move_on_after(wait):
                await self.stopping.wait()

    async def _work_once(self) -> int | None:
        # Its input is a pipe of ours, and ends when we do; and a terminal's signals are for us to pass on, once.
        worker = await trio.lowlevel.open_process(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._working[worker] = None
        if self.stopping.is_set():  # it came while this one was being started
            worker.send_signal(signal.SIGTERM)
        try:
            assert worker.stdout is not None
            first = b""
            async for data in worker.stdout:
                if b"\n" not in first:  # its first line: it serves
                    first += data
                    data = first.partition(b"\n")[2]
                    if b"\n" in first:
                        self._missing -= 1
                        if self._missing == 0:
                            self.ready.set()
                sys.stdout.buffer.write(data)
                sys.stdout.flush()
            return await worker.wait()
        finally:
            del self._working[worker]
            if worker.returncode is None:
                worker.kill()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    await trio.aclose_forcefully(pipe)
