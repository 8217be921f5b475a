"""Serve an app on one port: accept connections, answer their HTTP requests, and upgrade to WebSocket for rooms."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path

import attrs
import trio

from ..aio.guard import guarded
from ..cluster.node import Node
from ..cluster.proxy import IS_OPEN, RequestProxy
from ..codes import Code
from ..connections.scheduler import WriteScheduler, open_write_scheduler
from ..errors import Refused, RemoteProtocolError
from ..protocol.codec import MESSAGEPACK, SUBPROTOCOLS, Frame
from ..transports.http.http import BadRequest, HttpConnection, Request, Response, tokens_of
from ..transports.http.responses import crowded_response, error_response, refusal_response, transport_over_response
from ..transports.http.served import TransportOver
from ..transports.http.transport import CONNECTION
from ..transports.linger import linger
from ..transports.websocket.reader import SocketReader, open_socket_reader
from ..transports.websocket.websocket import ServedWebSocket, switching_response
from .accepting import accept_from
from .addresses import Addresses
from .app import App, site_of
from .forwarded import Forwarded
from .handoff import Handoff
from .hosts import Hosts, is_private
from .http_transports import HttpTransports
from .limiter import ConnectionLimiter
from .listeners import open_listeners
from .site import LIVE, READY, Site
from .upgrade import Upgrade, agreed_subprotocol, is_websocket

log: logging.Logger = logging.getLogger("edge.server")

# Seconds that an idle connection is kept open for another request. Most browsers close an idle connection after a
# minute or more.
KEEP_ALIVE_SECONDS = 60.0

# Seconds that the TLS close alert may take.
GOODBYE_SECONDS = 1.0

# The loopback names of this machine.
LOCAL = Hosts(None, bound="localhost")
# If at least this many connections from trusted addresses are open, requests for a loopback name are assumed to come
# from a proxy, because a developer does not open that many connections.
MANY_UNFORWARDED = 50
# The headers of a response that asks for a WebSocket (RFC 9110 section 7.8).
UPGRADE = (("upgrade", "websocket"), ("connection", "upgrade"))

# Seconds to read and answer the first request of a rejected connection. The second value is for connections that use a
# spare file descriptor.
TOLD_SECONDS, TOLD_IN_HASTE_SECONDS = 1.0, 0.2

# These paths are answered for every `Host`, because load balancers request them by a server's IP address.
PROBES = (LIVE, READY)

WEBSOCKET_VERSION = "13"


async def serve(
    app: App,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    drain_seconds: float = 10,
    drain: trio.Event | None = None,
    tls: ssl.SSLContext | None = None,
    worker_directory: Path | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an app until `drain` is set and the drain is complete.

    Args:
      host: the address to listen on; "0.0.0.0" or "::" for all addresses.
      port: 0 for any free port.
      drain_seconds: the maximum duration of a drain, in seconds. The server then cancels the remaining connections and
        rooms.
      drain: set this event to drain the server. The server then admits no more players and closes its rooms or hands
        them over to other servers. `serve` returns once all connections and rooms have ended.
      tls: a context with the server's certificate, to serve HTTPS and WSS; see `ssl.create_default_context`. `serve`
        sets its ALPN protocols to HTTP/1.1 only.
      worker_directory: a directory, to which nobody else has access, for the sockets of the processes that share the
        port. Give all these processes the same directory. None if no other process listens on the port.
      task_status: receives the listeners, so that ``nursery.start`` returns them.

    Raises:
      OSError: another process uses the port, or `worker_directory` is set on a system without SO_REUSEPORT.
      RuntimeError: the mounted app could not start.
      ssl.SSLError: `tls` is a client context.
      BrokerDown: the broker cannot be reached.
      ValueError: the app has a shared broker, but neither `keys` nor ``EDGE_SECRET``.

    *Cancellation* closes the rooms and connections at once. The clean-up code of rooms has two seconds, and a mounted
    app has ten seconds to shut down.
    """
    if tls is not None:
        tls.set_alpn_protocols(["http/1.1"])
        tls.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)  # raises SSLError for a client context
    listeners = await open_listeners(host, port, shared=worker_directory is not None)
    async with open_server(app, bound=host) as server:
        async with trio.open_nursery() as accepting:

            def serve_one(stream: trio.abc.Stream) -> Awaitable[None]:
                return server.serve_connection(stream, _peer_address(stream))

            if worker_directory is not None:
                handoff = Handoff(worker_directory, server.name)
                if await accepting.start(handoff.receive, server.take):
                    server.handoff = handoff
            for listener in listeners:
                secured = _secured(listener, tls)
                accepting.start_soon(accept_from, secured, server.connections, serve_one, server.serve_full)
            if server.any_host:
                log.info("requests with any Host are answered: set App(hosts=[...]) to protect against DNS rebinding")
            task_status.started(listeners)
            await (trio.Event() if drain is None else drain).wait()
            accepting.cancel_scope.cancel("draining")
        server.connections.cancel_scope.deadline = trio.current_time() + drain_seconds
        server.drain()


