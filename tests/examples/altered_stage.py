"""The app of `make demo` with changes that environment variables select: without site data, in a frame of another
site's page, or with short time-outs."""

from __future__ import annotations

import os

import attrs

import edge
from edge.server.app import site_of
from edge.server.sessions import SessionCookie
from edge.transports.http.http import FilePart
from examples.stage import app

# A script that blocks site data. Tests need it for browsers whose driver can't change the user's setting for site data.
BLOCK = b"""for (const storage of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, storage, { get() { throw new DOMException("denied", "SecurityError"); } });
}"""

respond = site_of(app).respond


async def altered(request: edge.Request) -> edge.Response:
    response = await respond(request)
    headers, body = dict(response.headers), response.body
    if "FRAMED" in os.environ and (policy := headers.get("content-security-policy")):
        headers["content-security-policy"] = policy.replace("frame-ancestors 'none'", "frame-ancestors *")
        headers.pop("x-frame-options", None)
    if "BLOCKED" in os.environ and response.content_type.startswith("text/html"):
        text = body.path.read_bytes() if isinstance(body, FilePart) else body
        body = text.replace(b"<head>", b'<head><script src="/block.js"></script>')
    return attrs.evolve(response, headers=headers, body=body)


site_of(app).respond = altered  # type: ignore[method-assign]
if "FRAMED" in os.environ:
    site_of(app).sessions.cookie = SessionCookie(partitioned=os.environ["FRAMED"] == "partitioned")
if "SLEEPY" in os.environ:
    site_of(app).limits = edge.Limits(heartbeat=1, dead_after=3)


@app.route("/block.js")
async def block(request: edge.Request) -> edge.Response:
    return edge.Response(200, BLOCK, "text/javascript")


@app.route("/around.html")
async def around(request: edge.Request) -> edge.Response:
    """Return a page with a frame, which shows the address in the query's `of`. With another host name in this address,
    the frame belongs to another site."""
    frame = f'<iframe src="{request.query["of"]}" style="border: 0; width: 100vw; height: 100vh">'
    size = '<meta name="viewport" content="width=device-width"><style>body { margin: 0 }</style>'
    page = f'<!doctype html><link rel="icon" href="data:,">{size}{frame}'
    return edge.Response(200, page.encode(), "text/html")
