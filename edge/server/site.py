"""`Site`: the run time of an `App`, with its rooms, files and routes."""

from __future__ import annotations

import inspect
import os
import re
import typing
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from http import HTTPStatus
from os import PathLike
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import attrs
import trio

from ..aio.options import check_option
from ..cluster.cluster import Cluster
from ..cluster.node import HandOff, Node
from ..cluster.relay import Relays
from ..cluster.rpc import Answerer
from ..cluster.status import ServerStatus
from ..codes import Code
from ..connections.scheduler import WriteScheduler
from ..errors import Refused
from ..protocol.codec import Codec
from ..protocol.limits import Limits
from ..protocol.messages import Hello
from ..protocol.pace import Pace
from ..rooms.directory import Directory, Listing, options_of
from ..rooms.opening import Factory, Opening
from ..rooms.room import Room, kind_of
from ..rooms.room_runtime import RoomRuntime
from ..rooms.session import Session
from ..seats.pending import PendingConnection
from ..seats.serve_seat import serve_seat
from ..transports.http.http import MAX_BODY_BYTES, Request, Response
from ..transports.http.responses import error_response, json_response, redirect
from ..transports.http.transport import CODE
from ..transports.transport import Transport
from .api import PREFIX, Api
from .asgi import AsgiApp, Mount, MountedApp
from .client_files import ClientFiles
from .hosts import Hosts
from .limiter import AddressLimits
from .origins import Origins
from .sessions import SECRET, HasCookies, Sessions
from .static import StaticFolder, static_file

Route = Callable[[Request], Awaitable[Response]]
R = TypeVar("R", bound=Route)

# The paths that every app answers, in addition to those of the browser client.
LIVE, READY, SESSION = "/livez", "/readyz", "/session"
ROOM_PATH = re.compile(r"(.*)/rooms/([^/]+)/([^/]+)")


def _check_rooms(rooms: Mapping[str, Callable[..., Room[Any, Any]]]) -> None:
    """Check the `rooms` of an app, so that a mistake is reported before the first client joins.

    Raises:
      TypeError: `rooms` is not a mapping from kinds to room classes, or to functions that make a room.
    """
    if not isinstance(rooms, Mapping):
        raise TypeError(f'rooms must be a mapping such as {{"drawing": Drawing}}, not {rooms!r:.100}')
    for kind, make in rooms.items():
        if type(kind) is not str:
            raise TypeError(f"a kind of room must be a string, as in /rooms/<kind>/<name>, not {kind!r:.100}")
        made: object = typing.get_origin(make) or make
        if isinstance(made, type) and issubclass(made, Room):
            kind_of(made).check_complete()
        elif not callable(made) or isinstance(made, type) or inspect.iscoroutinefunction(made):
            raise TypeError(f"rooms[{kind!r}] is {make!r:.100}: give the class, or a function that makes a room")
        Factory(kind, make, options_of)  # raises for parameters that edge does not know


def _check_static(static: object) -> dict[str, StaticFolder]:
    """Check the `static` of an app. Return the folders, by prefixes that end with a slash.

    Raises:
      TypeError: `static` is not a mapping.
      ValueError: a folder does not exist.
    """
    if not isinstance(static, Mapping):
        raise TypeError(f'static must be a mapping such as {{"/": "web"}}, not {static!r:.100}')
    folders = {}
    for prefix, given in static.items():
        check_option("a prefix of static", prefix, str, example='a path such as "/" or "/files"')
        if not prefix.startswith("/"):
            raise ValueError(f"a prefix of static begins with a slash, and {prefix!r} does not")
        folder = given if isinstance(given, StaticFolder) else StaticFolder(given)
        if not os.path.lexists(folder.path) or folder.path.is_file():
            raise ValueError(f"static[{prefix!r}] is {str(folder.path.absolute())!r}, which is not an existing folder")
        folders[prefix.rstrip("/") + "/"] = folder
    return folders


