"""constraints.txt, which `make constraints` writes, pins the dependencies of pyproject.toml, with hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)[^\n]*((?:\\\n +--hash=sha256:[0-9a-f]{64} ?)+)$", re.MULTILINE)


def test_the_constraints_fit_the_project() -> None:
    """constraints.txt has an accepted version with hashes for each dependency and each extra, and no address of an
    index."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "constraints.txt").read_text()
    pinned = {canonicalize_name(name): version for name, version, _ in PINNED.findall(text)}
    extras = project["optional-dependencies"]
    for asked in (*project["dependencies"], *extras["monitor"], *extras["redis"]):
        requirement = Requirement(asked)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), asked
    assert len(PINNED.findall(text)) == len(re.findall(r"^[^\s#]", text, re.MULTILINE)), (
        "constraints.txt has a line without hashes"
    )
    assert "://" not in text, "constraints.txt contains the address of an index"
