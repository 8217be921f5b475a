"""A seat that outlives its connections."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ..codes import Code, Retry
from ..protocol.codec import Codec
from ..protocol.counts import Counts
from ..protocol.limits import Limits
from ..protocol.outgoing import Outgoing
from ..rooms.player import Player
from ..rooms.room import Room
from ..rooms.seat import Seat
from .outbox import Outbox
from .sending import Sending


class HeldSeat(Seat):
    """A session's place in one room: it counts both ways, and keeps what its client has not acknowledged.

    Args:
      room: where to sit.
      instead_of: the player who has sat there, when the session starts its seat afresh.
      who: the session's key.
      name: what the client wants to be called.
      codec: how its connections encode, until one says otherwise.
      limits: sizes and times.

    Raises:
      Refused: see `Room.take_seat`.
    """

    def __init__(
        self,
        room: Room[Any, Any],
        who: str,
        name: str,
        codec: Codec,
        limits: Limits,
        *,
        instead_of: Player[Any, Any] | None = None,
    ) -> None:
        self.who: Hashable = who
        self.name = name
        self.inbox = limits.inbox
        self._sending = Sending(codec, limits)
        self._ended = False
        self.player: Player[Any, Any] = room.take_seat(self, instead_of=instead_of)

    @property
    def counts(self) -> Counts:
        """What was sent, acknowledged and received since the fresh start."""
        return self._sending.counts

    @property
    def pressed(self) -> bool:
        return self._sending.pressed

    def send(self, message: Outgoing) -> None:
        if self._ended:
            return
        self._sending.send(message)
        if self.counts.overflowed:
            self.player.leave(Code.BEHIND, "too much was not acknowledged")
        elif self.pressed:
            self.player.read_on()

    def end(self, code: Code, reason: str) -> None:
        self._ended = True
        self.disconnect(code, reason)

    def disconnect(self, code: Code, reason: str) -> None:
        """End the connection, if there is one; the code says what becomes of the seat."""
        if self._sending.outbox is not None:
            self._sending.outbox.end(code, reason)

    def attach(self, outbox: Outbox) -> None:
        """A connection takes the seat: the newest wins, and an older one is told. What it missed is queued for it."""
        self._sending.attach(outbox)
        self.player.room.seats.back(self.player)
        if self.player.ending is not None:
            outbox.end(self.player.ending.code, self.player.ending.reason)

    def detach(self, outbox: Outbox, code: Code, reason: str) -> None:
        """The connection is gone: the seat waits for another, unless one has taken it, or none may come back."""
        if not self._sending.detach(outbox):
            return
        if code.retry is Retry.RESUME:
            self.player.room.seats.away(self.player, code, reason)
        else:
            self.player.leave(code, reason)
