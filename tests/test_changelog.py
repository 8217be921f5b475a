"""towncrier can build the changelog of a release from the fragments."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FRAGMENT = re.compile(r"(\d+|\+[a-z0-9-]+)\.(feature|fix|change|security)\.md")


def test_fragments() -> None:
    """Each fragment has a valid name, and the draft of a release contains the text of each fragment."""
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]
    assert all(FRAGMENT.fullmatch(path.name) for path in fragments)
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "1.2.3", "--date", "2000-01-01"]
    draft = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert draft.strip().startswith("## 1.2.3, 2000-01-01")
    plain = " ".join(draft.split())
    for path in fragments:
        assert " ".join(path.read_text().split()) in plain, path.name
