"""A Redis of one's own, on a socket of its own: to be killed, paused, and started again."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import coredis
import trio

GET_REDIS = "install Debian's redis-server"


class RedisServer:
    """A process that serves below a folder."""

    def __init__(self, executable: str, folder: Path) -> None:
        self._executable = executable
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{folder / 'socket'}"

    def start(self, *options: str) -> None:
        """Start it; it answers by and by."""
        self._folder.joinpath("socket").unlink(missing_ok=True)
        command = [
            self._executable,
            "--port",
            "0",
            "--unixsocket",
            "socket",
            "--logfile",
            "log",
            "--save",
            "",
            *options,
        ]
        self._process = subprocess.Popen(command, cwd=self._folder)

    def signal(self, number: signal.Signals) -> None:
        """Such as SIGSTOP, SIGCONT."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it, as a machine dies."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """Wipe its disk, while it is not running."""
        shutil.rmtree(self._folder / "appendonlydir")

    async def wait_up(self, seconds: int = 0) -> None:
        """Wait until it answers, and has been up for so long by its own account."""
        with trio.fail_after(20):
            while True:
                try:
                    async with coredis.Redis.from_url(self.url, decode_responses=True) as redis:
                        if int(str((await redis.info("server"))["uptime_in_seconds"])) >= seconds:
                            return
                except* (coredis.exceptions.RedisError, OSError):
                    pass
                await trio.sleep(0.02)  # another process, of which nothing else can be known

    async def cut_connections(self) -> None:
        """Have it hang up on everybody."""
        async with coredis.Redis.from_url(self.url) as redis:
            for kind in ("NORMAL", "PUBSUB"):
                await redis.client_kill(type_=getattr(coredis.PureToken, kind), skipme=True)


@contextmanager
def redis_server(program: Callable[[str, str], str], folder: Path, *options: str) -> Iterator[RedisServer]:
    """One that runs while a block does."""
    server = RedisServer(program("redis-server", GET_REDIS), folder)
    server.start(*options)
    try:
        yield server
    finally:
        server.kill()
