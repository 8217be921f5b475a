"""Files from folders, nothing from outside them, and nothing whose name begins with a dot."""

from __future__ import annotations

import mimetypes
from pathlib import Path

import trio

from ..transports.http import Request, Response
from .responses import error_response

# What the platform's own table may not know, or get wrong for modules.
TYPES = {".js": "text/javascript; charset=utf-8", ".webmanifest": "application/manifest+json"}


async def static_file(root: Path, path: str, request: Request) -> Response:
    """A file below `root`, or its folder's index.html.

    Args:
      path: the decoded path below the mount point.
    """
    found = await trio.to_thread.run_sync(_find, root, path)
    if found is None:
        return error_response(404, "not_found", "there is no such file")
    stat = await trio.Path(found).stat()
    tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    if request.headers.get("if-none-match") == tag:
        return Response(304, headers={"etag": tag})
    content_type = TYPES.get(found.suffix) or mimetypes.guess_type(found.name)[0] or "application/octet-stream"
    if content_type.startswith("text/") and "charset" not in content_type:
        content_type += "; charset=utf-8"
    return Response(200, await trio.Path(found).read_bytes(), content_type, {"etag": tag})


def _find(root: Path, path: str) -> Path | None:
    if "\0" in path or "\\" in path or any(part.startswith(".") for part in path.split("/")):
        return None
    root = root.resolve()
    try:
        found = (root / path.lstrip("/")).resolve()  # follows links, so a link out of the folder is caught below
        if found.is_dir():
            found /= "index.html"
        return found if found.is_file() and found.resolve().is_relative_to(root) else None
    except OSError:  # a name too long for any file, or a loop of links
        return None
