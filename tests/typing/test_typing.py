"""Type checkers know the types of all public names of edge, and infer the types in an author's code."""

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
    """Run pyright with the packages of this environment, and return its exit code and output."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": path}
    command = [program("pyright", GET_PYRIGHT), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def test_an_authors_code(program: Program) -> None:
    """pyright infers the expected types in cases.py."""
    code, output = pyright(program, HERE / "cases.py")
    assert code == 0, output


def test_every_type_is_known(program: Program, tmp_path: Path) -> None:
    """Every public name of edge has a type that pyright does not have to guess."""
    shutil.copytree(Path(edge.__file__).parent, tmp_path / "edge")
    code, output = pyright(program, "--verifytypes", "edge", "--ignoreexternal", path=str(tmp_path))
    assert code == 0, output
    assert "Type completeness score: 100%" in output
