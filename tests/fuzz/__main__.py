"""Fuzz a target, guided by coverage: ``python -m tests.fuzz <target> <seconds>``. What reaches new lines is kept.

Ends with an error, and the input that showed it, when edge does what it must not.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edge", "h11", "wsproto"]):
    from .targets import TARGETS

from .corpus import load, save

# The longest input that is tried: longer ones find the same, and slower.
MAX_BYTES = 600


def main(target: str, seconds: str) -> int:
    """Fuzz, then keep what reached something new."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found")
        found.mkdir()
        for index, each in enumerate(load(target)):
            (found / f"{index}").write_bytes(each)
        options = [f"-max_len={MAX_BYTES}", "-timeout=30", f"-artifact_prefix={folder}/"]
        fuzz = [sys.executable, "-m", "tests.fuzz", "--run", target]
        done = subprocess.run([*fuzz, *options, f"-max_total_time={seconds}", str(found)], check=False)
        if done.returncode:
            for crash in sorted(Path(folder).glob("*-*")):
                print(f"{target}({crash.read_bytes()!r})")
            return 1
        save(target, [each.read_bytes() for each in found.iterdir()])
        print(f"{target}: {len(load(target))} inputs kept")
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        atheris.Setup([sys.argv[0], *sys.argv[3:]], TARGETS[sys.argv[2]])
        atheris.Fuzz()
    sys.exit(main(*sys.argv[1:]))
