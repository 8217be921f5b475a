"""The app of `make demo`: the stage, and the other examples behind it, on one port."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import segno

import edge
import edge.monitor
from examples import drawing, hill, monitor

from .room import ADMIN, Stage, Switchboard

log = logging.getLogger("examples.stage")

switchboard = Switchboard()
app = edge.App({"stage": lambda: Stage(switchboard)}, static={"/": Path(__file__).parent / "web"})
app.include("/drawing", drawing.app)
app.include("/hill", hill.app)
app.include("/monitor", monitor.app)
edge.monitor.mount(app)

# In the address's fragment, which a browser keeps to itself: it is in no request and in no log but this one.
log.info("the speaker's page is /admin.html#%s", app.keys.issue("speaker", name="speaker", claims={ADMIN: True}))


@app.route("/qr.svg")
async def qr(request: edge.Request) -> edge.Response:
    """The address of this stage, as the browser asked for it, to be scanned by phones."""
    scheme = "https" if request.query.get("tls") else "http"
    drawn = io.BytesIO()
    segno.make(f"{scheme}://{request.headers.get('host', '')[:200]}/").save(drawn, kind="svg", scale=8, border=2)
    return edge.Response(200, drawn.getvalue(), "image/svg+xml", {"cache-control": "no-store"})