class Site:
    """The rooms, routes and folders of an app, for its server. The arguments are those of `App`."""

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
        _check_rooms(rooms)
        nothing = type(None)
        check_option("sessions", sessions, Sessions, nothing, example="an instance of edge.Sessions")
        check_option("cluster", cluster, Cluster, nothing, example="an instance of edge.Cluster")
        check_option("limits", limits, Limits, nothing, example="an instance of edge.Limits")
        check_option("address_limits", address_limits, AddressLimits, nothing, example="an instance of AddressLimits")
        self.limits: Limits = limits or Limits()
        self.address_limits: AddressLimits = address_limits or AddressLimits()
        most, each = self.address_limits.rooms, self.address_limits.rooms_each
        self.directory: Directory = Directory(rooms, max_rooms=most, max_rooms_each=each, idle=idle)
        self.cluster: Cluster = cluster or Cluster()
        self.node: Node | None = None
        """This server as a node of the broker; None until the app is served."""
        self.sessions: Sessions = sessions or Sessions()
        self.draining = False
        Hosts(hosts)  # raises for an invalid name now, not when the app is served
        self.hosts: tuple[str, ...] | None = None if hosts is None else tuple(hosts)
        self._static = _check_static(static or {})
        if mount is not None and "/" in self._static:
            raise ValueError("a static folder at / would hide the mounted app: give the folder a prefix of its own")
        mounted = mount if isinstance(mount, Mount | None) else Mount(mount)
        self.mount: MountedApp | None = None if mounted is None else MountedApp(mounted.app)
        self._mount_body_bytes = MAX_BODY_BYTES if mounted is None else mounted.max_body_bytes
        self._check_body_bytes("Mount.max_body_bytes", self._mount_body_bytes)
        self.origins: Origins = Origins(origins)
        self._api = Api(api_token, self) if api_token is not None else None
        self._answerers: dict[str, Answerer] = {}
        self._routes: dict[str, dict[str, Route]] = {}
        self._prefixes = {""}
        """The prefixes below which rooms are served."""
        self._max_body: dict[str, int] = {}
        self.route(LIVE)(self._livez)
        self.route(READY)(self._readyz)
        client = ClientFiles()
        self._client_paths = client.paths
        for path in client.paths:
            self.route(path)(client.respond)
        self.route(SESSION, methods=("POST", "OPTIONS"))(self._session)

    def include(self, prefix: str, site: Site) -> None:
        """Serve another app's site as a part of this site. See `App.include`."""
        check_option("prefix", prefix, str, example='a path such as "/drawing"')
        if not prefix.startswith("/"):
            raise ValueError(f"the prefix of an included app begins with a slash, and {prefix!r} does not")
        if site.mount is not None or site._api is not None:
            raise ValueError(f"an app with a mounted app or an API of its own can't be included below {prefix!r}")
        if site.sessions.guests != self.sessions.guests:
            raise ValueError(f"guests must have the same value in this app and in the app for {prefix!r}")
        prefix = prefix.rstrip("/")
        own = (*self._client_paths, LIVE, READY, SESSION)
        routes = {prefix + path: methods for path, methods in site._routes.items() if path not in own}
        static = {prefix + below: folder for below, folder in site._static.items()}
        if taken := [*(routes.keys() & self._routes.keys()), *(static.keys() & self._static.keys())]:
            raise ValueError(f"both apps serve the path {taken[0]}: change one of them")
        self.directory.add_kinds(site.directory.kinds)
        self._routes.update(routes)
        self._routes.update({prefix + path: self._routes[path] for path in (*self._client_paths, SESSION)})
        self._prefixes |= {prefix + below for below in site._prefixes}
        self._max_body.update({prefix + path: most for path, most in site._max_body.items() if prefix + path in routes})
        self._static.update(static)
        site.directory, site.sessions, site.limits = self.directory, self.sessions, self.limits

    def answer(self, what: str, answerer: Answerer) -> None:
        """Register the function that answers calls with this name from other servers of the cluster. See `NodeRpc`."""
        self._answerers[what] = answerer

    def route(
        self, path: str, *, methods: Iterable[str] = ("GET",), max_body_bytes: int = MAX_BODY_BYTES
    ) -> Callable[[R], R]:
        """Return a decorator that registers a route. See `App.route`."""

        self._check_body_bytes("max_body_bytes", max_body_bytes)

        def add(run: R) -> R:
            for method in methods:
                if method in self._routes.setdefault(path, {}):
                    raise ValueError(f"{method} {path} has a route already")
                self._routes[path][method] = run
            self._max_body[path] = max_body_bytes
            return run

        return add

    def _check_body_bytes(self, name: str, size: int) -> None:
        if not 0 <= size <= self.address_limits.body_bytes_each:
            most = self.address_limits.body_bytes_each
            raise ValueError(f"{name}={size} must be from 0 to {most}: AddressLimits.body_bytes_each is the maximum")

    def session(self, request: HasCookies) -> Session | None:
        """Return the session of a request, or None. See `App.session`."""
        return self.sessions.find(request)

    def revoke(self, session: str, *, until: float | None = None) -> float:
        """Revoke the keys of a session on all servers. See `App.revoke`."""
        until = self._revoke(session, until)
        if self.node is not None:
            self.node.rpc.tell(self.node.servers.keys() - {self.node.id}, "revoke", session, until)
        return until

    def _revoke(self, session: str, until: float | None) -> float:
        until = self.sessions.keys.revoke(session, until=until)
        for room in self.directory.runtimes:
            player = room.find(session)
            if player is not None:
                player.leave(Code.REVOKED, "the session was revoked")
        return until

    def serve_seat(
        self,
        transport: Transport,
        codec: Codec,
        kind: str,
        name: str,
        *,
        opener: str,
        scheduler: WriteScheduler,
        bulk: Pace | None,
        waiting: Callable[[], AbstractContextManager[PendingConnection]],
        hand_off: HandOff | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Serve a connection to a room, and close the connection: see `serve_seat`.

        Args:
          opener: see `Directory.open`.
          hand_off: see `Node.find`.
        """
        node = self.node
        assert node is not None
        return serve_seat(
            transport,
            codec,
            lambda hello: node.find(kind, name, Opening(opener, hello.options, hello.create, hello.client), hand_off),
            where=f"{kind}/{name}",
            scheduler=scheduler,
            bulk=bulk,
            counters=self.directory.counters,
            limits=self.limits,
            keys=self.sessions.keys,
            guests=self.sessions.guests,
            waiting=waiting,
        )

    def _about(self) -> ServerStatus:
        """Return the status of this server, which other servers read."""
        seated, counters = sum(len(room.ledger) for room in self.directory.runtimes), self.directory.counters
        return ServerStatus(
            address=self.cluster.address,
            pid=os.getpid(),
            draining=self.draining,
            full=self.directory.full,
            rooms=len(self.directory),
            seated=seated,
            received=counters.received,
            sent=counters.sent,
            crashes=counters.crashes,
        )

    async def list_rooms(self, kind: str | None = None) -> Sequence[Listing]:
        """List the open rooms of all servers. See `App.list_rooms`."""
        return self.directory.list(kind) if self.node is None else await self.node.list_rooms(kind)

    def check_keys(self) -> None:
        """Raise `ValueError` if the broker is shared, but the keys are signed with a secret of this process alone."""
        if self.cluster.broker.shared and self.sessions.has_random_secret:
            raise ValueError(f"servers that share a broker need the same keys: set {SECRET}, or Sessions(keys=...)")

    def join_servers(self, nursery: trio.Nursery, scheduler: WriteScheduler) -> Node:
        """Make this server's node, for the broker of the cluster. The caller has to run the node.

        Args:
          nursery: runs the connections that other servers relay to this one.

        Raises:
          ValueError: see `check_keys`.
        """
        self.check_keys()

        async def find_here(kind: str, name: str, hello: Hello) -> RoomRuntime:
            room = self.directory.find_runtime(kind, name)
            if room is None:
                raise Refused("the room is on another server now", Code.MOVED)
            return room

        async def serve_relayed(transport: Transport, codec: Codec, kind: str, name: str) -> None:
            await serve_seat(
                transport,
                codec,
                partial(find_here, kind, name),
                where=f"{kind}/{name}",
                scheduler=scheduler,
                counters=self.directory.counters,
                limits=self.limits,
                keys=self.sessions.keys,
                guests=self.sessions.guests,
            )

        async def revoke(session: str, until: float) -> None:
            self._revoke(session, until)

        relays = Relays(serve_relayed, nursery, self.limits)
        self.node = Node(
            self.cluster.broker,
            self.directory,
            relays,
            limits=self.limits,
            about=self._about,
            balance=self.cluster.balance,
        )
        self.node.rpc.answer("revoke", revoke)
        for what, answerer in self._answerers.items():
            self.node.rpc.answer(what, answerer)
        if self._api is not None:
            self.node.rpc.answer("api", self._api.answer)
        return self.node

    def room_at(self, raw_path: str) -> tuple[str, str] | None:
        """Return the kind and name of the room at a percent-encoded path; None if the path is not a room's."""
        found = ROOM_PATH.fullmatch(raw_path)
        return (found[2], found[3]) if found is not None and unquote(found[1]) in self._prefixes else None

    def max_body(self, request: Request) -> int:
        """Return the largest body, in bytes, of a request that is not for a room."""
        if request.path in self._max_body:
            return self._max_body[request.path]
        return MAX_BODY_BYTES if self.mount_for(request) is None else self._mount_body_bytes

    def mount_for(self, request: Request) -> MountedApp | None:
        """Return the mounted app if this request is for it, else None."""
        own = (*self._static, *((PREFIX,) if self._api is not None else ()))
        is_own = request.path in self._routes or request.path == "*" or request.path.startswith(own)
        return None if is_own else self.mount

    async def respond(self, request: Request) -> Response:
        """Return the response to a request that is neither for a room nor for the mounted app."""
        if self._api is not None and request.path.startswith(PREFIX):
            return await self._api.respond(request)
        if request.path == "*":  # RFC 9110 section 9.3.7: a request about the server as a whole
            return Response(204, headers={"allow": "GET, HEAD, POST, OPTIONS"})
        methods = self._routes.get(request.path)
        if methods is not None:
            route = methods.get("GET" if request.method == "HEAD" else request.method)
            if route is None:
                allowed = ", ".join([*methods, *(("HEAD",) if "GET" in methods else ())])
                refusal = error_response(405, "method", f"this path supports only {allowed}")
                return attrs.evolve(refusal, headers={**refusal.headers, "allow": allowed})
            return await route(request)
        if request.path + "/" in self._static:  # a relative redirect, because a proxy may remove a prefix
            return redirect("./" + quote(request.path.rpartition("/")[2]) + "/")
        for prefix in sorted(self._static, key=len, reverse=True):
            if request.path.startswith(prefix) and request.method in ("GET", "HEAD"):
                folder = self._static[prefix]
                response = await static_file(folder.path, request.path.removeprefix(prefix), request)
                return attrs.evolve(response, headers={**folder.headers, **response.headers})
        return error_response(404, "not_found", "nothing is served at this path")

    async def _livez(self, request: Request) -> Response:
        return json_response({"status": "ok"})

    async def _readyz(self, request: Request) -> Response:
        status = "draining" if self.draining else "full" if self.directory.full else "ok"
        if status == "ok" and self.node is not None and self.node.cut_off:
            status = "cut off"
        return json_response({"status": status, "rooms": len(self.directory)}, status=200 if status == "ok" else 503)

    async def _session(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return self.origins.preflight(request)
        if not self.origins.allow(request):
            return self.origins.refuse(request)
        by_cookie = "origin" not in request.headers or self.origins.names(request)
        response = self.sessions.give_key(request, by_cookie=by_cookie)
        if response.status == HTTPStatus.UNAUTHORIZED:
            why = response.headers[CODE]
            text = "a request for a session key from %s was refused: code %s"
            self.directory.counters.refusals.note(
                ("key", request.address, why), text, request.address, why, log_context={}
            )
        return attrs.evolve(response, headers={**response.headers, **self.origins.sharing(request)})
