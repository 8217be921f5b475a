"""Decide which pages may connect: pages of the server's own host, and pages of the origins that the app allows."""

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

log: logging.Logger = logging.getLogger("edge.server")

# The maximum number of origins whose refusals are logged.
MAX_LOGGED = 100


class Origins:
    """The origins whose pages may connect.

    Args:
      allowed: origins in addition to the server's own, such as ``"https://example.org"``; ``"*"`` for all origins.

    Raises:
      TypeError: `allowed` is a string.
      ValueError: an item is not an origin.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        if isinstance(allowed, str):
            raise TypeError("origins must be a list of origins, not a string")
        self._all = "*" in allowed
        self._named = frozenset(Origin.parse(origin) for origin in allowed if origin != "*")
        self._logged: set[str] = set()

    def allow(self, request: Request) -> bool:
        """Return true if the page of this request may connect.

        A request without an `Origin` is allowed: a program sent the request, or the request is a GET of a page of the
        same host.
        """
        return self._all or "origin" not in request.headers or self.names(request)

    def names(self, request: Request) -> bool:
        """Return true if the page is of the same host, or of an origin that is allowed by name.

        Only such pages may use cookies.
        """
        try:
            origin = Origin.parse(request.headers.get("origin", ""))
        except ValueError:  # such as "null", the origin of a page that was loaded from a file
            return False
        return origin in self._named or origin.is_of(request.headers.get("host", ""), request.scheme)

    def sharing(self, request: Request) -> dict[str, str]:
        """Return the CORS headers that let an allowed page of another origin read the response."""
        return _readable(request) if self.allow(request) else {}

    def preflight(self, request: Request) -> Response:
        """Return the response to a CORS preflight for an HTTP transport or a session key.

        A preflight of any origin is allowed, so that a page that may not connect can read the refusal of its request.
        """
        allowed = ", ".join((CONNECTION, PROTOCOL, MODE, FIRST, HAS, CUSTOM, "content-type", "authorization"))
        asked = {"access-control-allow-methods": "GET, POST", "access-control-allow-headers": allowed}
        return Response(204, headers={**_readable(request), **asked, "access-control-max-age": "600"})

    def refuse(self, request: Request) -> Response:
        """Return the refusal for a page that may not connect, with CORS headers so that the page can read it."""
        origin = request.headers.get("origin", "")[:200]
        if origin not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(origin)
            if origin == "null":
                log.warning("pages without an origin, such as files and sandboxed frames, may not connect")
            else:
                text = "pages of %r may not connect: to allow them, set App(origins=[%r])"
                log.warning(text, origin, origin)
            if len(self._logged) == MAX_LOGGED:
                log.warning("refusals of further origins are not logged: too many origins were refused")
        text = f"pages of {origin} may not connect: the server can allow them with App(origins=[...])"
        response = refusal_response(403, Code.FOREIGN_ORIGIN, text)
        return attrs.evolve(response, headers={**response.headers, **_readable(request)})


def _readable(request: Request) -> dict[str, str]:
    """Return the CORS headers that let the page of a request read the response; none without an `Origin`."""
    origin = request.headers.get("origin")
    if origin is None or not origin.isascii():  # a browser sends only ASCII origins
        return {}
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": CODE,
        "vary": "origin",
    }
