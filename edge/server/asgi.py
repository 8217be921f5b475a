"""Run a mounted web app on the same port: any ASGI 3 app that runs on Trio, such as Starlette or FastAPI.

The app receives every HTTP request that edge does not answer itself. edge never opens a ``websocket`` scope.
https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import attrs
import trio

from ..aio.guard import guarded
from ..aio.options import check_option
from ..transports.http.http import MAX_BODY_BYTES, HttpConnection, Request, Response
from .hosts import DEFAULT_PORTS, HOST

log: logging.Logger = logging.getLogger("edge.server")

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

VERSION = {"version": "3.0", "spec_version": "2.3"}

# Seconds that the app may continue to process a request after its client has disconnected.
GONE_SECONDS = 5.0
# Seconds from the start of a drain until the app receives `http.disconnect` for incomplete responses.
DRAIN_SECONDS = 1.0
# If a drain has no deadline, the server waits this many seconds for tasks of the app that continue after responses.
AFTERWARDS_SECONDS = 10.0


def _check_app(mount: Mount, field: object, app: Any) -> None:
    if isinstance(app, type | Mount) or not callable(app):
        raise TypeError(f"mount must be an ASGI app, such as Starlette(), or a Mount of one, not {app!r:.100}")


def _check_size(mount: Mount, field: object, size: object) -> None:
    check_option("Mount.max_body_bytes", size, int, example="a number of bytes")


@attrs.frozen
class Mount:
    """A mounted web app and its limits, for `App(mount=...)`."""

    app: AsgiApp = attrs.field(validator=_check_app)
    max_body_bytes: int = attrs.field(default=MAX_BODY_BYTES, kw_only=True, validator=_check_size)
    """The largest body of a request, in bytes. edge reads the body before it calls the app. The value is at most
    `AddressLimits.body_bytes_each`."""


class MountedApp:
    """An ASGI app, and the state that its lifespan shares with its requests.

    Each request runs as a task in a nursery of this object, not of the connection. So the app can continue after its
    response, while the connection serves the next request.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._state: dict[str, Any] = {}
        self._beside: trio.Nursery | None = None
        self._requests: trio.Nursery | None = None
        self._exchanges: dict[_Exchange, None] = {}
        """The exchanges whose responses are not complete."""
        self._idle = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the app's lifespan. `task_status.started` is called once the app has started.

        Raises:
          RuntimeError: the app reported that it could not start.

        *Cancellation* sends `lifespan.shutdown` to the app, which then has ten seconds to shut down.
        """
        to_app, incoming = trio.open_memory_channel[Message](2)  # a lifespan has two messages: startup and shutdown
        outgoing, from_app = trio.open_memory_channel[Message](1)
        scope = {"type": "lifespan", "asgi": VERSION, "state": self._state}

        life = trio.CancelScope(shield=True)  # shielded, so that the app can still shut down; cancelled below

        async def live() -> None:
            try:
                with life:
                    await self._app(scope, incoming.receive, outgoing.send)
            except Exception as exc:  # ASGI specification: an app without a lifespan raises an exception
                log.debug("the mounted app has no lifespan: %r", exc)
            outgoing.close()

        async with trio.open_nursery() as nursery:
            self._beside = nursery
            nursery.start_soon(live)
            try:
                to_app.send_nowait({"type": "lifespan.startup"})
                await self._wait_started(from_app)
                try:
                    async with trio.open_nursery() as self._requests:
                        task_status.started()
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
            return  # the app has no lifespan
        if answer["type"] != "lifespan.startup.complete":
            raise RuntimeError(f"the mounted app could not start: {answer.get('message', '')}")

    async def respond(self, connection: HttpConnection, request: Request) -> None:
        """Pass a request, whose body has been read, to the app.

        The call returns once the response is complete. The app may continue after its response.

        Raises:
          Exception: the app raised this exception before its response was complete. If `connection.unanswered` is then
            true, the caller has to respond.
          RuntimeError: the app returned without a response.
        """
        assert self._requests is not None
        exchange = _Exchange(connection, request)
        self._exchanges[exchange] = None
        try:
            self._requests.start_soon(self._call, exchange, name=f"{request.method} {request.path}")
            await exchange.wait_answered()
        finally:
            del self._exchanges[exchange]
            exchange.let_go()
        if exchange.fault is not None:
            raise exchange.fault
        if connection.unanswered and not exchange.gone:
            raise RuntimeError("the mounted app gave no response")

    async def _call(self, exchange: _Exchange) -> None:
        what = f"the mounted app, at {exchange.request.method} {exchange.request.path!r},"

        async def call() -> None:
            try:
                await self._app(exchange.scope(self._state), exchange.receive, exchange.send)
            except Exception as exc:
                if exchange.answered.is_set():
                    raise
                exchange.fault = exc  # `respond` raises this exception

        try:
            with exchange.life:
                await guarded(what, call)
            exchange.gone |= exchange.life.cancelled_caught  # cancelled only when no response can reach the client
        finally:
            exchange.answered.set()
            self._note_idle()

    def drain(self) -> None:
        """After a second, send `http.disconnect` to the app for each response that is still incomplete.

        The app may continue until the deadline of the drain.
        """
        assert self._beside is not None
        self._beside.start_soon(self._end_responses)

    async def _end_responses(self) -> None:
        await trio.sleep(DRAIN_SECONDS)
        for exchange in self._exchanges:
            exchange.disconnect()

    async def wait_idle(self, deadline: float) -> None:
        """Wait until the app's tasks for all requests have ended, but not longer than a drain may take.

        Args:
          deadline: the end of the wait, on Trio's clock. If it is infinite, the wait takes ten seconds at most.
        """
        with trio.move_on_at(deadline if deadline < math.inf else trio.current_time() + AFTERWARDS_SECONDS):
            while self._requests is not None and self._requests.child_tasks:
                self._idle = trio.Event()
                await self._idle.wait()

    def _note_idle(self) -> None:
        self._idle.set()


@attrs.define(eq=False)
class _Exchange:
    """One request and its response."""

    connection: HttpConnection
    request: Request
    life: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """The scope of the app's task."""
    answered: trio.Event = attrs.field(factory=trio.Event)
    """Set once the response is complete, or can no longer become complete."""
    fault: Exception | None = None
    """The exception that the app raised before its response was complete."""
    gone: bool = False
    """True once nothing more can be written to the client."""
    _asked: bool = False
    _head: Message | None = None
    _started: bool = False
    _over: trio.Event = attrs.field(factory=trio.Event)
    """Set once the response is complete, or the client has disconnected. `receive` then returns `http.disconnect`."""

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
            "server": _server_of(request),
            "state": state.copy(),
        }

    async def wait_answered(self) -> None:
        """Wait until `answered` is set. If the client disconnects earlier, call `note_gone`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            await self.answered.wait()
            nursery.cancel_scope.cancel("answered")

    def let_go(self) -> None:
        """Detach the exchange from its connection.

        If the response is complete, the app's task continues without a deadline. If not, the task is cancelled.
        """
        self.life.deadline = math.inf
        if not self.answered.is_set():
            self.gone = True
            self.life.cancel("the connection has ended")
        self.answered.set()
        self._over.set()

    def disconnect(self) -> None:
        """Send `http.disconnect` to the app."""
        self._over.set()

    def note_gone(self) -> None:
        """Send `http.disconnect` to the app, because the client has gone. After five seconds, cancel the app's task."""
        self.disconnect()
        self.life.deadline = min(self.life.deadline, trio.current_time() + GONE_SECONDS)

    async def _watch(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.connection.wait_gone()
        self.note_gone()

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": self.request.body, "more_body": False}
        if not self._over.is_set():  # no checkpoint: Starlette's `is_disconnected` receives in a cancelled scope
            await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            await trio.lowlevel.checkpoint()
        elif message["type"] == "http.response.body" and self._head is not None and not self.answered.is_set():
            more = message.get("more_body", False)
            try:
                if not self.gone:
                    await self._send_body(self._head, message.get("body", b""), more=more)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.gone = True
                self.note_gone()
            if not more:
                self._over.set()
                self.answered.set()
        else:
            await trio.lowlevel.checkpoint()

    async def _send_body(self, head: Message, body: bytes, *, more: bool) -> None:
        # a response to HEAD keeps the app's content-length, although its body is empty
        whole = not more and not self._started and self.request.method != "HEAD"
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


def _server_of(request: Request) -> tuple[str, int] | None:
    """Return the host name and the port in the request's `Host`; None if it has no valid `Host`."""
    found = HOST.fullmatch(request.headers.get("host", ""))
    return None if found is None else (found["name"], int(found["port"] or DEFAULT_PORTS[request.scheme]))
