"""The monitor's app: its room, its page, and an address to aim a load tool at."""

from __future__ import annotations

import gc
import mmap
from pathlib import Path
from typing import Any

import edge
from edge.server.static import STRICT_HEADERS

from .room import Monitor

app = edge.App({"monitor": Monitor}, static={"/": Path(__file__).parent / "web"}, static_headers=STRICT_HEADERS)

# How much each request leaves behind for the collector: enough to be seen in the chart of the memory.
GARBAGE = b"garbage " * 8_192

# Collect less often by itself: it holds up a realtime server, and would leave nothing for the button.
gc.set_threshold(10_000)


@app.route("/load")
async def load(request: edge.Request) -> edge.Response:
    """Do a little work, and leave something behind that only the garbage collector can find."""
    pages = mmap.mmap(-1, len(GARBAGE))  # given back to the system when it is freed, as small objects are not
    pages.write(GARBAGE)
    knot: list[Any] = [pages]
    knot.append(knot)
    return edge.json_response({"sum": sum(range(1000))})
