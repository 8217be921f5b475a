"""The seam between a room and whatever sits in it: a socket, a bot, a replay, a player on another node."""

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
    """Who asks for a seat, as `Room.admit` sees them."""

    name: str
    """What they want to be called: the session's own name; without one, text from outside, not yet believed."""

    session: Session
    """Who they are, and what the issuer of their key says of them."""


class Seat(abc.ABC):
    """What a room needs of the one who sits in it. What is synchronous never waits for anybody.

    The other direction goes through the `PlayerRuntime` that `RoomRuntime.take_seat` gives: `PlayerRuntime.deliver` for
    what arrived, `Ledger.lose` and `Ledger.find_again` when the connection is lost and found, `PlayerRuntime.leave`
    when they go.
    """

    session: Session
    """Whose seat it is: a room gives one seat to each."""

    name: str
    """What they want to be called."""

    inbox: int = 64
    """How many of their events may wait for the room before `PlayerRuntime.wait_space` waits."""

    inbox_bytes: int = 256 * 1024
    """The same in bytes of their frames. As many each may be kept of their latest values and unanswered requests."""

    crowded: bool = False
    """True if more may have been sent in this step than a connection may hold: then call `check_crowded`."""

    def check_size(self, message: Outgoing) -> None:  # noqa: B027  # a seat without connections takes all
        """Check the size of a large message that the author of the room sends.

        Raises:
          ValueError: it is larger than any message may be.
        """

    def check_crowded(self, message: Outgoing) -> None:  # noqa: B027  # nor does it send over one
        """Look again whether too much was sent in this step, before this message.

        Raises:
          SendOverflow: there was.
        """

    @property
    def pressed(self) -> bool:
        """Whether the acks of this seat's client are needed soon, so that it must be read even with a full inbox."""
        return False

    async def wait_relief(self) -> None:
        """Wait until no longer pressed: for whoever would send much."""
        await trio.lowlevel.checkpoint()

    @property
    def light_at(self) -> float:
        """When its client will have sent less than half of the bytes that it may send at once, on Trio's clock."""
        return -math.inf

    def statistics(self) -> SeatStatistics:
        """What is on the way to and from it."""
        return SeatStatistics()

    def measure(self) -> None:  # noqa: B027  # where there is nothing to measure, nothing is done
        """Somebody wants to know how far away its client is: find out more often for a while."""

    @abc.abstractmethod
    def send(self, message: Outgoing) -> None:
        """Take a message for them; never waits and never raises, even when there is no connection."""

    @abc.abstractmethod
    def end(self, code: Code, reason: str) -> None:
        """The player is gone: say goodbye and let go of everything. Called exactly once."""
