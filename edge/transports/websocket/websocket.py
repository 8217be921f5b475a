"""The WebSocket transports. No other file imports trio-websocket.

trio-websocket's reader queues only one message, so the user of a transport must receive without long pauses. The tasks
of trio-websocket may raise `LocalProtocolError` if a ping or a close frame arrives while the connection is closing. So
the tasks run in a `_Guard`: an error in a task ends only its connection.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import trio
import trio_websocket
from wsproto.utilities import ProtocolError as WsprotoError
from wsproto.utilities import generate_accept_token

from ...codes import Code
from ...errors import RemoteProtocolError
from ...protocol.codec import Frame, size_of
from ...protocol.limits import Limits
from ..http.http import sentence_of
from ..http.redirects import Redirected, check_redirect
from ..http.transport import CODE
from ..linger import linger, send_eof
from ..transport import FrameReceiver, Transport
from .fast_path import LIMITS, FastPath
from .framing import close_frame, close_payload, cut_reason, frame_of_client, is_close
from .reader import SocketReader

# The codes with which trio-websocket fails a connection without sending a close frame (RFC 6455 section 7.4.1).
FAILURES = (1002, 1007)

# The slow path starts after the real handshake, so trio-websocket first reads this request. wsproto accepts any valid
# request, and the response is dropped.
REPLAYED_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: edge\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


# The close code for a message that is too large (RFC 6455 section 7.4.1).
MESSAGE_TOO_BIG = 1009
# The largest possible `Limits.read_bytes`, which is four times the largest `Limits.sent_bytes`. No room sends a larger
# message. The `max_bytes` of a transport is usually smaller.
MAX_READ_BYTES = 64 * 1024 * 1024


class _Bytes(trio.abc.HalfCloseableStream):
    """A byte stream that records the time of the last received bytes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.last_received_at: float = trio.current_time()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        received = bytes(await self._stream.receive_some(max_bytes))
        self.last_received_at = trio.current_time()
        return received

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await send_eof(self._stream)

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Guard:
    """A nursery for trio-websocket's tasks. An error in a task ends the connection, but does not cancel the nursery.

    Args:
      shield: True if only `end` ends the tasks, and a cancellation of the nursery does not. A closing handshake needs
        the reading task.
    """

    def __init__(self, nursery: trio.Nursery, *, shield: bool = False) -> None:
        self._shield = shield
        self._scopes: list[trio.CancelScope] = []
        self.fault: str = "the connection closed"
        self.code: Code | None = None
        """The code of the server's refusal; None without a refusal, or if a proxy refused the WebSocket."""
        self.redirect: Redirected | None = None
        self._nursery = nursery
        self._ended = False
        self._handshake = trio.CancelScope()

    def handshake(self) -> trio.CancelScope:
        """Return a cancel scope for an opening or closing handshake.

        The scope is cancelled when the reader has ended, because trio-websocket would wait forever.
        """
        self._handshake = trio.CancelScope()
        if self._ended:
            self._handshake.cancel(self.fault)
        return self._handshake

    def start_soon(self, run: Callable[..., Awaitable[object]], *args: object, name: object = None) -> None:
        self._nursery.start_soon(self._run, run, *args, name=name)

    def end(self) -> None:
        """Cancel all tasks, even if they are shielded."""
        for scope in self._scopes:
            scope.cancel("the WebSocket is over")

    async def _run(self, run: Callable[..., Awaitable[object]], *args: object) -> None:
        scope = trio.CancelScope(shield=self._shield)
        self._scopes.append(scope)
        try:
            with scope:
                await run(*args)
        except* Exception as group:  # an error that the peer causes must end only this connection
            cause: BaseException = group.exceptions[0]
            while isinstance(cause, trio.BrokenResourceError) and cause.__cause__ is not None:
                cause = cause.__cause__
            self.fault = repr(cause)
            if isinstance(group.exceptions[0], trio_websocket.ConnectionRejected):
                self._note_refusal(group.exceptions[0])
        self._ended = True
        self._handshake.cancel(self.fault)

    def _note_refusal(self, refusal: trio_websocket.ConnectionRejected) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in refusal.headers or ()}
        code = headers.get(CODE, "")
        self.code = Code.of(int(code)) if code.isdigit() and code.isascii() else None
        self.fault = f"HTTP {refusal.status_code}"
        if self.code is not None or headers.get("content-type", "").startswith(("text/plain", "application/json")):
            self.fault = sentence_of(refusal.body or b"") or self.fault
        try:
            check_redirect(refusal.status_code, headers)
        except Redirected as exc:
            self.redirect = exc


