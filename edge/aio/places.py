"""Places in an author's code, for log messages."""

from __future__ import annotations

import sys
from types import CodeType, FrameType

# The modules whose frames are not an author's code.
OTHERS = ("edge.", "trio.", "outcome.", "contextlib")


def authors_place() -> str:
    """Return the innermost function, file and line of the author's code that is running; empty if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_authors(frame):
            return describe(frame.f_code, frame.f_lineno)
        frame = frame.f_back
    return ""


def is_authors(frame: FrameType) -> bool:
    """Return whether a frame belongs to an author's code."""
    return not str(frame.f_globals.get("__name__", "")).startswith(OTHERS)


def describe(code: CodeType, line: int) -> str:
    """Return a place, as in ``save() (board.py:7)``."""
    return f"{code.co_name}() ({code.co_filename}:{line})"
