"""The interface of a seat for its room. Higher layers implement this interface."""

from __future__ import annotations

import abc
import math
from typing import Any

import attrs
import trio

from ..codes import Code
from ..protocol.outgoing import Outgoing
from .session import Session
from .statistics import SeatStatistics


@attrs.frozen
class Applicant:
    """A client that asks for a seat: the argument of `Room.authorize` and `Room.admit`."""

    name: str
    """The session's name. If the session has no name, this is the name that the client asks for; edge has not checked
    that name."""

    session: Session
    """The session, with the claims of the key's issuer."""

    options: Any = None
    """The join options, an instance of `Room.join_options`; None if the room has none."""


class Seat(abc.ABC):
    """The attributes and methods of a seat that its room uses. The synchronous methods never wait.

    For the other direction, the seat uses the `PlayerRuntime` that `RoomRuntime.take_seat` returns. The seat's
    connection calls `PlayerRuntime.deliver` with each received message. The seat calls `Ledger.lose` and
    `Ledger.find_again` when the connection is lost and when the client has a new connection, and `PlayerRuntime.leave`
    to end the player.
    """

    session: Session
    """The session that holds the seat. A session has at most one seat in a room."""

    name: str
    """The player's name."""

    options: Any = None
    """The join options with which the session got the seat."""

    inbox: int = 64
    """The maximum number of events in the inbox before `PlayerRuntime.wait_space` waits."""

    inbox_bytes: int = 256 * 1024
    """The maximum number of bytes in the inbox. The same number limits the latest values, and the unanswered requests,
    each separately."""

    crowded: bool = False
    """True if the connection's outbox may exceed `Limits.step_frames` or `step_bytes`. In this case, the room calls
    `check_crowded` before `send`."""

    def check_size(self, message: Outgoing) -> None:  # noqa: B027  # a seat without connections has no limit
        """Check the size of a message that the author's code sends. The room calls this only if the message may be too
        large.

        Raises:
          ValueError: the message is larger than `Limits.sent_bytes`. A seat without connections never raises this.
        """

    def check_crowded(self, message: Outgoing) -> None:  # noqa: B027  # a seat without connections is never crowded
        """Check that the room may send a further message before other tasks have run.

        Raises:
          SendOverflow: since other tasks last ran, the room has sent more than `Limits.step_frames` or `step_bytes`.
        """

    @property
    def pressed(self) -> bool:
        """True while the seat needs acks of the client soon. The connection then reads even if the inbox is full."""
        return False

    async def wait_relief(self) -> None:
        """Wait until `pressed` is false. Call this before you send many messages."""
        await trio.lowlevel.checkpoint()

    @property
    def low_rate_at(self) -> float:
        """The time, on Trio's clock, from which the client's rate is below half of its byte pace."""
        return -math.inf

    def statistics(self) -> SeatStatistics:
        """Return the round trip to the client, and the numbers of messages that wait or are not acknowledged."""
        return SeatStatistics()

    def measure(self) -> None:  # noqa: B027  # without a connection there is nothing to measure
        """Measure the round trip to the client more often for a short time, if there is a connection."""

    @abc.abstractmethod
    def send(self, message: Outgoing) -> None:
        """Send a message to the client. This method never waits and never raises, even without a connection.

        A client's seat is a `HeldSeat`, which inherits this method from `SendBuffer`, or a `PersistentSeat`.
        """

    def send_written(self, message: Outgoing) -> None:
        """Send a change of a shared document that the room's journal has."""
        self.send(message)

    def wake_documents(self) -> None:  # noqa: B027  # without a connection, nothing waits
        """Send the shared documents that wait to be sent whole, if there is a connection."""

    @abc.abstractmethod
    def end(self, code: Code, reason: str) -> None:
        """End the seat after its player has left. Called exactly once."""
