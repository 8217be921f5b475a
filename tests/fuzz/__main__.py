"""Fuzz a target, guided by coverage and by cost: ``python -m tests.fuzz <target> <seconds>``.

The fuzzer saves an input that reaches new lines, or that takes more CPU time per byte than all earlier inputs. If edge
misbehaves, the fuzzer prints the input and ends with an error.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edge", "h11", "wsproto"]):
    from .targets import SHORT_BYTES, TARGETS, Target, cost_per_byte

from .corpus import load, save

# The maximum length of an input, in bytes. Longer inputs find the same faults, but more slowly.
MAX_BYTES = 600


# The factor by which an input must be more expensive than all earlier inputs. A smaller difference may be noise.
DEARER = 1.2


def watch_cost(target: Target, folder: Path) -> Target:
    """Return a wrapper of a target. If an input takes more CPU time per byte than all earlier inputs, the wrapper
    writes it to `folder`, from which the fuzzer reads it."""
    dearest = 0.0

    def run(data: bytes) -> None:
        nonlocal dearest
        began = time.thread_time()
        target(data)
        if (time.thread_time() - began) / max(len(data), SHORT_BYTES) > DEARER * dearest:
            cost = cost_per_byte(target, data)
            if cost > DEARER * dearest:
                dearest = cost
                (folder / f"cost-{cost * 1e9:012.0f}").write_bytes(data)

    return run


def main(target: str, seconds: str) -> int:
    """Fuzz a target for this number of seconds, then save the inputs that reached new lines or a new cost."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found")
        found.mkdir()
        for index, each in enumerate(load(target)):
            (found / f"{index}").write_bytes(each)
        options = [f"-max_len={MAX_BYTES}", "-timeout=30", f"-artifact_prefix={folder}/"]
        fuzz = [sys.executable, "-m", "tests.fuzz", "--run", target, str(found)]
        done = subprocess.run([*fuzz, *options, f"-max_total_time={seconds}", str(found)], check=False)
        if done.returncode:
            for crash in sorted(each for each in Path(folder).glob("*-*") if each.is_file()):
                print(f"{target}({crash.read_bytes()!r})")
            return 1
        save(target, [each.read_bytes() for each in found.iterdir()])
        print(f"{target}: {len(load(target))} inputs saved")
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        atheris.Setup([sys.argv[0], *sys.argv[4:]], watch_cost(TARGETS[sys.argv[2]], Path(sys.argv[3])))
        atheris.Fuzz()
    sys.exit(main(*sys.argv[1:]))
