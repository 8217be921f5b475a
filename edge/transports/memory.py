"""A transport within one process, for tests and for bots."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import trio

from ..protocol.codec import Frame
from .transport import Transport


class MemoryTransport(Transport):
    """One of the two transports that `open_memory_transports` returns. Frames arrive without delay. `send` waits while
    `buffer` frames are sent but not received."""

    def __init__(self, outgoing: trio.MemorySendChannel[Frame], incoming: trio.MemoryReceiveChannel[Frame]) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._last_received_at = trio.current_time()
        self._queued: deque[Frame] = deque()
        self._cut = False
        self._closed = False
        self._peer: MemoryTransport | None = None

    @property
    def last_received_at(self) -> float:
        return self._last_received_at

    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        if self.broken or self._cut:
            raise trio.BrokenResourceError
        self._queued.extend(frames)
        try:
            while self._queued:
                self._outgoing.send_nowait(self._queued[0])
                self._queued.popleft()
        except trio.WouldBlock:
            return False
        return True

    async def _write_queued(self) -> None:
        while self._queued:
            await self._outgoing.send(self._queued[0])
            self._queued.popleft()

    async def receive(self) -> Frame:
        if self._cut:
            raise trio.BrokenResourceError
        try:
            frame = await self._incoming.receive()
        except trio.EndOfChannel:
            if self._cut:
                raise trio.BrokenResourceError from None
            raise
        self._last_received_at = trio.current_time()
        return frame

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self._shut(code)
        await trio.lowlevel.checkpoint()

    def drop(self) -> None:
        """Break the connection: both transports raise `trio.BrokenResourceError`, and unreceived frames are lost."""
        for end in (self, self._peer):
            assert end is not None
            end._cut = True
        for end in (self, self._peer):
            assert end is not None
            end._outgoing.close()

    def _shut(self, code: int) -> None:
        if not self._closed and self._peer is not None:
            self._closed = True
            self._peer.close_code = code
            self._outgoing.close()
            self._incoming.close()


def open_memory_transports(*, buffer: float = math.inf) -> tuple[MemoryTransport, MemoryTransport]:
    """Return a pair of connected transports.

    Args:
      buffer: the maximum number of sent but unreceived frames in each direction. At the maximum, `send` waits.
    """
    to_right, from_left = trio.open_memory_channel[Frame](buffer)
    to_left, from_right = trio.open_memory_channel[Frame](buffer)
    left, right = MemoryTransport(to_right, from_right), MemoryTransport(to_left, from_left)
    left._peer, right._peer = right, left
    return left, right
