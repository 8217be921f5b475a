"""The interface between a room and a seat, which may be a client's, a bot's, a replay's, or on another server."""

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
    """The session's name. Without one, the name that the client asks for, which nobody has checked."""

    session: Session
    """The session, with the claims of the key's issuer."""


class Seat(abc.ABC):
    """A seat, as its room needs it. The synchronous methods never wait.

    The other direction goes through the `PlayerRuntime` that `RoomRuntime.take_seat` gives: `PlayerRuntime.deliver` for
    what arrived, `Ledger.lose` and `Ledger.find_again` when the connection is lost and found, `PlayerRuntime.leave`
    when they go.
    """

    session: Session
    """The session that holds the seat. A room gives each session one seat."""

    name: str
    """The player's name."""

    inbox: int = 64
    """The most events that may wait for the room before `PlayerRuntime.wait_space` waits."""

    inbox_bytes: int = 256 * 1024
    """The same in bytes. Latest values and unanswered requests have this limit, too, each for itself."""

    crowded: bool = False
    """True if more may have been sent in this step than a connection may hold: then call `check_crowded`."""

    def check_size(self, message: Outgoing) -> None:  # noqa: B027  # a seat without connections has no limit
        """Check the size of a large message that the author of the room sends.

        Raises:
          ValueError: it is larger than any message may be.
        """

    def check_crowded(self, message: Outgoing) -> None:  # noqa: B027  # nor is it ever crowded
        """Check whether too much was sent in this step, before this message.

        Raises:
          SendOverflow: more was sent than a connection may hold.
        """

    @property
    def pressed(self) -> bool:
        """True while the acks of the client are needed soon: then it is read even with a full inbox."""
        return False

    async def wait_relief(self) -> None:
        """Wait until `pressed` is false, before sending much."""
        await trio.lowlevel.checkpoint()

    @property
    def low_rate_at(self) -> float:
        """When the client is below half of its byte pace again, on Trio's clock."""
        return -math.inf

    def statistics(self) -> SeatStatistics:
        """The statistics of the messages on their way to and from the client."""
        return SeatStatistics()

    def measure(self) -> None:  # noqa: B027  # without a connection there is nothing to measure
        """Measure the round trip to the client more often for a while."""

    @abc.abstractmethod
    def send(self, message: Outgoing) -> None:
        """Send a message to the client. Never waits and never raises, also without a connection.

        The seat of a client is a `HeldSeat`, which inherits this from `SendBuffer`, or a `PersistentSeat`.
        """

    @abc.abstractmethod
    def end(self, code: Code, reason: str) -> None:
        """End the seat after its player has left. Called exactly once."""
