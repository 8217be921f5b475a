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
        """True if one more frame may be given. Checked before each frame."""

    def receive_frame(self, frame: Frame, now: float) -> None:
        """Take a frame that came now, on Trio's clock. Never waits.

        If it is only kept for later, call `Transport.stop_delivery`: another frame may never come.
        """


class Transport(abc.ABC):
    """One live duplex of frames, in order, whole.

    One task sends, and one task receives; they may be different tasks. After a cancelled or failed `send` or `flush`
    the transport can only be closed: part of a frame may be on the wire. `edge.testing.transport_conformance` tests
    all of this.
    """

    close_code: int | None = None
    """Once `receive` has raised `trio.EndOfChannel`: the code that the peer closed with, where there was one."""

    close_reason: str = ""
    """The sentence that it closed with, where there was one."""

    max_bytes: int = sys.maxsize
    """The largest frame that is read, where a transport reads one piece by piece: to be set by whoever uses it."""

    on_doubt: Callable[[], object] | None = None
    """Called when it has reason to doubt that the peer is still there: to be set by whoever uses it."""

    broken = False
    """True if part of a frame may be on the wire, so that no other can follow."""

    @property
    @abc.abstractmethod
    def last_received_at(self) -> float:
        """The time at which the last byte came in, on Trio's clock. Heartbeats need it."""

    @abc.abstractmethod
    def send_nowait(self, frames: Sequence[Frame]) -> bool:
        """Write these frames, in one piece where the transport can, as far as it goes without waiting.

        Returns: whether all is written. What is not is kept, and `flush` has to come before the next.

        Raises:
          trio.BrokenResourceError: the peer is gone, or an earlier send or flush was cancelled.
          trio.ClosedResourceError: this side has closed it.
        """

    async def flush(self) -> None:
        """Write what `send_nowait` has kept.

        Raises:
          trio.BrokenResourceError, trio.ClosedResourceError: see `send_nowait`.

        *Cancellation* breaks the transport: never let an author's scope cover it.
        """
        self.broken = True  # until it is known to have gone through whole
        await self._write_queued()
        self.broken = False

    async def send(self, frames: Sequence[Frame]) -> None:
        """Write these frames, in one piece where the transport can.

        Raises:
          trio.BrokenResourceError, trio.ClosedResourceError: see `send_nowait`.

        *Cancellation* breaks the transport: never let an author's scope cover it.
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
        """Write what `send_nowait` has kept; `flush` without the account of what a cancellation breaks."""

    @abc.abstractmethod
    async def receive(self) -> Frame:
        """The next frame.

        Raises:
          trio.EndOfChannel: the peer closed it in good order.
          trio.BrokenResourceError: it broke.
          trio.ClosedResourceError: this side has closed it.
          RemoteProtocolError: the peer sends what makes no frame.

        *Cancellation*: no frame is lost.
        """

    async def deliver_to(self, receiver: FrameReceiver) -> None:
        """Give somebody the frames that come, one at least, and more for as long as they have space.

        Raises:
          trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError: see `receive`.

        *Cancellation*: no frame is lost.
        """
        receiver.receive_frame(await self.receive(), trio.current_time())

    def stop_delivery(self) -> bool:
        """Let `deliver_to` return without another frame. False if it has to be cancelled."""
        return False

    def close_nowait(self) -> bool:
        """Close it, if the peer has closed it and nothing is left to write. False if `close` is needed."""
        return False

    @abc.abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, telling the peer this code if the transport can. Closing twice does nothing.

        *Cancellation*: it is closed all the same, without waiting for the peer.
        """
