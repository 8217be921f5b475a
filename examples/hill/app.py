"""The game's app: its room and its page."""

from __future__ import annotations

from pathlib import Path

import edge

from .room import Hill

app = edge.App({"hill": Hill}, static={"/": Path(__file__).parent / "web"}, static_headers=edge.STRICT_HEADERS)
