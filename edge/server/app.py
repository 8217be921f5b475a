"""An app: kinds of rooms, pages and routes under one roof."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeVar

from ..aio.members import guard_members
from ..cluster.broker.broker import Broker
from ..protocol.limits import Limits
from ..rooms.directory import Directory, Listing
from ..rooms.room import Room
from ..rooms.session import Session
from ..sessions.keys import Keys
from ..transports.http.http import MAX_BODY_BYTES, Request, Response
from .asgi import AsgiApp
from .limiter import AddressLimits
from .sessions import HasCookies, SessionCookie
from .site import Site

R = TypeVar("R", bound=Callable[[Request], Awaitable[Response]])


@guard_members
class App:
    """What `serve` serves.

    Args:
      rooms: what makes a room of each kind; ``{"drawing": Drawing}`` serves ``/rooms/drawing/<name>``.
      name: the audience of its keys. Apps with the same ``EDGE_SECRET`` honour each other's keys if their names agree.
      static: folders by URL prefix, such as ``{"/": Path("web")}``; the longest prefix that fits wins.
      static_headers: further headers of the files in these folders, such as `STRICT_HEADERS`.
      hosts: the names that the server answers for, such as ``"example.org"``; ``"*.example.org"`` for all names below,
        ``"*"`` for any. By default those of this machine, if the server listens on this machine only, and else any.
      origins: other sites whose pages may connect, such as ``"https://example.org"``; ``"*"`` for all of them. A page
        of the same host always may, unless it came over HTTP and connects over HTTPS.
      keys: who issues and checks the keys of sessions. By default they are signed with ``EDGE_SECRET`` of the
        environment, or else with a secret of this process alone: then a restart ends every session, and no other server
        honours them.
      guests: whether guests may come: people without a key, or with a guest's. If not, only those to whom your own code
        has issued one: see `Session.guest`.
      cookie: in which a browser keeps its key.
      mount: an ASGI app, for every path that is not a room's, a route's, or below a prefix of `static`.
      mount_body_bytes: the largest body of a request for the mounted app, which is read before the app is called; at
        most `AddressLimits.body_bytes_each`, which bounds all the bodies that one address sends at a time.
      api_token: lets whoever knows it publish into rooms, list, kick and revoke over HTTP, below ``/edge-api/``.
      limits: what one connection may cost.
      address_limits: what one address may take of the server, and all together.
      broker: what several servers share, so that any of them leads to every room; by default, this is the only one.
        All of them need the same `keys`.
      address: where clients reach this very server, such as ``"wss://one.example.org"``: those who come to another one,
        for a room of this one, are then sent here. By default the other carries what they say.
      balance: whether rooms that can be kept leave for servers that have less to do.
      max_rooms: how many rooms may be open.
      max_rooms_each: how many that one address has opened.
      idle: close a room in which nobody has sat for this many seconds.

    ``/edge.js`` is the browser's client, ``POST /session`` gives a page its session's key. ``/livez`` answers 200 for
    as long as anything is answered, and ``/readyz`` 503 while draining, or while no other room may be opened,
    because there are too many or because the broker can't be reached.
    """

    def __init__(
        self,
        rooms: Mapping[str, Callable[[], Room[Any, Any]]],
        *,
        name: str = "",
        static: Mapping[str, str | PathLike[str]] | None = None,
        static_headers: Mapping[str, str] | None = None,
        hosts: Collection[str] | None = None,
        origins: Collection[str] = (),
        keys: Keys | None = None,
        guests: bool = True,
        cookie: SessionCookie | None = None,
        mount: AsgiApp | None = None,
        mount_body_bytes: int = MAX_BODY_BYTES,
        api_token: str | None = None,
        limits: Limits | None = None,
        address_limits: AddressLimits | None = None,
        broker: Broker | None = None,
        address: str = "",
        balance: bool = True,
        max_rooms: int = 10_000,
        max_rooms_each: int = 200,
        idle: float = 60,
    ) -> None:
        self.__edge_site = Site(
            rooms,
            name=name,
            static=static,
            static_headers=static_headers,
            hosts=hosts,
            origins=origins,
            keys=keys,
            guests=guests,
            cookie=cookie,
            mount=mount,
            mount_body_bytes=mount_body_bytes,
            api_token=api_token,
            limits=limits,
            address_limits=address_limits,
            broker=broker,
            address=address,
            balance=balance,
            max_rooms=max_rooms,
            max_rooms_each=max_rooms_each,
            idle=idle,
        )

    @property
    def directory(self) -> Directory:
        """The rooms that are open on this server."""
        return self.__edge_site.directory

    @property
    def keys(self) -> Keys:
        """Issues and checks the keys of sessions."""
        return self.__edge_site.keys

    @property
    def cookie(self) -> SessionCookie:
        """The cookie in which a browser keeps its key."""
        return self.__edge_site.cookie

    def include(self, prefix: str, app: App) -> None:
        """Serve another app's rooms here, and its routes and static files below a prefix: several apps on one port.

        From then on the other app shares this one's directory, keys, cookie and limits; what it was told of its own no
        longer counts. Its ``/livez`` and ``/readyz`` are this one's. ``/session``, ``/edge.js`` and the rooms are at
        their own paths and below the prefix, so that pages with relative addresses work at either.

        Args:
          prefix: such as ``"/drawing"``; the other app's pages should use relative addresses.

        Raises:
          ValueError: a kind of room, or a path, is there already; the other app has a mounted app, or an API; only one
            of the two lets guests in. Nothing was included then.
        """
        self.__edge_site.include(prefix, app.__edge_site)

    def route(
        self, path: str, *, methods: Iterable[str] = ("GET",), max_body_bytes: int = MAX_BODY_BYTES
    ) -> Callable[[R], R]:
        """Decorate an ``async def(request) -> Response`` that answers this very path.

        Args:
          max_body_bytes: the largest body of its requests, which is read before it is called. It can't be more than
            `AddressLimits.body_bytes_each`, which bounds all the bodies that one address sends at a time.

        Raises:
          ValueError: the path is taken, or `max_body_bytes` is more than `AddressLimits.body_bytes_each`.
        """
        return self.__edge_site.route(path, methods=methods, max_body_bytes=max_body_bytes)

    def session(self, request: HasCookies) -> Session | None:
        """Whose request it is, by its cookies or ``Authorization: Bearer``; None without a key that is honoured.

        Args:
          request: of a route, or anything with ``headers`` and ``cookies``, such as Starlette's of a mounted app.
        """
        return self.__edge_site.session(request)

    def revoke(self, session: str, *, until: float | None = None) -> float:
        """Honour no key any more that was issued for the session of this id, and end its seats with `Code.REVOKED`, on
        every server that shares the broker and can be reached now.

        Args:
          until: the instant up to which keys were issued that are dead now: see `Keys.revoke`.

        Returns: that instant, in seconds since the epoch.
        """
        return self.__edge_site.revoke(session, until=until)

    async def list_rooms(self, kind: str | None = None) -> Sequence[Listing]:
        """The open rooms of all servers that share the broker, of one kind or of all: what others have told last.

        Raises:
          BrokerDown: it can't be reached.
        """
        return await self.__edge_site.list_rooms(kind)


def site_of(app: App) -> Site:
    """The site of an app."""
    site: Site = app._App__edge_site  # type: ignore[attr-defined]  # out of the way of authors' names
    return site
