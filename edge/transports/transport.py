"""What a transport is."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from ..protocol.codec import Frame


class Transport(abc.ABC):
    """One live duplex of frames, in order, whole.

    One task sends, and one task receives; they may be different tasks. After a cancelled or failed `send` the transport
    can only be closed: part of a frame may be on the wire. `edge.testing.transport_conformance` tests all of this.
    """

    close_code: int | None = None
    """Once `receive` has raised `trio.EndOfChannel`: the code that the peer closed with, where there was one."""

    @property
    @abc.abstractmethod
    def heard_at(self) -> float:
        """When the last byte of any kind came in, on Trio's clock: what a heartbeat must know."""

    @abc.abstractmethod
    async def send(self, frames: Sequence[Frame]) -> None:
        """Write these frames, in one piece where the transport can.

        Raises:
          trio.BrokenResourceError: the peer is gone, or an earlier send was cancelled.
          trio.ClosedResourceError: this side has closed it.

        *Cancellation* breaks the transport: never let an author's scope cover it.
        """

    @abc.abstractmethod
    async def receive(self) -> Frame:
        """The next frame.

        Raises:
          trio.EndOfChannel: the peer closed it in good order.
          trio.BrokenResourceError: it broke.
          trio.ClosedResourceError: this side has closed it.

        *Cancellation*: no frame is lost.
        """

    @abc.abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, telling the peer this code if the transport can. Closing twice does nothing.

        *Cancellation*: it is closed all the same, without waiting for the peer.
        """
