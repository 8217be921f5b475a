"""A web app on the same port: whatever speaks ASGI 3 and runs on Trio, such as Starlette or FastAPI.

It gets every HTTP request that is not edge's own. WebSocket is edge's: the app is never asked.
https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import attrs
import trio

from ..transports.http import HttpConnection, Request, Response

log = logging.getLogger("edge.server")

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

VERSION = {"version": "3.0", "spec_version": "2.3"}


class MountedApp:
    """An ASGI app, and the state that its lifespan gives to its requests."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._state: dict[str, Any] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be its lifespan: started when it is ready; on cancellation it may shut down, in ten seconds.

        Raises:
          RuntimeError: it could not start.
        """
        to_app, incoming = trio.open_memory_channel[Message](2)  # both that there are
        outgoing, from_app = trio.open_memory_channel[Message](1)
        scope = {"type": "lifespan", "asgi": VERSION, "state": self._state}

        life = trio.CancelScope(shield=True)  # its own shutdown ends it, or impatience

        async def live() -> None:
            try:
                with life:
                    await self._app(scope, incoming.receive, outgoing.send)
            except Exception as exc:  # the specification's way to say that it has no lifespan
                log.debug("no lifespan: %r", exc)
            outgoing.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(live)
            try:
                to_app.send_nowait({"type": "lifespan.startup"})
                await self._wait_started(from_app)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.move_on_after(10, shield=True):
                        to_app.send_nowait({"type": "lifespan.shutdown"})
                        async for _ in from_app:
                            break
            finally:
                life.cancel("shut down")

    async def _wait_started(self, from_app: trio.MemoryReceiveChannel[Message]) -> None:
        try:
            answer = await from_app.receive()
        except trio.EndOfChannel:
            return  # it has no lifespan
        if answer["type"] != "lifespan.startup.complete":
            raise RuntimeError(f"the mounted app could not start: {answer.get('message', '')}")

    async def respond(self, connection: HttpConnection, request: Request) -> None:
        """Let it answer a request, whose body is read.

        Raises:
          Exception: whatever it raises; if `connection` is then still waiting for an answer, give it one.
        """
        exchange = _Exchange(connection, request)
        await self._app(exchange.scope(self._state), exchange.receive, exchange.send)
        if connection.unanswered and not exchange.gone:
            raise RuntimeError("the mounted app gave no response")


@attrs.define(eq=False)
class _Exchange:
    """One request and its response."""

    connection: HttpConnection
    request: Request
    _asked: bool = False
    _head: Message | None = None
    _started: bool = False
    _over: trio.Event = attrs.field(factory=trio.Event)
    """Set once the response is whole, or the peer is gone: then there is nothing more to receive."""
    gone: bool = False

    def scope(self, state: dict[str, Any]) -> dict[str, Any]:
        request = self.request
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.items()]
        return {
            "type": "http",
            "asgi": VERSION,
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "raw_path": request.raw_path.encode("latin-1"),
            "query_string": request.raw_query.encode("latin-1"),
            "root_path": "",
            "headers": headers,
            "client": (request.address, 0) if request.address else None,
            "server": None,
            "state": state.copy(),
        }

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": self.request.body, "more_body": False}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_gone)
            await self._over.wait()
            nursery.cancel_scope.cancel("there is nothing more to receive")
        return {"type": "http.disconnect"}

    async def _wait_gone(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await self.connection.wait_gone()
        self.gone = True
        self._over.set()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            await trio.lowlevel.checkpoint()
        elif message["type"] == "http.response.body" and self._head is not None and not self.gone:
            more = message.get("more_body", False)
            try:
                await self._send_body(self._head, message.get("body", b""), more=more)
            except trio.BrokenResourceError:
                self.gone = True
            if self.gone or not more:
                self._over.set()

    async def _send_body(self, head: Message, body: bytes, *, more: bool) -> None:
        whole = not more and not self._started and self.request.method != "HEAD"  # which keeps the length that it says
        lines = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in head.get("headers", [])]
        if whole:
            lines = [line for line in lines if line[0] != "content-length"]
        response = Response(head["status"], body, "", {}, tuple(lines), defaults={})
        if whole:
            await self.connection.respond(response)
        else:
            await self._send_piece(response, body, more=more)

    async def _send_piece(self, response: Response, body: bytes, *, more: bool) -> None:
        bodiless = self.request.method == "HEAD"
        if not self._started:
            self._started = True
            await self.connection.start(attrs.evolve(response, body=b"") if bodiless else response)
        elif body and not bodiless:
            await self.connection.send(body)
        if not more:
            await self.connection.finish()
