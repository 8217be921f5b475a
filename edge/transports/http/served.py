"""The server side of an HTTP transport."""

from __future__ import annotations

import contextlib
import itertools
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

# An HTTP transport is lost after this many seconds without an open request.
GAP_SECONDS = 15.0
# The rate and the burst of a transport's requests that are not charged to the client's address. They are enough for a
# browser that receives many frames.
REQUESTS_PER_SECOND, REQUESTS_BURST = 100, 500
# The kinds of records that a client may send, and the number of records that are processed before other tasks run.
CLIENTS_KINDS, TOGETHER = b"tbc", 64
# The number of records of one POST that are read after the goodbye. The client may send the others again.
MAX_DISCARDED = 256
# The seconds that a POST request waits for a busy room. The response then states how many frames were accepted.
POST_SECONDS = 5.0
# In `Mode.STREAM`, a response ends after this many bytes, so that the next GET request acknowledges them.
STREAM_BYTES = 128 * 1024

# Headers that ask proxies to forward bytes at once.
UNBUFFERED = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}


class TransportOver(Exception):  # the server converts this exception to a response
    """The HTTP transport has ended or never existed; `code` is the reason."""

    def __init__(self, code: Code = Code.LOST) -> None:
        super().__init__(code.name)
        self.code = code


class ServedHttpTransport(HttpTransport):
    """The server side of an HTTP transport. `post` and `get` serve the client's requests."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.max_bytes: int = limits.socket_bytes
        self._goodbye: Closed | None = None
        self._told = False
        """True once a response contains the goodbye."""
        self._requests = 0
        self._pace = Pace(REQUESTS_PER_SECOND, REQUESTS_BURST)
        self._quiet_since = trio.current_time()
        self._getting = trio.CancelScope()

    @property
    def lost_at(self) -> float:
        """The time at which the transport is lost, on Trio's clock; infinite while a request is open."""
        return math.inf if self._requests else self._quiet_since + GAP_SECONDS

    def paces(self, now: float) -> bool:
        """Charge a request to the transport's pace. Return False if the client's address must be charged instead."""
        allowed = self._pace.allows(now)
        if allowed:
            self._pace.take(now)
        return allowed

    async def watch(self) -> None:
        """Break the transport when it is lost.

        This method needs a task of its own, because there may be no task in `receive`.
        """
        while not self.over:
            with trio.move_on_at(self.lost_at):
                await self._changed.wait()
            if trio.current_time() >= self.lost_at:
                self._break()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the transport, and wait until the sent frames and the goodbye are in a response.

        *Cancellation* also closes the transport, without waiting for the client.
        """
        if not self._closed:
            self._closed, self._goodbye = True, Closed(code)
            self.forget_arrived()
            self._note_change()
        await trio.lowlevel.checkpoint()
        while not (self._told or self.over):
            await self._changed.wait()

    async def post(self, first: int, has: int, body: bytes) -> int:
        """Serve a POST request: receive the frames in its body.

        Args:
          first: the number of frames that the client sent before the frames in this body.
          has: the number of the server's frames that the client has received.

        Returns: the number of the client's frames that need not be sent again: they have arrived, or the transport
          closes and discards them.

        *Backpressure*: frames for which there is no space within five seconds are not accepted. The client sends them
        again.

        *Cancellation*: no accepted frame is lost. The client sends the other frames again.

        Raises:
          TransportOver: the transport has ended.
          RemoteProtocolError: the client violated the protocol. The caller has to call `close_by_peer`.
        """
        if self._goodbye is not None:
            self._acknowledge(has)
            if not self._going:
                raise TransportOver(Code.of(self._goodbye.code))
            # no error: it would end the client's transport before a GET response brings the last frames
            discarded = itertools.islice(Records(self.max_bytes, kinds=CLIENTS_KINDS).feed(body), MAX_DISCARDED)
            return first + sum(1 for _ in discarded)
        with self._request():
            self._acknowledge(has)
            if first > self.received:
                raise RemoteProtocolError(f"{first} frames came before this POST, but {self.received} have arrived")
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
        """Serve a GET request. A new GET request ends an earlier GET request that is still open.

        Args:
          has: the number of the server's frames that the client has received.
          headers: additional headers of the response.

        Raises:
          TransportOver: the transport has ended.
          RemoteProtocolError: the client violated the protocol. The caller has to call `close_by_peer`.
        """
        with self._request():
            if has < self._gone:
                raise TransportOver  # a late copy of an earlier request, whose response the client does not await
            self._acknowledge(has)
            self._getting.cancel("a newer GET request has arrived")
            self._getting = trio.CancelScope()
            response = Response(200, b"", BODY, {**headers, **UNBUFFERED})
            with self._getting:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_wait_gone, connection, nursery.cancel_scope)
                    with contextlib.suppress(trio.BrokenResourceError):  # the client may send another GET
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
        """Return the body of a response: the records after the first `said` frames, and the goodbye if there is one."""
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
    """A context manager for an open request. While a request is open, the transport is not lost."""

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
    scope.cancel("the client has disconnected")


async def _uncut(write: Callable[..., Awaitable[None]], *what: object) -> None:
    """Write a piece, shielded from cancellation, because half of a piece would not be valid HTTP.

    The write has a deadline of its own.
    """
    with trio.CancelScope(shield=True):
        await write(*what)


def _hold_seconds() -> float:
    return HOLD_SECONDS * random.uniform(0.9, 1.1)  # noqa: S311  # jitter, not a secret
