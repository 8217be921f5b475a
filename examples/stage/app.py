"""The app of `make demo`: the stage and the other examples, on one port."""

from __future__ import annotations

import functools
import io
import logging
import os
import sys
from pathlib import Path

import segno

import edge
import edge.monitor
from edge.server.static import STRICT_HEADERS, StaticFolder
from examples import drawing, hill, monitor

from .room import ADMIN, Program, Stage

log = logging.getLogger("examples.stage")

program = Program()
app = edge.App(
    {"stage": functools.partial(Stage, program)},
    static={"/": StaticFolder(Path(__file__).parent / "web", headers=STRICT_HEADERS)},
)
app.include("/drawing", drawing.app)
app.include("/hill", hill.app)
app.include("/monitor", monitor.app)

# Secrets are printed only to a terminal, so that no log stores them.
if sys.stdout.isatty() or os.environ.get("EDGE_MONITOR_TOKEN"):
    edge.monitor.mount(app)
else:
    log.warning("the dashboard is off, because there is no terminal to print its token to: set EDGE_MONITOR_TOKEN")
if sys.stdout.isatty():
    # The key is in the fragment of the address, because browsers do not send the fragment to servers.
    key = app.keys.issue("speaker", name="speaker", claims={ADMIN: True})
    print(f"the speaker's page is /admin.html#{key}", flush=True)
else:
    log.warning("the speaker's page is off, because there is no terminal to print its address to")


@app.route("/qr.svg")
async def qr(request: edge.Request) -> edge.Response:
    """Return a QR code of the address in the query parameter `of`, for phones to scan."""
    drawn = io.BytesIO()
    segno.make(request.query.get("of", "")[:300] or "/").save(drawn, kind="svg", scale=8, border=2)
    return edge.Response(200, drawn.getvalue(), "image/svg+xml", {"cache-control": "no-store"})
