"""The saved inputs of the fuzz targets. Each target has one file, with one input on each line, in base64."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def load(target: str) -> list[bytes]:
    """Return the saved inputs of a target."""
    return [base64.b64decode(line) for line in (FOLDER / target).read_text().splitlines()]


def save(target: str, inputs: Iterable[bytes]) -> None:
    """Save these inputs of a target, with the shortest first."""
    lines = [base64.b64encode(each).decode() for each in sorted(set(inputs), key=lambda each: (len(each), each))]
    (FOLDER / target).write_text("".join(f"{line}\n" for line in lines))
