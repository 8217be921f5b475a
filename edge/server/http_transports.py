"""Open the HTTP transports of a server, and pass each request to its transport."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import attrs
import trio

from ..aio.guard import guarded
from ..codes import Code
from ..connections.scheduler import WriteScheduler
from ..errors import Refused, RemoteProtocolError
from ..transports.http.checks import HEADS_BYTES, NAME, codec_of, max_body, mode_of, number_in
from ..transports.http.http import Request, Responder, Response
from ..transports.http.responses import crowded_response, refusal_response, transport_over_response
from ..transports.http.served import GAP_SECONDS, ServedHttpTransport, TransportOver
from ..transports.http.transport import CONNECTION, FIRST, HAS
from .addresses import Addresses
from .limiter import ConnectionLimiter
from .site import Site

# The maximum number of open POST requests of one transport: the current request, and an older request whose connection
# broke without notice.
MAX_POSTS = 2


@attrs.frozen
class _Served:
    """An HTTP transport, and the kind and name of its room."""

    room: tuple[str, str]
    transport: ServedHttpTransport


class HttpTransports:
    """All open HTTP transports of a server.

    Args:
      site: the app whose rooms the transports connect to.
      nursery: runs a task for each transport.
      scheduler: writes for the transports.
      limiter: counts each transport as a connection.
      addresses: finds the IPv4 address or IPv6 network for which a client's requests are counted.
    """

    def __init__(
        self,
        site: Site,
        nursery: trio.Nursery,
        scheduler: WriteScheduler,
        limiter: ConnectionLimiter,
        addresses: Addresses,
    ) -> None:
        self._site = site
        self._limiter = limiter
        self._addresses = addresses
        self._nursery = nursery
        self._scheduler = scheduler
        self._served: dict[str, _Served] = {}
        self._posts: dict[str, list[trio.CancelScope]] = {}
        """The cancel scopes of open POST requests, by the name of their HTTP transport; the oldest first.

        The transport may be on another server.
        """

    def check(self, request: Request) -> None:
        """Check the headers of a request of an HTTP transport, before its body is read.

        Raises:
          RemoteProtocolError: a header is invalid.
        """
        if not NAME.fullmatch(request.headers[CONNECTION]):
            raise RemoteProtocolError("the name of an HTTP transport must have 16 to 64 letters, digits, _ or -")
        codec_of(request)
        number_in(request.headers, HAS)
        if request.method == "POST":
            number_in(request.headers, FIRST)
        else:
            mode_of(request)

    def max_body(self, request: Request) -> int:
        """Return the largest body of a request for a room, in bytes.

        Before the welcome of the HTTP transport, the limit is lower, because only a hello is expected.
        """
        limits, served = self._site.limits, self._served.get(request.headers.get(CONNECTION, ""))
        welcome = served is not None and served.transport.max_bytes == limits.socket_bytes
        return max_body(limits) if welcome else limits.opening_bytes + HEADS_BYTES

    async def is_open(self, name: str, kind: str, room: str) -> bool:
        """Return true if an HTTP transport of this name is open for this room.

        Another server calls this method before it forwards a request to this server.
        """
        served = self._served.get(name)
        await trio.lowlevel.checkpoint()
        return served is not None and served.room == (kind, room)

    @contextlib.contextmanager
    def posting(self, request: Request) -> Iterator[trio.CancelScope]:
        """Provide a cancel scope for a POST request while a block reads the request's body and responds.

        A transport may have two open POST requests. A third cancels the oldest, because the client no longer waits for
        the oldest.
        """
        name, scope = request.headers[CONNECTION], trio.CancelScope()
        posts = self._posts.setdefault(name, [])
        posts.append(scope)
        for oldest in posts[:-MAX_POSTS]:
            oldest.cancel("a newer POST request of this transport has arrived")
        try:
            with scope:
                yield scope
        finally:
            posts.remove(scope)
            if not posts:
                del self._posts[name]

    def expects(self, request: Request, room: tuple[str, str]) -> bool:
        """Return true if a request belongs to an open HTTP transport of this room, and is within the transport's pace.

        The call charges the request to that pace. The request's body may still be unread.
        """
        served = self._served.get(request.headers.get(CONNECTION, ""))
        return (
            served is not None
            and served.room == room
            and request.method in ("GET", "POST")
            and served.transport.paces(trio.current_time())
        )

    def end(self, request: Request, room: tuple[str, str], code: Code) -> None:
        """Close the HTTP transport of a request that broke the protocol. Refuse its further requests with this code."""
        served = self._served.get(request.headers.get(CONNECTION, ""))
        if served is not None and served.room == room:
            served.transport.close_by_peer(code)

    async def respond(self, connection: Responder, request: Request, room: tuple[str, str]) -> None:
        """Respond to a request of an HTTP transport. The request's body has been read.

        Raises:
          trio.BrokenResourceError: the client has disconnected.
        """
        headers = self._site.origins.sharing(request)
        try:
            transport = self._find(request, room)
            has = number_in(request.headers, HAS)
            if request.method == "GET":
                await transport.get(connection, mode_of(request), has, headers)
                return
            count = await transport.post(number_in(request.headers, FIRST), has, request.body)
            response = Response(200, str(count).encode(), headers={"cache-control": "no-store"})
        except TransportOver as over:
            response = transport_over_response(over)
        except Refused as refused:
            self._site.directory.counters.refused[refused.code] += 1
            response = crowded_response(refused)
        except RemoteProtocolError as exc:
            self.end(request, room, exc.code)
            response = refusal_response(503 if exc.code in (Code.DRAINING, Code.FULL) else 400, exc.code, str(exc))
        await connection.respond(attrs.evolve(response, headers={**response.headers, **headers}))

    def _find(self, request: Request, room: tuple[str, str]) -> ServedHttpTransport:
        name = request.headers[CONNECTION]
        served = self._served.get(name)
        if served is None:
            return self._open(name, request, room)
        if served.room != room:
            raise RemoteProtocolError("this HTTP transport belongs to another room")
        return served.transport

    def _open(self, name: str, request: Request, room: tuple[str, str]) -> ServedHttpTransport:
        if number_in(request.headers, HAS) or (request.method == "POST" and number_in(request.headers, FIRST)):
            raise TransportOver
        codec = codec_of(request)
        if self._site.draining:
            raise RemoteProtocolError("the server is shutting down", Code.DRAINING)
        peer = self._addresses.peer_of(request.address)
        self._limiter.add_connection(peer)
        transport, waiting = ServedHttpTransport(self._site.limits), partial(self._limiter.waiting, peer)
        transport.max_bytes = self._site.limits.opening_bytes  # `serve_seat` sets this only after the first POST

        async def serve() -> None:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(transport.watch)
                    bulk = self._limiter.bulk_pace(peer)
                    await self._site.serve_seat(
                        transport, codec, *room, opener=peer, scheduler=self._scheduler, bulk=bulk, waiting=waiting
                    )
                    nursery.cancel_scope.cancel("the transport has ended")
                if not self._site.draining:
                    with waiting() as wait, wait.scope:
                        await trio.sleep(GAP_SECONDS)  # meanwhile the client may request the last frames again
            finally:
                self._limiter.remove_connection(peer)
                del self._served[name]

        self._served[name] = _Served(room, transport)
        self._nursery.start_soon(guarded, "an HTTP transport", serve)
        return transport
