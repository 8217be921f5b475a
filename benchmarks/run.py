"""Run a server on one core and the load generator, `load.c`, on another, and measure the server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import psutil

from .table import BUILD, HERE, Peer

# If the load generator was busy for a larger share of the time than this, its own speed may have limited the rate.
BUSY = 0.95
START_SECONDS = 20


@attrs.frozen
class Measured:
    """The measurements of one run of the load generator."""

    load: dict[str, Any]
    """The output of `load.c`."""
    cpu: float
    """The share of one core that the server used under load."""
    grown: float
    """The bytes of resident memory that the joins of all clients added."""
    idle_cpu: float
    """The share of one core that the server used while no client sent a message."""
    swollen: float
    """The bytes of resident memory that the server gained under load."""

    @property
    def rate(self) -> float:
        """The number of received events per second."""
        return float(self.load["received"]) / float(self.load["seconds"])

    @property
    def load_busy(self) -> float:
        return float(self.load["busy"])


class Server:
    """A running server of a peer, with methods that measure it."""

    def __init__(self, peer: Peer, port: int, process: psutil.Process) -> None:
        self.peer = peer
        self.port = port
        self.process = process

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int:
        return int(self.process.memory_info().rss)

    def measure(self, what: str, options: Mapping[str, float | str], *, idle_seconds: float = 0.0) -> Measured:
        """Run the load generator with these `options` of `load.c`, and return the measurements."""
        path = self.peer.path.replace("WHAT", what)
        before = self.memory()
        load = start_load({"port": self.port, "dialect": self.peer.dialect, "path": path, **options})
        grown, cpu, began = self.memory() - before, self.cpu_seconds(), time.monotonic()
        if idle_seconds:
            time.sleep(idle_seconds)
        idle_cpu = (self.cpu_seconds() - cpu) / max(time.monotonic() - began, 1e-9)
        full, cpu, began = self.memory(), self.cpu_seconds(), time.monotonic()
        printed, _ = load.communicate("\n")
        cpu = (self.cpu_seconds() - cpu) / (time.monotonic() - began)
        return Measured(json.loads(printed), cpu, grown, idle_cpu, self.memory() - full)


def load_command(options: Mapping[str, float | str]) -> list[str]:
    """Return the command that runs the load generator on the second core, with these options of `load.c`."""
    return [
        *pinned(1),
        str(BUILD / "load"),
        *(part for key, value in options.items() for part in (f"--{key}", str(value))),
    ]


def start_load(options: Mapping[str, float | str]) -> subprocess.Popen[str]:
    """Start the load generator, and return when its clients have joined. It measures after it has read a line."""
    load = subprocess.Popen(
        load_command(options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LOAD_WAITS": "1"},
    )
    assert load.stderr is not None
    if load.stderr.readline() != "joined\n":
        raise RuntimeError(f"no client could join: {load.communicate()}")
    return load


@contextmanager
def serving(peer: Peer, what: str) -> Iterator[Server]:
    """Run the server of a peer on the first core until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*pinned(0), *peer.start_command(port, what)]
    with subprocess.Popen(
        command,
        cwd=HERE.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "NODE_ENV": "production"},
    ) as process:
        try:
            _wait_listening(process, port)
            yield Server(peer, port, psutil.Process(process.pid))
        finally:
            process.kill()


def pinned(core: int) -> list[str]:
    """Return the start of a command that runs a program on this core only. The list is empty if no choice of cores is
    possible."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return ["taskset", "-c", str(cores[core])] if len(cores) > 1 else []


def _wait_listening(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"{process.args!r} does not listen: {process.communicate()[1].decode()[-2000:]}")
