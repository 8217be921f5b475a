"""The HTTP transport: frames over plain HTTP requests, for networks that block WebSocket. What both ends share.

The client chooses a random name for the transport. It sends its frames in POST requests and gets the server's frames in
responses to GET requests. In `Mode.STREAM` the response continues until one side ends it. In `Mode.POLL` the server
holds the request until there is a frame, and then sends one whole response. No response lasts longer than
`HOLD_SECONDS`, because some proxies cut long responses.

Both ends count the frames of the transport. A POST says how many frames came before its own; a GET and a POST say how
many frames have arrived. So every request can be repeated and a response may break off anywhere: no frame is lost or
taken twice.
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

# Below the 30 s after which common proxies cut; plus or minus a tenth, so that a crowd does not return at once.
HOLD_SECONDS = 25.0
# How much may be under way until the peer says what it has: then sending waits.
MAX_UNDERWAY_BYTES = 256 * 1024
# The most that goes into one post, unless one frame is larger.
POST_BYTES = 256 * 1024
# How many frames may wait to be received, or as many bytes as above: then no more are read.
MAX_WAITING = 64

BODY = "application/octet-stream"

# The headers of a request over HTTP. No page of another site can send them unless it is allowed to: not by a form, and
# not by `fetch` without asking first.
CONNECTION, PROTOCOL, MODE, FIRST, HAS = "edge-connection", "edge-protocol", "edge-mode", "edge-first", "edge-has"
# The header of a refusal: the number of its `Code`.
CODE = "edge-code"


class Mode(enum.StrEnum):
    """How the server's frames come."""

    STREAM = "stream"
    POLL = "poll"


class HttpTransport(Transport):
    """One end: frames that came, frames to go, and how it ended."""

    def __init__(self) -> None:
        self.received = 0
        """The frames of the peer that have arrived."""
        self._arrived: deque[Frame] = deque()
        self._arrived_bytes = 0
        self._going: deque[bytes] = deque()
        self._going_bytes = 0
        self.fault = "the connection closed"
        """Once it is broken: why."""
        self._gone = 0
        """The frames of this side that the peer is known to have."""
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
        """True if nothing more comes on it."""
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
        """Nobody receives any more."""
        self._arrived.clear()
        self._arrived_bytes = 0

    def _acknowledge(self, count: int) -> None:
        """The peer has this many of our frames; it may say so late.

        Raises:
          RemoteProtocolError: it can't have.
        """
        if count > self._gone + len(self._going):
            raise RemoteProtocolError(f"has {count} frames of {self._gone + len(self._going)}")
        while self._gone < count:
            self._going_bytes -= len(self._going.popleft())
            self._gone += 1
        self._note_change()

    def _after(self, count: int) -> list[bytes]:
        """Our records after so many frames, or after those that the peer is known to have."""
        return list(islice(self._going, max(0, count - self._gone), None))

    @property
    def _full(self) -> bool:
        return len(self._arrived) >= MAX_WAITING or self._arrived_bytes > MAX_UNDERWAY_BYTES

    async def _take(self, number: int, item: Frame | Closed) -> None:
        """A record of the peer, before which there were so many frames: wait for room; take it, if it is the next."""
        while self._full and not (self._closed or self.over):
            await self._changed.wait()
        if number != self.received or self.over or self._closed:
            return  # it came by another request meanwhile
        if isinstance(item, Closed):
            self.close_by_peer(item.code)
        else:
            self._arrived.append(item)
            self._arrived_bytes += size_of(item)
            self.received += 1
            self._note_change()

    def close_by_peer(self, code: int, reason: str = "") -> None:
        """The peer has closed it with this code, or broke a rule that deserves it: nothing more of it is heard."""
        self.close_code, self.close_reason = code, reason
        self._peer_closed = True
        self._note_change()

    def _break(self) -> None:
        self._lost = True
        self._note_change()

    def _note_change(self) -> None:
        """Let everybody who waits look again."""
        changed, self._changed = self._changed, trio.Event()
        changed.set()
