"""Requests on a line whose end is at another server: they go there by mail, and their answers come back.

Consecutive requests may reach any server: so the line's name says which of them has its end.

All connections between two servers share their mail, and anybody can make up a name. A body is therefore passed on only
if it opens a line with a hello of at most the usual size, or if the line is known to be open there. The bytes under way
to one server are bounded, in all and for each address.
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
from ..transports.http.line import LINE
from ..transports.http.responses import error_response, line_over_response
from ..transports.http.served import LineOver
from .link import Mail, Parcel
from .rpc import Questions

log = logging.getLogger("edge.servers")

REQUEST, ANSWER, HUNG_UP = "http", "http-answer", "http-hung-up"
RESPOND, START, SEND, FINISH = "respond", "start", "send", "finish"

# The question whether a line is open.
IS_OPEN = "line-is-open"
# Bytes of bodies that may be under way to one server, in all and from one address; more are refused as `crowded`.
MAX_BYTES, MAX_BYTES_EACH = 16 * 1024 * 1024, 2 * 1024 * 1024
# Lines that are remembered as open elsewhere. The server of a forgotten line is asked again.
MAX_KNOWN = 20_000

Respond = Callable[[Responder, Request, tuple[str, str]], Awaitable[None]]


class _Borrowed(Responder):
    """The far end of a request's connection, which is at another server."""

    def __init__(self, put: Callable[[Parcel], object]) -> None:
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


class Forwards:
    """What has come here for other servers, and there for this one.

    Args:
      respond: answers a request on a line of this server.
      nursery: where.
    """

    def __init__(
        self, mail: Mail, questions: Questions, respond: Respond, nursery: trio.Nursery, limits: Limits
    ) -> None:
        self._mail, self._questions, self._respond, self._nursery = mail, questions, respond, nursery
        self._limits = limits
        self._known: dict[str, str] = {}
        """Lines that are open elsewhere, and at which server; the oldest first."""
        self._to_server, self._from_address = Counter[str](), Counter[str]()
        """How many bytes of bodies are on the way."""
        self._numbers = itertools.count(1)
        self._forwarded: dict[int, tuple[str, trio.MemorySendChannel[Parcel]]] = {}
        self._borrowed: dict[tuple[str, int], _Borrowed] = {}

    def knows(self, request: Request, home: str) -> bool:
        """Whether the line of a request is known to be open at another server."""
        return self._known.get(request.headers[LINE]) == home

    async def check(self, request: Request, room: tuple[str, str], home: str) -> None:
        """Find out whether there is such a line, unless the request may open it.

        Raises:
          LineOver: there is none.
          Refused: its server does not answer.
        """
        if self.knows(request, home) or opens(request):
            return
        try:
            is_open = await self._questions.ask(home, IS_OPEN, request.headers[LINE], *room)
        except BrokerDown as exc:
            raise Refused(str(exc), Code.CUT_OFF) from None
        if not is_open:
            raise LineOver
        self._note_open(request, home)

    def max_body(self, request: Request, home: str) -> int:
        """The largest body of a request on a line of another server."""
        return max_body(self._limits) if self.knows(request, home) else self._limits.opening_bytes + HEADS_BYTES

    async def forward(
        self, connection: HttpConnection, request: Request, room: tuple[str, str], home: str, *, visitor: str
    ) -> None:
        """Have another server answer a request on a line.

        Args:
          visitor: for whom it comes.

        Raises:
          RemoteProtocolError: it would open the line, and does not begin with a hello.
          Refused: too much is on the way.
          trio.BrokenResourceError: the client is gone.
        """
        if request.method == "POST" and not self.knows(request, home):
            check_opening(request, self._limits)
        with self._under_way(home, visitor, len(request.body)):
            status = await self._forward(connection, request, room, home)
        if status == 200 and request.method == "POST":
            self._note_open(request, home)
        elif status != 200:
            self._known.pop(request.headers[LINE], None)

    @contextlib.contextmanager
    def _under_way(self, home: str, visitor: str, size: int) -> Iterator[None]:
        if size and self._to_server[home] + size > MAX_BYTES:
            raise Refused("too much is being sent to another server", Code.CROWDED)
        if size and visitor and self._from_address[visitor] + size > MAX_BYTES_EACH:
            raise Refused(f"{visitor} is sending too much to another server at once", Code.CROWDED)
        counters = ((self._to_server, home), (self._from_address, visitor))
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
        name = request.headers[LINE]
        self._known.pop(name, None)
        self._known[name] = home
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    async def _forward(self, connection: HttpConnection, request: Request, room: tuple[str, str], home: str) -> int:
        """Returns: the status of the answer."""
        number = next(self._numbers)
        arriving, steps = trio.open_memory_channel[Parcel](math.inf)  # a response has a most by itself
        self._forwarded[number] = home, arriving
        status = 0
        self._mail.put(home, [REQUEST, number, [*room], attrs.astuple(request)])
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_gone, connection, nursery.cancel_scope)
                with steps, contextlib.suppress(trio.BrokenResourceError):  # raised below, outside of the nursery
                    status = await _perform(connection, steps)
                nursery.cancel_scope.cancel("answered")
        finally:
            del self._forwarded[number]
            self._mail.put(home, [HUNG_UP, number])
        if not status:
            raise trio.BrokenResourceError("half an answer was all there was")
        return status

    def take(self, sender: str, parcel: Parcel) -> bool:
        """A parcel has come: whether it was about a request."""
        match parcel:
            case [kind, number, [room_kind, name], fields] if kind == REQUEST:
                put = partial(self._put, sender, number)
                borrowed = self._borrowed[sender, number] = _Borrowed(put)
                serve = partial(self._serve, sender, number, borrowed, Request(*fields), (room_kind, name))
                self._nursery.start_soon(guarded, "a forwarded request", serve)
            case [kind, number, step] if kind == ANSWER:
                home, arriving = self._forwarded.get(number, ("", None))
                if arriving is not None and home == sender:
                    # the client has just hung up, or it was answered that the line is lost
                    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        arriving.send_nowait(step)
            case [kind, number] if kind == HUNG_UP:
                if (sender, number) in self._borrowed:
                    self._borrowed[sender, number].gone.set()
            case _:
                return False
        return True

    def lose(self, server: str) -> None:
        """Everything that was shared with this server is over."""
        for home, arriving in self._forwarded.values():
            if home == server:
                arriving.close()
        for (carrier, _), borrowed in self._borrowed.items():
            if carrier == server:
                borrowed.gone.set()

    def _put(self, carrier: str, number: int, step: Parcel) -> None:
        self._mail.put(carrier, [ANSWER, number, step])

    async def _serve(
        self, carrier: str, number: int, borrowed: _Borrowed, request: Request, room: tuple[str, str]
    ) -> None:
        try:
            with contextlib.suppress(trio.BrokenResourceError):
                await self._respond(borrowed, request, room)
        except Exception:
            log.exception("a request that another server has forwarded could not be answered")
            with contextlib.suppress(trio.BrokenResourceError):
                if borrowed.started:
                    await borrowed.finish()
                elif not borrowed.answered:
                    await borrowed.respond(error_response(500, "crashed", "the server could not answer"))
        finally:
            del self._borrowed[carrier, number]


async def _perform(connection: HttpConnection, steps: trio.MemoryReceiveChannel[Parcel]) -> int:
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
    lost = line_over_response(LineOver())
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
