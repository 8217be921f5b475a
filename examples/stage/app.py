"""The app of `make demo`: the stage, and the other examples behind it, on one port."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path

import segno

import edge
import edge.monitor
from edge.server.static import STRICT_HEADERS
from examples import drawing, hill, monitor

from .room import ADMIN, Stage, Switchboard

log = logging.getLogger("examples.stage")

switchboard = Switchboard()
app = edge.App(
    {"stage": lambda: Stage(switchboard)},
    static={"/": Path(__file__).parent / "web"},
    static_headers=STRICT_HEADERS,
)
app.include("/drawing", drawing.app)
app.include("/hill", hill.app)
app.include("/monitor", monitor.app)

# Secrets are for a person at a terminal, and in no log.
if sys.stdout.isatty() or os.environ.get("EDGE_MONITOR_TOKEN"):
    edge.monitor.mount(app)
else:
    log.warning("no terminal to print the monitor's token to, so there is no dashboard: set EDGE_MONITOR_TOKEN")
if sys.stdout.isatty():
    # In the address's fragment, which a browser keeps to itself: it is in no request.
    key = app.keys.issue("speaker", name="speaker", claims={ADMIN: True})
    print(f"the speaker's page is /admin.html#{key}", flush=True)
else:
    log.warning("no terminal to print the speaker's address to")


@app.route("/qr.svg")
async def qr(request: edge.Request) -> edge.Response:
    """The address of this stage, as the page knows it, to be scanned by phones."""
    drawn = io.BytesIO()
    segno.make(request.query.get("of", "")[:300] or "/").save(drawn, kind="svg", scale=8, border=2)
    return edge.Response(200, drawn.getvalue(), "image/svg+xml", {"cache-control": "no-store"})
