"""Runs several processes of one app on one port. Each process is a server, and the servers share their rooms."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import trio

from .server.listeners import reserve
from .server.sessions import SECRET
from .server.signals import open_stop_receiver

# A worker that ran for at least STABLE_SECONDS resets the count of failures. WAITS are the seconds until a new worker
# starts: the first value after 0 failures in a row, the last value after 3 or more.
STABLE_SECONDS = 10.0
WAITS = (0.0, 1.0, 5.0, 15.0)


async def run_workers(
    count: int, host: str, port: int, command: Callable[[int, str], Sequence[str]], on_ready: Callable[[int], object]
) -> None:
    """Run worker processes until SIGTERM or SIGINT. Each of these signals is forwarded to the workers as SIGTERM.

    A worker that ends is replaced by a new one. If this process dies, the workers drain.

    Args:
      count: the number of workers.
      command: returns the command line of a worker for a port, and for the directory in which the workers of this port
        find each other's sockets. The worker has to print one line once it serves, and to drain when its standard input
        ends.
      on_ready: called with the port once all workers serve.

    Raises:
      OSError: the port is taken, or the host is unknown.

    *Cancellation* kills the workers without a drain.
    """
    os.environ[SECRET] = os.environ.get(SECRET) or secrets.token_urlsafe(32)
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with (
        reserve(family, kind, protocol, address) as reserved,
        _open_directory() as directory,
    ):
        bound = reserved.getsockname()[1]
        crew = _Crew(command(bound, directory), count)
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


def _open_directory() -> AbstractContextManager[str]:
    """Return a context manager for the directory of the workers' sockets. Without one, the workers relay."""
    try:
        return tempfile.TemporaryDirectory(prefix="edge-", ignore_cleanup_errors=True)
    except OSError as exc:
        print(f"edge: {exc}", file=sys.stderr, flush=True)
        return nullcontext(os.devnull)


class _Crew:
    def __init__(self, command: Sequence[str], count: int) -> None:
        self.stopping = trio.Event()
        self.ready = trio.Event()
        self._command = command
        self._missing = count
        self._working: dict[trio.Process, None] = {}

    async def pass_on(self, signals: AsyncIterator[int]) -> None:
        """Forward SIGTERM and SIGINT to the workers, as SIGTERM."""
        async for _ in signals:
            self.stopping.set()
            self.ready.set()
            for worker in [*self._working]:
                worker.send_signal(signal.SIGTERM)

    async def work(self) -> None:
        """Run a worker, and replace it whenever it ends, until `stopping` is set."""
        failures = 0
        while not self.stopping.is_set():
            began = trio.current_time()
            code = await self._work_once()
            if self.stopping.is_set():
                return
            failures = failures + 1 if trio.current_time() - began < STABLE_SECONDS else 0
            wait = WAITS[min(failures, len(WAITS) - 1)]
            print(f"edge: a worker ended with {code}; a new one starts in {wait:g} s", file=sys.stderr, flush=True)
            with trio.move_on_after(wait):
                await self.stopping.wait()

    async def _work_once(self) -> int | None:
        # The worker's stdin is a pipe, which ends when this process ends. The worker runs in a new process session, so
        # that it does not receive the terminal's signals: `pass_on` forwards each signal once.
        worker = await trio.lowlevel.open_process(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._working[worker] = None
        if self.stopping.is_set():  # a signal arrived while this worker was started
            worker.send_signal(signal.SIGTERM)
        try:
            assert worker.stdout is not None
            first = b""
            async for data in worker.stdout:
                if b"\n" not in first:  # the first line means that the worker serves
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
