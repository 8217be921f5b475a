"""WebSocket, through trio-websocket: the only file that knows it.

trio-websocket's reader waits on a queue of one message, so whoever holds a transport must keep receiving; its tasks
may raise when a ping or a close crosses a closing connection (`LocalProtocolError`), so they run guarded here and
what they raise only means that the connection is over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

import trio
import trio_websocket
from wsproto.utilities import ProtocolError as WsprotoError

from ..codes import Code
from ..errors import RemoteProtocolError
from ..protocol.codec import Frame
from ..protocol.limits import Limits
from .lane import Lane
from .lanes import Lanes
from .line import CODE
from .linger import linger
from .transport import Taker, Transport

S = TypeVar("S", "_Bytes", Lane)
T = TypeVar("T", bound="WebSocketTransport")


class _Bytes(trio.abc.HalfCloseableStream):
    """A byte stream that notes when anything came in."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.heard_at = trio.current_time()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        received = bytes(await self._stream.receive_some(max_bytes))
        self.heard_at = trio.current_time()
        return received

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        if isinstance(self._stream, trio.abc.HalfCloseableStream):  # TLS has no half-close
            await self._stream.send_eof()
        else:
            await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Guard:
    """What trio-websocket starts its reader in: an error there ends the connection, not the nursery."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.fault = "the connection closed"
        self.code: Code | None = None
        """Why the server refused, where it was the server that did, and not something on the way."""
        self._nursery = nursery
        self._ended = False
        self._handshake = trio.CancelScope()

    def handshake(self) -> trio.CancelScope:
        """A scope for an opening or closing handshake, which would wait for ever for a reader that has died."""
        self._handshake = trio.CancelScope()
        if self._ended:
            self._handshake.cancel(self.fault)
        return self._handshake

    def start_soon(self, run: Callable[..., Awaitable[object]], *args: object, name: object = None) -> None:
        self._nursery.start_soon(self._run, run, *args, name=name)

    async def _run(self, run: Callable[..., Awaitable[object]], *args: object) -> None:
        try:
            await run(*args)
        except* Exception as group:  # whatever its parsers make of a peer's bytes ends this connection and no more
            self.fault = repr(group.exceptions[0])
            if isinstance(group.exceptions[0], trio_websocket.ConnectionRejected):
                self._note_refusal(group.exceptions[0])
        self._ended = True
        self._handshake.cancel(self.fault)

    def _note_refusal(self, refusal: trio_websocket.ConnectionRejected) -> None:
        code = next((value for name, value in refusal.headers or () if name.lower() == CODE.encode()), b"")
        self.code = Code.of(int(code)) if code.isdigit() else None
        self.fault = (refusal.body or b"").decode(errors="replace")[:300] or f"HTTP {refusal.status_code}"


class WebSocketTransport(Transport):
    """A client's end of a WebSocket connection. Made by `open_websocket`."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection, stream: _Bytes | Lane, guard: _Guard) -> None:
        self._websocket = websocket
        self._guard = guard
        self._stream = stream
        self._kept: list[Frame] = []
        self._closed = False

    @property
    def subprotocol(self) -> str | None:
        """The sub-protocol that both sides agreed on."""
        return self._websocket.subprotocol

    @property
    def heard_at(self) -> float:
        return self._stream.heard_at

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        self._check_open()
        self._kept += frames
        return not self._kept

    async def _write_kept(self) -> None:
        try:
            while self._kept:
                await self._websocket.send_message(self._kept[0])
                del self._kept[0]
        except (trio_websocket.ConnectionClosed, WsprotoError) as exc:
            raise trio.BrokenResourceError from exc

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self.broken or self._websocket.closed is not None:
            raise trio.BrokenResourceError

    async def receive(self) -> Frame:
        if self._closed:
            raise trio.ClosedResourceError
        try:
            return await self._websocket.get_message()
        except trio_websocket.ConnectionClosed as exc:
            if self._closed:
                raise trio.ClosedResourceError from exc
            if exc.reason is None or exc.reason.code == 1006:  # RFC 6455 section 7.1.5: closed without a close frame
                raise trio.BrokenResourceError from exc
            self.close_code = exc.reason.code
            raise trio.EndOfChannel from exc

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            if not self.broken:
                # RFC 6455 section 5.5: the reason of a close frame has at most 123 bytes
                with self._guard.handshake():
                    await self._websocket.aclose(code, reason.encode()[:120].decode(errors="ignore"))
            if self.close_code == 1009:
                await self._linger()
        except WsprotoError:
            pass  # it was closing already, and is closed below in any case
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _linger(self) -> None:
        await linger(self._stream)


