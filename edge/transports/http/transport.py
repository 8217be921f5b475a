"""The HTTP transport of clients and servers: frames over plain HTTP requests, for networks that block WebSocket.

The client chooses a random name for the transport. The client sends its frames in POST requests, and receives the
server's frames in responses to GET requests. In `Mode.STREAM`, the response stays open for many frames. In `Mode.POLL`,
the server delays its response until there is a frame. A response takes about `HOLD_SECONDS` at most, because some
proxies cut long responses.

Client and server count the frames of the transport. A POST request states how many frames the client sent before the
frames in its body. Both GET and POST requests state how many of the server's frames the client has received. So no
frame is lost or received twice if a request is repeated or a response is incomplete.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from itertools import islice

import trio

from ...errors import RemoteProtocolError
from ...protocol.codec import Frame, size_of
from ...protocol.records import Closed, record
from ..transport import Transport

# The seconds for which the server holds a GET request. Common proxies cut a response after 30 seconds. The server
# varies this time by a tenth, so that many clients do not send their next GET requests at the same time.
HOLD_SECONDS = 25.0
# `send` waits while more than this many bytes are unacknowledged.
MAX_UNDERWAY_BYTES = 256 * 1024
# The maximum number of bytes in one POST request, unless a single frame is larger.
POST_BYTES = 256 * 1024
# No more frames are accepted while this many frames, or more than MAX_UNDERWAY_BYTES, wait for `receive`.
MAX_WAITING = 64

BODY = "application/octet-stream"

# The headers of a request of an HTTP transport. Pages of other sites can send them only with permission, because a
# form cannot set headers, and `fetch` needs a CORS preflight.
CONNECTION, PROTOCOL, MODE, FIRST, HAS = "edge-connection", "edge-protocol", "edge-mode", "edge-first", "edge-has"
# The header of a refusal, with the number of its `Code`.
CODE = "edge-code"


class Mode(enum.StrEnum):
    """The way in which the server sends its frames."""

    STREAM = "stream"
    POLL = "poll"


class HttpTransport(Transport):
    """The base class of both sides of an HTTP transport. It stores the received and the unacknowledged frames."""

    close_code: int | None

    def __init__(self) -> None:
        self.received: int = 0
        """The number of the peer's frames that have arrived."""
        self._arrived: deque[Frame] = deque()
        self._arrived_bytes = 0
        self._going: deque[bytes] = deque()
        self._going_bytes = 0
        self.fault = "the connection closed"
        """The text of the newest fault, for the error that `receive` raises."""
        self._gone = 0
        """The number of this side's frames that the peer has acknowledged."""
        self._last_received_at = trio.current_time()
        self._closed = False
        self._lost = False
        self._peer_closed = False
        self._changed = trio.Event()

    @property
    def last_received_at(self) -> float:
        return self._last_received_at

    @property
    def over(self) -> bool:
        """True once the transport is lost, or the peer has closed it."""
        return self._lost or self._peer_closed

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        if self._closed:
            raise trio.ClosedResourceError
        if self.broken or self.over:
            raise trio.BrokenResourceError
        for frame in frames:
            data = record(frame)
            self._going.append(data)
            self._going_bytes += len(data)
        self._note_change()
        return not self._crowded

    async def _write_queued(self) -> None:
        while self._crowded:
            await self._changed.wait()
            if self.over:
                raise trio.BrokenResourceError

    @property
    def _crowded(self) -> bool:
        return self._going_bytes > MAX_UNDERWAY_BYTES and len(self._going) > 1

    async def receive(self) -> Frame:
        await trio.lowlevel.checkpoint()
        while not self._arrived or self._closed:
            if self._closed:
                raise trio.ClosedResourceError
            if self._peer_closed:
                raise trio.EndOfChannel
            if self._lost:
                raise trio.BrokenResourceError(self.fault)
            await self._changed.wait()
        self._note_change()
        frame = self._arrived.popleft()
        self._arrived_bytes -= size_of(frame)
        return frame

    def forget_arrived(self) -> None:
        """Drop the frames that have arrived, because `receive` is not called again."""
        self._arrived.clear()
        self._arrived_bytes = 0

    def _acknowledge(self, count: int) -> None:
        """Drop the first `count` frames of this side, because the peer has received them.

        An outdated count has no effect.

        Raises:
          RemoteProtocolError: this side has sent fewer than `count` frames.
        """
        if count > self._gone + len(self._going):
            raise RemoteProtocolError(f"the peer acknowledged {count} frames of {self._gone + len(self._going)}")
        while self._gone < count:
            self._going_bytes -= len(self._going.popleft())
            self._gone += 1
        self._note_change()

    def _after(self, count: int) -> list[bytes]:
        """Return the records of this side's unacknowledged frames, except the first `count` frames of the transport."""
        return list(islice(self._going, max(0, count - self._gone), None))

    @property
    def _full(self) -> bool:
        return len(self._arrived) >= MAX_WAITING or self._arrived_bytes > MAX_UNDERWAY_BYTES

    async def _take(self, number: int, item: Frame | Closed) -> None:
        """Wait for space, then receive a record of the peer. Ignore the record unless `number` frames have arrived."""
        while self._full and not (self._closed or self.over):
            await self._changed.wait()
        if number != self.received or self.over or self._closed:
            return  # another request has delivered this record, or the transport has ended
        if isinstance(item, Closed):
            self.close_by_peer(item.code)
        else:
            self._arrived.append(item)
            self._arrived_bytes += size_of(item)
            self.received += 1
            self._note_change()

    def close_by_peer(self, code: int, reason: str = "") -> None:
        """End the transport, because the peer closed it or violated the protocol. No more frames are accepted."""
        self.close_code = code
        self.close_reason = reason
        self._peer_closed = True
        self._note_change()

    def _break(self) -> None:
        self._lost = True
        self._note_change()

    def _note_change(self) -> None:
        """Wake all waiting tasks, so that they check their conditions again."""
        changed, self._changed = self._changed, trio.Event()
        changed.set()
