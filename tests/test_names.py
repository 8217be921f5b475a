"""Words that were replaced by standard terms are not used again."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent

# The replaced words, as they would occur in code or prose. `docs/glossary.md` has the words to use instead.
OLD = re.compile(
    r"\b(Scribe|Keeper|Chapter|can_be_kept|[Tt]ally|directory_tally|Door|Caps|_Visitor|Post|open_post|Alarm"
    r"|Lanes?|lanes|open_lanes|_Judge|_Reenactment|Bell|LineOver|ServedLine|DialledLine|line_server|edge-line"
    r"|attend|attended|Elsewhere|Dialogue|dialogue|Asked|Mail|mail|[Pp]arcels?|Questions\("
    r"|Forwards|_Borrowed|Trouble|Deaf|Standing|Happening|[Ll]adder|[Dd]ialler|afresh|anew|seat_again|[Ff]arewells?"
    r"|kept rooms?|standing)\b|\b(besides|speaks|hears|patience|caps)=|\bpatience\b"
)

PLACES = ("edge", "examples", "docs", "README.md", "SECURITY.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")
SUFFIXES = {".py", ".js", ".mjs", ".md", ".html", ".json", ".toml", ""}


def test_no_old_name_is_left() -> None:
    """The files of `PLACES` contain no replaced word; the changelog is not among them, because it may mention old
    names."""
    paths = [ROOT / place for place in PLACES]
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    found = [
        f"{file.relative_to(ROOT)}:{number}: {match[0]}"
        for file in files
        if file.is_file() and file.suffix in SUFFIXES and "__pycache__" not in file.parts
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if (match := OLD.search(line))
    ]
    assert found == []
