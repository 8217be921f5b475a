"""Serve the browser's client: ``/edge.js`` and the files beside it, which `edge.client.build` wrote.

If the environment variable ``EDGE_JS_MODULES`` is set, ``/edge.js`` loads the unbundled modules. Developers of edge.js
use this variable.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from pathlib import Path

import attrs
import trio

from ..transports.http.http import Request, Response
from .static import TYPES, matches_tag, static_file

CLIENT = Path(__file__).parent.parent / "client" / "js"
BUILT, MODULES = CLIENT / "dist", CLIENT / "src"
# The environment variable that makes a server serve the unbundled modules.
AS_MODULES = "EDGE_JS_MODULES"
ENTRIES = ("/edge.js", "/edge-http.js", "/edge-motion.js")
# The path below which the modules are served.
MODULES_PATH = "/edge-js/"
# The weight of an accepted coding, from 0 to 1 (RFC 9110 section 12.4.2).
WEIGHT = re.compile(r"q=(0(\.[0-9]{0,3})?|1(\.0{0,3})?)")
# Pages of other origins may load these files. A browser revalidates its copy each time, so that a page never runs a
# client that is older than the server's.
HEADERS = {"access-control-allow-origin": "*", "cache-control": "no-cache"}


@attrs.frozen
class _File:
    """A built file, uncompressed and compressed."""

    content_type: str
    data: bytes
    zipped: bytes
    digest: str


class ClientFiles:
    """Serves the browser's client. Each file is read and compressed once."""

    def __init__(self) -> None:
        self._as_modules = os.environ.get(AS_MODULES, "") not in ("", "0")
        self._files: dict[str, _File] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that are served."""
        if self._as_modules:
            return *ENTRIES, *(MODULES_PATH + module.name for module in MODULES.glob("*.js"))
        return *ENTRIES, *(path + ".map" for path in ENTRIES)

    async def respond(self, request: Request) -> Response:
        """Return a response with the requested file.

        The request's path is one of `paths`, or the prefix of an included app and one of `paths`.
        """
        name = request.path.rpartition("/")[2]
        if self._as_modules:
            if not request.path.endswith(MODULES_PATH + name):
                return Response(200, f'export * from ".{MODULES_PATH}{name}";\n'.encode(), TYPES[".js"], HEADERS)
            response = await static_file(MODULES, name, request)
            return attrs.evolve(response, headers={**response.headers, **HEADERS})
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = await trio.to_thread.run_sync(_read, BUILT / name)
        zipped = accepts_gzip(request.headers.get("accept-encoding", ""))
        tag = f'"{file.digest}{".gz" if zipped else ""}"'  # RFC 9110 section 8.8.3.3: a tag for each representation
        headers = {**HEADERS, "etag": tag, "vary": "accept-encoding"}
        if matches_tag(request.headers.get("if-none-match", ""), tag):
            return Response(304, headers=headers)
        if zipped:
            return Response(200, file.zipped, file.content_type, {**headers, "content-encoding": "gzip"})
        return Response(200, file.data, file.content_type, headers)


def accepts_gzip(accepted: str) -> bool:
    """True if an ``Accept-Encoding`` header allows gzip (RFC 9110 section 12.5.3)."""
    weights = {}
    for each in accepted.lower().split(","):
        coding, _, parameters = each.partition(";")
        weights[coding.strip()] = parameters.replace(" ", "")
    weight = weights.get("gzip", weights.get("*", "q=0"))
    return weight == "" or (WEIGHT.fullmatch(weight) is not None and float(weight[2:]) > 0)


def _read(path: Path) -> _File:
    data = path.read_bytes()
    content_type = TYPES[".js"] if path.suffix == ".js" else "application/json"
    return _File(content_type, data, gzip.compress(data, mtime=0), hashlib.sha256(data).hexdigest()[:16])
