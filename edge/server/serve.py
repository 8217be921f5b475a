"""One port: connections, the requests on them, and the upgrade to a room."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator
from functools import partial

import attrs
import trio

from ..protocol.codec import SUBPROTOCOLS
from ..rooms.guard import guarded
from ..transports.linger import linger
from ..transports.websocket import accept_websocket
from .app import App
from .attend import attend
from .http import Answer, BadRequest, HttpConnection, Request, answer_of, error_response

# How long an idle connection is kept for another request; most browsers give up after a minute or more.
KEEP_ALIVE_SECONDS = 60.0

ROOM_PATH = re.compile(r"/rooms/([^/]+)/([^/]+)")


async def serve(
    app: App,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    drain_seconds: float = 10,
    drain: trio.Event | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an app until it is drained.

    Args:
      host: the address to listen on; "0.0.0.0" or "::" for all.
      port: 0 for any free one.
      drain_seconds: how long draining may take before what is left is cancelled.
      drain: set it to stop: nobody is admitted any more, rooms and players are told, and it returns when all have gone.
      task_status: ``nursery.start`` returns the listeners.

    Raises:
      OSError: the port is taken.

    *Cancellation* drains with no patience: rooms are told, and their farewells have two seconds.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    server = _Server(app)
    async with trio.open_nursery() as connections:
        await connections.start(app.directory.run)
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(trio.serve_listeners, handler_nursery=connections), server.serve_connection, listeners
            )
            task_status.started(listeners)
            await (trio.Event() if drain is None else drain).wait()
            accepting.cancel_scope.cancel("draining")
        connections.cancel_scope.deadline = trio.current_time() + drain_seconds
        server.drain()


@attrs.define(eq=False)
class _Server:
    app: App
    _idle: set[trio.CancelScope] = attrs.field(factory=set)

    def drain(self) -> None:
        """Close the rooms, and the connections on which nothing is going on."""
        self.app.draining = True
        self.app.directory.close()
        for scope in self._idle:
            scope.cancel("draining")

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        await guarded("a connection", lambda: self._serve_connection(stream))

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        connection = HttpConnection(stream)
        seconds = self.app.limits.hello_seconds
        try:
            while request := await self._next_request(connection, seconds):
                room = ROOM_PATH.fullmatch(request.raw_path)
                if room and "websocket" in request.headers.get("upgrade", "").lower():
                    if await self._upgrade(connection, request, room[1], room[2]):
                        return
                else:
                    await self._respond(connection, request)
                if not connection.reusable or self.app.draining:
                    return
                seconds = KEEP_ALIVE_SECONDS
        except BadRequest as bad:
            with contextlib.suppress(trio.BrokenResourceError):
                await connection.respond(answer_of(bad.response, close=True))
                await linger(stream)
        except trio.BrokenResourceError:
            pass  # the peer went away; nothing was promised to it

    async def _next_request(self, connection: HttpConnection, seconds: float) -> Request | None:
        with self._idle_scope() as waiting, waiting:
            return await connection.next_request(seconds=seconds)
        return None

    @contextlib.contextmanager
    def _idle_scope(self) -> Iterator[trio.CancelScope]:
        """A scope that draining cancels, for a connection on which nothing is going on."""
        scope = trio.CancelScope()
        self._idle.add(scope)
        try:
            yield scope
        finally:
            self._idle.discard(scope)

    async def _respond(self, connection: HttpConnection, request: Request) -> None:
        request = await connection.read_body(request)
        options = {"head_only": request.method == "HEAD", "close": self.app.draining}
        answers: list[Answer] = []

        async def answer() -> None:
            answers.append(answer_of(await self.app.respond(request), **options))

        if not await guarded(f"{request.method} {request.path!r}", answer):
            answers.append(answer_of(error_response(500, "crashed", "the server could not answer"), **options))
        await connection.respond(answers[0])

    async def _upgrade(self, connection: HttpConnection, request: Request, kind: str, name: str) -> bool:
        """Answer an upgrade request. True if it was accepted and served; False if it was refused over HTTP."""
        subprotocol = _agreed_subprotocol(request)
        if not self.app.allows_origin(request):
            refusal = error_response(403, "origin", "pages of this site may not connect here")
        elif not _is_websocket(request):
            refusal = error_response(400, "malformed", "not a WebSocket handshake of version 13")
        elif subprotocol is None:
            refusal = error_response(400, "version", f"spoken here: {', '.join(SUBPROTOCOLS)}")
        else:
            limits = self.app.limits
            async with accept_websocket(
                connection.stream, connection.head, subprotocol=subprotocol, limits=limits
            ) as transport:
                with self._idle_scope() as opening:
                    await attend(
                        transport,
                        SUBPROTOCOLS[subprotocol],
                        self.app.directory,
                        kind,
                        name,
                        limits=limits,
                        keys=self.app.keys,
                        opening=opening,
                    )
            return True
        await connection.read_body(request)
        await connection.respond(answer_of(refusal, close=True))
        return False


def _agreed_subprotocol(request: Request) -> str | None:
    offered = [each.strip() for each in request.headers.get("sec-websocket-protocol", "").split(",")]
    return next((each for each in offered if each in SUBPROTOCOLS), None)


def _is_websocket(request: Request) -> bool:
    """RFC 6455 section 4.2.1."""
    try:
        nonce = base64.b64decode(request.headers.get("sec-websocket-key", ""), validate=True)
    except ValueError:  # binascii.Error is one; so is what is not ASCII
        return False
    return (
        request.method == "GET"
        and len(nonce) == 16
        and request.headers.get("sec-websocket-version") == "13"
        and "upgrade" in request.headers.get("connection", "").lower()
    )
