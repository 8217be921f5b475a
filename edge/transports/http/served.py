"""The server's end of an HTTP transport."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Awaitable, Callable, Mapping

import attrs
import trio

from ...codes import Code
from ...errors import RemoteProtocolError
from ...protocol.limits import Limits
from ...protocol.pace import Pace
from ...protocol.records import NOTHING, Closed, Records, record
from .http import Responder, Response
from .transport import BODY, HOLD_SECONDS, HttpTransport, Mode

# An HTTP transport on which no request is open for this long is lost.
GAP_SECONDS = 15.0
# How many requests over HTTP, a second and at once, come for nothing: as fast as a browser asks that hears much.
REQUESTS_PER_SECOND, REQUESTS_BURST = 100, 500
# The records that a client may send, and how many of them are taken in one step; then others have their turn.
CLIENTS_KINDS, TOGETHER = b"tbc", 64
# How long a post waits for a room that is busy, before it is answered with what was taken of it.
POST_SECONDS = 5.0
# A stream's response ends early once it has carried this much: the next GET says what has arrived.
STREAM_BYTES = 128 * 1024

# What asks proxies to pass on what they have.
UNBUFFERED = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}


class TransportOver(Exception):  # it is answered, not raised to anybody
    """Nothing more will be said on this transport; `code` says why."""

    def __init__(self, code: Code = Code.LOST) -> None:
        super().__init__(code.name)
        self.code = code


class ServedHttpTransport(HttpTransport):
    """The server's end: `post` and `get` are the client's requests, as they come."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.max_bytes = limits.socket_bytes
        self._goodbye: Closed | None = None
        self._told = False
        """True if the goodbye is on its way."""
        self._requests = 0
        self._pace = Pace(REQUESTS_PER_SECOND, REQUESTS_BURST)
        self._quiet_since = trio.current_time()
        self._getting = trio.CancelScope()

    @property
    def lost_at(self) -> float:
        """The time at which it will have been quiet for too long, on Trio's clock."""
        return math.inf if self._requests else self._quiet_since + GAP_SECONDS

    def paces(self, now: float) -> bool:
        """Another request comes: whether at a pace that costs its address nothing."""
        allowed = self._pace.allows(now)
        if allowed:
            self._pace.take(now)
        return allowed

    async def watch(self) -> None:
        """Notice when it is lost; to be run beside whoever uses it, who may not be receiving."""
        while not self.over:
            with trio.move_on_at(self.lost_at):
                await self._changed.wait()
            if trio.current_time() >= self.lost_at:
                self._break()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, when the client has been given what was sent.

        *Cancellation*: it is closed all the same, without waiting for the client.
        """
        if not self._closed:
            self._closed, self._goodbye = True, Closed(code)
            self.forget_arrived()
            self._note_change()
        await trio.lowlevel.checkpoint()
        while not (self._told or self.over):
            await self._changed.wait()

    async def post(self, first: int, has: int, body: bytes) -> int:
        """Frames of the client, of which it says how many came before; how many have arrived by now.

        *Backpressure*: what finds no room for five seconds is not taken, and has to be posted again.

        Raises:
          TransportOver: there is no transport any more.
          RemoteProtocolError: the client broke a rule: `close_by_peer` is for you to call.
        """
        if self._goodbye is not None:
            self._acknowledge(has)
            if not self._going:
                raise TransportOver(Code.of(self._goodbye.code))
            # its last words are for a GET to bring, which an answer that ends the transport would overtake
            return first + sum(1 for _ in Records(self.max_bytes, kinds=CLIENTS_KINDS).feed(body))
        with self._request():
            self._acknowledge(has)
            if first > self.received:
                raise RemoteProtocolError(f"{first} frames posted before, {self.received} have arrived")
            with trio.move_on_after(POST_SECONDS):
                for number, item in enumerate(Records(self.max_bytes, kinds=CLIENTS_KINDS).feed(body), start=first):
                    if number % TOGETHER == 0:
                        await trio.lowlevel.checkpoint()
                    await self._take(number, item)
                    if self.over or self._closed:
                        break
        await trio.lowlevel.checkpoint()
        return self.received

    async def get(self, connection: Responder, mode: Mode, has: int, headers: Mapping[str, str]) -> None:
        """Answer a GET of the client, which has received `has` frames. The newest GET ends those before it.

        Args:
          headers: further ones of the response.

        Raises:
          TransportOver: there is no transport any more.
          RemoteProtocolError: the client broke a rule: `close_by_peer` is for you to call.
        """
        with self._request():
            if has < self._gone:
                raise TransportOver  # a copy of an earlier request, from which nobody waits for an answer
            self._acknowledge(has)
            self._getting.cancel("a newer GET has come")
            self._getting = trio.CancelScope()
            response = Response(200, b"", BODY, {**headers, **UNBUFFERED})
            with self._getting:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_wait_gone, connection, nursery.cancel_scope)
                    with contextlib.suppress(trio.BrokenResourceError):  # the client is gone, for now
                        await (self._stream if mode is Mode.STREAM else self._poll)(connection, response)
                    nursery.cancel_scope.cancel("answered")

    async def _stream(self, connection: Responder, response: Response) -> None:
        said, size = self._gone, 0
        await connection.start(attrs.evolve(response, body=NOTHING))
        with trio.move_on_after(_hold_seconds()):
            ended = False
            while size < STREAM_BYTES and not ended and not self._lost:
                data, ended = self._news(said), self._goodbye is not None
                said = self._gone + len(self._going)
                if data:
                    size += len(data)
                    await _uncut(connection.send, data)
                else:
                    await self._changed.wait()
        await _uncut(connection.finish)

    async def _poll(self, connection: Responder, response: Response) -> None:
        with trio.move_on_after(_hold_seconds()):
            while not (self._going or self._goodbye or self._lost):
                await self._changed.wait()
        await _uncut(connection.respond, attrs.evolve(response, body=self._news(self._gone)))

    def _news(self, said: int) -> bytes:
        """The body of a response after `has` frames."""
        data = b"".join(self._after(said))
        if self._goodbye is None:
            return data
        self._told = True
        self._note_change()
        return data + record(self._goodbye)

    def _request(self) -> _OpenRequest:
        if self._lost:
            raise TransportOver
        return _OpenRequest(self)


class _OpenRequest:
    """While a request is open the transport is not lost."""

    def __init__(self, transport: ServedHttpTransport) -> None:
        self._transport = transport

    def __enter__(self) -> None:
        self._transport._requests += 1
        self._transport._last_received_at = trio.current_time()

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        self._transport._requests -= 1
        self._transport._quiet_since = trio.current_time()
        self._transport._note_change()


async def _wait_gone(connection: Responder, scope: trio.CancelScope) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await connection.wait_gone()
    scope.cancel("the client hung up")


async def _uncut(write: Callable[..., Awaitable[None]], *what: object) -> None:
    """Write to the end, by the connection's own deadline: half a piece would not be HTTP."""
    with trio.CancelScope(shield=True):
        await write(*what)


def _hold_seconds() -> float:
    return HOLD_SECONDS * random.uniform(0.9, 1.1)  # noqa: S311  # jitter, not a secret
