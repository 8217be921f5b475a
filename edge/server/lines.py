"""The lines of a server: which request belongs to which, and who is attended on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import attrs
import trio

from ..aio.guard import guarded
from ..codes import Code
from ..connections.scheduler import Post
from ..errors import Refused, RemoteProtocolError
from ..transports.http.checks import HEADS_BYTES, NAME, codec_of, max_body, mode_of, number_in
from ..transports.http.http import Request, Responder, Response
from ..transports.http.line import FIRST, HAS, LINE
from ..transports.http.responses import crowded_response, line_over_response, refusal_response
from ..transports.http.served import GAP_SECONDS, LineOver, ServedLine
from .addresses import Addresses
from .door import Door
from .site import Site

# Posts on one line that may be under way: one, and an older one whose connection is dead without our noticing.
MAX_POSTS = 2


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

    def __init__(self, site: Site, nursery: trio.Nursery, post: Post, door: Door, addresses: Addresses) -> None:
        self._site = site
        self._door = door
        self._addresses = addresses
        self._nursery = nursery
        self._post = post
        self._served: dict[str, _Served] = {}
        self._posts: dict[str, list[trio.CancelScope]] = {}
        """Those under way, the oldest first, by the names of their lines, wherever those have their end."""

    def check(self, request: Request) -> None:
        """Check what can be known of a request on a line before its body is read.

        Raises:
          RemoteProtocolError: it can't be one.
        """
        if not NAME.fullmatch(request.headers[LINE]):
            raise RemoteProtocolError("a line's name has 16 to 64 letters, digits, _ and -")
        codec_of(request)
        number_in(request.headers, HAS)
        if request.method == "POST":
            number_in(request.headers, FIRST)
        else:
            mode_of(request)

    def max_body(self, request: Request) -> int:
        """The largest body of a request for a room: what a connection may carry; and of one on a line that is not known
        to be open, or on none, what may be said before the welcome."""
        limits, served = self._site.limits, self._served.get(request.headers.get(LINE, ""))
        welcome = served is not None and served.line.max_bytes == limits.socket_bytes
        return max_body(limits) if welcome else limits.opening_bytes + HEADS_BYTES

    async def is_open(self, name: str, kind: str, room: str) -> bool:
        """Whether a line of this name leads to this room: what another server asks that has no part in it yet."""
        served = self._served.get(name)
        await trio.lowlevel.checkpoint()
        return served is not None and served.room == (kind, room)

    @contextlib.contextmanager
    def posting(self, request: Request) -> Iterator[trio.CancelScope]:
        """A scope for a post on a line, from its body to its answer. Two may be under way: one more, and the oldest of
        them is cancelled, for its client has given it up."""
        name, scope = request.headers[LINE], trio.CancelScope()
        posts = self._posts.setdefault(name, [])
        posts.append(scope)
        for oldest in posts[:-MAX_POSTS]:
            oldest.cancel("another post of this line has come")
        try:
            with scope:
                yield scope
        finally:
            posts.remove(scope)
            if not posts:
                del self._posts[name]

    def expects(self, request: Request, room: tuple[str, str]) -> bool:
        """Whether a request, whose body may be unread, is on a line that is open, and comes at that line's pace."""
        served = self._served.get(request.headers.get(LINE, ""))
        return (
            served is not None
            and served.room == room
            and request.method in ("GET", "POST")
            and served.line.paces(trio.current_time())
        )

    def end(self, request: Request, room: tuple[str, str], code: Code) -> None:
        """A request on a line broke a rule that deserves this code: so its client hears by each of its requests."""
        served = self._served.get(request.headers.get(LINE, ""))
        if served is not None and served.room == room:
            served.line.close_by_peer(code)

    async def respond(self, connection: Responder, request: Request, room: tuple[str, str]) -> None:
        """Answer a request on a line, whose body is read.

        Raises:
          trio.BrokenResourceError: the client is gone.
        """
        headers = self._site.origins.sharing(request)
        try:
            line = self._find(request, room)
            has = number_in(request.headers, HAS)
            if request.method == "GET":
                await line.get(connection, mode_of(request), has, headers)
                return
            count = await line.post(number_in(request.headers, FIRST), has, request.body)
            response = Response(200, str(count).encode(), headers={"cache-control": "no-store"})
        except LineOver as over:
            response = line_over_response(over)
        except Refused as refused:
            self._site.directory.counters.refused[refused.code] += 1
            response = crowded_response(refused)
        except RemoteProtocolError as exc:
            self.end(request, room, exc.code)
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
        if number_in(request.headers, HAS) or (request.method == "POST" and number_in(request.headers, FIRST)):
            raise LineOver
        codec = codec_of(request)
        if self._site.draining:
            raise RemoteProtocolError("the server is shutting down", Code.DRAINING)
        place = contextlib.ExitStack()
        visitor = self._addresses.visitor(request.address)
        place.enter_context(self._door.connection(visitor))
        line, waiting = ServedLine(self._site.limits), partial(self._door.waiting, visitor)
        line.max_bytes = self._site.limits.opening_bytes  # here, for its first post is read before it is attended

        async def serve() -> None:
            try:
                with place:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(line.watch)
                        bulk = self._door.bulk_pace(visitor)
                        await self._site.attend(
                            line, codec, *room, opener=visitor, post=self._post, bulk=bulk, waiting=waiting
                        )
                        nursery.cancel_scope.cancel("attended")
                    if not self._site.draining:  # its last words may be asked for again
                        with waiting() as wait, wait.scope:
                            await trio.sleep(GAP_SECONDS)
            finally:
                del self._served[name]

        self._served[name] = _Served(room, line)
        self._nursery.start_soon(guarded, "a line", serve)
        return line
