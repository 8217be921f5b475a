"""The measured servers, and the commands that start them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs

HERE = Path(__file__).parent
BUILD = HERE.parent / ".venv" / "bench"
PYTHON = [sys.executable]
SOCKET_IO_PATH = "/socket.io/?EIO=4&transport=websocket"


@attrs.frozen
class Peer:
    """A measured server."""

    name: str
    kind: str
    """``edge``, ``python``, ``node`` or ``c``."""
    command: tuple[str, ...]
    """The start command. PORT stands for the port, and WHAT for the scenario: ``echo``, ``room`` or ``states``."""
    dialect: str = "plain"
    path: str = "/WHAT/%d"

    def start_command(self, port: int, what: str) -> list[str]:
        return [part.replace("PORT", str(port)).replace("WHAT", what) for part in self.command]


def _python(name: str, file: str, *more: str, **options: str) -> Peer:
    return Peer(name, "python", (*PYTHON, str(HERE / "peers" / file), "PORT", *more), **options)


def _node(name: str, file: str, *more: str, **options: str) -> Peer:
    return Peer(name, "node", ("node", str(BUILD / file), "PORT", *more), **options)


EDGE = Peer(
    "edge",
    "edge",
    (*PYTHON, "-m", "edge.cli", "run", "benchmarks.peers.with_edge:app", "--port", "PORT"),
    "edge",
    "/rooms/WHAT/%d",
)
SOCKETIO = _python("python-socketio", "with_socketio.py", "WHAT", dialect="socketio", path=SOCKET_IO_PATH)
COLYSEUS = _node("Colyseus", "with_colyseus.mjs", "WHAT", dialect="colyseus", path="/matchmake/joinOrCreate/bench")

PEERS = (
    EDGE,
    _python("trio-websocket", "with_trio_websocket.py"),
    _python("websockets", "with_websockets.py"),
    _python("Starlette", "with_starlette.py"),
    _python("Tornado", "with_tornado.py"),
    SOCKETIO,
    _python("Django Channels", "with_channels.py"),
    _python("picows", "with_picows.py"),
    _node("ws", "with_ws.mjs"),
    _node("Socket.IO", "with_socketio.mjs", "WHAT", dialect="socketio", path=SOCKET_IO_PATH),
    COLYSEUS,
    Peer("Bun", "node", (str(BUILD / "bun"), str(BUILD / "with_bun.mjs"), "PORT")),
    Peer("C", "c", (str(BUILD / "limit"), "PORT")),
)
# The versions of Colyseus's packages must fit together, and npm does not choose them so by itself.
NPM = {
    "bun": "",
    "ws": "",
    "bufferutil": "",
    "socket.io": "",
    "@socket.io/redis-adapter": "",
    "redis": "",
    "express": "",
    "@colyseus/core": "^0.18",
    "@colyseus/ws-transport": "^0.18",
    "@colyseus/schema": "^5",
    "@colyseus/sdk": "^0.18",
}


def build() -> list[Peer]:
    """Compile the load generator and the C server, install npm packages, and return the peers that can run here."""
    BUILD.mkdir(parents=True, exist_ok=True)
    compiler = os.environ.get("CC", "cc")
    for source in (HERE / "load.c", HERE / "peers" / "limit.c"):
        subprocess.run([compiler, "-O2", "-o", str(BUILD / source.stem), str(source), "-lm"], check=True)
    missing = {"node"} if shutil.which("node") is None or shutil.which("npm") is None else set()
    if not missing:
        if not all((BUILD / "node_modules" / package).exists() for package in NPM):
            shutil.rmtree(BUILD / "node_modules", ignore_errors=True)
            packages = [f"{name}@{version or 'latest'}" for name, version in NPM.items()]
            quiet = ("--silent", "--no-fund", "--no-audit", "--ignore-scripts")
            subprocess.run(["npm", "install", *quiet, "--prefix", str(BUILD), *packages], check=True)
        for script in (HERE / "peers").glob("*.mjs"):
            shutil.copy(script, BUILD)
        # npm installs the programs for this machine, with glibc or musl or both
        found = (BUILD / "node_modules" / "@oven").glob("bun-*/bin/bun")
        bun = min(found, key=lambda path: ("musl" in str(path), path))
        (BUILD / "bun").unlink(missing_ok=True)
        (BUILD / "bun").symlink_to(bun)
    return [peer for peer in PEERS if peer.kind not in missing]
