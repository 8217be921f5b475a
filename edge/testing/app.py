"""A whole app in virtual time, without sockets: its rooms, routes and mounted web app, on one server or several."""

from __future__ import annotations

import inspect
import logging
import math
import typing
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookies import Morsel, SimpleCookie
from json import dumps, loads
from typing import Any, Protocol
from urllib.parse import urlencode

import attrs
import trio

from ..client.client import Status
from ..client.fallback import TransportKind
from ..client.join import open_client
from ..client.url import UrlConnector
from ..cluster.broker.broker import Broker
from ..cluster.broker.memory import MemoryBroker
from ..protocol.codec import JSON, Codec
from ..protocol.limits import Limits
from ..protocol.messages import Create
from ..rooms.room import Room, kind_of
from ..rooms.session import Session
from ..rooms.wall_clock import utc_now
from ..server.app import App, site_of
from ..server.serve import Server, open_server
from ..server.sessions import CUSTOM
from ..transports.http.http import HttpClient
from .clients import ClientUnderTest
from .harness import Crashed, CrashWatch, check_left, current_tasks
from .network import Link, Network

HOST = "edge.test"
# Virtual seconds after which a drain cancels the remaining connections and rooms, as by default in `serve`.
DRAIN_SECONDS = 10.0
LEASE_SECONDS = 10.0

MakeApp = Callable[..., App]


class EdgeApp(Protocol):
    """The type of the `edge_app` fixture: ``app = await edge_app(make_app)``.

    Args:
      make: a function that makes the app, or an app. A function may have a parameter `broker`: pass it to `Cluster`, so
        that several servers share their rooms. Only an app that a function makes can be restarted.
      servers: the number of servers, which share one broker.
    """

    async def __call__(self, make: App | MakeApp, *, servers: int = 1) -> AppUnderTest: ...


@attrs.frozen
class Page:
    """The response to a request of a test."""

    status: int
    headers: Mapping[str, str]
    """The headers, with names in lower case."""
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the JSON value in the body."""
        return loads(self.body)


class AppClient(ClientUnderTest):
    """A client of an app under test. `Browser.join` makes clients."""

    link: Link
    """The network between this client and its server: see `edge.testing.network.Link`."""

    server: int
    """The server to which the client connects."""

    def cut(self) -> None:
        for wire in self.link.wires:
            wire.cut()

    async def resume(self, *, server: int | None = None) -> None:
        """See `ClientUnderTest.resume`.

        Args:
          server: the server to which the client connects from now on; by default the same one.

        *Cancellation*: the client continues to connect.
        """
        self.server = self.server if server is None else server
        await super().resume()


@attrs.define(eq=False)
class _Running:
    """One server of an app under test."""

    app: App
    server: Server
    network: Network
    ended: trio.Event


class AppUnderTest:
    """An app and its clients, made by the `edge_app` fixture. Requests and joins are those of a first `browser`."""

    def __init__(
        self,
        make: App | MakeApp,
        servers: int,
        nursery: trio.Nursery,
        expected: list[str],
        clients: list[ClientUnderTest],
    ) -> None:
        self.clients: list[AppClient] = []
        """The clients, in the order in which they joined."""
        self._all_clients = clients
        self._expected = expected
        self._make = make
        self._nursery = nursery
        self._broker: Broker = MemoryBroker(lease_seconds=LEASE_SECONDS)
        self._servers: list[_Running | None] = [None] * servers
        self._first = Browser(self)

    @property
    def app(self) -> App:
        """The app of the first server."""
        return self.running(0).app

    def browser(self) -> Browser:
        """Return another browser, with cookies of its own."""
        return Browser(self)

    async def get(self, path: str, **options: Any) -> Page:
        """See `Browser.get`. *Cancellation* closes the connection."""
        return await self._first.get(path, **options)

    async def post(self, path: str, **options: Any) -> Page:
        """See `Browser.post`. *Cancellation* closes the connection."""
        return await self._first.post(path, **options)

    async def join(self, path: str, **options: Any) -> AppClient:
        """See `Browser.join`. *Cancellation*: the client continues to join."""
        return await self._first.join(path, **options)

    def rooms(self, server: int = 0) -> list[str]:
        """Return the paths of a server's open rooms, such as ``poker/one``."""
        return [room.path for room in self.running(server).app.directory.runtimes]

    def room(self, path: str, server: int = 0) -> Room[Any, Any]:
        """Return an open room of a server, by its path: ``poker/one`` or ``/rooms/poker/one``.

        Raises:
          KeyError: the room is not open on this server.
        """
        kind, _, name = path.removeprefix("/rooms/").partition("/")
        room = self.running(server).app.directory.find(kind, name)
        if room is None:
            raise KeyError(f"{path} is not open on server {server}: {self.rooms(server)} are")
        return room

    def expect_crash(self, text: str) -> None:
        """Accept crashes whose log record, with its traceback, contains this text. Other crashes fail the test."""
        self._expected.append(text)

    async def restart(self, server: int = 0) -> None:
        """Drain a server, and start a new one with a new app. Clients lose their connections: see `AppClient.resume`.

        Raises:
          TypeError: the app was not made by a function.

        *Cancellation*: the server may be stopped.
        """
        if isinstance(self._make, App):
            raise TypeError("restart needs a function that makes the app: await edge_app(make_app)")
        await self.stop(server)
        await self.start(server)

    async def stop(self, server: int = 0) -> None:
        """Drain a server, and wait until it has ended. *Cancellation*: the server may still run."""
        running = self.running(server)
        running.server.connections.cancel_scope.deadline = trio.current_time() + DRAIN_SECONDS
        running.server.drain()
        self._servers[server] = None
        await running.ended.wait()

    async def start(self, server: int = 0) -> None:
        """Start a server that was stopped, with a new app if a function makes it.

        *Cancellation*: the server is not started.
        """
        await self._nursery.start(self._serve, server)

    async def _serve(self, number: int, *, task_status: trio.TaskStatus[None]) -> None:
        app = self._make if isinstance(self._make, App) else _made(self._make, self._broker)
        ended = trio.Event()
        try:
            async with open_server(app) as server:
                network = Network(server.serve_connection, server.connections)
                self._servers[number] = _Running(app, server, network, ended)
                task_status.started()
        finally:
            ended.set()

    def running(self, number: int) -> _Running:
        """Return a running server.

        Raises:
          OSError: the server is stopped, so that a connection to it fails.
        """
        running = self._servers[number]
        if running is None:
            raise OSError(f"server {number} is stopped")
        return running

    def link(self, server: int) -> Link:
        """Return a new link to a server."""
        return self.running(server).network.link()

    def add(self, client: AppClient) -> None:
        """Add a client that begins to join."""
        self.clients.append(client)
        self._all_clients.append(client)

    async def run(self, client: AppClient) -> None:
        """Begin to run a client, until it closes. *Cancellation*: the client runs."""
        await self._nursery.start(self._run, client)

    async def _run(self, client: AppClient, *, task_status: trio.TaskStatus[None]) -> None:
        async with open_client(client):
            task_status.started()
            await client.wait_status(Status.CLOSED)

    async def close(self) -> None:
        """Let all clients leave, and drain all servers. *Cancellation*: some may still run."""
        for client in self.clients:
            client.leave()
        for number, running in enumerate(self._servers):
            if running is not None:
                await self.stop(number)


