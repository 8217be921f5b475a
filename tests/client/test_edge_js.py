"""edge.js: the vectors, the types, and the life of a `Room` against a real server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import edge.client
import edge.protocol

EDGE_JS = Path(edge.client.__file__).parent / "edge.js"
VECTORS = Path(edge.protocol.__file__).parent / "vectors.json"
DRAWING = Path(__file__).parents[2] / "examples" / "drawing" / "web"
HERE = Path(__file__).parent

GET_NODE = "install nodejs from your system's packages"
GET_TSC = "install npm from your system's packages, then: make clean test"

Program = Callable[[str, str], str]


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_vectors(program: Program) -> None:
    """edge.js runs every client's case of the vectors that the machine in Python runs."""
    cases = VECTORS.read_text().count('"side": "client"')
    assert cases > 10
    assert run(program("node", GET_NODE), HERE / "run_vectors.mjs", EDGE_JS, VECTORS) == f"{cases} cases\n"


def test_types(program: Program, tmp_path: Path) -> None:
    """TypeScript finds nothing wrong with edge.js, nor with the pages that use it."""
    for name in ("edge.js", "edge-line.js"):
        (tmp_path / name).write_text((EDGE_JS.parent / name).read_text())
    for name in ("drawing.js", "pen.js"):
        (tmp_path / name).write_text((DRAWING / name).read_text().replace('"/edge.js"', '"./edge.js"'))
    options = [
        "--checkJs",
        "--noEmit",
        "--strict",
        "--target",
        "es2022",
        "--module",
        "esnext",
        "--lib",
        "es2022,dom,dom.iterable,dom.asynciterable",
    ]
    run(program("tsc", GET_TSC), *options, tmp_path / "edge.js", tmp_path / "drawing.js")
