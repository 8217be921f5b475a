"""WebSocket, through trio-websocket: the only file that knows it.

trio-websocket's reader waits on a queue of one message, so whoever holds a transport must keep receiving; its tasks
may raise when a ping or a close crosses a closing connection (`LocalProtocolError`), so they run guarded here and
what they raise only means that the connection is over.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import trio
import trio_websocket
from wsproto.utilities import ProtocolError as WsprotoError

from ..protocol.codec import Frame
from ..protocol.limits import Limits
from .transport import Transport

# How long a side that closes because of too large a message reads on, so that the other hears why before a reset.
LINGER_SECONDS = 1.0


class _Bytes(trio.abc.Stream):
    """A byte stream that gives back what was read ahead of it, and notes when anything came in."""

    def __init__(self, stream: trio.abc.Stream, ahead: bytes = b"") -> None:
        self._stream = stream
        self._ahead = ahead
        self.heard_at = trio.current_time()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._ahead:
            await trio.lowlevel.checkpoint()
            ahead, self._ahead = self._ahead, b""
            return ahead
        received = bytes(await self._stream.receive_some(max_bytes))
        self.heard_at = trio.current_time()
        return received

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Guard:
    """What trio-websocket starts its reader in: an error there ends the connection, not the nursery."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.opening = trio.CancelScope()
        """Covers the handshake, which would otherwise wait for ever for a reader that has died."""
        self.fault = "the connection closed"

    def start_soon(self, run: Callable[..., Awaitable[object]], *args: object, name: object = None) -> None:
        self._nursery.start_soon(self._run, run, *args, name=name)

    async def _run(self, run: Callable[..., Awaitable[object]], *args: object) -> None:
        try:
            await run(*args)
        except* (WsprotoError, trio_websocket.ConnectionClosed, trio_websocket.HandshakeError, OSError) as group:
            self.fault = repr(group.exceptions[0])
        self.opening.cancel(self.fault)


class WebSocketTransport(Transport):
    """A WebSocket connection. Made by `accept_websocket` and `open_websocket`."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection, stream: _Bytes) -> None:
        self._websocket = websocket
        self._stream = stream
        self._broken = False
        self._closed = False

    @property
    def subprotocol(self) -> str | None:
        """The sub-protocol that both sides agreed on."""
        return self._websocket.subprotocol

    @property
    def heard_at(self) -> float:
        return self._stream.heard_at

    async def send(self, frames: Sequence[Frame]) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self._broken:
            raise trio.BrokenResourceError
        self._broken = True  # until it is known to have gone through whole
        try:
            for frame in frames:
                await self._websocket.send_message(frame)
        except (trio_websocket.ConnectionClosed, WsprotoError) as exc:
            raise trio.BrokenResourceError from exc
        self._broken = False

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
            if not self._broken:
                # RFC 6455 section 5.5: the reason of a close frame has at most 123 bytes
                await self._websocket.aclose(code, reason.encode()[:120].decode(errors="ignore"))
            if self.close_code == 1009:
                await self._linger()
        except WsprotoError:
            pass  # it was closing already, and is closed below in any case
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _linger(self) -> None:
        with trio.move_on_after(LINGER_SECONDS):
            try:
                while await self._stream.receive_some(65536):
                    pass
            except trio.BrokenResourceError:
                pass  # the peer has heard enough, or is gone


@asynccontextmanager
async def accept_websocket(
    stream: trio.abc.Stream, head: bytes, *, subprotocol: str, limits: Limits
) -> AsyncIterator[WebSocketTransport]:
    """Answer an upgrade request, which the caller has checked.

    Args:
      head: the request and whatever followed it, as read off the stream so far.
      subprotocol: the one of the client's that is agreed on.
    """
    counted = _Bytes(stream, head)

    async def shake_hands(guard: Any) -> trio_websocket.WebSocketConnection:
        request = await trio_websocket.wrap_server_stream(guard, counted, max_message_size=limits.socket_bytes)
        return await request.accept(subprotocol=subprotocol)

    async with _opened(counted, shake_hands) as transport:
        yield transport


@asynccontextmanager
async def open_websocket(
    host: str, port: int, path: str, *, subprotocol: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[WebSocketTransport]:
    """Connect to a server.

    Raises:
      OSError: it can't be reached.
      trio.BrokenResourceError: it did not agree to a WebSocket with this sub-protocol.
    """
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
    if tls is None:
        stream = await trio.open_tcp_stream(host, port)
    else:
        stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=tls)
    counted = _Bytes(stream)

    async def shake_hands(guard: Any) -> trio_websocket.WebSocketConnection:
        return await trio_websocket.wrap_client_stream(
            guard, cast("Any", counted), f"{host}:{port}", path, subprotocols=[subprotocol]
        )

    async with _opened(counted, shake_hands) as transport:
        if transport.subprotocol != subprotocol:
            raise trio.BrokenResourceError(f"the server does not speak {subprotocol}")
        yield transport


@asynccontextmanager
async def _opened(
    stream: _Bytes, shake_hands: Callable[[Any], Awaitable[trio_websocket.WebSocketConnection]]
) -> AsyncIterator[WebSocketTransport]:
    """A transport while its block runs; an error of the block comes out as it is, not in a group."""
    websocket = None
    fault: BaseException | None = None
    async with stream, trio.open_nursery() as nursery:
        guard = _Guard(nursery)
        with guard.opening:
            websocket = await shake_hands(guard)
        if websocket is not None:
            try:
                yield WebSocketTransport(websocket, stream)
            except Exception as exc:
                fault = exc
        nursery.cancel_scope.cancel("the WebSocket is over")
    if websocket is None:
        raise trio.BrokenResourceError(f"no WebSocket was opened: {guard.fault}")
    if fault is not None:
        raise fault