class Browser:
    """A browser of a person: it sends requests with its cookies, and joins rooms with the session of its cookies."""

    def __init__(self, under_test: AppUnderTest) -> None:
        self.cookies: dict[str, str] = {}
        """The cookies, by name. Their paths and domains, and whether they need TLS, make no difference."""
        self._until: dict[str, datetime | None] = {}  # when the cookies expire
        self._under_test = under_test

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None, server: int = 0) -> Page:
        """Send a GET request, and return the response. Redirects are not followed.

        *Cancellation* closes the connection.
        """
        return await self.request("GET", path, headers=headers, server=server)

    async def post(
        self,
        path: str,
        *,
        form: Mapping[str, str] | None = None,
        json: Any = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        server: int = 0,
    ) -> Page:
        """Send a POST request with a form, a JSON value or a body, and return the response.

        *Cancellation* closes the connection.
        """
        lines = dict(headers or {})
        if form is not None:
            body, kind = urlencode(form).encode(), "application/x-www-form-urlencoded"
        elif json is not None:
            body, kind = dumps(json).encode(), "application/json"
        else:
            kind = lines.pop("content-type", "application/octet-stream")
        return await self.request("POST", path, body=body, headers={"content-type": kind, **lines}, server=server)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        server: int = 0,
    ) -> Page:
        """Send a request, and return the response. *Cancellation* closes the connection."""
        stream = await self._under_test.link(server).connect()
        async with stream:
            client = HttpClient(stream, HOST)
            lines = {"connection": "close", **self._cookie_header(), **(headers or {})}
            status, received = await client.request(method, path, lines, body)
            content = b"" if method == "HEAD" else await client.receive_all()
        for line in client.cookies:
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name], self._until[name] = morsel.value, _expiry(morsel)
        return Page(status, received, content)

    async def join(
        self,
        path: str,
        *,
        name: str = "",
        session: Session | None = None,
        options: object = None,
        create: Create = "if needed",
        sends: object = None,
        receives: object = None,
        transport: TransportKind = TransportKind.WEBSOCKET,
        codec: Codec = JSON,
        limits: Limits | None = None,
        server: int = 0,
    ) -> AppClient:
        """Join a room, and wait until the client has its seat: ``await app.join("/rooms/poker/one", name="ana")``.

        Args:
          path: the path of the room, such as ``/rooms/poker/one``.
          session: the session of the client, for which the app's keys issue a key. By default the client has the
            session of the browser's cookies; without a cookie it is a guest.
          options, create: see `edge.join`.
          sends, receives: the unions of events that the client sends and receives; by default those of the room.
          transport: the transport of the client.
          server: the server to which the client connects.

        Raises:
          Disconnected: the room refused the client; `code` has the reason.
          ValueError: `path` does not begin with ``/``.
          TypeError: the app has a function for this kind of room that does not name the class of its room, and `sends`
            and `receives` are not given.

        *Cancellation*: the client continues to join.
        """
        if not path.startswith("/"):
            raise ValueError(f"begin the path with a slash: /{path}")
        app = self._under_test.running(server).app
        room = _room_class(app, path) if sends is None or receives is None else None

        async def connect() -> trio.abc.Stream:
            client.link = self._under_test.link(client.server)  # a server that was restarted has another network
            return await client.link.connect()

        key = await self._find_key(app, session, server)
        client = AppClient(
            name or (session.name if session is not None else ""),
            UrlConnector(
                f"ws://{HOST}{path}", codec=codec, limits=limits or Limits(), kinds=(transport,), connect=connect
            ),
            sends=kind_of(room).receives if sends is None and room is not None else sends,
            documents=() if room is None else kind_of(room).mirrored,
            receives=kind_of(room).sends if receives is None and room is not None else receives,
            codec=codec,
            limits=limits or Limits(),
            inbox=math.inf,
            client=f"client-of-the-test-{len(self._under_test.clients)}",
            key=key,
            options=options,
            create=create,
        )
        client.server = server
        self._under_test.add(client)
        await self._under_test.run(client)
        await client.wait_status(Status.OPEN)
        return client

    async def _find_key(self, app: App, session: Session | None, server: int) -> str | None:
        if session is not None:
            return app.keys.issue(session.id, name=session.name, claims=session.claims, guest=session.guest)
        if not self._cookie_header():
            return None
        page = await self.request("POST", "/session", headers={CUSTOM: "browser"}, server=server)
        key: str | None = page.json().get("key") if page.status == 200 else None
        return key

    def _cookie_header(self) -> dict[str, str]:
        for name, until in [*self._until.items()]:
            if until is not None and until <= utc_now():
                del self._until[name]
                self.cookies.pop(name, None)
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}


