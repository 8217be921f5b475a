"""`Site`: the run time of an `App`, with its rooms, files and routes."""

from __future__ import annotations

import inspect
import os
import re
import secrets
import typing
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from http import HTTPStatus
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import attrs
import trio

from ..cluster.broker.broker import Broker
from ..cluster.broker.memory import MemoryBroker
from ..cluster.node import Node
from ..cluster.relay import Relays
from ..cluster.rpc import Answerer
from ..cluster.status import ServerStatus
from ..codes import Code
from ..connections.scheduler import WriteScheduler
from ..errors import Refused
from ..protocol.codec import Codec
from ..protocol.limits import Limits
from ..protocol.pace import Pace
from ..rooms.directory import Directory, Listing
from ..rooms.room import Room, kind_of
from ..rooms.room_runtime import RoomRuntime
from ..rooms.session import Session
from ..seats.pending import PendingConnection
from ..seats.serve_seat import serve_seat
from ..sessions.keys import Keys
from ..transports.http.http import MAX_BODY_BYTES, Request, Response
from ..transports.http.responses import error_response, json_response, redirect
from ..transports.http.transport import CODE
from ..transports.transport import Transport
from .api import PREFIX, Api
from .asgi import AsgiApp, MountedApp
from .client_files import ClientFiles
from .hosts import Hosts
from .limiter import AddressLimits
from .origins import Origins
from .sessions import HasCookies, SessionCookie, give_key, session_of
from .static import static_file

Route = Callable[[Request], Awaitable[Response]]
R = TypeVar("R", bound=Route)

# The environment variable with the secret that signs keys, if the app has no `keys`.
SECRET = "EDGE_SECRET"  # noqa: S105  # a name, not a secret

# The paths that every app answers itself, beside the browser client.
LIVE, READY, SESSION = "/livez", "/readyz", "/session"
ROOM_PATH = re.compile(r"(.*)/rooms/([^/]+)/([^/]+)")


def check_address(address: str) -> str:
    """Check the address of a server, and return it. An empty address is valid.

    Raises:
      ValueError: the address is not a ws, wss, http or https URL.
    """
    if address and not address.startswith(("ws://", "wss://", "http://", "https://")):
        raise ValueError(f"{address!r} is not a ws://, wss://, http:// or https:// address")
    return address


