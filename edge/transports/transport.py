"""The interface that all transports implement."""

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
        """True if one more frame may be delivered. The caller checks this before each frame."""

    def receive_frame(self, frame: Frame, now: float) -> None:
        """Process a frame that arrived at `now`, on Trio's clock. This method never waits.

        If the receiver only stores the frame, it calls `Transport.stop_delivery`, so that no other frame is delivered.
        """


class Transport(abc.ABC):
    """One open, bidirectional channel for whole frames, in order.

    One task sends, and one task receives. These may be different tasks. After a cancelled or failed `send` or `flush`,
    the transport can only be closed, because part of a frame may be on the wire. `edge.testing.TRANSPORT_CONFORMANCE`
    tests these rules.
    """

    close_code: int | None = None
    """The code with which the peer closed the transport; None if the peer gave none. It is set before `receive` raises
    `trio.EndOfChannel`. If a violation of the protocol by the peer ends the transport, this is the code for it."""

    close_reason: str = ""
    """The reason with which the peer closed the transport; empty if the peer gave none."""

    max_bytes: int = sys.maxsize
    """The largest frame that is read, in bytes. The transport's user sets it. A memory transport ignores it."""

    on_doubt: Callable[[], object] | None = None
    """The transport calls this when the peer may have disconnected. The transport's user sets it."""

    broken: bool = False
    """True if part of a frame may be on the wire, so that no other frame can follow."""

    @property
    @abc.abstractmethod
    def last_received_at(self) -> float:
        """The time at which the last byte arrived, on Trio's clock, for heartbeats."""

    @abc.abstractmethod
    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        """Write as much of these frames as is possible without waiting, in one write if the transport can.

        Returns: True if all frames are written. False if the rest is queued; then call `flush` before the next
          `send_nowait`.

        Raises:
          trio.BrokenResourceError: the peer has disconnected, or an earlier send or flush was cancelled.
          trio.ClosedResourceError: this side has closed the transport.
        """

    async def flush(self) -> None:
        """Write the bytes that `send_nowait` has queued.

        Raises:
          trio.BrokenResourceError, trio.ClosedResourceError: see `send_nowait`.

        *Cancellation* breaks the transport. Never call this method in a cancel scope of the app's code.
        """
        self.broken = True  # until all queued bytes are written
        await self._write_queued()
        self.broken = False

    async def send(self, frames: Sequence[Frame]) -> None:
        """Write these frames, in one write if the transport can.

        Raises:
          trio.BrokenResourceError, trio.ClosedResourceError: see `send_nowait`.

        *Cancellation* breaks the transport. Never call this method in a cancel scope of the app's code.
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
        """Write the bytes that `send_nowait` has queued. `flush` calls this method, and sets `broken`."""

    @abc.abstractmethod
    async def receive(self) -> Frame:
        """Wait for the next frame.

        Raises:
          trio.EndOfChannel: the peer closed the transport properly.
          trio.BrokenResourceError: the transport broke.
          trio.ClosedResourceError: this side has closed the transport.
          RemoteProtocolError: the peer sent bytes that are not a valid frame, or a frame that is too large.

        *Cancellation*: no frame is lost.
        """

    async def deliver_to(self, receiver: FrameReceiver) -> None:
        """Wait for a frame, and pass the frame to `receiver`.

        Some transports then pass further frames, while `receiver.has_space` is true.

        Raises:
          trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError: see `receive`.

        *Cancellation*: no frame is lost.
        """
        receiver.receive_frame(await self.receive(), trio.current_time())

    def stop_delivery(self) -> bool:
        """Make `deliver_to` return without another frame.

        Returns: False if the caller must cancel the task in `deliver_to` instead.
        """
        return False

    def close_nowait(self) -> bool:
        """Close the transport if the peer has closed it and no bytes wait to be written. Otherwise return False."""
        return False

    @abc.abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the transport, and send the peer this code if the transport can. A second call does nothing.

        *Cancellation* also closes the transport, without waiting for the peer.
        """