class WebSocketTransport(Transport):
    """The client side of a WebSocket connection. Made by `open_websocket`."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection, stream: _Bytes, guard: _Guard) -> None:
        self._websocket = websocket
        self._guard = guard
        self._stream = stream
        self._queued: list[Frame] = []
        self.closed: bool = False
        """True once this side has closed the transport."""

    @property
    def last_received_at(self) -> float:
        return self._stream.last_received_at

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        if self.closed:
            raise trio.ClosedResourceError
        if self.broken or self._websocket.closed is not None:
            raise trio.BrokenResourceError
        self._queued += frames
        return not self._queued

    async def _write_queued(self) -> None:
        try:
            while self._queued:
                await self._websocket.send_message(self._queued[0])
                del self._queued[0]
        except (trio_websocket.ConnectionClosed, WsprotoError) as exc:
            raise trio.BrokenResourceError from exc

    async def receive(self) -> Frame:
        if self.closed:
            raise trio.ClosedResourceError
        frame = await _next_message(self, self._websocket)
        if size_of(frame) > self.max_bytes:
            raise RemoteProtocolError(f"a frame of {size_of(frame)} bytes is too large", Code.TOO_LARGE)
        return frame

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self.closed:
            await trio.lowlevel.checkpoint()
            return
        self.closed = True
        try:
            if not self.broken:
                await _close(self._websocket, self._guard, code, reason)
            if self.close_code == MESSAGE_TOO_BIG:
                await linger(self._stream)
        finally:
            await trio.aclose_forcefully(self._stream)


class ServedWebSocket(Transport):
    """The server side of a WebSocket connection: a fast path, with trio-websocket as the slow path.

    trio-websocket starts, in tasks of its own, when unusual bytes arrive. An ordinary close does not need it.

    Args:
      ahead: the bytes after the client's request that have already arrived.
      granting: the response that grants the WebSocket; empty if this response is already written.
      max_bytes: the largest message that is ever read, in bytes. The attribute `max_bytes` is smaller before the hello.
      socket_reader: the socket reader of the server.
      limits: the pace of fragments and control frames.
    """

    close_code: int | None
    close_reason: str

    def __init__(
        self,
        stream: trio.abc.Stream,
        ahead: bytes,
        *,
        granting: bytes = b"",
        max_bytes: int,
        socket_reader: SocketReader,
        limits: Limits = LIMITS,
    ) -> None:
        self._socket_reader = socket_reader
        self._max_bytes = max_bytes
        self._slow_path: _SlowPath | None = None
        self.closed: bool = False
        """True once this side has closed the transport."""
        self._receiving = trio.CancelScope()
        self._stream = FastPath(
            stream,
            ahead,
            max_bytes=max_bytes,
            socket_reader=socket_reader,
            on_unusual=self._start_slow_path,
            on_flood=self._stop_receiving,
            limits=limits,
        )
        if granting:
            self._stream.write_soon(granting)  # before reading starts, because answers must follow this response
        self._stream.start()

    @property
    def max_bytes(self) -> int:
        return self._stream.max_bytes

    @max_bytes.setter
    def max_bytes(self, value: int) -> None:
        self._stream.max_bytes = value

    @property
    def last_received_at(self) -> float:
        return self._stream.last_received_at

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        if self.closed:
            raise trio.ClosedResourceError
        if self.broken or (self._stream.aside and self._is_over()):
            raise trio.BrokenResourceError
        return self._stream.send_nowait(frames)

    def detach(self, received: Frame) -> bytes | None:
        """Stop reading, so that another process can continue. A call of `receive` or `deliver_to` resumes reading here.

        Args:
          received: the only frame that was received. The other process receives it again.

        Returns: the bytes with which the other process continues; None if only this process can continue.
        """
        ahead = self._stream.detach()
        return None if ahead is None else frame_of_client(received) + ahead

    def _is_over(self) -> bool:
        return self._slow_path.closed if self._slow_path is not None else self._stream.over

    async def _write_queued(self) -> None:
        await self._stream.flush()

    async def receive(self) -> Frame:
        if self.closed:
            raise trio.ClosedResourceError
        frame = await self._stream.receive()
        return await self._receive_unusual() if frame is None else frame

    async def deliver_to(self, receiver: FrameReceiver) -> None:
        if self.closed:
            raise trio.ClosedResourceError
        if await self._stream.deliver_to(receiver) and self._stream.aside and receiver.has_space:
            receiver.receive_frame(await self._receive_unusual(), trio.current_time())

    def stop_delivery(self) -> bool:
        return self._stream.stop_delivery()

    async def _receive_unusual(self) -> Frame:
        if self.closed:
            raise trio.ClosedResourceError
        if self._stream.peer_close is not None:
            self.close_code, self.close_reason = self._stream.peer_close
            raise trio.EndOfChannel
        if self._slow_path is None and self._stream.over:
            raise trio.BrokenResourceError
        with trio.CancelScope() as self._receiving:
            if self._stream.refusal is Code.FLOODING:
                self._stop_receiving()
            try:
                return await _next_message(self, await self._start_slow_path().begun())
            except trio.BrokenResourceError:
                if self._stream.refusal is not Code.TOO_LARGE:
                    raise
                self.close_code = MESSAGE_TOO_BIG
                self.close_reason = f"a message of more than {self.max_bytes} bytes"
                raise trio.EndOfChannel from None
        raise RemoteProtocolError("too many fragments and control frames arrived", Code.FLOODING)

    def _stop_receiving(self) -> None:
        self._receiving.cancel("too many fragments and control frames arrived")

    def _start_slow_path(self) -> _SlowPath:
        if self._slow_path is None:
            self._slow_path = _SlowPath(self._stream, self._max_bytes)
            self._socket_reader.start_soon(self._slow_path.run)
        return self._slow_path

    def close_nowait(self) -> bool:
        stream = self._stream
        if self.closed or stream.peer_close is None or stream.unwritten or not stream.close_now():
            return False
        self.closed = True
        return True

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self.closed:
            await trio.lowlevel.checkpoint()
            return
        self.closed = True
        stream = self._stream
        try:
            if stream.peer_close is not None:
                await stream.flush_last()
            elif self._slow_path is not None or stream.aside or self.broken:
                await self._close_unusual(code, reason)
            else:
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.close_handshake(code, reason)
        finally:
            if self._slow_path is not None:
                self._slow_path.scope.cancel("the WebSocket is over")
            if not stream.close_now():
                await trio.aclose_forcefully(stream)

    async def _close_unusual(self, code: int, reason: str) -> None:
        """Close the connection if the fast path cannot, because trio-websocket was used or the stream is broken."""
        self._stream.step_aside()
        failed = self._slow_path.untold if self._slow_path is not None else None
        if failed is not None:
            await self._tell(failed)
        elif self._stream.refusal is not None:  # reading has stopped, so no close frame of the peer can arrive
            await self._tell(MESSAGE_TOO_BIG if self.close_code == MESSAGE_TOO_BIG else code)
        elif not (self.broken or self._is_over()):
            slow_path = self._start_slow_path()
            await _close(await slow_path.begun(), slow_path.guard, code, reason)
        if self.close_code == MESSAGE_TOO_BIG and not self._stream.closed_by_peer:
            await self._stream.linger()

    async def _tell(self, code: int) -> None:
        """Send a close frame with this code, and do not wait for the answer."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self._stream.send_all(close_frame(close_payload(code, "")))


