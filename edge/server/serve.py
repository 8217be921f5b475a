"""One port: connections, the requests on them, and the upgrade to a room."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

import attrs
import trio

from ..aio.guard import guarded
from ..cluster.node import Node
from ..cluster.proxy import IS_OPEN, Forwards
from ..codes import Code
from ..connections.scheduler import Post, open_post
from ..errors import Refused, RemoteProtocolError
from ..protocol.codec import SUBPROTOCOLS
from ..transports.http.http import BadRequest, HttpConnection, Request, Response, tokens_of
from ..transports.http.line import LINE
from ..transports.http.responses import crowded_response, error_response, line_over_response, refusal_response
from ..transports.http.served import LineOver
from ..transports.linger import linger
from ..transports.websocket.framing import fragments_pace
from ..transports.websocket.reader import Lanes, open_lanes
from ..transports.websocket.websocket import ServedWebSocket, switching_response
from .accepting import accept_from
from .addresses import Addresses
from .app import App, site_of
from .door import Door
from .forwarded import Forwarded
from .hosts import Hosts
from .lines import Lines
from .listeners import open_listeners
from .site import LIVE, READY, Site
from .upgrade import Upgrade, agreed_subprotocol, is_websocket

log = logging.getLogger("edge.server")

# How long an idle connection is kept for another request; most browsers give up after a minute or more.
KEEP_ALIVE_SECONDS = 60.0

# How long TLS's goodbye may take.
GOODBYE_SECONDS = 1.0

# The names of this machine.
LOCAL = Hosts(None, bound="localhost")
# More connections than a developer opens at once.
MANY_UNFORWARDED = 50

# How long somebody for whom there is no space may take to be told so; less if there is not even a file for them.
TOLD_SECONDS, TOLD_IN_HASTE_SECONDS = 1.0, 0.2

# Load balancers ask for these by the address of a server, not by its name.
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
    shared_port: bool = False,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an app until it is drained.

    Args:
      host: the address to listen on; "0.0.0.0" or "::" for all.
      port: 0 for any free one.
      drain_seconds: how long draining may take before what is left is cancelled.
      drain: set it to stop: nobody is admitted any more, rooms and players are told, and it returns when all have gone.
      tls: serve HTTPS and WSS: a context with the server's certificate, see `ssl.create_default_context`. It speaks
        HTTP/1.1 only, and is told so.
      shared_port: let other processes listen on the port, too.
      task_status: ``nursery.start`` returns the listeners.

    Raises:
      OSError: the port is taken.
      ssl.SSLError: `tls` is a client's context.
      BrokerDown: what the app shares with other servers can't be reached.
      ValueError: it shares rooms, and not its keys.

    *Cancellation* drains with no patience: rooms are told, and their farewells have two seconds.
    """
    if tls is not None:
        tls.set_alpn_protocols(["http/1.1"])
        tls.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)  # here, and not at the first connection
    listeners = await open_listeners(host, port, shared=shared_port)
    async with open_server(app, bound=host) as server:
        async with trio.open_nursery() as accepting:

            async def serve_one(stream: trio.abc.Stream) -> None:
                await server.serve_connection(stream, _peer_address(stream))

            for listener in listeners:
                secured = _secured(listener, tls)
                accepting.start_soon(accept_from, secured, server.connections, serve_one, server.serve_full)
            if server.any_host:
                log.info(
                    "every Host is answered: name yours in App(hosts=[...]), so that no other site can use this address"
                )
            task_status.started(listeners)
            await (trio.Event() if drain is None else drain).wait()
            accepting.cancel_scope.cancel("draining")
        server.connections.cancel_scope.deadline = trio.current_time() + drain_seconds
        server.drain()


def _secured(listener: trio.SocketListener, tls: ssl.SSLContext | None) -> trio.abc.Listener[trio.abc.Stream]:
    return listener if tls is None else trio.SSLListener(listener, tls)


def _peer_address(stream: trio.abc.Stream) -> str:
    """From where a connection comes; empty if it is over already."""
    socket_stream = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    assert isinstance(socket_stream, trio.SocketStream)
    try:
        address: str = socket_stream.socket.getpeername()[0]
    except OSError:
        return ""
    return address


@asynccontextmanager
async def open_server(app: App, *, bound: str = "") -> AsyncIterator[Server]:
    """A server without a port, for streams that come from elsewhere. It ends once it is drained and nobody is left.

    Args:
      bound: the address on which whoever brings the streams listens; empty if there is none.

    Raises:
      RuntimeError: the mounted app could not start.
      BrokerDown: what it shares with other servers can't be reached.
    """
    site = site_of(app)
    async with trio.open_nursery() as background:
        if site.mount is not None:
            await background.start(site.mount.run)
        async with open_post() as post, open_lanes() as lanes, trio.open_nursery() as connections:
            await connections.start(site.directory.run)
            node = site.join_servers(connections, post)
            await background.start(node.run)
            yield Server(site, connections, post, lanes, node, Hosts(site.hosts, bound=bound))
        if site.mount is not None:
            await site.mount.wait_idle(connections.cancel_scope.deadline)
        background.cancel_scope.cancel("drained")