def _secured(listener: trio.SocketListener, tls: ssl.SSLContext | None) -> trio.abc.Listener[trio.abc.Stream]:
    return listener if tls is None else trio.SSLListener(listener, tls)


def _peer_address(stream: trio.abc.Stream) -> str:
    """Return the address of a connection's peer; empty if the connection has already ended."""
    socket_stream = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    assert isinstance(socket_stream, trio.SocketStream)
    try:
        address: str = socket_stream.socket.getpeername()[0]
    except OSError:
        return ""
    return address


@asynccontextmanager
async def open_server(app: App, *, bound: str = "") -> AsyncIterator[Server]:
    """Open a server that does not listen. The caller passes each stream to `Server.serve_connection`.

    The ``async with`` block waits at its end until `Server.drain` was called and all connections and rooms have ended.

    Args:
      bound: the address on which the caller listens for the streams; empty if there is none. See `Hosts`.

    Raises:
      RuntimeError: the mounted app could not start.
      BrokerDown: the broker cannot be reached.
      ValueError: the app has a shared broker, but neither `keys` nor ``EDGE_SECRET``.

    *Cancellation* closes the rooms and connections at once. The clean-up code of rooms has two seconds, and a mounted
    app has ten seconds to shut down.
    """
    site = site_of(app)
    async with trio.open_nursery() as background:
        if site.mount is not None:
            await background.start(site.mount.run)
        async with (
            open_write_scheduler() as scheduler,
            open_socket_reader() as socket_reader,
            trio.open_nursery() as connections,
        ):
            await connections.start(site.directory.run)
            node = site.join_servers(connections, scheduler)
            await background.start(node.run)
            yield Server(site, connections, scheduler, socket_reader, node, Hosts(site.hosts, bound=bound))
        if site.mount is not None:
            await site.mount.wait_idle(connections.cancel_scope.deadline)
        background.cancel_scope.cancel("drained")


