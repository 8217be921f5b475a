"""A Redis server for tests, with its own socket. A test can kill, pause and restart this server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import coredis
import trio

from tests.endurance.process import free_port

GET_REDIS = "install Debian's redis-server"


class RedisServer:
    """A Redis process, which stores its files in a folder.

    Args:
      options: the command-line options of every start.
    """

    def __init__(self, executable: str, folder: Path, *options: str) -> None:
        self._executable = executable
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._replicas = count(1)
        self._data = folder / "data"
        self._socket = folder / "socket"
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        """Start Redis, without waiting until it answers."""
        self._socket.unlink(missing_ok=True)
        self._process = self._start(self._socket)

    def wait_ready(self) -> None:
        """Block until Redis answers a ping."""
        last = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < last, f"Redis did not start: {(self._data / 'log').read_text()}"
            time.sleep(0.01)  # Redis sends no notification when it is ready

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                return client.recv(5) == b"+PONG"
            except OSError:
                return False

    def _start(self, path: Path, *options: str) -> subprocess.Popen[bytes]:
        self._data.mkdir(exist_ok=True)
        of_its_own = ("--port", "0", "--unixsocket", str(path), "--logfile", "log", "--save", "")
        return subprocess.Popen([self._executable, *of_its_own, *self._options, *options], cwd=self._data)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, such as SIGSTOP or SIGCONT."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill Redis, as if its machine died."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """Delete the data on disk while Redis is not running."""
        shutil.rmtree(self._data)

    async def replace(self, meanwhile: Callable[[], Awaitable[object]]) -> None:
        """Make a replica, call `meanwhile`, and then kill Redis and use the replica in its place. The replica lacks the
        writes of `meanwhile`."""
        port = free_port()
        async with coredis.Redis.from_url(self.url) as redis:
            await redis.config_set({"port": port})
        master, self._data = self._process, self._folder / f"replica-{next(self._replicas)}"
        assert master is not None
        replica = self._folder / "replica"
        self._process = self._start(replica, "--replicaof", f"127.0.0.1 {port}")
        url = f"unix://{replica}"
        await _wait_for(url, lambda info: info["master_link_status"] == "up" and not info["aof_rewrite_in_progress"])
        async with coredis.Redis.from_url(url) as redis:
            await redis.replicaof()
        await meanwhile()
        master.kill()
        master.wait()
        replica.rename(self._socket)

    async def lose_power(self, meanwhile: Callable[[], Awaitable[object]]) -> None:
        """Call `meanwhile`, kill Redis, and start it again without the writes of `meanwhile`, as after a power
        failure."""
        sizes = {file: file.stat().st_size for file in self._data.glob("appendonlydir/*.incr.aof")}
        await meanwhile()
        self.kill()
        for file, size in sizes.items():
            if file.exists():
                os.truncate(file, min(size, file.stat().st_size))
        self.start()

    async def wait_up(self, seconds: int = 0) -> None:
        """Wait until Redis answers and its uptime is at least this number of seconds."""
        await _wait_for(self.url, lambda info: info["uptime_in_seconds"] >= seconds)

    async def cut_connections(self) -> None:
        """Make Redis close all connections."""
        async with coredis.Redis.from_url(self.url) as redis:
            for kind in ("NORMAL", "PUBSUB"):
                await redis.client_kill(type_=getattr(coredis.PureToken, kind), skipme=True)


async def _wait_for(url: str, good: Callable[[Any], bool]) -> None:
    """Wait until Redis answers and `good` returns true for its INFO."""
    with trio.fail_after(20):
        while True:
            try:
                async with coredis.Redis.from_url(url, decode_responses=True) as redis:
                    if good(await redis.info()):
                        return
            except* (coredis.exceptions.RedisError, OSError):
                pass
            await trio.sleep(0.02)  # Redis sends no event when its state changes, so that the state must be polled


@contextmanager
def redis_server(program: Callable[[str, str], str], folder: Path, *options: str) -> Iterator[RedisServer]:
    """Run a Redis server until the block ends. The server is ready when the block begins."""
    server = RedisServer(program("redis-server", GET_REDIS), folder, *options)
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()
