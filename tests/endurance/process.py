"""Functions that start a server in its own process, and find a free port."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trio

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """Return a port on which no process listens now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def start_server(
    nursery: trio.Nursery, app: str, *options: str, port: int = 0, environment: Mapping[str, str] | None = None
) -> tuple[trio.Process, int]:
    """Start a server, wait until it serves, and return its process and its port."""
    command = [sys.executable, "-m", "edge.cli", "run", app, "--port", str(port), *options]
    run = partial(trio.run_process, command, stdout=subprocess.PIPE, cwd=ROOT, check=False, env=environment)
    process: trio.Process = await nursery.start(run)
    line = b""
    assert process.stdout is not None
    while not line.endswith(b"\n"):
        received = await process.stdout.receive_some()
        assert received, "the server has ended"
        line += received
    found = re.search(rb":(\d+)/", line)
    assert found is not None
    return process, int(found[1])
