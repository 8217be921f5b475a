"""The fast lane: the stream under a server's trio-websocket, which takes the frames that nearly all traffic is made of.

A whole, unfragmented, masked text or binary frame of a size that is read goes straight to whoever is fed. An ordinary
close, of either side, is answered here, if nothing unusual came before. A ping or a pong is handed to trio-websocket as
it is. On anything else (a fragment, a frame that breaks a rule or is too large, bytes that are not UTF-8) it steps
aside for good: that frame and all bytes after it are trio-websocket's, so the order of frames is kept, and every
judgement on what is unusual is its and wsproto's alone. Until the first of these comes there is no trio-websocket.

All writing goes through the lane, too, so that one queue holds what the socket does not take at once: a write that is
cancelled leaves the rest of its bytes there, and never half a frame on the wire with another behind it.

How the bytes come in: a plain socket is read by the one reader of all `Lanes`, which brings them with `read`; any other
stream (TLS, memory) is read by a task of its own.
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
from ...protocol.pace import Pace
from ..linger import LINGER_SECONDS, send_eof
from ..transport import Taker
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
    next_frame,
    read_close,
    short_text,
)
from .reader import Lanes

# How much of one connection is read at a time, so that it can't hold up the others.
READ_BYTES = 64 * 1024


class Lane(trio.abc.HalfCloseableStream):
    """One connection's lane. trio-websocket reads and writes it as its stream.

    Args:
      stream: connected to the client, who has been given a WebSocket.
      ahead: what came of it so far.
      max_bytes: the largest frame that is read.
      lanes: of its server.
      on_unusual: called when there is something for trio-websocket to read.
      on_flood: called when too much is for it: too many fragments and pings.
      fragments: the pace of fragments and control frames; by default, that of `Limits`.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        ahead: bytes,
        *,
        max_bytes: int,
        lanes: Lanes,
        on_unusual: Callable[[], object] = lambda: None,
        on_flood: Callable[[], object] = lambda: None,
        fragments: Pace | None = None,
    ) -> None:
        self.heard_at = trio.current_time()
        """When the last byte came in."""
        self.aside = False
        """Whether it has stepped aside: then what comes is trio-websocket's."""
        self._stream = stream
        self._lanes = lanes
        self._fd = stream.socket.fileno() if lanes.can_read and isinstance(stream, trio.SocketStream) else -1
        """Of a plain socket that the reader of all lanes reads; otherwise -1."""
        self.max_bytes = max_bytes
        """The largest frame that is read; it may be less for a while."""
        self._on_unusual = on_unusual
        self._on_flood = on_flood
        self.refusal: Code | None = None
        """Why no more is read: `Code.FLOODING`; or `Code.TOO_LARGE`, for what follows was announced to be."""
        self.peer_close: tuple[int, str] | None = None
        """The code and the reason with which the peer has closed it, if that was read here."""
        self._closing = False
        """True once this side has said that it closes: then nothing but the peer's close frame is waited for."""
        self._unusual = Unusual(fragments or fragments_pace(Limits()))
        self._buffer: bytes | bytearray = ahead
        """What came, and is not given or handed over yet."""
        self._at = 0
        """Up to where the buffer is done with."""
        self._has_handed = False
        """True once trio-websocket was given anything, which it may have to answer."""
        self._handed = bytearray()
        """What is trio-websocket's to read."""
        self._next: Frame | None = None
        """A frame for which there was no space."""
        self._forgetting = False
        """Whether what comes is of no use to anybody."""
        self._ended = False
        self._fault: BaseException | None = None
        self._taker: Taker | None = None
        self._reading = False
        """Whether what comes is read."""
        self._own_reader: trio.CancelScope | None = None
        """Of the task that reads it, where the reader of all lanes does not."""
        self._fed = WakeUp()
        self._asked = WakeUp()
        self._resumed = WakeUp()
        self._kept = bytearray()
        """What is to be written, and the socket has not taken yet."""
        self._writing = trio.Lock()

    # --- frames

    @property
    def closed_by_peer(self) -> bool:
        """Whether the peer has said that it closes."""
        return self._unusual.closed or self.peer_close is not None

    @property
    def over(self) -> bool:
        """Whether nothing more comes, and there is nothing for trio-websocket to read."""
        return (self._ended and not self._handed) or self.peer_close is not None

    @property
    def unwritten(self) -> int:
        """How many bytes the socket has not taken yet."""
        return len(self._kept)

    def start(self) -> None:
        """Read from now on, until `aclose`."""
        if self._fd < 0:
            self._own_reader = trio.CancelScope(shield=True)
            self._lanes.start_soon(self._read_alone)
        self._go_on()

    async def receive(self) -> Frame | None:
        """The next frame; None once the lane has stepped aside, and the messages are trio-websocket's.

        *Cancellation*: no frame is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._next is not None or self.aside:
            await trio.lowlevel.cancel_shielded_checkpoint()
        while self._next is None and not self.aside:
            await self._fed.wait()
        frame, self._next = self._next, None
        self._go_on()
        return frame

    async def feed(self, taker: Taker) -> bool:
        """Give somebody the frames that come, for as long as they have space and the lane does not step aside.

        Returns: False if `stop_feed` was called.

        *Cancellation*: no frame is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._taker, waited = taker, False
        try:
            self._go_on()
            while self._taker is taker and taker.has_space and not self.aside:
                waited = True
                await self._fed.wait()
                self._go_on()  # there may be space again by now for what there was none for
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return self._taker is taker
        finally:
            self._taker = None

    def stop_feed(self) -> bool:
        """Let `feed` return, if it is under way."""
        fed, self._taker = self._taker is not None, None
        if fed:
            self._fed.wake()
        return fed

    def step_aside(self) -> None:
        """Leave everything that comes from now on to trio-websocket: it is closing."""
        if not self.aside:
            self.aside = True
            self._hand_over(self._buffer[self._at :])
            self._buffer, self._at = b"", 0
            self._fed.wake()
        self._read_on()

    def read(self, now: float) -> None:
        """The socket has something to say: read a piece of it, unless there is no space. Called by the reader."""
        if self._full:
            self._pause()  # now that more has come, and not before: what is waiting is mostly taken in the same step
            return
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            self._end(exc)
        else:
            taker = self._taker
            if (  # nearly always: one short frame of text, whole, and somebody who takes it
                taker is not None
                and not self._buffer
                and (payload := short_text(data)) is not None
                and taker.has_space
                and not self.aside
            ):
                self.heard_at = now
                try:
                    text = payload.decode()
                except UnicodeDecodeError:
                    self._note(data, now)
                else:
                    taker.take_in(text, now)
                return
            self._note(data, now)

    def fail(self, fault: Exception) -> None:
        """Nothing more can be made of what comes."""
        self._end(fault)

    def _note(self, data: bytes, now: float) -> None:
        """These bytes came; none are the end."""
        self.heard_at = now
        if not data:
            self._end(None)
        elif self._forgetting:
            pass
        elif self._closing:
            self._look_for_close(data, now)
        elif self.aside:
            self._hand_over(data)
        else:
            if self._at < len(self._buffer):  # in a bytearray, so that many small pieces cost no more than they are
                if self._at or not isinstance(self._buffer, bytearray):
                    self._buffer, self._at = bytearray(self._buffer[self._at :]), 0
                self._buffer += data
            else:
                self._buffer, self._at = data, 0
            self._give(now)

    def _go_on(self) -> None:
        """Give what there is; without a frame that waits, read."""
        self._give(trio.current_time())
        if self._next is None:
            self._read_on()

    def _give(self, now: float) -> None:
        """Give whoever is fed the whole frames that there are, as far as they have space, and look one frame ahead."""
        taker = self._taker
        while taker is not None and taker.has_space:
            frame = self._next_frame() if self._next is None else self._next
            if frame is None:
                break
            self._next = None
            taker.take_in(frame, now)
        else:
            if self._next is None:  # so that a ping or a close is not held up by who does not read
                self._next = self._next_frame()
            self._fed.wake()
        if self._at == len(self._buffer):
            self._buffer, self._at = b"", 0

    def _next_frame(self) -> Frame | None:
        """The next frame, if it is whole. Pings and pongs before it are handed over, and anything unusual ends this."""
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
        """The peer closes. False if the frame breaks a rule."""
        self.peer_close = read_close(payload)
        if self.peer_close is None:
            return False
        self._buffer, self._at, self.aside = b"", 0, True
        self._pause()
        self._fed.wake()
        self.write_soon(close_frame(payload))  # with the same code and reason: RFC 6455 section 5.5.1
        return True

    def _look_for_close(self, data: bytes | bytearray, now: float) -> None:
        """Read and drop what the peer had sent before it heard that this side closes, up to its own close frame."""
        refusal, _ = self._unusual.check(data, self.max_bytes, now)
        if refusal is not None or self._unusual.at_end:
            self._end(None)

    def _hand_over(self, data: bytes | bytearray) -> None:
        if data and self.refusal is None:
            self.refusal, size = self._unusual.check(data, self.max_bytes, trio.current_time())
            if self.refusal is not None:
                self._pause()
                data = data[:size]
            if self.refusal is Code.FLOODING:
                self._on_flood()
                return
            self._handed += data
            self._has_handed = True
            self._asked.wake()
            self._on_unusual()

    def _end(self, fault: BaseException | None) -> None:
        """Nothing more comes."""
        self._pause()
        self._ended, self._fault = True, fault
        self.step_aside()
        self._asked.wake()
        self._fed.wake()

    def _read_on(self) -> None:
        if not (self._ended or self._reading) and (self.refusal is None or self._forgetting):
            self._reading = True
            if self._fd >= 0:
                self._lanes.add(self._fd, self)
            else:
                self._resumed.wake()

    @property
    def _full(self) -> bool:
        """True while as much waits here as may. Nothing is read then, so the peer's own buffers fill, and it waits."""
        return (self._next is not None and not self.aside) or len(self._handed) > READ_BYTES

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            if self._fd >= 0:
                self._lanes.remove(self._fd)

    async def _read_alone(self) -> None:
        """Read, in a task of its own."""
        assert self._own_reader is not None
        with self._own_reader:
            while not self._ended:
                if not self._reading:
                    await self._resumed.wait()
                    continue
                try:
                    data = bytes(await self._stream.receive_some(READ_BYTES))
                except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                    self._end(exc)
                    return
                try:
                    self._note(data, trio.current_time())
                    if self._full:
                        self._pause()
                except Exception as exc:  # a fault of ours
                    self.fail(exc)
                    raise

    # --- the stream of trio-websocket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._handed:
            await trio.lowlevel.checkpoint()
        while not self._handed:
            if self._fault is not None:
                raise trio.BrokenResourceError from self._fault
            if self._ended or self.refusal is Code.TOO_LARGE:
                return b""
            if self._next is None or self.aside:
                self._read_on()
            await self._asked.wait()
        handed = bytes(self._handed[:max_bytes])
        del self._handed[: len(handed)]
        return handed

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        """Write these frames in one piece. See `write_nowait`."""
        return self.write_nowait(self._lanes.frame_cache.frame(frames))

    def write_nowait(self, data: bytes) -> bool:
        """Write what the socket takes now, and keep the rest, or all of it where there is no plain socket.

        Returns: whether all is written; if not, `flush`.

        Raises:
          trio.BrokenResourceError: the peer is gone.
        """
        if self._fd < 0 or self._kept:
            self._kept += data
            return False
        written = self._write(data)
        if written == len(data):
            return True
        self._kept += data[written:]
        return False

    def write_soon(self, data: bytes) -> None:
        """Write this now, or in a task if that has to wait. If the peer is gone, whoever reads learns of it."""
        with contextlib.suppress(trio.BrokenResourceError):
            if not self.write_nowait(data):
                self._lanes.start_soon(self.flush_last)

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise trio.BrokenResourceError from exc

    async def flush(self) -> None:
        """Write what is kept.

        Raises:
          trio.BrokenResourceError, trio.ClosedResourceError: the peer is gone; this side has closed it.

        *Cancellation* keeps the rest of a plain socket's bytes. Any other stream is broken by it.
        """
        async with self._writing:  # trio-websocket's pongs and whoever sends may both have something kept
            while self._kept:
                if self._fd < 0:
                    data, self._kept = bytes(self._kept), bytearray()
                    await self._stream.send_all(data)
                    continue
                await trio.lowlevel.wait_writable(self._fd)
                with memoryview(self._kept) as kept:  # which may be large: what is not taken now must not be copied
                    written = self._write(kept)
                del self._kept[:written]

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
        """Write what is kept, if the peer is still there.

        *Cancellation* keeps the rest of a plain socket's bytes. Any other stream is broken by it.
        """
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.flush()

    async def close_handshake(self, code: int, reason: str) -> None:
        """Tell the peer that this side closes, and wait until the peer does, or is gone.

        *Cancellation* stops the wait.

        Raises:
          trio.BrokenResourceError: the peer is gone.
        """
        self._closing = self.aside = True
        self._next = None
        data, self._buffer = self._buffer[self._at :], b""
        self._at = 0
        self._fed.wake()
        self._look_for_close(data, trio.current_time())
        await self.send_all(close_frame(close_payload(code, reason)))
        while not self._ended:
            self._read_on()
            await self._asked.wait()

    async def linger(self) -> None:
        """Say that nothing more comes, then read and forget what the peer still sends: see `linger.linger`."""
        self._forgetting = True
        self._handed.clear()
        with (
            trio.move_on_after(LINGER_SECONDS),
            contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            await self.send_eof()
            while not self._ended:
                self._read_on()
                await self._fed.wait()

    def close_now(self) -> bool:
        """Close a plain socket. False if it is none: then `aclose`."""
        if self._fd < 0 or not isinstance(self._stream, trio.SocketStream):
            return False
        self._end(None)
        self._fd = -1
        self._stream.socket.close()
        return True

    async def aclose(self) -> None:
        self._end(None)
        self._fd = -1
        if self._own_reader is not None:
            self._own_reader.cancel("the lane is closed")
        await self._stream.aclose()
