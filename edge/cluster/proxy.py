"""The request proxy: sends requests of an HTTP transport to the server that has it, and relays the responses.

Consecutive requests of one HTTP transport may reach any server. The name of the transport says which server has it.

All connections between two servers share one link, and anybody can invent a name. A body is therefore passed on only if
it opens an HTTP transport with a hello of at most the usual size, or if the transport is known to be open there. The
bytes under way to one server are bounded, in total and for each address.
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

log = logging.getLogger("edge.servers")

REQUEST, ANSWER, HUNG_UP = "http", "http-answer", "http-hung-up"
RESPOND, START, SEND, FINISH = "respond", "start", "send", "finish"

# The question whether an HTTP transport is open.
IS_OPEN = "line-is-open"
# Bytes of bodies that may be under way to one server, in all and from one address; more are refused as `crowded`.
MAX_BYTES, MAX_BYTES_EACH = 16 * 1024 * 1024, 2 * 1024 * 1024
# HTTP transports that are remembered as open elsewhere. The server of a forgotten transport is asked again.
MAX_KNOWN = 20_000

Respond = Callable[[Responder, Request, tuple[str, str]], Awaitable[None]]


class _RemoteResponder(Responder):
    """The far end of a request's connection, which is at another server."""

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
    """What has come here for other servers, and there for this one.

    Args:
      respond: answers a request over HTTP of this server.
      nursery: where.
    """

    def __init__(
        self, peer_links: PeerLinks, rpc: NodeRpc, respond: Respond, nursery: trio.Nursery, limits: Limits
    ) -> None:
        self._peer_links, self._rpc, self._respond, self._nursery = peer_links, rpc, respond, nursery
        self._limits = limits
        self._known: dict[str, str] = {}
        """HTTP transports that are open elsewhere, and at which server; the oldest first."""
        self._to_server, self._from_address = Counter[str](), Counter[str]()
        """The bytes of bodies under way."""
        self._numbers = itertools.count(1)
        self._forwarded: dict[int, tuple[str, trio.MemorySendChannel[PeerMessage]]] = {}
        self._responders: dict[tuple[str, int], _RemoteResponder] = {}

    def knows(self, request: Request, home: str) -> bool:
        """True if the transport of a request is known to be open at another server."""
        return self._known.get(request.headers[CONNECTION]) == home

    async def check(self, request: Request, room: tuple[str, str], home: str) -> None:
        """Find out whether there is such an HTTP transport, unless the request may open it.

        Raises:
          TransportOver: there is none.
          Refused: its server does not answer.
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
        """The largest body of a request over HTTP of another server."""
        return max_body(self._limits) if self.knows(request, home) else self._limits.opening_bytes + HEADS_BYTES

    async def forward(
        self, connection: HttpConnection, request: Request, room: tuple[str, str], home: str, *, peer: str
    ) -> None:
        """Have another server answer a request over HTTP.

        Args:
          peer: for whom it comes.

        Raises:
          RemoteProtocolError: it would open the transport, and does not begin with a hello.
          Refused: too much is on the way.
          trio.BrokenResourceError: the client is gone.
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
            raise Refused("too much is being sent to another server", Code.CROWDED)
        if size and peer and self._from_address[peer] + size > MAX_BYTES_EACH:
            raise Refused(f"{peer} is sending too much to another server at once", Code.CROWDED)
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
        """Returns: the status of the answer."""
        number = next(self._numbers)
        arriving, steps = trio.open_memory_channel[PeerMessage](math.inf)  # a response has a most by itself
        self._forwarded[number] = home, arriving
        status = 0
        self._peer_links.put(home, [REQUEST, number, [*room], attrs.astuple(request)])
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_gone, connection, nursery.cancel_scope)
                with steps, contextlib.suppress(trio.BrokenResourceError):  # raised below, outside of the nursery
                    status = await _perform(connection, steps)
                nursery.cancel_scope.cancel("answered")
        finally:
            del self._forwarded[number]
            self._peer_links.put(home, [HUNG_UP, number])
        if not status:
            raise trio.BrokenResourceError("half an answer was all there was")
        return status

    def take(self, sender: str, message: PeerMessage) -> bool:
        """A message has come: whether it was about a request."""
        match message:
            case [kind, number, [room_kind, name], fields] if kind == REQUEST:
                put = partial(self._put, sender, number)
                responder = self._responders[sender, number] = _RemoteResponder(put)
                serve = partial(self._serve, sender, number, responder, Request(*fields), (room_kind, name))
                self._nursery.start_soon(guarded, "a forwarded request", serve)
            case [kind, number, step] if kind == ANSWER:
                home, arriving = self._forwarded.get(number, ("", None))
                if arriving is not None and home == sender:
                    # the client has just hung up, or it was answered that the transport is lost
                    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        arriving.send_nowait(step)
            case [kind, number] if kind == HUNG_UP:
                if (sender, number) in self._responders:
                    self._responders[sender, number].gone.set()
            case _:
                return False
        return True

    def lose(self, server: str) -> None:
        """Everything that was shared with this server is over."""
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
            log.exception("a request that another server has forwarded could not be answered")
            with contextlib.suppress(trio.BrokenResourceError):
                if responder.started:
                    await responder.finish()
                elif not responder.answered:
                    await responder.respond(error_response(500, "crashed", "the server could not answer"))
        finally:
            del self._responders[carrier, number]


async def _perform(connection: HttpConnection, steps: trio.MemoryReceiveChannel[PeerMessage]) -> int:
    """Do with a connection what another server says.

    Returns: the status of the answer; 0 if there was not all of it.
    """
    status = 0
    async for what, argument in steps:
        with trio.CancelScope(shield=True):  # by its own deadline: half a piece would not be HTTP
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
    scope.cancel("the client hung up")


def _written(response: Response) -> list[Any]:
    return [response.status, response.body, response.content_type, dict(response.headers), [*response.more]]


def _read(fields: list[Any]) -> Response:
    status, body, content_type, headers, more = fields
    return Response(status, body, content_type, headers, tuple((name, value) for name, value in more))
