"""Compare shared state with Colyseus: ``python -m benchmarks.shares [rounds] [seconds]``.

Each server shares a world of discs with ten clients, twenty times a second. The command writes the results into
docs/shared-state-performance.md.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
from collections import defaultdict
from typing import Any

import attrs

from edge.client.build import BUILT
from edge.protocol.codec import JSON, MESSAGEPACK, size_of
from edge.shared.differ import Differ

from . import report
from .peers import shares_edge
from .run import pinned, serving
from .scenarios import tell
from .table import BUILD, COLYSEUS, EDGE, PYTHON, Peer, build

CLIENTS = 10
PAGE = report.DOCS / "shared-state-performance.md"
PEERS = (
    attrs.evolve(
        EDGE, command=(*PYTHON, "-m", "edge.cli", "run", "benchmarks.peers.shares_edge:app", "--port", "PORT")
    ),
    attrs.evolve(COLYSEUS, command=("node", str(BUILD / "shares_colyseus.mjs"), "PORT")),
)
ROOMS, SEATS = 1000, 10


@attrs.frozen
class Shape:
    """The measurements of one server with one kind of room."""

    bytes: float
    """The bytes of a patch."""
    cpu: float
    """The CPU time of the server for a change, in milliseconds."""
    p50: float
    """The time from the change on the server to the callback of a client, in milliseconds."""
    p99: float


def measure(peer: Peer, kind: str, seconds: float) -> Shape:
    """Run ten clients in a room of this kind."""
    with serving(peer, kind) as server:
        command = [*pinned(1), "node", str(BUILD / "shares_load.mjs"), str(server.port), peer.dialect]
        command += [kind, str(CLIENTS), str(seconds), str(BUILT / "edge.js")]
        load = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert load.stdin is not None
        assert load.stderr is not None
        if (line := load.stderr.readline()) != "joined\n":
            raise RuntimeError(f"{peer.name}: the clients could not join: {line}{load.communicate()}")
        cpu = server.cpu_seconds()
        found = json.loads(load.communicate("\n")[0])
        cpu = server.cpu_seconds() - cpu
        return Shape(found["bytes"], 1e3 * cpu / found["ticks"], found["p50"] / 1e3, found["p99"] / 1e3)


def shapes(rounds: int, seconds: float) -> dict[str, dict[str, Shape]]:
    """Measure each kind of room with each server. Return the medians of the rounds, by kind and server."""
    runs: dict[str, dict[str, list[Shape]]] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        for kind in shares_edge.kinds():
            for peer in PEERS:
                tell(f"{kind}: {peer.name}, round {number + 1} of {rounds}")
                runs[kind][peer.name].append(measure(peer, kind, seconds))
    return {kind: {name: _medians(each) for name, each in peers.items()} for kind, peers in runs.items()}


def _medians(runs: list[Shape]) -> Shape:
    return Shape(*(statistics.median(column) for column in zip(*map(attrs.astuple, runs), strict=True)))


def patch_sizes(kind: str) -> tuple[int, int, int]:
    """Return the bytes of a whole world in JSON, and of a patch in JSON and in MessagePack, for a room of this kind."""
    room = shares_edge.kinds()[kind]
    world, differ = shares_edge.make_world(room.size), Differ(shares_edge.World, "")
    player: Any = _Player()
    see = shares_edge.see_part if kind.endswith("part") else shares_edge.see_all
    shadow = differ.shadow(see(world, player))
    for _ in range(3):
        shares_edge.move(world, room.some)
        frame = ["^world", [1000, differ.diff(see(world, player), shadow)]]
    whole = size_of(JSON.encode(differ.whole(see(world, player))))
    return whole, size_of(JSON.encode(frame)), size_of(MESSAGEPACK.encode(frame))


@attrs.frozen
class _Player:
    name: str = "0"


def table(found: dict[str, dict[str, Shape]]) -> str:
    """Return a table of the measurements. Each cell has edge's figure, then Colyseus's."""
    lines = [
        "| discs, changed, seen | state | bytes of a patch: JSON / MessagePack / Colyseus "
        "| CPU of the server for a change, ms | p50, ms | p99, ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind, peers in found.items():
        ours, theirs = (peers[peer.name] for peer in PEERS)
        whole, _, packed = patch_sizes(kind)
        ratio = packed / theirs.bytes
        lines.append(
            f"| {kind.replace('-', ', ')} | {whole:,} B | {ours.bytes:,.0f} / {packed:,} / {theirs.bytes:,.0f} "
            f"({ratio:.1f} ×) | {ours.cpu:.2f} / {theirs.cpu:.2f} | {ours.p50:.2f} / {theirs.p50:.2f} "
            f"| {ours.p99:.2f} / {theirs.p99:.2f} |"
        )
    return "\n".join(lines) + "\n"


def memory() -> str:
    """Return a sentence about the memory of a thousand rooms of ten, whose document of 3 KB is shared or not."""
    each = {}
    for kind in ("quiet", "unshared"):
        with serving(PEERS[0], kind) as server:
            options: dict[str, float | str] = {
                "mode": "idle",
                "rooms": ROOMS,
                "seats": SEATS,
                "seconds": 0.1,
                "warmup": 0,
            }
            run = server.measure(kind, options)
            each[kind] = run.grown / run.load["joined"] * SEATS / 1024
    more = each["quiet"] - each["unshared"]
    return (
        f"A room with {SEATS} players and a document of 3 KB takes {each['quiet']:.0f} KiB of the server's memory. "
        f"Without sharing the document, it takes {each['unshared']:.0f} KiB: the shadow, the task that compares, and "
        f"the messages for new players take {more:.1f} KiB. Measured with {ROOMS:,} rooms.\n"
    )


def main(rounds: int = 3, seconds: float = 3) -> None:
    """Run the benchmark from the command line."""
    build()
    machine = f"Python {platform.python_version()}, medians of {rounds} rounds of {seconds:g} s.\n"
    for section, text in (
        ("machine", machine),
        ("shapes", table(shapes(rounds, seconds))),
        ("memory", memory()),
    ):
        print(text)
        report.write(section, text, page=PAGE)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
