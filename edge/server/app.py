"""`App`: the kinds of rooms, the static files and the HTTP routes that one server serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeVar

from ..aio.members import guard_members
from ..cluster.cluster import Cluster
from ..protocol.limits import Limits
from ..rooms.directory import Directory, Listing
from ..rooms.room import Room
from ..rooms.session import Session
from ..sessions.keys import Keys
from ..transports.http.http import MAX_BODY_BYTES, Request, Response
from .asgi import AsgiApp, Mount
from .limiter import AddressLimits
from .sessions import HasCookies, SessionCookie, Sessions
from .site import Site
from .static import StaticFolder

R = TypeVar("R", bound=Callable[[Request], Awaitable[Response]])


@guard_members
class App:
    """A web application with rooms. Pass it to `serve`, or name it in ``edge run module:app``.

    Args:
      rooms: a `Room` class, or a function that makes a room, for each kind: ``{"drawing": Drawing}`` serves
        ``/rooms/drawing/<name>``.
      static: folders by URL prefix, such as ``{"/": "web"}``, or `StaticFolder` for further headers. The longest prefix
        that matches is used.
      hosts: the host names that the server answers for, such as ``"example.org"``; ``"*.example.org"`` for all its
        subdomains, ``"*"`` for any name. By default the names of this machine if the server listens on a loopback
        address, else any name.
      origins: other sites whose pages may connect, such as ``"https://example.org"``; ``"*"`` for all sites. A page of
        the same host may always connect, unless the page was loaded over HTTP and connects over HTTPS.
      sessions: session keys, guests and the cookie: see `Sessions`.
      mount: an ASGI app, for every path that is not a room, a route, or below a prefix of `static`; or a `Mount`, with
        its limits.
      api_token: the secret of the HTTP API below ``/edge-api/``, which publishes to rooms, lists rooms and seats, kicks
        players and revokes sessions. By default there is no API.
      limits: the limits of one connection.
      address_limits: the limits of one address, and of the whole server.
      cluster: the servers with which this one shares its rooms: see `Cluster`. By default there is one server.
      idle: close a room after this many seconds without a seat.

    The app also serves these paths: ``/edge.js`` is the browser client. ``POST /session`` gives a page its session key.
    ``/livez`` responds 200. ``/readyz`` responds 503 while the server drains, and while it cannot open another room:
    because `AddressLimits.rooms` are open, or because the broker cannot be reached.
    """

    def __init__(
        self,
        rooms: Mapping[str, Callable[[], Room[Any, Any]]],
        *,
        static: Mapping[str, str | PathLike[str] | StaticFolder] | None = None,
        hosts: Collection[str] | None = None,
        origins: Collection[str] = (),
        sessions: Sessions | None = None,
        mount: AsgiApp | Mount | None = None,
        api_token: str | None = None,
        limits: Limits | None = None,
        address_limits: AddressLimits | None = None,
        cluster: Cluster | None = None,
        idle: float = 60,
    ) -> None:
        self.__edge_site = Site(
            rooms,
            static=static,
            hosts=hosts,
            origins=origins,
            sessions=sessions,
            mount=mount,
            api_token=api_token,
            limits=limits,
            address_limits=address_limits,
            cluster=cluster,
            idle=idle,
        )

    @property
    def directory(self) -> Directory:
        """The open rooms of this server."""
        return self.__edge_site.directory

    @property
    def keys(self) -> Keys:
        """The object that issues and checks session keys."""
        return self.__edge_site.sessions.keys

    @property
    def cookie(self) -> SessionCookie:
        """The cookie in which a browser stores its session key."""
        return self.__edge_site.sessions.cookie

    def include(self, prefix: str, app: App) -> None:
        """Serve another app on the same port: its rooms, and its routes and static files below a prefix.

        The other app then uses this app's directory, keys, cookie and limits instead of its own. Its ``/livez`` and
        ``/readyz`` are not included. ``/session``, ``/edge.js`` and the rooms are served at their own paths and below
        the prefix, so that pages with relative URLs work at either place.

        Args:
          prefix: such as ``"/drawing"``. The other app's pages should use relative URLs.

        Raises:
          ValueError: both apps have the same kind of room, or the same path; the other app has a mounted app, or an
            API; only one of the two admits guests. After an error, nothing is included.
        """
        self.__edge_site.include(prefix, app.__edge_site)

    def route(
        self, path: str, *, methods: Iterable[str] = ("GET",), max_body_bytes: int = MAX_BODY_BYTES
    ) -> Callable[[R], R]:
        """Register the decorated ``async def(request) -> Response`` for requests of exactly this path.

        Args:
          methods: the HTTP methods. A route for GET also answers HEAD.
          max_body_bytes: the largest request body, which is read before the function is called; at most
            `AddressLimits.body_bytes_each`, which limits the bodies that one address sends at the same time.

        Raises:
          ValueError: the path has a route for this method, or `max_body_bytes` is negative or more than
            `AddressLimits.body_bytes_each`.
        """
        return self.__edge_site.route(path, methods=methods, max_body_bytes=max_body_bytes)

    def session(self, request: HasCookies) -> Session | None:
        """Return the session of a request, by its ``Authorization: Bearer`` or its cookies; None without a valid key.

        Args:
          request: a request of a route, or any object with ``headers`` and ``cookies``, such as Starlette's request.
        """
        return self.__edge_site.session(request)

    def revoke(self, session: str, *, until: float | None = None) -> float:
        """Revoke the keys of the session with this id, and end the session's seats with `Code.REVOKED`.

        This applies to every server that shares the broker and can be reached now.

        Args:
          until: keys that were issued up to this time are revoked, in seconds since the epoch; see `Keys.revoke`.

        Returns: the time up to which keys are revoked.
        """
        return self.__edge_site.revoke(session, until=until)

    async def list_rooms(self, kind: str | None = None) -> Sequence[Listing]:
        """List the open rooms of all servers that share the broker, of one kind or of all kinds.

        The rooms of other servers are listed as these servers last reported them.

        Raises:
          BrokerDown: the broker cannot be reached.

        *Cancellation* loses nothing.
        """
        return await self.__edge_site.list_rooms(kind)


def site_of(app: App) -> Site:
    """Return the site of an app."""
    site: Site = app._App__edge_site  # type: ignore[attr-defined]  # a private name cannot collide with authors' names
    return site
