"""The fast path of a server's WebSocket: the stream between the socket and trio-websocket.

The fast path gives whole, masked text and binary frames directly to the `FrameReceiver`. It passes pings and pongs to
trio-websocket unchanged. The fast path handles an ordinary close by either side itself, if trio-websocket has not
received any bytes. All other frames are unusual: fragments, invalid frames, frames that are too large, and texts that
are not UTF-8. At an unusual frame, the fast path steps aside permanently: it passes this frame and all bytes after it
to trio-websocket. So frames stay in order, and only trio-websocket and wsproto check unusual input. trio-websocket
starts with the first ping, pong or unusual frame.

All writes go through the fast path, so that a single queue has the bytes that the socket has not accepted. A write that
is cancelled leaves its remaining bytes in that queue, so that half a frame is never followed by another frame.

The server's `SocketReader` reads plain sockets, and calls `read`. A stream of another kind, such as TLS, has a reading
task of its own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

import trio

from ...aio.wakeup import WakeUp
from ...codes import Code
from ...protocol.codec import Frame
from ...protocol.limits import Limits
from ..linger import LINGER_SECONDS, send_eof
from ..transport import FrameReceiver
from .framing import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    UNUSUAL,
    Unusual,
    close_frame,
    close_payload,
    fragments_pace,
    frame_of_client,
    next_frame,
    read_close,
    short_text,
)
from .reader import SocketReader

# The maximum number of bytes in one read from a connection, so that no connection delays the others.
READ_BYTES = 64 * 1024
LIMITS = Limits()


class FastPath(trio.abc.HalfCloseableStream):
    """The fast path of one connection. It is also the stream that trio-websocket reads and writes.

    Args:
      stream: a stream to a client whose request for a WebSocket is granted.
      ahead: the bytes after the client's request that have already arrived.
      max_bytes: the largest frame that is read, in bytes.
      socket_reader: the socket reader of the server.
      on_unusual: called when there are bytes for trio-websocket.
      on_flood: called when the client sends too many fragments and control frames.
      limits: the pace of fragments and control frames.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_bytes_wake_up",
        "_closing",
        "_discarding",
        "_ended",
        "_fault",
        "_fd",
        "_frame_wake_up",
        "_handed",
        "_has_handed",
        "_limits",
        "_next",
        "_on_flood",
        "_on_unusual",
        "_own_reader",
        "_reading",
        "_receiver",
        "_resume_wake_up",
        "_socket_reader",
        "_stream",
        "_unusual",
        "_unwritten",
        "_writing",
        "aside",
        "last_received_at",
        "max_bytes",
        "peer_close",
        "refusal",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        ahead: bytes,
        *,
        max_bytes: int,
        socket_reader: SocketReader,
        on_unusual: Callable[[], object] = lambda: None,
        on_flood: Callable[[], object] = lambda: None,
        limits: Limits = LIMITS,
    ) -> None:
        self.last_received_at: float = trio.current_time()
        """The time at which the last byte arrived, on Trio's clock."""
        self.aside: bool = False
        """True once no more frames are delivered, because trio-websocket reads or the close handshake has begun."""
        self._stream = stream
        self._socket_reader = socket_reader
        self._fd = stream.socket.fileno() if socket_reader.can_read and isinstance(stream, trio.SocketStream) else -1
        """The file descriptor of a plain socket that the socket reader reads; otherwise -1."""
        self.max_bytes: int = max_bytes
        """The largest frame that is read, in bytes. The limit is lower before the hello."""
        self._on_unusual = on_unusual
        self._on_flood = on_flood
        self.refusal: Code | None = None
        """None, or the reason why reading has stopped.

        The reason is `Code.FLOODING`, or `Code.TOO_LARGE` if a message announced too many bytes.
        """
        self.peer_close: tuple[int, str] | None = None
        """The code and the reason of the peer's close frame, if the fast path has read that frame; otherwise None."""
        self._closing = False
        """True once this side sends a close frame, and only waits for the peer's close frame."""
        self._limits = limits
        self._unusual: Unusual | None = None
        """Checks the bytes for trio-websocket; None until there are any."""
        self._buffer: bytes | bytearray = ahead
        """Received bytes. The bytes before `_at` are already delivered."""
        self._at = 0
        """The position in the buffer up to which bytes are delivered."""
        self._has_handed = False
        """True once bytes were passed to trio-websocket, which may answer them."""
        self._handed = bytearray()
        """Bytes that trio-websocket has not read yet."""
        self._next: Frame | None = None
        """A frame for which the receiver had no space."""
        self._discarding = False
        """True while all received bytes are dropped."""
        self._ended = False
        self._fault: BaseException | None = None
        self._receiver: FrameReceiver | None = None
        self._reading = False
        """True while the stream is read."""
        self._own_reader: trio.CancelScope | None = None
        """The cancel scope of the task that reads a stream that is not a plain socket."""
        self._frame_wake_up = WakeUp()
        self._bytes_wake_up = WakeUp()
        self._resume_wake_up = WakeUp()
        self._unwritten = bytearray()
        """Bytes to write that the socket has not accepted yet."""
        self._writing: trio.Lock | None = None
        """Held by the task that writes the queued bytes; None until a write has to wait."""

    @property
    def closed_by_peer(self) -> bool:
        """True once the peer has sent a close frame."""
        return self.peer_close is not None or (self._unusual is not None and self._unusual.closed)

    @property
    def over(self) -> bool:
        """True if no more bytes are to be read.

        The peer has sent a close frame, or the stream has ended and trio-websocket has read all bytes.
        """
        return (self._ended and not self._handed) or self.peer_close is not None

    @property
    def unwritten(self) -> int:
        """The number of bytes that the socket has not accepted yet."""
        return len(self._unwritten)

    def start(self) -> None:
        """Start to read in the background, until `aclose` is called."""
        if self._fd < 0:
            self._own_reader = trio.CancelScope(shield=True)
            self._socket_reader.start_soon(self._read_alone)
        self._continue()

    async def receive(self) -> Frame | None:
        """Return the next frame, or None once the fast path has stepped aside.

        *Cancellation*: no frame is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._next is not None or self.aside:
            await trio.lowlevel.cancel_shielded_checkpoint()
        while self._next is None and not self.aside:
            await self._frame_wake_up.wait()
        frame, self._next = self._next, None
        self._continue()
        return frame

    async def deliver_to(self, receiver: FrameReceiver) -> bool:
        """Give each frame to a receiver, while the receiver has space and the fast path has not stepped aside.

        Returns: False if `stop_delivery` was called.

        *Cancellation*: no frame is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._receiver, waited = receiver, False
        try:
            self._continue()
            while self._receiver is receiver and receiver.has_space and not self.aside:
                waited = True
                await self._frame_wake_up.wait()
                self._continue()  # the receiver may have space again
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return self._receiver is receiver
        finally:
            self._receiver = None

    def stop_delivery(self) -> bool:
        """Make `deliver_to` return, if it is running. Return True if it was running."""
        fed, self._receiver = self._receiver is not None, None
        if fed:
            self._frame_wake_up.wake()
        return fed

    def detach(self) -> bytes | None:
        """Stop reading, so that another process can continue. A call of `receive` or `deliver_to` resumes reading here.

        Returns: the received bytes that are not delivered; None if only this process can continue.
        """
        if self._fd < 0 or self._unwritten or self._ended or self._has_handed or self.aside:
            return None
        self._pause()
        first = b"" if self._next is None else frame_of_client(self._next)
        return first + bytes(self._buffer[self._at :])

    def step_aside(self) -> None:
        """Pass all further bytes to trio-websocket, and deliver no more frames."""
        if not self.aside:
            self.aside = True
            self._hand_over(self._buffer[self._at :])
            self._buffer, self._at = b"", 0
            self._frame_wake_up.wake()
        self._resume_reading()

    def read(self, now: float) -> None:
        """Read once from the socket, which is ready, unless the buffers are full. The socket reader calls this."""
        if (self._next is not None or self._handed) and self._full:
            self._pause()  # not earlier, because the receiver usually takes the frame before more bytes arrive
            return
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            self._end(exc)
        else:
            receiver = self._receiver
            if (  # the usual case: one short, whole text frame, and a receiver with space
                receiver is not None
                and not self._buffer
                and (payload := short_text(data)) is not None
                and receiver.has_space
                and not self.aside
            ):
                self.last_received_at = now
                try:
                    text = payload.decode()
                except UnicodeDecodeError:
                    self._receive_bytes(data, now)
                else:
                    # If the receiver now has no space, no task is woken. The next bytes wake the task in `deliver_to`.
                    receiver.receive_frame(text, now)
                return
            self._receive_bytes(data, now)

    def fail(self, fault: Exception) -> None:
        """End the connection after a bug of edge."""
        self._end(fault)

    def _receive_bytes(self, data: bytes, now: float) -> None:
        """Process received bytes. Empty bytes are the end of the stream."""
        self.last_received_at = now
        if not data:
            self._end(None)
        elif self._discarding:
            pass
        elif self._closing:
            self._look_for_close(data, now)
        elif self.aside:
            self._hand_over(data)
        else:
            if self._at < len(self._buffer):  # a bytearray, so that many small pieces have linear cost
                if self._at or not isinstance(self._buffer, bytearray):
                    self._buffer, self._at = bytearray(self._buffer[self._at :]), 0
                self._buffer += data
            else:
                self._buffer, self._at = data, 0
            self._deliver_frames(now)

    def _continue(self) -> None:
        """Deliver frames. Then resume reading, unless a frame waits for space."""
        self._deliver_frames(trio.current_time())
        if self._next is None:
            self._resume_reading()

    def _deliver_frames(self, now: float) -> None:
        """Deliver the whole frames in the buffer while the receiver has space. Then parse one more frame."""
        receiver = self._receiver
        while receiver is not None and receiver.has_space:
            frame = self._next_frame() if self._next is None else self._next
            if frame is None:
                break
            self._next = None
            receiver.receive_frame(frame, now)
        else:
            if self._next is None:  # a ping or a close must not wait for a receiver without space
                self._next = self._next_frame()
            self._frame_wake_up.wake()
        if self._at == len(self._buffer):
            self._buffer, self._at = b"", 0

    def _next_frame(self) -> Frame | None:
        """Return the next message; None if it is incomplete or unusual.

        Pings and pongs before the message are passed to trio-websocket. For an unusual frame, step aside.
        """
        while (found := next_frame(self._buffer, self._at, self.max_bytes)) is not None:
            kind, end, payload = found
            if kind == UNUSUAL:
                break
            if kind in (PING, PONG):
                self._hand_over(self._buffer[self._at : end])
                self._at = end
                if self.refusal is not None:
                    break
                continue
            if kind == CLOSE:
                if not self._has_handed and self._take_close(payload):
                    return None
                break
            if kind == TEXT:
                try:
                    text = payload.decode()
                except UnicodeDecodeError:
                    break
                self._at = end
                return text
            self._at = end
            return payload
        else:
            return None
        self.step_aside()
        return None

    def _take_close(self, payload: bytes) -> bool:
        """Process the peer's close frame and answer it. Return False if the frame is invalid."""
        self.peer_close = read_close(payload)
        if self.peer_close is None:
            return False
        self._buffer, self._at, self.aside = b"", 0, True
        self._pause()
        self._frame_wake_up.wake()
        self.write_soon(close_frame(payload))  # with the same code and reason: RFC 6455 section 5.5.1
        return True

    def _look_for_close(self, data: bytes | bytearray, now: float) -> None:
        """Drop the frames before the peer's close frame, and end reading after the close frame."""
        unusual = self._check_unusual()
        refusal, _ = unusual.check(data, self.max_bytes, now)
        if refusal is not None or unusual.at_end:
            self._end(None)

    def _check_unusual(self) -> Unusual:
        if self._unusual is None:
            self._unusual = Unusual(fragments_pace(self._limits))
        return self._unusual

    def _hand_over(self, data: bytes | bytearray) -> None:
        if data and self.refusal is None:
            self.refusal, size = self._check_unusual().check(data, self.max_bytes, trio.current_time())
            if self.refusal is not None:
                self._pause()
                data = data[:size]
            if self.refusal is Code.FLOODING:
                self._on_flood()
                return
            self._handed += data
            self._has_handed = True
            self._bytes_wake_up.wake()
            self._on_unusual()

    def _end(self, fault: BaseException | None) -> None:
        """End reading, because no more bytes arrive. A `fault` is raised to trio-websocket."""
        self._pause()
        self._ended, self._fault = True, fault
        self.step_aside()
        self._bytes_wake_up.wake()
        self._frame_wake_up.wake()

    def _resume_reading(self) -> None:
        if not (self._ended or self._reading) and (self.refusal is None or self._discarding):
            self._reading = True
            if self._fd >= 0:
                self._socket_reader.add(self._fd, self)
            else:
                self._resume_wake_up.wake()

    @property
    def _full(self) -> bool:
        """True while the buffers are full. Reading then pauses, so that TCP's flow control slows the peer."""
        return (self._next is not None and not self.aside) or len(self._handed) > READ_BYTES

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            if self._fd >= 0:
                self._socket_reader.remove(self._fd)

    async def _read_alone(self) -> None:
        """Read a stream that is not a plain socket, in a task of its own."""
        assert self._own_reader is not None
        with self._own_reader:
            while not self._ended:
                if not self._reading:
                    await self._resume_wake_up.wait()
                    continue
                try:
                    data = bytes(await self._stream.receive_some(READ_BYTES))
                except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                    self._end(exc)
                    return
                try:
                    self._receive_bytes(data, trio.current_time())
                    if self._full:
                        self._pause()
                except Exception as exc:  # a bug of edge
                    self.fail(exc)
                    raise

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._handed:
            await trio.lowlevel.checkpoint()
        while not self._handed:
            if self._fault is not None:
                raise trio.BrokenResourceError from self._fault
            if self._ended or self.refusal is Code.TOO_LARGE:
                return b""
            if self._next is None or self.aside:
                self._resume_reading()
            await self._bytes_wake_up.wait()
        handed = bytes(self._handed[:max_bytes])
        del self._handed[: len(handed)]
        return handed

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        """Write these frames in one write. See `write_nowait`."""
        return self.write_nowait(self._socket_reader.frame_cache.frame(frames))

    def write_nowait(self, data: bytes) -> bool:
        """Write the bytes that the socket accepts now, and queue the rest. Without a plain socket, queue all bytes.

        Returns: True if all bytes are written; False if the caller has to call `flush`.

        Raises:
          trio.BrokenResourceError: the peer has disconnected.
        """
        if self._fd < 0 or self._unwritten:
            self._unwritten += data
            return False
        written = self._write(data)
        if written == len(data):
            return True
        self._unwritten += data[written:]
        return False

    def write_soon(self, data: bytes) -> None:
        """Write now, or in a task if the write has to wait. Ignore a disconnected peer, which the next read detects."""
        with contextlib.suppress(trio.BrokenResourceError):
            if not self.write_nowait(data):
                self._socket_reader.start_soon(self.flush_last)

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise trio.BrokenResourceError from exc

    async def flush(self) -> None:
        """Write the queued bytes.

        Raises:
          trio.BrokenResourceError: the peer has disconnected.
          trio.ClosedResourceError: this side has closed the stream.

        *Cancellation*: the unwritten bytes of a plain socket stay queued. Any other stream is broken.
        """
        if self._writing is None:
            self._writing = trio.Lock()
        async with self._writing:  # trio-websocket's pongs and the connection driver may both write
            while self._unwritten:
                if self._fd < 0:
                    data, self._unwritten = bytes(self._unwritten), bytearray()
                    await self._stream.send_all(data)
                    continue
                await trio.lowlevel.wait_writable(self._fd)
                with memoryview(self._unwritten) as kept:  # a view, because copying a large queue is expensive
                    written = self._write(kept)
                del self._unwritten[:written]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.write_nowait(bytes(data)):
            await trio.lowlevel.checkpoint()
        else:
            await self.flush()

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await send_eof(self._stream)

    async def flush_last(self) -> None:
        """Write the queued bytes. Ignore errors, because the peer may have disconnected.

        *Cancellation*: see `flush`.
        """
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.flush()

    async def close_handshake(self, code: int, reason: str) -> None:
        """Send a close frame, and wait until the peer has sent its own close frame or has disconnected.

        *Cancellation* ends the wait.

        Raises:
          trio.BrokenResourceError: the close frame could not be sent.
        """
        self._closing = self.aside = True
        self._next = None
        data, self._buffer = self._buffer[self._at :], b""
        self._at = 0
        self._frame_wake_up.wake()
        self._look_for_close(data, trio.current_time())
        await self.send_all(close_frame(close_payload(code, reason)))
        while not self._ended:
            self._resume_reading()
            await self._bytes_wake_up.wait()

    async def linger(self) -> None:
        """Half-close the stream, then read and drop the peer's bytes: see `linger.linger`."""
        self._discarding = True
        self._handed.clear()
        with (
            trio.move_on_after(LINGER_SECONDS),
            contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            await self.send_eof()
            while not self._ended:
                self._resume_reading()
                await self._frame_wake_up.wait()

    def close_now(self) -> bool:
        """Close the stream if it is a plain socket. Otherwise return False: the caller then has to call `aclose`."""
        if self._fd < 0 or not isinstance(self._stream, trio.SocketStream):
            return False
        self._end(None)
        self._drop_buffers()
        self._fd = -1
        self._stream.socket.close()
        return True

    async def aclose(self) -> None:
        self._end(None)
        self._drop_buffers()
        self._fd = -1
        if self._own_reader is not None:
            self._own_reader.cancel("the fast path is closed")
        await self._stream.aclose()

    def _drop_buffers(self) -> None:
        """Drop all bytes now, because the garbage collector may find this connection only later."""
        self._buffer, self._at, self._next = b"", 0, None
        self._handed.clear()
        self._unwritten.clear()