def _expiry(morsel: Morsel[str]) -> datetime | None:
    """Return the time at which a cookie expires; None if it does not."""
    if morsel["max-age"]:
        return utc_now() + timedelta(seconds=int(morsel["max-age"]))
    return parsedate_to_datetime(morsel["expires"]) if morsel["expires"] else None


@asynccontextmanager
async def open_apps(clients: list[ClientUnderTest]) -> AsyncIterator[EdgeApp]:
    """Open apps until the block ends: ``async with open_apps([]) as open_app: app = await open_app(make_app)``.

    Args:
      clients: gets the clients of the apps.

    Raises:
      Crashed: the code of a room raised unexpectedly.
      Leaked: a task or a deadline outlived the apps and their clients.

    *Cancellation* ends the apps and the clients.
    """
    watch, before = CrashWatch(), current_tasks()
    logging.getLogger("edge.rooms").addHandler(watch)
    try:
        async with trio.open_nursery() as nursery:
            opened: list[AppUnderTest] = []

            async def open_app(make: App | MakeApp, *, servers: int = 1) -> AppUnderTest:
                under_test = AppUnderTest(make, servers, nursery, watch.expected, clients)
                opened.append(under_test)
                for number in range(servers):
                    await under_test.start(number)
                return under_test

            yield open_app
            for under_test in opened:
                await under_test.close()
    finally:
        logging.getLogger("edge.rooms").removeHandler(watch)
    if watch.unexpected:
        raise Crashed("\n".join(watch.unexpected))
    check_left(before)


def _made(make: MakeApp, broker: Broker) -> App:
    takes_broker = "broker" in inspect.signature(make).parameters
    return make(broker=broker) if takes_broker else make()


def _room_class(app: App, path: str) -> Any:
    """Return the open room at a path; if no room is open there, return the class of its rooms; None if the app has no
    such kind of room.

    Raises:
      TypeError: the app has a function for this kind of room that does not name the class of its room.
    """
    found = site_of(app).room_at(path)
    if found is None or found[0] not in app.directory.kinds:
        return None
    make: Any = app.directory.kinds[found[0]]
    room = app.directory.find(*found)
    if room is not None:
        return room
    made = typing.get_origin(make) or make
    if not isinstance(made, type):
        made = typing.get_type_hints(made).get("return") if inspect.isroutine(made) else None
    if not (isinstance(made, type) and issubclass(made, Room)):
        raise TypeError(f"the class of {path} is not known before it is open: annotate what {make!r:.80} returns")
    return made
