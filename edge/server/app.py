"""An app: kinds of rooms, pages and routes under one roof."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from ..protocol.limits import Limits
from ..rooms.directory import Directory
from ..rooms.room import Room
from ..sessions.keys import Keys
from .http import Request, Response, error_response, json_response
from .static import static_file

Route = Callable[[Request], Awaitable[Response]]
R = TypeVar("R", bound=Route)

EDGE_JS = Path(__file__).parent.parent / "client" / "edge.js"


class App:
    """What `serve` serves.

    Args:
      rooms: what makes a room of each kind; ``{"drawing": Drawing}`` serves ``/rooms/drawing/<name>``.
      static: folders by URL prefix, such as ``{"/": Path("web")}``; the longest prefix that fits wins.
      origins: other sites whose pages may connect, such as ``"https://example.org"``; ``"*"`` for all of them. A page
        of the same host always may.
      keys: who issues and checks the keys of sessions; by default, secrets of this process alone: a restart ends every
        session, and no other server honours them.
      limits: what one connection may cost.
      max_rooms: how many rooms may be open.
      idle: close a room in which nobody has sat for this many seconds.

    ``/edge.js`` is the browser's client, and ``/healthz`` answers 200, or 503 while draining.
    """

    def __init__(
        self,
        rooms: Mapping[str, Callable[[], Room[Any, Any]]],
        *,
        static: Mapping[str, str | PathLike[str]] | None = None,
        origins: Iterable[str] = (),
        keys: Keys | None = None,
        limits: Limits | None = None,
        max_rooms: int = 10_000,
        idle: float = 60,
    ) -> None:
        self.directory = Directory(rooms, max_rooms=max_rooms, idle=idle)
        self.limits = limits or Limits()
        self.keys = keys or Keys(secrets.token_bytes(32))
        self.draining = False
        self._static = {prefix.rstrip("/") + "/": Path(folder) for prefix, folder in (static or {}).items()}
        self._origins = frozenset(origins)
        self._routes: dict[str, dict[str, Route]] = {}
        self.route("/healthz")(self._healthz)
        self.route("/edge.js")(self._edge_js)

    def route(self, path: str, *, methods: Iterable[str] = ("GET",)) -> Callable[[R], R]:
        """Decorate an ``async def(request) -> Response`` that answers this very path.

        Raises:
          ValueError: the path is taken.
        """

        def add(run: R) -> R:
            for method in methods:
                if method in self._routes.setdefault(path, {}):
                    raise ValueError(f"{method} {path} has a route already")
                self._routes[path][method] = run
            return run

        return add

    def allows_origin(self, request: Request) -> bool:
        """Whether the page that connects may: one of the same host, or of an allowed origin, or no browser at all."""
        origin = request.headers.get("origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return True
        return origin.partition("://")[2] == request.headers.get("host")

    async def respond(self, request: Request) -> Response:
        """The answer to a request that is not for a room."""
        methods = self._routes.get(request.path)
        if methods is not None:
            route = methods.get("GET" if request.method == "HEAD" else request.method)
            if route is None:
                return error_response(405, "method", f"this path answers {', '.join(methods)}")
            return await route(request)
        for prefix in sorted(self._static, key=len, reverse=True):
            if request.path.startswith(prefix) and request.method in ("GET", "HEAD"):
                return await static_file(self._static[prefix], request.path.removeprefix(prefix), request)
        return error_response(404, "not_found", "there is nothing here")

    async def _healthz(self, request: Request) -> Response:
        if self.draining:
            return json_response({"status": "draining"}, status=503)
        return json_response({"status": "ok", "rooms": len(self.directory)})

    async def _edge_js(self, request: Request) -> Response:
        return await static_file(EDGE_JS.parent, EDGE_JS.name, request)