class ServedWebSocket(WebSocketTransport):
    """The server's end of a WebSocket connection, on a fast lane. Made by `accept_websocket`."""

    _stream: Lane

    def __init__(self, websocket: trio_websocket.WebSocketConnection, stream: Lane, guard: _Guard) -> None:
        super().__init__(websocket, stream, guard)
        stream.start()

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        if self._closed or self.broken or self._stream.aside:
            self._check_open()
        return self._stream.send_nowait(frames)

    async def _write_kept(self) -> None:
        await self._stream.flush()

    async def receive(self) -> Frame:
        if self._closed:
            raise trio.ClosedResourceError
        frame = await self._stream.receive()
        return await super().receive() if frame is None else frame

    async def feed(self, taker: Taker) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        await self._stream.feed(taker)
        if taker.has_space:  # the lane has stepped aside
            taker.take_in(await super().receive(), trio.current_time())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self._stream.step_aside()
        await super().close(code, reason)

    async def _linger(self) -> None:
        await self._stream.linger()


class _Shaken:
    """In place of the machine of a handshake that is over."""

    __slots__ = ()

    def events(self) -> tuple[()]:
        return ()


def accept_websocket(
    stream: trio.abc.Stream, head: bytes, *, subprotocol: str, limits: Limits, lanes: Lanes | None = None
) -> AbstractAsyncContextManager[ServedWebSocket]:
    """Answer an upgrade request, which the caller has checked; a transport while the block runs.

    Args:
      head: the request and whatever followed it, as read off the stream so far.
      subprotocol: the one of the client's that is agreed on.
      lanes: whose reader reads it, if it is a plain socket; otherwise it is read in a task of its own.
    """
    request, end, ahead = head.partition(b"\r\n\r\n")
    lane = Lane(stream, request + end, ahead, max_bytes=limits.socket_bytes, lanes=lanes)

    async def shake_hands(guard: Any) -> trio_websocket.WebSocketConnection:
        request = await trio_websocket.wrap_server_stream(guard, lane, max_message_size=limits.socket_bytes)
        websocket = await request.accept(subprotocol=subprotocol)
        # wsproto keeps its HTTP parser, which has nothing more to say: a tenth of what a connection costs
        websocket._wsproto.handshake = cast("Any", _Shaken())
        return websocket

    return _opened(lane, shake_hands, ServedWebSocket)


@asynccontextmanager
async def open_websocket(
    stream: trio.abc.Stream, host: str, path: str, *, subprotocol: str
) -> AsyncIterator[WebSocketTransport]:
    """Ask a server for a WebSocket.

    Args:
      stream: connected to it.
      host: what the Host header says.

    Raises:
      RemoteProtocolError: it refused; `code` says why.
      trio.BrokenResourceError: there is no WebSocket, for some other reason.
    """
    counted = _Bytes(stream)

    async def shake_hands(guard: Any) -> trio_websocket.WebSocketConnection:
        return await trio_websocket.wrap_client_stream(
            guard, cast("Any", counted), host, path, subprotocols=[subprotocol]
        )

    async with _opened(counted, shake_hands, WebSocketTransport) as transport:
        if transport.subprotocol != subprotocol:
            raise RemoteProtocolError(f"the server does not speak {subprotocol}", Code.VERSION)
        yield transport


@asynccontextmanager
async def _opened(
    stream: S,
    shake_hands: Callable[[Any], Awaitable[trio_websocket.WebSocketConnection]],
    make: Callable[[trio_websocket.WebSocketConnection, S, _Guard], T],
) -> AsyncIterator[T]:
    """A transport while its block runs; an error of the block comes out as it is, not in a group."""
    websocket = None
    fault: BaseException | None = None
    async with stream, trio.open_nursery() as nursery:
        guard = _Guard(nursery)
        try:
            with guard.handshake():
                websocket = await shake_hands(guard)
        except (trio_websocket.ConnectionClosed, WsprotoError) as exc:
            guard.fault = repr(exc)
        if websocket is not None:
            try:
                yield make(websocket, stream, guard)
            except Exception as exc:
                fault = exc
        nursery.cancel_scope.cancel("the WebSocket is over")
    if websocket is None and guard.code is not None:
        raise RemoteProtocolError(guard.fault, guard.code)
    if websocket is None:
        raise trio.BrokenResourceError(f"no WebSocket was opened: {guard.fault}")
    if fault is not None:
        raise fault