class Server:
    """A running server of one app, made by `open_server`."""

    def __init__(
        self,
        site: Site,
        connections: trio.Nursery,
        scheduler: WriteScheduler,
        socket_reader: SocketReader,
        node: Node,
        hosts: Hosts,
    ) -> None:
        self.connections = connections
        """The nursery of the rooms, the HTTP transports and, usually, the connections."""
        self.site = site
        self._scheduler = scheduler
        self._socket_reader = socket_reader
        self._node = node
        self._hosts = hosts
        self._addresses = Addresses(site.address_limits.proxies)
        self._misdirected = False
        """True once a warning was logged that a request was for an unknown host."""
        self._unforwarded = False
        """True once a warning was logged that a proxy does not report the addresses of its clients."""
        self._limiter = ConnectionLimiter(site.address_limits)
        self._http_transports = HttpTransports(site, connections, scheduler, self._limiter, self._addresses)
        self._proxy = RequestProxy(node.peer_links, node.rpc, self._http_transports.respond, connections, site.limits)
        node.share(self._proxy)
        node.rpc.answer(IS_OPEN, self._http_transports.is_open)
        self.handoff: Handoff | None = None
        """Hands connections off to other workers of the port; None if there are none."""
        self._turn = trio.StrictFIFOLock()
        self._told: dict[trio.CancelScope, None] = {}
        """The cancel scopes of rejected connections that are being answered, the oldest first."""

    @property
    def any_host(self) -> bool:
        """True if the server answers for every host name."""
        return self._hosts.any

    @property
    def name(self) -> str:
        """The name of this server in the cluster."""
        return self._node.id

    def take(self, stream: trio.SocketStream, about: bytes, answer: Callable[[], object]) -> bool:
        """Serve a connection that another worker has upgraded, unless this server has too many connections: see `Take`.

        Args:
          about: what `_hand_off` has written.
        """
        upgrade = Upgrade(b"", *MESSAGEPACK.decode(about))
        peer = self._addresses.peer_of(_peer_address(stream))
        with contextlib.ExitStack() as held, contextlib.suppress(Refused, OSError):
            self._limiter.add_connection(peer, charge=False)
            held.callback(self._limiter.remove_connection, peer)
            if upgrade.place is not None:
                held.enter_context(self._limiter.place(upgrade.place))
            answer()
            serve = partial(self._serve_handed_off, stream, upgrade, held.pop_all())
            self.connections.start_soon(self._serve, stream, serve)
            return True
        return False

    def drain(self) -> None:
        """Start a drain: close the rooms and the idle connections, and hand persistent rooms over to other servers."""
        self.site.draining = True
        self.site.directory.close()
        self.connections.start_soon(guarded, "the hand-over of rooms", self._node.hand_over)
        if self.site.mount is not None:
            self.site.mount.drain()
        self._limiter.drain()

    async def serve_connection(self, stream: trio.abc.Stream, address: str = "") -> None:
        """Serve one connection until it ends, and close its stream.

        Args:
          address: the address of the peer; empty if unknown.

        *Cancellation* ends the connection.
        """
        await self._serve(stream, partial(self._serve_connection, stream, address))

    async def _serve(self, stream: trio.abc.Stream, serve: Callable[[], Awaitable[None]]) -> None:
        """Call `serve`, log its errors, and close the stream."""
        try:
            await guarded("a connection", serve)
        finally:
            if isinstance(stream, trio.SocketStream):
                stream.socket.close()
            else:  # TLS first sends a close alert; if the peer does not read, this would wait for ever
                with trio.CancelScope(shield=True, deadline=trio.current_time() + GOODBYE_SECONDS):
                    await stream.aclose()

    async def serve_full(self, stream: trio.abc.Stream) -> None:
        """Reject the first request of a connection that uses a spare file descriptor, and close its stream."""
        refused = Refused("the server has no file descriptors left for more connections", Code.CROWDED)
        try:
            await guarded("a connection", lambda: self._tell_crowded(stream, refused, seconds=TOLD_IN_HASTE_SECONDS))
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_connection(self, stream: trio.abc.Stream, address: str) -> None:
        peer = self._addresses.peer_of(address)
        try:
            self._limiter.add_connection(peer)
        except Refused as refused:
            await self._tell_crowded(stream, refused)
            return
        place = None
        try:
            upgrade = await self._serve_requests(stream, address)
            if upgrade is not None:  # here, so that the HTTP objects of `_serve_requests` are freed first
                place = upgrade.place
                serving = self._serve_seat(stream, upgrade)
                del upgrade
                await serving
        finally:
            if place is not None:
                self._limiter.remove_place(place)
            self._limiter.remove_connection(peer)

    async def _serve_handed_off(self, stream: trio.SocketStream, upgrade: Upgrade, held: contextlib.ExitStack) -> None:
        with held:
            serving = self._serve_seat(stream, upgrade)
            del upgrade
            await serving

    async def _hand_off(
        self, stream: trio.SocketStream, upgrade: Upgrade, transport: ServedWebSocket, hello: Frame, to: str
    ) -> bool:
        """Hand a connection off to the server of its room. Return False if this server has to serve it."""
        ahead = transport.detach(hello)
        if ahead is None or self.handoff is None:
            return False
        about = MESSAGEPACK.encode([ahead, *attrs.astuple(upgrade)[2:]])
        assert isinstance(about, bytes)
        return await self.handoff.send(stream, about, to)

    async def _serve_requests(self, stream: trio.abc.Stream, address: str) -> Upgrade | None:
        """Answer HTTP requests until the connection ends. Return the `Upgrade` of an accepted WebSocket handshake."""
        connection, request = HttpConnection(stream, address), None
        idle, may_ask = self.site.limits.hello_seconds, False
        try:
            while request := await self._next_request(connection, address, idle, may_ask=may_ask):
                if not self._hosts.allow(request.headers.get("host", "")) and request.path not in PROBES:
                    self._note_misdirected(request)
                    await _answer_last(connection, _misdirected_response(request))
                    return None
                room = self.site.room_at(request.raw_path)
                may_ask = room is not None and CONNECTION in request.headers
                upgrades = room is not None and "websocket" in tokens_of(request.headers.get("upgrade", ""))
                over_http = room is not None and not upgrades and self._http_transports.expects(request, room)
                peer = self._addresses.peer_of(request.address)
                if not over_http:
                    self._limiter.check_pace(peer)
                proxied = request.address != address
                if room and upgrades:
                    accepted = self._check_upgrade(request)
                    if isinstance(accepted, str):
                        place = peer if proxied else None
                        granting = switching_response(request.headers["sec-websocket-key"], accepted)
                        upgrade = Upgrade(granting, connection.switch(), accepted, *room, request.address, place)
                        if place is not None:
                            self._limiter.add_place(place)
                        return upgrade
                    await connection.respond(accepted, close=True)
                    await linger(stream)
                else:
                    with self._limiter.place(peer) if proxied and not over_http else contextlib.nullcontext():
                        await self._serve_request(connection, request, room, peer)
                if not connection.reusable or self.site.draining:
                    return None
                idle = KEEP_ALIVE_SECONDS
                if connection.pipelined:  # connections with pipelined requests take turns, so that other tasks can run
                    async with self._turn:
                        await trio.lowlevel.checkpoint()
        except BadRequest as bad:
            await _answer_last(connection, self._bad_response(bad, request))
        except (Refused, TransportOver, RemoteProtocolError) as refused:
            assert request is not None
            await _answer_last(connection, self._refusal(refused, request))
        except trio.BrokenResourceError:
            pass  # the peer has disconnected, and no response can reach it
        return None

    async def _serve_request(
        self, connection: HttpConnection, request: Request, room: tuple[str, str] | None, peer: str
    ) -> None:
        """Read the body of a request, and answer it.

        Raises:
          BadRequest: see `HttpConnection.read_body`.
          Refused, TransportOver, RemoteProtocolError: the request is rejected. Its body may be unread.
          trio.BrokenResourceError: the peer has disconnected.
        """
        if room is not None and request.method != "OPTIONS" and not self.site.origins.allow(request):
            await _answer_last(connection, self.site.origins.refuse(request))
            return
        joined = _room_over_http(request, room)
        max_bytes, home = self.site.max_body(request), self._node.id
        if room is not None:
            max_bytes = self._http_transports.max_body(request)
            if "transfer-encoding" in request.headers:
                raise BadRequest(411, "length", "a request to a room needs a Content-Length, not Transfer-Encoding")
        if joined is not None:
            self._http_transports.check(request)
            home = self._node.home(request.headers[CONNECTION])
            if home != self._node.id:
                await self._proxy.check(request, joined, home)
                max_bytes = self._proxy.max_body(request, home)
        posting = (
            self._http_transports.posting(request)
            if joined is not None and request.method == "POST"
            else trio.CancelScope()
        )
        with posting as scope, self._limiter.body(peer) as keep:
            request = await self._read_body(connection, request, peer, keep, max_bytes)
            if joined is not None and home != self._node.id:
                self.site.directory.counters.requests += 1
                await self._proxy.forward(connection, request, joined, home, peer=peer)
            else:
                await self._respond(connection, request, room)
        if scope.cancelled_caught and connection.unanswered:
            raise Refused("a newer POST request of this transport has arrived", Code.CROWDED)

    async def _next_request(
        self, connection: HttpConnection, address: str, idle: float, *, may_ask: bool
    ) -> Request | None:
        request = None
        with self._limiter.waiting(self._addresses.peer_of(address), may_ask=may_ask) as waiting, waiting.scope:
            request = await connection.next_request(idle=idle, seconds=self.site.limits.hello_seconds)
        if request is None or not self._addresses.is_proxy(address):
            return request
        forwarded, headers = Forwarded.read(request.headers), request.headers
        if forwarded.host and self.site.hosts is not None:  # without `hosts`, a client might forge the forwarded host
            host = headers.get("host", "")
            if is_private(host) or self._hosts.allow(host):  # else a page on this machine might forge it
                headers = {**headers, "host": forwarded.host}
        if not (forwarded.addresses or self._unforwarded or request.path in PROBES):
            self._note_unforwarded(request, address)
        if not any((forwarded.addresses, forwarded.scheme, forwarded.host)):
            return request
        peer = self._addresses.find(address, forwarded.addresses)
        return attrs.evolve(request, address=peer, scheme=forwarded.scheme or request.scheme, headers=headers)

    def _note_unforwarded(self, request: Request, address: str) -> None:
        """Log one warning that a proxy reports no client addresses, so that the limits of one address do not apply.

        Do not warn about a few connections to a loopback name, because they may be a developer's own.
        """
        local = LOCAL.allow(request.headers.get("host", ""))
        if local and self._limiter.connections("") < MANY_UNFORWARDED:
            return
        self._unforwarded = True
        text = "requests of %s have no X-Forwarded-For or Forwarded, so the limits of one address do not apply to them"
        log.warning(text + ": configure this proxy to send one of these headers", address)

    def _note_misdirected(self, request: Request) -> None:
        if not self._misdirected:  # only once, because such requests may be frequent
            self._misdirected = True
            host = request.headers.get("host", "")[:100]
            log.warning(
                "a request for the host %r is refused: if this is your host name, add it to App(hosts=[...])", host
            )

    async def _read_body(
        self,
        connection: HttpConnection,
        request: Request,
        peer: str,
        keep: Callable[[int], None],
        max_bytes: int,
    ) -> Request:
        with self._limiter.waiting(peer) as waiting, waiting.scope:
            return await connection.read_body(request, keep, max_bytes=max_bytes)
        raise waiting.why

    def _serve_seat(self, stream: trio.abc.Stream, upgrade: Upgrade) -> Awaitable[None]:
        """Serve a WebSocket connection until it ends. Await the result at once."""
        limits = self.site.limits
        transport = ServedWebSocket(
            stream,
            upgrade.ahead,
            granting=upgrade.granting,
            max_bytes=limits.socket_bytes,
            socket_reader=self._socket_reader,
            limits=limits,
        )
        peer = self._addresses.peer_of(upgrade.address)
        hand_off = None
        # a connection is handed off only once, so that it cannot circle between two workers
        if self.handoff is not None and upgrade.granting and isinstance(stream, trio.SocketStream):
            hand_off = partial(self._hand_off, stream, attrs.evolve(upgrade, granting=b"", ahead=b""), transport)
        return self.site.serve_seat(
            transport,
            SUBPROTOCOLS[upgrade.subprotocol],
            upgrade.kind,
            upgrade.name,
            opener=peer,
            scheduler=self._scheduler,
            bulk=self._limiter.bulk_pace(peer),
            waiting=partial(self._limiter.waiting, peer),
            hand_off=hand_off,
        )

    async def _tell_crowded(self, stream: trio.abc.Stream, refused: Refused, *, seconds: float = TOLD_SECONDS) -> None:
        """Reject the first request of a connection for which there is no space, unless the request is for `LIVE`."""
        if len(self._told) >= self._limiter.max_told:
            first = next(iter(self._told))
            del self._told[first]
            first.cancel("a newer rejected connection is answered instead")
        with trio.move_on_after(seconds) as scope, contextlib.suppress(BadRequest, trio.BrokenResourceError):
            self._told[scope] = None
            try:
                connection = HttpConnection(stream)
                request = await connection.next_request(idle=seconds, seconds=seconds)
                if request is not None and request.path == LIVE:
                    await _answer_last(connection, await self.site.respond(request))
                elif request is not None:
                    await _answer_last(connection, self._refusal(refused, request))
            finally:
                self._told.pop(scope, None)

    def _bad_response(self, bad: BadRequest, request: Request | None) -> Response:
        if request is None or CONNECTION not in request.headers or bad.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return error_response(bad.status, bad.code, str(bad))
        if (room := self.site.room_at(request.raw_path)) is not None:
            self._http_transports.end(request, room, Code.TOO_LARGE)
        response = refusal_response(bad.status, Code.TOO_LARGE, str(bad))  # so that the client does not retry
        return attrs.evolve(response, headers={**response.headers, **self.site.origins.sharing(request)})

    def _refusal(self, why: Refused | TransportOver | RemoteProtocolError, request: Request) -> Response:
        match why:
            case TransportOver():
                response = transport_over_response(why)
            case Refused():
                response = crowded_response(why)
                self.site.directory.counters.refused[why.code] += 1
            case _:
                response = refusal_response(400, why.code, str(why))
        return attrs.evolve(response, headers={**response.headers, **self.site.origins.sharing(request)})

    async def _respond(self, connection: HttpConnection, request: Request, room: tuple[str, str] | None) -> None:
        self.site.directory.counters.requests += 1

        async def answer() -> None:
            try:
                if room is not None:
                    await self._respond_for_room(connection, request, room)
                elif (mounted := self.site.mount_for(request)) is not None:
                    await mounted.respond(connection, request)
                else:
                    response = await self.site.respond(request)
                    head_only = request.method == "HEAD"
                    await connection.respond(response, head_only=head_only, close=self.site.draining)
            except trio.BrokenResourceError:
                pass  # the peer has disconnected

        if not await guarded(f"{request.method} {request.path!r}", answer) and connection.unanswered:
            crashed = error_response(500, "crashed", "an error in the server: see its log")
            await connection.respond(crashed, head_only=request.method == "HEAD", close=self.site.draining)

    async def _respond_for_room(self, connection: HttpConnection, request: Request, room: tuple[str, str]) -> None:
        """Respond to a request for a room. WebSocket handshakes are handled elsewhere.

        The request belongs to an HTTP transport, is a CORS preflight, or is refused.
        """
        if request.method == "OPTIONS":
            await connection.respond(self.site.origins.preflight(request))
        elif request.method in ("GET", "POST") and CONNECTION in request.headers:
            await self._http_transports.respond(connection, request, room)
        else:
            text = f"connect to a room with a WebSocket, or with an HTTP transport, which needs the header {CONNECTION}"
            await connection.respond(attrs.evolve(error_response(426, "upgrade", text), more=UPGRADE))

    def _check_upgrade(self, request: Request) -> str | Response:
        """Return the sub-protocol of a WebSocket handshake that is accepted, or the response that rejects it."""
        subprotocol = agreed_subprotocol(request)
        if not self.site.origins.allow(request):
            return self.site.origins.refuse(request)
        if not is_websocket(request):
            return refusal_response(400, Code.MALFORMED, "not a WebSocket handshake")
        if request.headers.get("sec-websocket-version") != WEBSOCKET_VERSION:  # RFC 6455 section 4.4
            refusal = refusal_response(426, Code.VERSION, f"use version {WEBSOCKET_VERSION} of WebSocket")
            return attrs.evolve(refusal, more=(*UPGRADE, ("sec-websocket-version", WEBSOCKET_VERSION)))
        return subprotocol or refusal_response(400, Code.VERSION, f"use a sub-protocol of: {', '.join(SUBPROTOCOLS)}")


def _room_over_http(request: Request, room: tuple[str, str] | None) -> tuple[str, str] | None:
    """Return the room of a request of an HTTP transport; None for any other request."""
    if room is None or request.method not in ("GET", "POST") or CONNECTION not in request.headers:
        return None
    return room


def _misdirected_response(request: Request) -> Response:
    host = request.headers.get("host", "")[:100]
    text = f"this server does not answer for the host {host!r}: to allow it, add it to App(hosts=[...])"
    return refusal_response(421, Code.FOREIGN_ORIGIN, text)


async def _answer_last(connection: HttpConnection, response: Response) -> None:
    """Send the last response of a connection, with ``Connection: close``, then linger so that the response arrives."""
    with contextlib.suppress(trio.BrokenResourceError):
        await connection.respond(response, close=True)
        await linger(connection.stream)
