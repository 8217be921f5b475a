"""Type checkers know edge's types: all of them, and those of an author's code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import edge

HERE = Path(__file__).parent
GET_PYRIGHT = "make clean test"

Program = Callable[[str, str], str]


def pyright(program: Program, *arguments: str | Path, path: str = "") -> tuple[int, str]:
    """Run pyright, with this environment's packages."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": path}
    command = [program("pyright", GET_PYRIGHT), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def test_an_authors_code(program: Program) -> None:
    """pyright infers the same types as mypy, which checks this file with all others."""
    code, output = pyright(program, HERE / "cases.py")
    assert code == 0, output


def test_every_type_is_known(program: Program, tmp_path: Path) -> None:
    """pyright knows the type of every public name without guessing."""
    shutil.copytree(Path(edge.__file__).parent, tmp_path / "edge")
    code, output = pyright(program, "--verifytypes", "edge", "--ignoreexternal", path=str(tmp_path))
    assert code == 0, output
    assert "Type completeness score: 100%" in output