async def _next_message(
    transport: WebSocketTransport | ServedWebSocket, websocket: trio_websocket.WebSocketConnection
) -> Frame:
    try:
        return await websocket.get_message()
    except trio_websocket.ConnectionClosed as exc:
        if transport.closed:
            raise trio.ClosedResourceError from exc
        if exc.reason is None or exc.reason.code == 1006:  # RFC 6455 section 7.1.5: closed without a close frame
            raise trio.BrokenResourceError from exc
        transport.close_code, transport.close_reason = exc.reason.code, exc.reason.reason or ""
        raise trio.EndOfChannel from exc


async def _close(websocket: trio_websocket.WebSocketConnection, guard: _Guard, code: int, reason: str) -> None:
    with guard.handshake(), contextlib.suppress(WsprotoError):  # `WsprotoError`: the connection was already closing
        await websocket.aclose(code, cut_reason(reason))


class _SlowPath:
    """The slow path: trio-websocket, for the unusual bytes of a fast path."""

    def __init__(self, fast_path: FastPath, max_bytes: int) -> None:
        self.scope = trio.CancelScope(shield=True)
        self._fast_path = fast_path
        self._shown = _ReplayedHandshake(fast_path)
        self._max_bytes = max_bytes
        self._websocket: trio_websocket.WebSocketConnection | None = None
        self._begun = trio.Event()

    @property
    def closed(self) -> bool:
        """True once trio-websocket treats the connection as closed."""
        return self._websocket is not None and self._websocket.closed is not None

    async def run(self) -> None:
        """Run trio-websocket until `scope` is cancelled."""
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    self.guard = _Guard(nursery)
                    request = await trio_websocket.wrap_server_stream(
                        cast("Any", self.guard), cast("Any", self._shown), max_message_size=self._max_bytes
                    )
                    self._websocket = await request.accept()
                    self._begun.set()
        finally:
            self._begun.set()

    @property
    def untold(self) -> int | None:
        """The code with which trio-websocket failed the connection without sending a close frame; otherwise None."""
        reason = self._websocket.closed if self._websocket is not None else None
        return None if reason is None or reason.code not in FAILURES or self._shown.closing else reason.code

    async def begun(self) -> trio_websocket.WebSocketConnection:
        """Wait until trio-websocket has started, and return its connection.

        Raises:
          trio.BrokenResourceError: `run` ended before trio-websocket had started.
        """
        await self._begun.wait()
        if self._websocket is None:
            raise trio.BrokenResourceError
        return self._websocket


