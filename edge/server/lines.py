"""The lines of a server: which request belongs to which, and who is attended on it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from functools import partial

import attrs
import trio

from ..codes import Code
from ..errors import Refused, RemoteProtocolError
from ..protocol.codec import SUBPROTOCOLS
from ..rooms.guard import guarded
from ..transports.http import Request, Responder, Response
from ..transports.line import FIRST, HAS, LINE, MODE, PROTOCOL, Mode
from ..transports.line_server import GAP_SECONDS, LineOver, ServedLine
from ..transports.post import Post
from .addresses import Addresses
from .app import App
from .door import Door
from .responses import crowded_response, refusal_response

# What a client may call a line: not to be guessed, for whoever knows it can speak on it.
NAME = re.compile(r"[A-Za-z0-9_-]{16,64}")


@attrs.frozen
class _Served:
    """A line, and the room that it leads to."""

    room: tuple[str, str]
    line: ServedLine


class Lines:
    """Every open line.

    Args:
      nursery: where they are attended.
      post: writes for them.
      door: where each takes a place, as a connection does.
      addresses: say for whom somebody comes.
    """

    def __init__(self, app: App, nursery: trio.Nursery, post: Post, door: Door, addresses: Addresses) -> None:
        self._app = app
        self._door = door
        self._addresses = addresses
        self._nursery = nursery
        self._post = post
        self._served: dict[str, _Served] = {}

    def expects(self, request: Request, room: tuple[str, str]) -> bool:
        """Whether a request, whose body may be unread, is on a line that is open, and comes at that line's pace."""
        served = self._served.get(request.headers.get(LINE, ""))
        return (
            served is not None
            and served.room == room
            and request.method in ("GET", "POST")
            and served.line.paces(trio.current_time())
        )

    async def respond(self, connection: Responder, request: Request, room: tuple[str, str]) -> None:
        """Answer a request on a line, whose body is read.

        Raises:
          trio.BrokenResourceError: the client is gone.
        """
        headers = self._app.sharing(request)
        try:
            line = self._find(request, room)
            has = _number(request.headers, HAS)
            if request.method == "GET":
                await line.get(connection, _mode(request), has, headers)
                return
            count = await line.post(_number(request.headers, FIRST), has, request.body)
            response = Response(200, str(count).encode(), headers={"cache-control": "no-store"})
        except LineOver as over:
            response = refusal_response(410, over.code, "there is no such line any more")
        except Refused as refused:
            self._app.directory.tally.refused[refused.code] += 1
            response = crowded_response(refused)
        except RemoteProtocolError as exc:
            served = self._served.get(request.headers[LINE])
            if served is not None and served.room == room:
                served.line.close_by_peer(exc.code)
            response = refusal_response(503 if exc.code in (Code.DRAINING, Code.FULL) else 400, exc.code, str(exc))
        await connection.respond(attrs.evolve(response, headers={**response.headers, **headers}))

    def _find(self, request: Request, room: tuple[str, str]) -> ServedLine:
        name = request.headers[LINE]
        served = self._served.get(name)
        if served is None:
            return self._open(name, request, room)
        if served.room != room:
            raise RemoteProtocolError("this line leads to another room")
        return served.line

    def _open(self, name: str, request: Request, room: tuple[str, str]) -> ServedLine:
        if _number(request.headers, HAS) or (request.method == "POST" and _number(request.headers, FIRST)):
            raise LineOver
        if not NAME.fullmatch(name):
            raise RemoteProtocolError("a line's name has 16 to 64 letters, digits, _ and -")
        codec = SUBPROTOCOLS.get(request.headers.get(PROTOCOL, ""))
        if codec is None:
            raise RemoteProtocolError(f"spoken here: {', '.join(SUBPROTOCOLS)}", Code.VERSION)
        if self._app.draining:
            raise RemoteProtocolError("the server is shutting down", Code.DRAINING)
        place = contextlib.ExitStack()
        visitor = self._addresses.visitor(request.address)
        place.enter_context(self._door.connection(visitor))
        line, waiting = ServedLine(self._app.limits), partial(self._door.waiting, visitor)
        line.max_bytes = self._app.limits.opening_bytes  # here, for its first post is read before it is attended

        async def serve() -> None:
            try:
                with place:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(line.watch)
                        await self._app.attend(line, codec, *room, opener=visitor, post=self._post, waiting=waiting)
                        nursery.cancel_scope.cancel("attended")
                    if not self._app.draining:  # its last words may be asked for again
                        with waiting() as wait, wait.scope:
                            await trio.sleep(GAP_SECONDS)
            finally:
                del self._served[name]

        self._served[name] = _Served(room, line)
        self._nursery.start_soon(guarded, "a line", serve)
        return line


def _number(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise RemoteProtocolError(f"{name} should be a number")
    return int(text)


def _mode(request: Request) -> Mode:
    try:
        return Mode(request.headers.get(MODE, ""))
    except ValueError:
        raise RemoteProtocolError(f"{MODE} should be one of {', '.join(Mode)}") from None
