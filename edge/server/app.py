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


@guard_members()
class App:
    """A web application with rooms. Pass it to `serve`, or name it in ``edge run module:app``.

    Args:
      rooms: for each kind of room, a `Room` class or a function that makes a room. ``{"drawing": Drawing}`` serves
        rooms at ``/rooms/drawing/<name>``. A function may have the parameters ``name``, the room's name, and
        ``options``, the join options of the client that opens the room: see `Room.join_options`.
      static: for each URL prefix, a folder of static files, as in ``{"/": "web"}``. A `StaticFolder` adds headers to
        the responses. If several prefixes match a path, the longest is used.
      hosts: the host names that the server answers for, such as ``"example.org"``; ``"*.example.org"`` for all its
        subdomains, ``"*"`` for any name. By default, a server that listens on a loopback address answers only for
        loopback names, such as ``localhost``, and any other server answers for any name.
      origins: other sites whose pages may connect, such as ``"https://example.org"``; ``"*"`` for all sites. A page of
        the same host may always connect, unless the page was loaded over HTTP and connects over HTTPS.
      sessions: session keys, guests and the cookie: see `Sessions`.
      mount: an ASGI app, or a `Mount` to set its limits. The ASGI app answers the requests that edge does not answer
        with a room, a route, the API or a folder of `static`.
      api_token: the secret of the HTTP API below ``/edge-api/``, which publishes to rooms, lists rooms and seats, kicks
        players and revokes sessions. By default there is no API.
      limits: the limits of each connection.
      address_limits: the limits of each client address, and of the whole server.
      cluster: the servers with which this server shares its rooms: see `Cluster`. By default, there is one server.
      idle: the time in seconds after which a room without a seat is closed.

    The app also serves these paths: ``/edge.js`` is the browser client. ``POST /session`` gives a page its session key.
    ``/livez`` always responds 200. ``/readyz`` responds 503 while the server drains or cannot open another room, and
    otherwise 200. A server cannot open another room while `AddressLimits.rooms` rooms are open, or while the broker
    cannot be reached.
    """

    def __init__(
        self,
        rooms: Mapping[str, Callable[..., Room[Any, Any]]],
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
        """Serve the rooms of another app too, and serve its routes and static files below a prefix.

        The other app then uses this app's directory, keys, cookie and limits instead of its own. Its ``/livez`` and
        ``/readyz`` are not included. ``/session``, ``/edge.js`` and the rooms are served both at their own paths and
        below the prefix, so that relative URLs work in the pages of both apps.

        Args:
          prefix: a path such as ``"/drawing"``. The other app's pages should use relative URLs.

        Raises:
          TypeError: the prefix is not a string.
          ValueError: the prefix does not begin with a slash; both apps have the same kind of room, or the same path;
            the other app has a mounted app, or an API; or only one of the two apps admits guests.

        After an error, nothing is included.
        """
        self.__edge_site.include(prefix, app.__edge_site)

    def route(
        self, path: str, *, methods: Iterable[str] = ("GET",), max_body_bytes: int = MAX_BODY_BYTES
    ) -> Callable[[R], R]:
        """Register the decorated function for requests of exactly this path.

        The function is ``async``, takes a `Request` and returns a `Response`.

        Args:
          methods: the HTTP methods. A route for GET also answers HEAD.
          max_body_bytes: the largest request body, in bytes. The body is read before the function is called. The value
            is at most `AddressLimits.body_bytes_each`, the limit for all bodies that an address sends at once.

        Raises:
          ValueError: the path already has a route for one of the methods, or `max_body_bytes` is negative or more than
            `AddressLimits.body_bytes_each`.
        """
        return self.__edge_site.route(path, methods=methods, max_body_bytes=max_body_bytes)

    def session(self, request: HasCookies) -> Session | None:
        """Return the session of a request; None if the request has no valid key.

        The key is in the header ``Authorization: Bearer``. Without that header, the key is in a cookie.

        Args:
          request: a request of a route, or any object with ``headers`` and ``cookies``, such as Starlette's request.
        """
        return self.__edge_site.session(request)

    def revoke(self, session: str, *, until: float | None = None) -> float:
        """Revoke the keys of the session with this id, and end the session's seats with `Code.REVOKED`.

        The call has this effect on every server that shares the broker and can be reached now.

        Args:
          until: the time up to which issued keys are revoked, in seconds since the epoch; for the default see
            `Keys.revoke`.

        Returns: the time up to which issued keys are revoked.
        """
        return self.__edge_site.revoke(session, until=until)

    async def list_rooms(self, kind: str | None = None) -> Sequence[Listing]:
        """List the open rooms of all servers that share the broker.

        The list shows the rooms of another server as that server last reported them.

        Args:
          kind: list only rooms of this kind; None for all kinds.

        Raises:
          BrokerDown: the broker cannot be reached.

        *Cancellation* loses nothing.
        """
        return await self.__edge_site.list_rooms(kind)


def site_of(app: App) -> Site:
    """Return the site of an app."""
    site: Site = app._App__edge_site  # type: ignore[attr-defined]  # a private name that no author's name collides with
    return site
