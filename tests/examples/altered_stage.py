"""The stage of `make demo`, as it is met elsewhere: without site data, in a frame of another site, or by who sleeps."""

from __future__ import annotations

import os

import attrs

import edge
from edge.server.app import site_of
from edge.server.sessions import SessionCookie
from edge.transports.http.http import FilePart
from examples.stage import app

# What a browser does whose user has blocked site data, where a driver can't tell it to.
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
    site_of(app).cookie = SessionCookie(partitioned=os.environ["FRAMED"] == "partitioned")
if "SLEEPY" in os.environ:
    site_of(app).limits = edge.Limits(heartbeat=1, dead_after=3)


@app.route("/block.js")
async def block(request: edge.Request) -> edge.Response:
    return edge.Response(200, BLOCK, "text/javascript")


@app.route("/around.html")
async def around(request: edge.Request) -> edge.Response:
    """A page of another site, when it is asked for by another name of this machine."""
    frame = f'<iframe src="{request.query["of"]}" style="border: 0; width: 100vw; height: 100vh">'
    size = '<meta name="viewport" content="width=device-width"><style>body { margin: 0 }</style>'
    page = f'<!doctype html><link rel="icon" href="data:,">{size}{frame}'
    return edge.Response(200, page.encode(), "text/html")
