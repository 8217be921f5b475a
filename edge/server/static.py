"""Files from folders, nothing from outside them, and nothing whose name begins with a dot."""

from __future__ import annotations

import mimetypes
import os
import re
from pathlib import Path

import attrs
import trio

from ..transports.http import FilePart, Request, Response
from .responses import error_response

# For pages that bring all that they need: nothing of other sites is loaded, nothing inline is run, and none may frame
# them. https://www.w3.org/TR/CSP3/
STRICT_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; media-src 'self'; manifest-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}

# What the platform's own table may not know, or get wrong for modules.
TYPES = {".js": "text/javascript; charset=utf-8", ".webmanifest": "application/manifest+json"}
# One range of bytes; of several, the whole file is the answer, which RFC 9110 section 14.2 allows.
RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


async def static_file(root: Path, path: str, request: Request) -> Response:
    """A file below `root`, or its folder's index.html; or the range of it that is asked for.

    Args:
      path: the decoded path below the mount point.
    """
    found = await trio.to_thread.run_sync(_find, root, path)
    if found is None:
        return error_response(404, "not_found", "there is no such file")
    file, stat = found
    tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    if request.headers.get("if-none-match") == tag:
        return Response(304, headers={"etag": tag})
    content_type = TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    if content_type.startswith("text/") and "charset" not in content_type:
        content_type += "; charset=utf-8"
    headers = {"etag": tag, "accept-ranges": "bytes"}
    whole = Response(200, content_type=content_type, headers=headers, file=FilePart(file, 0, stat.st_size))
    asked = RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or request.method != "GET" or request.headers.get("if-range", tag) != tag:
        return whole
    return _part(whole, asked[1], asked[2])


def _part(whole: Response, first: str, last: str) -> Response:
    """The range of a file from one byte to another, both included; or, without a first, so many of its last bytes (RFC
    9110 section 14.1.2)."""
    assert whole.file is not None
    size = whole.file.size
    if not (first or last):
        return whole
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1 if first and last else size)
    if first and last and int(first) > int(last):
        return whole  # it is not a range, so it does not count
    if start >= end:
        none = error_response(416, "range", "there is no such part of the file")
        return Response(416, none.body, none.content_type, {"content-range": f"bytes */{size}"})
    headers = {**whole.headers, "content-range": f"bytes {start}-{end - 1}/{size}"}
    return attrs.evolve(whole, status=206, headers=headers, file=FilePart(whole.file.path, start, end - start))


def _find(root: Path, path: str) -> tuple[Path, os.stat_result] | None:
    if "\0" in path or "\\" in path or any(part.startswith(".") for part in path.split("/")):
        return None
    try:
        root = root.resolve()
        found = (root / path.lstrip("/")).resolve()  # follows links, so a link out of the folder is caught below
        if found.is_dir():
            found /= "index.html"
        if found.is_file() and found.resolve().is_relative_to(root) and os.access(found, os.R_OK):
            return found, found.stat()
    except (OSError, RuntimeError):  # a name too long for any file; a loop of links, before Python 3.13
        pass
    return None
