"""Which pages may speak to a server: those of its own host, and those of the sites that the app names."""

from __future__ import annotations

import logging
from collections.abc import Collection

import attrs

from ..codes import Code
from ..transports.http.http import Request, Response
from ..transports.http.responses import refusal_response
from ..transports.http.transport import CODE, CONNECTION, FIRST, HAS, MODE, PROTOCOL
from .hosts import Origin
from .sessions import CUSTOM

log = logging.getLogger("edge.server")

# How many foreign origins are told to the log.
MAX_LOGGED = 100


class Origins:
    """The origins whose pages may connect.

    Args:
      allowed: besides the server's own, such as ``"https://example.org"``; ``"*"`` for all of them.

    Raises:
      TypeError: a text, where a list of them is wanted.
      ValueError: not an origin.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        if isinstance(allowed, str):
            raise TypeError("origins is a list of them")
        self._all = "*" in allowed
        self._named = frozenset(Origin.parse(origin) for origin in allowed if origin != "*")
        self._logged: set[str] = set()

    def allow(self, request: Request) -> bool:
        """True if the page that sends it may: one of the same host, or of an allowed origin, or no browser at all."""
        return self._all or "origin" not in request.headers or self.names(request)

    def names(self, request: Request) -> bool:
        """True if it is a page of the same host, or of an origin that is allowed by name: its cookies count."""
        try:
            origin = Origin.parse(request.headers.get("origin", ""))
        except ValueError:  # such as "null", of a page from a file
            return False
        return origin in self._named or origin.is_of(request.headers.get("host", ""), request.scheme)

    def sharing(self, request: Request) -> dict[str, str]:
        """The headers that let an allowed page of another origin read the response."""
        return _readable(request) if self.allow(request) else {}

    def preflight(self, request: Request) -> Response:
        """The answer to a browser that asks whether a page may speak to rooms over HTTP. Any page may ask: one that may
        not speak can then read why."""
        allowed = ", ".join((CONNECTION, PROTOCOL, MODE, FIRST, HAS, CUSTOM, "content-type", "authorization"))
        asked = {"access-control-allow-methods": "GET, POST", "access-control-allow-headers": allowed}
        return Response(204, headers={**_readable(request), **asked, "access-control-max-age": "600"})

    def refuse(self, request: Request) -> Response:
        """The answer to a page that may not, which it can read."""
        origin = request.headers.get("origin", "")[:200]
        if origin not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(origin)
            if origin == "null":
                log.warning("pages of no origin, such as of files and of sandboxed frames, may not connect")
            else:
                text = "pages of %r may not connect: if they should, allow it with App(origins=[%r])"
                log.warning(text, origin, origin)
            if len(self._logged) == MAX_LOGGED:
                log.warning("so many origins were refused that no more are logged")
        text = f"pages of {origin} may not connect here: see App(origins=[...])"
        response = refusal_response(403, Code.FOREIGN_ORIGIN, text)
        return attrs.evolve(response, headers={**response.headers, **_readable(request)})


def _readable(request: Request) -> dict[str, str]:
    """The headers that let a page read a response, in whatever way it asked. Without an origin there is no page."""
    origin = request.headers.get("origin")
    if origin is None or not origin.isascii():  # of no browser
        return {}
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": CODE,
        "vary": "origin",
    }
