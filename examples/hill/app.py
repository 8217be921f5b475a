"""The game's app: its room and its page."""

from __future__ import annotations

from pathlib import Path

import edge
from edge.server.static import STRICT_HEADERS

from .room import Hill

app = edge.App({"hill": Hill}, static={"/": Path(__file__).parent / "web"}, static_headers=STRICT_HEADERS)
