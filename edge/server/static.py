"""Serve files from folders. Files outside the folder, and names that begin with a dot, are never served."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import trio

from ..transports.http.http import WRITE_BYTES, FilePart, Request, Response, version_of
from ..transports.http.responses import error_response

# Headers for pages that need no resources of other sites. The headers forbid such resources, inline scripts, and frames
# around the page: https://www.w3.org/TR/CSP3/
STRICT_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; media-src 'self'; manifest-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}

# The platform's table may lack these types, or may have a type that browsers reject for JavaScript modules.
TYPES = {".js": "text/javascript; charset=utf-8", ".webmanifest": "application/manifest+json"}
BINARY = "application/octet-stream"
# One range of bytes. A request for several ranges gets the whole file, which RFC 9110 section 14.2 allows.
RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


# A header: a name, and a value of visible characters (RFC 9110 sections 5.1 and 5.5).
FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*")
OWN_HEADERS = {"content-length", "content-range", "content-type", "etag", "transfer-encoding", "connection"}


def _lower_case(headers: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping, not {headers!r:.100}")
    for name, value in headers.items():
        if {type(name), type(value)} != {str} or not FIELD.fullmatch(f"{name}: {value}"):
            raise ValueError(f"{name!r}: {value!r} is not a valid header")
        if name.lower() in OWN_HEADERS:
            raise ValueError(f"the server itself sets the header {name!r} of a file")
    return {name.lower(): value for name, value in headers.items()}


@attrs.frozen
class StaticFolder:
    """A folder of static files, for `App(static=...)`.

    Raises:
      TypeError: the headers are not a mapping.
      ValueError: a header is invalid, or is a header that the server itself sets.
    """

    path: Path = attrs.field(converter=Path)
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True, converter=_lower_case)
    """Additional headers of each response, such as `STRICT_HEADERS`."""


@attrs.frozen
class _Found:
    """A file that may be sent."""

    path: Path
    size: int
    tag: str
    """The entity tag of this version of the file."""
    version: tuple[int, int, int]
    data: bytes | None
    """The content of a small file, else None. The thread that finds the file also reads it, because a second thread
    would double the cost."""

    def body(self, start: int, end: int) -> dict[str, Any]:
        """Return the arguments of a `Response` with the bytes of the file from `start` to `end` (exclusive)."""
        if self.data is not None:
            return {"body": self.data[start:end]}
        return {"file": FilePart(self.path, start, end - start, self.version)}


async def static_file(root: Path, path: str, request: Request) -> Response:
    """Return a response with a file below `root`, or with the requested range of that file; 404 if there is none.

    Args:
      path: the decoded path below the URL prefix. For a folder, its index.html is sent.
    """
    found = await trio.to_thread.run_sync(_find, root, path, request.method == "GET")
    if found is None:
        return error_response(404, "not_found", "there is no such file")
    if matches_tag(request.headers.get("if-none-match", ""), found.tag):
        return Response(304, headers={"etag": found.tag})
    content_type = (
        TYPES.get(found.path.suffix) or mimetypes.guess_type(found.path.name)[0] or "application/octet-stream"
    )
    if content_type.startswith("text/") and "charset" not in content_type:
        content_type += "; charset=utf-8"
    headers, status, start, end = {"etag": found.tag, "accept-ranges": "bytes"}, 200, 0, found.size
    asked = RANGE.fullmatch(request.headers.get("range", "")) if request.method == "GET" else None
    if asked is not None and request.headers.get("if-range", found.tag) == found.tag:
        part = _part(asked[1], asked[2], found.size)
        if part is not None and part[0] >= part[1]:
            none = error_response(416, "range", "the range is outside the file")
            return attrs.evolve(none, headers={"content-range": f"bytes */{found.size}"})
        if part is not None:
            status, (start, end) = 206, part
            headers["content-range"] = f"bytes {start}-{end - 1}/{found.size}"
    return Response(status, content_type=content_type, headers=headers, **found.body(start, end))


def matches_tag(asked: str, tag: str) -> bool:
    """True if an ``If-None-Match`` header matches this entity tag.

    A proxy may have made the tag in the header weak (RFC 9110 section 13.1.2).
    """
    return asked.strip() == "*" or tag in [each.strip().removeprefix("W/") for each in asked.split(",")]


def _part(first: str, last: str, size: int) -> tuple[int, int] | None:
    """Return the start and the end (exclusive) of a range in a file; None if the range is invalid.

    RFC 9110 section 14.1.2: both positions are inclusive. Without `first`, the range is the last `last` bytes.
    """
    if not first:
        return (max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _find(root: Path, path: str, to_read: bool) -> _Found | None:
    if "\0" in path or "\\" in path or any(part.startswith(".") for part in path.split("/")):
        return None
    try:
        root = root.resolve()
        found = (root / path.lstrip("/")).resolve()  # follows links, so a link out of the folder is caught below
        if found.is_dir():
            found /= "index.html"
        if not (found.is_file() and found.resolve().is_relative_to(root) and os.access(found, os.R_OK)):
            return None
        stat = found.stat()
        data = found.read_bytes() if to_read and stat.st_size <= WRITE_BYTES else None
    except (OSError, RuntimeError):  # the name is too long, or the links form a loop (before Python 3.13)
        return None
    size = stat.st_size if data is None else len(data)
    return _Found(found, size, f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"', version_of(stat), data)
