"""The interface between a room and a seat. Higher layers implement the seat."""

from __future__ import annotations

import abc
import math

import attrs
import trio

from ..codes import Code
from ..protocol.outgoing import Outgoing
from .session import Session
from .statistics import SeatStatistics


@attrs.frozen
class Applicant:
    """A client that asks for a seat, as `Room.admit` gets it."""

    name: str
    """The session's name. If the session has none, the name that the client asks for, unchecked."""

    session: Session
    """The session, with the claims of the key's issuer."""


class Seat(abc.ABC):
    """The methods of a seat that its room calls. The synchronous methods never wait.

    `RoomRuntime.take_seat` returns the `PlayerRuntime` for the other direction: `PlayerRuntime.deliver` takes received
    messages, `Ledger.lose` and `Ledger.find_again` take the loss and the return of the connection, and
    `PlayerRuntime.leave` ends the player.
    """

    session: Session
    """The session that holds the seat. A session has at most one seat in a room."""

    name: str
    """The player's name."""

    inbox: int = 64
    """The maximum number of events in the inbox before `PlayerRuntime.wait_space` waits."""

    inbox_bytes: int = 256 * 1024
    """The maximum number of bytes in the inbox. A separate limit of the same size applies to latest values, and
    another to unanswered requests."""

    crowded: bool = False
    """True if more may have been sent at once than a connection may hold: call `check_crowded` before `send`."""

    def check_size(self, message: Outgoing) -> None:  # noqa: B027  # a seat without connections has no limit
        """Check the size of a large message that the author of the room sends.

        Raises:
          ValueError: the message is larger than `Limits.sent_bytes`.
        """

    def check_crowded(self, message: Outgoing) -> None:  # noqa: B027  # a seat without connections is never crowded
        """Check that the messages that were sent just before, without a pause, are not too much.

        Raises:
          SendOverflow: more was sent than a connection may hold.
        """

    @property
    def pressed(self) -> bool:
        """True while the seat needs acks of the client soon. Then the client is read even if the inbox is full."""
        return False

    async def wait_relief(self) -> None:
        """Wait until `pressed` is false. Call this before sending much."""
        await trio.lowlevel.checkpoint()

    @property
    def low_rate_at(self) -> float:
        """The time from which the client is below half of its byte pace again, on Trio's clock."""
        return -math.inf

    def statistics(self) -> SeatStatistics:
        """Return the statistics of messages on their way to the client, and the round trip."""
        return SeatStatistics()

    def measure(self) -> None:  # noqa: B027  # without a connection there is nothing to measure
        """Measure the round trip to the client more often for a while."""

    @abc.abstractmethod
    def send(self, message: Outgoing) -> None:
        """Send a message to the client. Never waits and never raises, with or without a connection.

        The seat of a client is a `HeldSeat`, which inherits this from `SendBuffer`, or a `PersistentSeat`.
        """

    @abc.abstractmethod
    def end(self, code: Code, reason: str) -> None:
        """End the seat after its player has left. Called exactly once."""
