"""Requests on a line whose end is at another server: they go there by mail, and their answers come back.

Consecutive requests may reach any server: so the line's name says which of them has its end.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs
import trio

from ..codes import Code
from ..rooms.guard import guarded
from ..transports.http import HttpConnection, Request, Responder, Response
from .logs import log
from .mail import Mail, Parcel
from .responses import error_response, refusal_response

REQUEST, ANSWER, HUNG_UP = "http", "http-answer", "http-hung-up"
RESPOND, START, SEND, FINISH = "respond", "start", "send", "finish"

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

    def __init__(self, mail: Mail, respond: Respond, nursery: trio.Nursery) -> None:
        self._mail, self._respond, self._nursery = mail, respond, nursery
        self._numbers = itertools.count(1)
        self._forwarded: dict[int, tuple[str, trio.MemorySendChannel[Parcel]]] = {}
        self._borrowed: dict[tuple[str, int], _Borrowed] = {}

    async def forward(self, connection: HttpConnection, request: Request, room: tuple[str, str], home: str) -> None:
        """Have another server answer a request on a line.

        Raises:
          trio.BrokenResourceError: the client is gone.
        """
        number = next(self._numbers)
        arriving, steps = trio.open_memory_channel[Parcel](math.inf)  # a response has a most by itself
        self._forwarded[number] = home, arriving
        whole = False
        self._mail.put(home, [REQUEST, number, [*room], attrs.astuple(request)])
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_gone, connection, nursery.cancel_scope)
                with steps, contextlib.suppress(trio.BrokenResourceError):  # raised below, outside of the nursery
                    whole = await _perform(connection, steps)
                nursery.cancel_scope.cancel("answered")
        finally:
            del self._forwarded[number]
            self._mail.put(home, [HUNG_UP, number])
        if not whole:
            raise trio.BrokenResourceError("half an answer was all there was")

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


async def _perform(connection: HttpConnection, steps: trio.MemoryReceiveChannel[Parcel]) -> bool:
    """Do with a connection what another server says. False if that ended before the answer did."""
    started = False
    async for what, argument in steps:
        with trio.CancelScope(shield=True):  # by its own deadline: half a piece would not be HTTP
            if what == START:
                started = True
                await connection.start(_read(argument))
            elif what == SEND:
                await connection.send(argument)
            else:
                await (connection.respond(_read(argument)) if what == RESPOND else connection.finish())
                return True
    if not started:
        await connection.respond(refusal_response(410, Code.LOST, "there is no such line any more"))
    return not started


async def _wait_gone(connection: HttpConnection, scope: trio.CancelScope) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await connection.wait_gone()
    scope.cancel("the client hung up")


def _written(response: Response) -> list[Any]:
    return [response.status, response.body, response.content_type, dict(response.headers), [*response.more]]


def _read(fields: list[Any]) -> Response:
    status, body, content_type, headers, more = fields
    return Response(status, body, content_type, headers, tuple((name, value) for name, value in more))