class _ReplayedHandshake(trio.abc.Stream):
    """The stream of a slow path's trio-websocket: first an invented handshake, then the bytes of the fast path.

    Closing this stream leaves the fast path open, because `ServedWebSocket` closes the fast path.
    """

    def __init__(self, fast_path: FastPath) -> None:
        self.closing = False
        """True once trio-websocket has sent a close frame to the peer."""
        self._fast_path = fast_path
        self._asked = False
        self._answered = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._asked:
            await self._answered.wait()  # wsproto reads frames only after the handshake
            return await self._fast_path.receive_some(max_bytes)
        self._asked = True
        await trio.lowlevel.checkpoint()
        return REPLAYED_HANDSHAKE

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._answered.is_set():
            self.closing |= is_close(data)
            await self._fast_path.send_all(data)
        else:
            self._answered.set()
            await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await self._fast_path.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def switching_response(key: str, subprotocol: str) -> bytes:
    """Return the response that grants a WebSocket (RFC 6455 section 4.2.2).

    Args:
      key: the `Sec-WebSocket-Key` of the request, which the caller has checked.
      subprotocol: the subprotocol that the server has chosen.
    """
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: %b\r\n\r\n"
    ) % (generate_accept_token(key.encode()), subprotocol.encode())


@asynccontextmanager
async def open_websocket(
    stream: trio.abc.Stream, host: str, path: str, *, subprotocol: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[WebSocketTransport]:
    """Open a WebSocket to a server, and close the stream after the block.

    An error of the block propagates unchanged, not in an exception group.

    Args:
      stream: a stream that is connected to the server.
      host: the value of the Host header.
      path: the path of the room.
      subprotocol: the sub-protocol that the server must choose.
      headers: additional headers of the request.

    Raises:
      Redirected: the response is a redirect.
      RemoteProtocolError: the server refused the WebSocket; `code` is the reason.
      trio.BrokenResourceError: the WebSocket could not be opened for another reason.
    """
    counted = _Bytes(stream)
    websocket = None
    fault: BaseException | None = None
    async with counted, trio.open_nursery() as nursery:
        guard = _Guard(nursery, shield=True)
        try:
            try:
                with guard.handshake():
                    websocket = await trio_websocket.wrap_client_stream(
                        cast("Any", guard),
                        cast("Any", counted),
                        host,
                        path,
                        subprotocols=[subprotocol],
                        extra_headers=[
                            (name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()
                        ],
                        max_message_size=MAX_READ_BYTES,
                    )
            except (trio_websocket.ConnectionClosed, WsprotoError) as exc:
                guard.fault = repr(exc)
            if websocket is not None and websocket.subprotocol == subprotocol:
                try:
                    yield WebSocketTransport(websocket, counted, guard)
                except Exception as exc:
                    fault = exc
        finally:
            guard.end()
        nursery.cancel_scope.cancel("the WebSocket is over")
    if fault is not None:
        raise fault
    if websocket is not None and websocket.subprotocol != subprotocol:
        raise RemoteProtocolError(f"the server does not support {subprotocol}", Code.VERSION)
    if websocket is None and guard.redirect is not None:
        raise guard.redirect
    if websocket is None and guard.code is not None:
        raise RemoteProtocolError(guard.fault, guard.code)
    if websocket is None:
        raise trio.BrokenResourceError(f"no WebSocket was opened: {guard.fault}")
