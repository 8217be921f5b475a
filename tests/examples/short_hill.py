"""King of the hill with other settings, such as no bots or short rounds, for tests in the browser."""

from __future__ import annotations

from pathlib import Path

import edge
from examples import hill
from examples.hill.room import Hill


class ShortHill(Hill):
    round_seconds = 12.0
    pause_seconds = 4.0
    bots = 0


class LongHill(Hill):
    round_seconds = 600.0
    bots = 0


class TinyHill(LongHill):
    seats = edge.Seats(maximum=1, grace=15)


WEB = {"/": Path(hill.__file__).parent / "web"}
short = edge.App({"hill": ShortHill}, static=WEB)
long = edge.App({"hill": LongHill}, static=WEB)
tiny = edge.App({"hill": TinyHill}, static=WEB)
