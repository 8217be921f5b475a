"""Tests of edge-motion.js: late inputs lead to the same state as inputs that arrive in time, and corrections stay
within their bound."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from edge.client.build import SOURCE

MOTION = SOURCE / "edge-motion.js"


def test_motion(program: Callable[[str, str], str]) -> None:
    """Every case of run_motion.mjs passes."""
    node = program("node", "install nodejs from your system's packages")
    command = [node, str(Path(__file__).parent / "run_motion.mjs"), str(MOTION)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "8 cases\n"
