"""The monitor's app: its room, its page, and a path for load tools."""

from __future__ import annotations

import gc
import mmap
from pathlib import Path
from typing import Any

import edge
from edge.server.static import STRICT_HEADERS, StaticFolder

from .room import Monitor

app = edge.App({"monitor": Monitor}, static={"/": StaticFolder(Path(__file__).parent / "web", headers=STRICT_HEADERS)})

# The garbage that each request leaves for the collector. It is large enough to be visible in the memory chart.
GARBAGE = b"garbage " * 8_192

# Make automatic collections rare, because they would delay the server and leave no garbage for the page's button.
gc.set_threshold(10_000)


@app.route("/load")
async def load(request: edge.Request) -> edge.Response:
    """Do a little work, and leave garbage that only the garbage collector can free."""
    pages = mmap.mmap(-1, len(GARBAGE))  # unlike small objects, a freed mapping returns its memory to the system
    pages.write(GARBAGE)
    knot: list[Any] = [pages]
    knot.append(knot)
    return edge.json_response({"sum": sum(range(1000))})
