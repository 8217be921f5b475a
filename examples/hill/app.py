"""The app of king of the hill: its room and its page."""

from __future__ import annotations

from pathlib import Path

import edge
from edge.server.static import STRICT_HEADERS, StaticFolder

from .room import Hill

app = edge.App({"hill": Hill}, static={"/": StaticFolder(Path(__file__).parent / "web", headers=STRICT_HEADERS)})
