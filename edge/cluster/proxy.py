"""The request proxy. It forwards requests of an HTTP transport to the transport's server, and relays the responses.

The requests of one HTTP transport may reach any server. The name of the transport determines the transport's server.

All requests between two servers share one link, and a client can invent names of transports. Therefore, a body is
forwarded only if it opens an HTTP transport with a hello of at most `Limits.opening_bytes`, or if the transport is
known to be open on the other server. The total size of the bodies that are being forwarded is limited for each server
and for each client address.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import attrs
import trio

from ..aio.guard import guarded
from ..codes import Code
from ..errors import BrokerDown, Refused
from ..protocol.limits import Limits
from ..transports.http.checks import HEADS_BYTES, check_opening, max_body, opens
from ..transports.http.http import HttpConnection, Request, Responder, Response
from ..transports.http.responses import error_response, transport_over_response
from ..transports.http.served import TransportOver
from ..transports.http.transport import CONNECTION
from .link import PeerLinks, PeerMessage
from .rpc import NodeRpc

log: logging.Logger = logging.getLogger("edge.servers")

REQUEST, ANSWER, HUNG_UP = "http", "http-answer", "http-hung-up"
RESPOND, START, SEND, FINISH = "respond", "start", "send", "finish"

# The name of the call that asks whether an HTTP transport is open.
IS_OPEN = "is-transport-open"
# The maximum number of bytes of bodies that are being forwarded to one server, and from one client address. Further
# requests are refused with `Code.CROWDED`.
MAX_BYTES, MAX_BYTES_EACH = 16 * 1024 * 1024, 2 * 1024 * 1024
# The maximum number of HTTP transports that this server remembers as open on other servers. If it does not remember a
# transport, it asks the transport's server.
MAX_KNOWN = 20_000

Respond = Callable[[Responder, Request, tuple[str, str]], Awaitable[None]]


class _RemoteResponder(Responder):
    """Responds to a request that another server forwarded: sends each step of the response back to that server."""

    def __init__(self, put: Callable[[PeerMessage], object]) -> None:
        self._put = put
        self.answered = self.started = False
        self.gone = trio.Event()

    async def respond(self, response: Response, *, head_only: bool = False, close: bool = False) -> None:
        self.answered = True
        await self._do(RESPOND, _written(response))

    async def start(self, response: Response) -> None:
        self.started = True
        await self._do(START, _written(response))

    async def send(self, data: bytes) -> None:
        await self._do(SEND, data)

    async def finish(self) -> None:
        self.answered = True
        await self._do(FINISH, None)

    async def wait_gone(self) -> None:
        await self.gone.wait()

    async def _do(self, what: str, argument: Any) -> None:
        if self.gone.is_set():
            raise trio.BrokenResourceError
        self._put([what, argument])
        await trio.lowlevel.checkpoint()


class RequestProxy:
    """Sends HTTP requests to other servers, and answers requests that other servers forward.

    Args:
      respond: answers an HTTP request on this server.
      nursery: runs `respond` for forwarded requests.
    """

    def __init__(
        self, peer_links: PeerLinks, rpc: NodeRpc, respond: Respond, nursery: trio.Nursery, limits: Limits
    ) -> None:
        self._peer_links, self._rpc, self._respond, self._nursery = peer_links, rpc, respond, nursery
        self._limits = limits
        self._known: dict[str, str] = {}
        """The server of each HTTP transport that is known to be open on another server, the oldest report first."""
        self._to_server, self._from_address = Counter[str](), Counter[str]()
        """The bytes of bodies that are being forwarded, by server and by client address."""
        self._numbers = itertools.count(1)
        self._forwarded: dict[int, tuple[str, trio.MemorySendChannel[PeerMessage]]] = {}
        self._responders: dict[tuple[str, int], _RemoteResponder] = {}

    def knows(self, request: Request, home: str) -> bool:
        """Return whether the transport of a request is known to be open on the server `home`."""
        return self._known.get(request.headers[CONNECTION]) == home

    async def check(self, request: Request, room: tuple[str, str], home: str) -> None:
        """Check that the HTTP transport of a request is open on the server `home`, or that the request may open it.

        If this server does not know whether the transport is open, it asks the server `home`.

        Raises:
          TransportOver: the transport is not open.
          Refused: the server `home` does not answer.
        """
        if self.knows(request, home) or opens(request):
            return
        try:
            is_open = await self._rpc.ask(home, IS_OPEN, request.headers[CONNECTION], *room)
        except BrokerDown as exc:
            raise Refused(str(exc), Code.CUT_OFF) from None
        if not is_open:
            raise TransportOver
        self._note_open(request, home)

    def max_body(self, request: Request, home: str) -> int:
        """Return the maximum number of bytes that the body of a request to the server `home` may have."""
        return max_body(self._limits) if self.knows(request, home) else self._limits.opening_bytes + HEADS_BYTES

    async def forward(
        self, connection: HttpConnection, request: Request, room: tuple[str, str], home: str, *, peer: str
    ) -> None:
        """Forward a request to the server `home`, and write that server's response to the connection.

        Args:
          peer: the address or network of the client, to which limits apply; empty if the client has no address.

        Raises:
          RemoteProtocolError: the request would open the transport, but does not begin with a hello.
          Refused: too many bytes are being forwarded to that server, or from this address.
          trio.BrokenResourceError: the client is gone, or the response is incomplete.
        """
        if request.method == "POST" and not self.knows(request, home):
            check_opening(request, self._limits)
        with self._under_way(home, peer, len(request.body)):
            status = await self._forward(connection, request, room, home)
        if status == 200 and request.method == "POST":
            self._note_open(request, home)
        elif status != 200:
            self._known.pop(request.headers[CONNECTION], None)

    @contextlib.contextmanager
    def _under_way(self, home: str, peer: str, size: int) -> Iterator[None]:
        if size and self._to_server[home] + size > MAX_BYTES:
            raise Refused("too many bytes are under way to another server: try again later", Code.CROWDED)
        if size and peer and self._from_address[peer] + size > MAX_BYTES_EACH:
            raise Refused(f"{peer} is sending too many bytes to other servers: send less at once", Code.CROWDED)
        counters = ((self._to_server, home), (self._from_address, peer))
        for counter, whose in counters:
            counter[whose] += size
        try:
            yield
        finally:
            for counter, whose in counters:
                counter[whose] -= size
                if not counter[whose]:
                    del counter[whose]

    def _note_open(self, request: Request, home: str) -> None:
        name = request.headers[CONNECTION]
        self._known.pop(name, None)
        self._known[name] = home
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    async def _forward(self, connection: HttpConnection, request: Request, room: tuple[str, str], home: str) -> int:
        """Forward a request, and write the response. Returns: the status of the response."""
        number = next(self._numbers)
        arriving, steps = trio.open_memory_channel[PeerMessage](math.inf)  # unbounded: a response has a limited size
        self._forwarded[number] = home, arriving
        status = 0
        self._peer_links.put(home, [REQUEST, number, [*room], attrs.astuple(request)])
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_gone, connection, nursery.cancel_scope)
                with steps, contextlib.suppress(trio.BrokenResourceError):  # `_forward` raises it below
                    status = await _perform(connection, steps)
                nursery.cancel_scope.cancel("answered")
        finally:
            del self._forwarded[number]
            self._peer_links.put(home, [HUNG_UP, number])
        if not status:
            raise trio.BrokenResourceError("the response of another server could not be written completely")
        return status

    def take(self, sender: str, message: PeerMessage) -> bool:
        """Handle a message from another server. Return False if it is not about a forwarded request."""
        match message:
            case [kind, number, [room_kind, name], fields] if kind == REQUEST:
                put = partial(self._put, sender, number)
                responder = self._responders[sender, number] = _RemoteResponder(put)
                serve = partial(self._serve, sender, number, responder, Request(*fields), (room_kind, name))
                self._nursery.start_soon(guarded, "a forwarded request", serve)
            case [kind, number, step] if kind == ANSWER:
                home, arriving = self._forwarded.get(number, ("", None))
                if arriving is not None and home == sender:
                    # the channel is closed if the client has just disconnected, or if `lose` has ended the request
                    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        arriving.send_nowait(step)
            case [kind, number] if kind == HUNG_UP:
                if (sender, number) in self._responders:
                    self._responders[sender, number].gone.set()
            case _:
                return False
        return True

    def lose(self, server: str) -> None:
        """End all requests that were forwarded to a server or by that server, after messages were lost."""
        for home, arriving in self._forwarded.values():
            if home == server:
                arriving.close()
        for (carrier, _), responder in self._responders.items():
            if carrier == server:
                responder.gone.set()

    def _put(self, carrier: str, number: int, step: PeerMessage) -> None:
        self._peer_links.put(carrier, [ANSWER, number, step])

    async def _serve(
        self, carrier: str, number: int, responder: _RemoteResponder, request: Request, room: tuple[str, str]
    ) -> None:
        try:
            with contextlib.suppress(trio.BrokenResourceError):
                await self._respond(responder, request, room)
        except Exception:
            log.exception("a request that another server forwarded could not be answered, because of this error")
            with contextlib.suppress(trio.BrokenResourceError):
                if responder.started:
                    await responder.finish()
                elif not responder.answered:
                    await responder.respond(error_response(500, "crashed", "the server could not answer"))
        finally:
            del self._responders[carrier, number]


async def _perform(connection: HttpConnection, steps: trio.MemoryReceiveChannel[PeerMessage]) -> int:
    """Write a response to a connection, while another server sends it step by step.

    Returns: the status of the response; 0 if the response is incomplete.
    """
    status = 0
    async for what, argument in steps:
        with trio.CancelScope(shield=True):  # a partial write would break HTTP; each write has its own deadline
            if what == SEND:
                await connection.send(argument)
            elif what == FINISH:
                await connection.finish()
                return status
            else:
                response = _read(argument)
                status = response.status
                if what == RESPOND:
                    await connection.respond(response)
                    return status
                await connection.start(response)
    if status:
        return 0
    lost = transport_over_response(TransportOver())
    await connection.respond(lost)
    return lost.status


async def _wait_gone(connection: HttpConnection, scope: trio.CancelScope) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await connection.wait_gone()
    scope.cancel("the client disconnected")


def _written(response: Response) -> list[Any]:
    return [response.status, response.body, response.content_type, dict(response.headers), [*response.more]]


def _read(fields: list[Any]) -> Response:
    status, body, content_type, headers, more = fields
    return Response(status, body, content_type, headers, tuple((name, value) for name, value in more))
