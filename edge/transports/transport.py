"""The interface of transports."""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from ..protocol.codec import Frame


class FrameReceiver(Protocol):
    """Receives the frames of a transport."""

    @property
    def has_space(self) -> bool:
        """True if one more frame may be delivered. Checked before each frame."""

    def receive_frame(self, frame: Frame, now: float) -> None:
        """Take a frame that arrived at `now`, on Trio's clock. Never waits.

        A receiver that only stores the frame for later calls `Transport.stop_delivery`, so that no other frame comes.
        """


class Transport(abc.ABC):
    """One open, bidirectional channel for whole frames, in order.

    One task sends, and one task receives; they may be different tasks. After a cancelled or failed `send` or `flush`
    the transport can only be closed: part of a frame may be on the wire. `edge.testing.transport_conformance` tests
    these rules.
    """

    close_code: int | None = None
    """The code with which the peer closed the transport, if it gave one. Set when `receive` raises
    `trio.EndOfChannel`."""

    close_reason: str = ""
    """The reason with which the peer closed the transport, if it gave one."""

    max_bytes: int = sys.maxsize
    """The largest frame that is read, in bytes. The transport's user sets it. A memory transport ignores it."""

    on_doubt: Callable[[], object] | None = None
    """Called when the peer may be gone. The transport's user sets it."""

    broken: bool = False
    """True if part of a frame may be on the wire, so that no other frame can follow."""

    @property
    @abc.abstractmethod
    def last_received_at(self) -> float:
        """The time at which the last byte arrived, on Trio's clock, for heartbeats."""

    @abc.abstractmethod
    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        """Write as much of these frames as is possible without waiting, in one write if the transport can.

        Returns: True if all is written; False if the rest is queued: call `flush` before the next `send_nowait`.

        Raises:
          trio.BrokenResourceError: the peer is gone, or an earlier send or flush was cancelled.
          trio.ClosedResourceError: this side has closed the transport.
        """

    async def flush(self) -> None:
        """Write the rest that `send_nowait` has queued.

        Raises:
          trio.BrokenResourceError, trio.ClosedResourceError: see `send_nowait`.

        *Cancellation* breaks the transport: never call this in an author's cancel scope.
        """
        self.broken = True  # until everything is written
        await self._write_queued()
        self.broken = False

    async def send(self, frames: Sequence[Frame]) -> None:
        """Write these frames, in one write if the transport can.

        Raises:
          trio.BrokenResourceError, trio.ClosedResourceError: see `send_nowait`.

        *Cancellation* breaks the transport: never call this in an author's cancel scope.
        """
        broken, self.broken = self.broken, True
        await trio.lowlevel.checkpoint_if_cancelled()
        self.broken = broken
        if self.send_nowait(frames):
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self.flush()

    @abc.abstractmethod
    async def _write_queued(self) -> None:
        """Write the rest that `send_nowait` has queued. `flush` calls this, and sets `broken`."""

    @abc.abstractmethod
    async def receive(self) -> Frame:
        """Wait for the next frame.

        Raises:
          trio.EndOfChannel: the peer closed the transport properly.
          trio.BrokenResourceError: the transport broke.
          trio.ClosedResourceError: this side has closed the transport.
          RemoteProtocolError: the peer sent bytes that are no valid frame, or a frame that is too large.

        *Cancellation*: no frame is lost.
        """

    async def deliver_to(self, receiver: FrameReceiver) -> None:
        """Wait for a frame and pass it to `receiver`. Some transports then pass more frames, while it has space.

        Raises:
          trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError: see `receive`.

        *Cancellation*: no frame is lost.
        """
        receiver.receive_frame(await self.receive(), trio.current_time())

    def stop_delivery(self) -> bool:
        """Make `deliver_to` return without another frame. Return False if its task has to be cancelled instead."""
        return False

    def close_nowait(self) -> bool:
        """Close the transport if the peer has closed it and nothing is left to write. Otherwise return False."""
        return False

    @abc.abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the transport, and send the peer this code if the transport can. A second call does nothing.

        *Cancellation*: the transport is closed all the same, without waiting for the peer.
        """