def _check_rooms(rooms: Mapping[str, Callable[[], Room[Any, Any]]]) -> None:
    """Check the `rooms` of an app, so that a mistake is reported now, and not when the first client joins.

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
        try:
            inspect.signature(made).bind()
        except TypeError as exc:
            raise TypeError(f"rooms[{kind!r}] must be callable without arguments: {exc}") from None
        except ValueError:  # some callables have no signature
            pass


def _check_folder(prefix: str, path: str | PathLike[str]) -> Path:
    """Check a folder of static files, and return it.

    Raises:
      ValueError: there is no such folder.
    """
    if not os.path.lexists(path) or Path(path).is_file():
        raise ValueError(f"static[{prefix!r}] is {os.fspath(path)!r}, which is not an existing folder")
    return Path(path)


@attrs.frozen
class _Folder:
    """A folder of static files, and the further headers of their responses."""

    path: Path
    headers: Mapping[str, str]


class Site:
    """The rooms, routes and folders of an app, for its server. The arguments are those of `App`."""

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
        _check_rooms(rooms)
        self.directory: Directory = Directory(rooms, max_rooms=max_rooms, max_rooms_each=max_rooms_each, idle=idle)
        self.limits: Limits = limits or Limits()
        self.address_limits: AddressLimits = address_limits or AddressLimits()
        if not isinstance(broker, Broker | None):
            raise TypeError(f"broker must be a Broker, such as RedisBroker(url), not {broker!r:.100}")
        self.broker: Broker | MemoryBroker = broker or MemoryBroker()
        self.address: str = check_address(address)
        self._balance = balance
        self.node: Node | None = None
        """This server as a node of the broker; None until the app is served."""
        secret = os.environ.get(SECRET) or None
        if keys is not None and name:
            raise ValueError("name has no effect together with keys: set Keys(audience=...) instead")
        self._has_own_keys = keys is None and secret is None
        self.keys: Keys = keys or Keys(secret or secrets.token_bytes(32), audience=name)
        self.guests = guests
        self.cookie: SessionCookie = cookie or SessionCookie()
        self.mount: MountedApp | None = MountedApp(mount) if mount is not None else None
        self.draining = False
        Hosts(hosts)  # raises for an invalid name now, not when the app is served
        self.hosts: tuple[str, ...] | None = None if hosts is None else tuple(hosts)
        if mount is not None and "/" in (static or {}):
            raise ValueError("a static folder at / would hide the mounted app: give it a prefix of its own")
        for name, value in (("static", static), ("static_headers", static_headers)):
            if not isinstance(value, Mapping | None):
                raise TypeError(f"{name} must be a mapping, not {value!r:.100}")
        headers = {name.lower(): value for name, value in (static_headers or {}).items()}
        self._static = {
            prefix.rstrip("/") + "/": _Folder(_check_folder(prefix, path), headers)
            for prefix, path in (static or {}).items()
        }
        self.origins: Origins = Origins(origins)
        self._api = Api(api_token, self) if api_token is not None else None
        self._answerers: dict[str, Answerer] = {}
        self._routes: dict[str, dict[str, Route]] = {}
        self._prefixes = {""}
        """The prefixes below which rooms are served."""
        self._max_body: dict[str, int] = {}
        self._check_body_bytes("mount_body_bytes", mount_body_bytes)
        self._mount_body_bytes = mount_body_bytes
        self.route(LIVE)(self._livez)
        self.route(READY)(self._readyz)
        client = ClientFiles()
        self._client_paths = client.paths
        for path in client.paths:
            self.route(path)(client.respond)
        self.route(SESSION, methods=("POST", "OPTIONS"))(self._session)

    def include(self, prefix: str, site: Site) -> None:
        """See `App.include`."""
        if site.mount is not None or site._api is not None:
            raise ValueError(f"an app with a mounted app or an API of its own can't be included below {prefix!r}")
        if site.guests != self.guests:
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
        site.directory, site.keys, site.limits, site.cookie = self.directory, self.keys, self.limits, self.cookie

    def answer(self, what: str, answerer: Answerer) -> None:
        """Register the answerer of calls of this name from other servers that share the broker. See `NodeRpc`."""
        self._answerers[what] = answerer

    def route(
        self, path: str, *, methods: Iterable[str] = ("GET",), max_body_bytes: int = MAX_BODY_BYTES
    ) -> Callable[[R], R]:
        """See `App.route`."""

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
            raise ValueError(
                f"{name}={size} is more than one address may send at a time: AddressLimits.body_bytes_each={most}"
            )

    def session(self, request: HasCookies) -> Session | None:
        """See `App.session`."""
        return session_of(request, self.keys, self.cookie, guests=self.guests)

    def revoke(self, session: str, *, until: float | None = None) -> float:
        """See `App.revoke`."""
        until = self._revoke(session, until)
        if self.node is not None:
            self.node.rpc.tell(self.node.servers.keys() - {self.node.id}, "revoke", session, until)
        return until

    def _revoke(self, session: str, until: float | None) -> float:
        until = self.keys.revoke(session, until=until)
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
    ) -> Coroutine[Any, Any, None]:
        """Serve one connection to one room, and close it. See `serve_seat`; for `opener` see `Directory.open`."""
        assert self.node is not None
        return serve_seat(
            transport,
            codec,
            partial(self.node.find, kind, name, opener=opener),
            where=f"{kind}/{name}",
            scheduler=scheduler,
            bulk=bulk,
            counters=self.directory.counters,
            limits=self.limits,
            keys=self.keys,
            guests=self.guests,
            waiting=waiting,
        )

    def _about(self) -> ServerStatus:
        """Return the status of this server, which other servers read."""
        seated, counters = sum(len(room.ledger) for room in self.directory.runtimes), self.directory.counters
        return ServerStatus(
            address=self.address,
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
        """See `App.list_rooms`."""
        return self.directory.list(kind) if self.node is None else await self.node.list_rooms(kind)

    def check_keys(self) -> None:
        """Raise `ValueError` if the broker is shared, but the keys are signed with a secret of this process alone."""
        if self.broker.shared and self._has_own_keys:
            raise ValueError(f"servers that share a broker need the same keys: set {SECRET}, or App(keys=...)")

    def join_servers(self, nursery: trio.Nursery, scheduler: WriteScheduler) -> Node:
        """Make the node of this server, for the broker. The caller has to run the node.

        Args:
          nursery: runs the connections that other servers relay to this one.

        Raises:
          ValueError: see `check_keys`.
        """
        self.check_keys()

        async def find_here(kind: str, name: str) -> RoomRuntime:
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
                keys=self.keys,
                guests=self.guests,
            )

        async def revoke(session: str, until: float) -> None:
            self._revoke(session, until)

        relays = Relays(serve_relayed, nursery, self.limits)
        self.node = Node(
            self.broker, self.directory, relays, limits=self.limits, about=self._about, balance=self._balance
        )
        self.node.rpc.answer("revoke", revoke)
        for what, answerer in self._answerers.items():
            self.node.rpc.answer(what, answerer)
        if self._api is not None:
            self.node.rpc.answer("api", self._api.answer)
        return self.node

    def room_at(self, raw_path: str) -> tuple[str, str] | None:
        """Return the kind and name of the room at a path, which is still encoded; None if it is no path of a room."""
        found = ROOM_PATH.fullmatch(raw_path)
        return (found[2], found[3]) if found is not None and unquote(found[1]) in self._prefixes else None

    def max_body(self, request: Request) -> int:
        """Return the largest body of a request that is not for a room, in bytes."""
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
        if request.path + "/" in self._static:  # relative, because a proxy may remove a prefix
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
        response = give_key(request, self.keys, self.cookie, guests=self.guests, by_cookie=by_cookie)
        if response.status == HTTPStatus.UNAUTHORIZED:
            why = response.headers[CODE]
            text = "a request for a session key from %s was refused: code %s"
            self.directory.counters.refusals.note(
                ("key", request.address, why), text, request.address, why, log_context={}
            )
        return attrs.evolve(response, headers={**response.headers, **self.origins.sharing(request)})