class Server:
    """An app that is being served. Made by `open_server`."""

    def __init__(
        self, site: Site, connections: trio.Nursery, post: Post, lanes: Lanes, node: Node, hosts: Hosts
    ) -> None:
        self.connections = connections
        """Where the rooms and the lines live, and connections may."""
        self.site = site
        self._post = post
        self._lanes = lanes
        self._node = node
        self._hosts = hosts
        self._addresses = Addresses(site.caps.proxies)
        self._misdirected = False
        """Whether the log says that a request was for another host."""
        self._unforwarded = False
        """Whether the log says that requests of a proxy's address do not tell for whom they are."""
        self._door = Door(site.caps)
        self._lines = Lines(site, connections, post, self._door, self._addresses)
        self._forwards = Forwards(node.mail, node.questions, self._lines.respond, connections, site.limits)
        node.share(self._forwards)
        node.questions.answer(IS_OPEN, self._lines.is_open)
        self._turn = trio.StrictFIFOLock()
        self._told: dict[trio.CancelScope, None] = {}
        """Those who are being told that there is no space; the first of them first."""

    @property
    def any_host(self) -> bool:
        """Whether it answers for whatever name it is asked by."""
        return self._hosts.any

    def drain(self) -> None:
        """Close the rooms, and the connections on which nothing is going on."""
        self.site.draining = True
        self.site.directory.close()
        self.connections.start_soon(guarded, "handing over", self._node.hand_over)
        if self.site.mount is not None:
            self.site.mount.drain()
        self._door.drain()

    async def serve_connection(self, stream: trio.abc.Stream, address: str = "") -> None:
        """Serve one connection to its end, and close it.

        Args:
          address: where it comes from, where that can be said.
        """
        try:
            await guarded("a connection", lambda: self._serve_connection(stream, address))
        finally:
            if isinstance(stream, trio.SocketStream):
                stream.socket.close()
            else:  # TLS has something to say, and a peer that does not read could hold it up
                with trio.CancelScope(shield=True, deadline=trio.current_time() + GOODBYE_SECONDS):
                    await stream.aclose()

    async def serve_full(self, stream: trio.abc.Stream) -> None:
        """Answer the one request of a connection for which there was no file, and close it."""
        refused = Refused("the server has no files left for more connections", Code.CROWDED)
        try:
            await guarded("a connection", lambda: self._tell_crowded(stream, refused, seconds=TOLD_IN_HASTE_SECONDS))
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_connection(self, stream: trio.abc.Stream, address: str) -> None:
        with contextlib.ExitStack() as places:
            try:
                places.enter_context(self._door.connection(self._addresses.visitor(address)))
            except Refused as refused:
                await self._tell_crowded(stream, refused)
                return
            upgrade = await self._serve_requests(stream, address, places)
            if upgrade is not None:  # what HTTP needed is forgotten by now
                await self._attend(stream, upgrade)

    async def _serve_requests(
        self, stream: trio.abc.Stream, address: str, places: contextlib.ExitStack
    ) -> Upgrade | None:
        """Answer requests until the connection ends, or one for a WebSocket comes that may have it."""
        connection, request = HttpConnection(stream, address), None
        idle, may_ask = self.site.limits.hello_seconds, False
        try:
            while request := await self._next_request(connection, address, idle, may_ask=may_ask):
                if not self._hosts.allow(request.headers.get("host", "")) and request.path not in PROBES:
                    self._note_misdirected(request)
                    await _answer_last(connection, _misdirected_response(request))
                    return None
                room = self.site.room_at(request.raw_path)
                may_ask = room is not None and LINE in request.headers
                upgrades = room is not None and "websocket" in tokens_of(request.headers.get("upgrade", ""))
                on_line = room is not None and not upgrades and self._lines.expects(request, room)
                visitor = self._addresses.visitor(request.address)
                if not on_line:
                    self._door.check_pace(visitor)
                proxied = request.address != address
                if room and upgrades:
                    accepted = self._check_upgrade(request)
                    if isinstance(accepted, str):
                        if proxied:
                            places.enter_context(self._door.place(visitor))
                        key = request.headers["sec-websocket-key"]
                        granting = switching_response(key, accepted)
                        return Upgrade(granting, connection.switch(), accepted, *room, request.address)
                    await connection.respond(accepted, close=True)
                    await linger(stream)
                else:
                    with self._door.place(visitor) if proxied and not on_line else contextlib.nullcontext():
                        await self._serve_request(connection, request, room, visitor)
                if not connection.reusable or self.site.draining:
                    return None
                idle = KEEP_ALIVE_SECONDS
                if connection.pipelined:  # one of all that were sent ahead begins at a time: others come in between
                    async with self._turn:
                        await trio.lowlevel.checkpoint()
        except BadRequest as bad:
            await _answer_last(connection, self._bad_response(bad, request))
        except (Refused, LineOver, RemoteProtocolError) as refused:
            assert request is not None
            await _answer_last(connection, self._refusal(refused, request))
        except trio.BrokenResourceError:
            pass  # the peer went away; nothing was promised to it
        return None

    async def _serve_request(
        self, connection: HttpConnection, request: Request, room: tuple[str, str] | None, visitor: str
    ) -> None:
        """Read the body of a request, and answer it.

        Raises:
          BadRequest: see `HttpConnection.read_body`.
          Refused, LineOver, RemoteProtocolError: it is not served; its body may be unread.
          trio.BrokenResourceError: the peer is gone.
        """
        if room is not None and request.method != "OPTIONS" and not self.site.origins.allow(request):
            await _answer_last(connection, self.site.origins.refuse(request))
            return
        line = _line_of(request, room)
        max_bytes, home = self.site.max_body(request), self._node.id
        if room is not None:
            max_bytes = self._lines.max_body(request)
            if "transfer-encoding" in request.headers:
                raise BadRequest(411, "length", "a body needs a Content-Length")
        if line is not None:
            self._lines.check(request)
            home = self._node.home(request.headers[LINE])
            if home != self._node.id:
                await self._forwards.check(request, line, home)
                max_bytes = self._forwards.max_body(request, home)
        posting = self._lines.posting(request) if line is not None and request.method == "POST" else trio.CancelScope()
        with posting as scope, self._door.body(visitor) as keep:
            request = await self._read_body(connection, request, visitor, keep, max_bytes)
            if line is not None and home != self._node.id:
                self.site.directory.counters.requests += 1
                await self._forwards.forward(connection, request, line, home, visitor=visitor)
            else:
                await self._respond(connection, request, room)
        if scope.cancelled_caught and connection.unanswered:
            raise Refused("another post of this line has come", Code.CROWDED)

    async def _next_request(
        self, connection: HttpConnection, address: str, idle: float, *, may_ask: bool
    ) -> Request | None:
        request = None
        with self._door.waiting(self._addresses.visitor(address), may_ask=may_ask) as waiting, waiting.scope:
            request = await connection.next_request(idle=idle, seconds=self.site.limits.hello_seconds)
        if request is None or not self._addresses.is_proxy(address):
            return request
        forwarded, headers = Forwarded.read(request.headers), request.headers
        if forwarded.host and self.site.hosts is not None:  # else anybody could name us, through a careless proxy
            headers = {**headers, "host": forwarded.host}
        if not (forwarded.addresses or self._unforwarded or request.path in PROBES):
            self._note_unforwarded(request, address)
        if not any((forwarded.addresses, forwarded.scheme, forwarded.host)):
            return request
        visitor = self._addresses.find(address, forwarded.addresses)
        return attrs.evolve(request, address=visitor, scheme=forwarded.scheme or request.scheme, headers=headers)

    def _note_unforwarded(self, request: Request, address: str) -> None:
        """Warn once if a proxy does not say for whom its requests are: no cap of one address applies to those. A few
        requests for a name of this machine may be a developer's own."""
        local = LOCAL.allow(request.headers.get("host", ""))
        if local and self._door.connections("") < MANY_UNFORWARDED:
            return
        self._unforwarded = True
        text = "requests of %s have no X-Forwarded-For or Forwarded, so the caps of one address do not apply to them"
        log.warning(text + ": let the proxy there say for whom they are", address)

    def _note_misdirected(self, request: Request) -> None:
        if not self._misdirected:  # once, for it may be many times a second
            self._misdirected = True
            host = request.headers.get("host", "")[:100]
            log.warning(
                "a request for the host %r is refused: if that is this server's, name it in App(hosts=[...])", host
            )

    async def _read_body(
        self,
        connection: HttpConnection,
        request: Request,
        visitor: str,
        keep: Callable[[int], None],
        max_bytes: int,
    ) -> Request:
        with self._door.waiting(visitor) as waiting, waiting.scope:
            return await connection.read_body(request, keep, max_bytes=max_bytes)
        raise waiting.why

    async def _attend(self, stream: trio.abc.Stream, upgrade: Upgrade) -> None:
        """Serve a WebSocket to its end."""
        limits = self.site.limits
        transport = ServedWebSocket(
            stream,
            upgrade.ahead,
            granting=upgrade.granting,
            max_bytes=limits.socket_bytes,
            lanes=self._lanes,
            fragments=fragments_pace(limits),
        )
        visitor = self._addresses.visitor(upgrade.address)
        await self.site.attend(
            transport,
            SUBPROTOCOLS[upgrade.subprotocol],
            upgrade.kind,
            upgrade.name,
            opener=visitor,
            post=self._post,
            bulk=self._door.bulk_pace(visitor),
            waiting=partial(self._door.waiting, visitor),
        )

    async def _tell_crowded(self, stream: trio.abc.Stream, refused: Refused, *, seconds: float = TOLD_SECONDS) -> None:
        """Answer the one request of somebody for whom there is no space; but alive this server is."""
        if len(self._told) >= self._door.max_told:
            first = next(iter(self._told))
            del self._told[first]
            first.cancel("others are to be told")
        with trio.move_on_after(seconds) as patience, contextlib.suppress(BadRequest, trio.BrokenResourceError):
            self._told[patience] = None
            try:
                connection = HttpConnection(stream)
                request = await connection.next_request(idle=seconds, seconds=seconds)
                if request is not None and request.path == LIVE:
                    await _answer_last(connection, await self.site.respond(request))
                elif request is not None:
                    await _answer_last(connection, self._refusal(refused, request))
            finally:
                self._told.pop(patience, None)

    def _bad_response(self, bad: BadRequest, request: Request | None) -> Response:
        if request is None or LINE not in request.headers or bad.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return error_response(bad.status, bad.code, str(bad))
        if (room := self.site.room_at(request.raw_path)) is not None:
            self._lines.end(request, room, Code.TOO_LARGE)
        response = refusal_response(bad.status, Code.TOO_LARGE, str(bad))  # its client should not try again
        return attrs.evolve(response, headers={**response.headers, **self.site.origins.sharing(request)})

    def _refusal(self, why: Refused | LineOver | RemoteProtocolError, request: Request) -> Response:
        match why:
            case LineOver():
                response = line_over_response(why)
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
                pass  # the peer went away

        if not await guarded(f"{request.method} {request.path!r}", answer) and connection.unanswered:
            crashed = error_response(500, "crashed", "the server could not answer")
            await connection.respond(crashed, head_only=request.method == "HEAD", close=self.site.draining)

    async def _respond_for_room(self, connection: HttpConnection, request: Request, room: tuple[str, str]) -> None:
        """A request for a room that asks for no WebSocket: it is on a line, or a mistake."""
        if request.method == "OPTIONS":
            await connection.respond(self.site.origins.preflight(request))
        elif request.method in ("GET", "POST") and LINE in request.headers:
            await self._lines.respond(connection, request, room)
        else:
            text = f"a room is spoken to over WebSocket, or with the header {LINE}"
            await connection.respond(
                attrs.evolve(error_response(426, "upgrade", text), more=(("upgrade", "websocket"),))
            )

    def _check_upgrade(self, request: Request) -> str | Response:
        """The sub-protocol of a WebSocket that may be opened, or why it may not."""
        subprotocol = agreed_subprotocol(request)
        if not self.site.origins.allow(request):
            return self.site.origins.refuse(request)
        if not is_websocket(request):
            return refusal_response(400, Code.MALFORMED, "not a WebSocket handshake")
        if request.headers.get("sec-websocket-version") != WEBSOCKET_VERSION:  # RFC 6455 section 4.4
            refusal = refusal_response(426, Code.VERSION, f"version {WEBSOCKET_VERSION} of WebSocket is spoken here")
            spoken = {"sec-websocket-version": WEBSOCKET_VERSION, "upgrade": "websocket"}
            return attrs.evolve(refusal, headers={**refusal.headers, **spoken})
        return subprotocol or refusal_response(400, Code.VERSION, f"spoken here: {', '.join(SUBPROTOCOLS)}")


def _line_of(request: Request, room: tuple[str, str] | None) -> tuple[str, str] | None:
    """The room to which a request on a line leads; None if it is on no line."""
    if room is None or request.method not in ("GET", "POST") or LINE not in request.headers:
        return None
    return room


def _misdirected_response(request: Request) -> Response:
    host = request.headers.get("host", "")[:100]
    text = f"this server does not answer for the host {host!r}: name it in App(hosts=[...])"
    return refusal_response(421, Code.FOREIGN_ORIGIN, text)


async def _answer_last(connection: HttpConnection, response: Response) -> None:
    """Answer, and say that the connection ends."""
    with contextlib.suppress(trio.BrokenResourceError):
        await connection.respond(response, close=True)
        await linger(connection.stream)
