"""Every error that edge raises by its own name.

    EdgeError
    ├── ProtocolError           a rule of the wire was broken; carries the `Code` of the goodbye
    │   ├── LocalProtocolError  by this side: a bug in edge or in its caller
    │   └── RemoteProtocolError by the peer
    ├── InvalidEvent            a payload that is not what its event class says; carries the path
    ├── Refused                 a seat that was not given; carries the `Code`
    ├── SendOverflow            more was sent to a player in one step than a connection may hold
    ├── RequestFailed           an `ask` or `request` that was answered with an error
    ├── Gone                    the player that a wait was for has left the room
    ├── BrokerDown              what the servers share can't be reached
    ├── ServerUnreachable       this server can't be reached by the others, and ends
    └── Disconnected            a client's connection that has ended for good; carries the `Code`

Waiting and closing use Trio's own: `trio.ClosedResourceError`, `trio.BrokenResourceError`, `trio.EndOfChannel`.
This module knows nothing of the rest of edge but the table of codes.
"""

from __future__ import annotations

from typing import Literal

from .codes import Code

MessageProblem = Literal[
    "malformed",
    "too_large",
    "too_deep",
    "unknown_event",
    "invalid",
    "not_now",
    "busy",
    "too_fast",
    "cancelled",
    "crashed",
]
"""The problems that an error message may name."""


class EdgeError(Exception):
    """The base of edge's own errors."""


class ProtocolError(EdgeError):
    """A rule of the wire was broken. `code` is the goodbye that it deserves."""

    def __init__(self, message: str, code: Code = Code.MALFORMED) -> None:
        super().__init__(message)
        self.code = code


class LocalProtocolError(ProtocolError):
    """This side tried to do what the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer did what the protocol does not allow."""


class InvalidEvent(EdgeError):
    """A payload does not fit its event class, or its name is no known event.

    Args:
      problem: the kind of the fault.
      message: one sentence.
      path: where in the payload, such as ``drawing.strokes[3].width``; empty for the payload as a whole.
      about: the name of the message, if whoever catches this does not know it.
      request: the number of the request, likewise.
    """

    def __init__(
        self, problem: MessageProblem, message: str, path: str = "", *, about: str = "", request: int | None = None
    ) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.problem = problem
        self.path = path
        self.about = about
        self.request = request


class Refused(EdgeError):
    """A client is refused. Raise it in `Room.admit` with a sentence for the applicant.

    Args:
      message: the reason, for the person who asked.
      code: leave `Code.REFUSED` in your own code; edge raises this with others, such as `Code.FULL`.
      where: with `Code.MOVED`, the address of the server that has the room.
    """

    def __init__(self, message: str, code: Code = Code.REFUSED, where: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.where = where


class SendOverflow(EdgeError):
    """A room sent a player more without a pause than a connection may hold: see `Limits.step_bytes`.

    The event that raises this is not sent to the player; all earlier events are. Pause between large parts, for example
    with ``await trio.sleep(0.01)``: queued events are written after all tasks that can run have run.
    """


class RequestFailed(EdgeError):
    """A request was answered with an error instead of an event.

    `problem` is a `MessageProblem`; ``unanswered`` if the other side ended the request without an answer; ``gone`` if
    the seat was lost before an answer came.
    """

    def __init__(self, problem: str, message: str) -> None:
        super().__init__(message)
        self.problem = problem


class Gone(EdgeError):
    """The player for whom a task waited has left the room."""

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} has left the room")


class BrokerDown(EdgeError):
    """The broker cannot be reached, or did not answer in time: a request may have been done or not. Also raised when a
    broker is opened that edge cannot use."""


class ServerUnreachable(EdgeError):
    """The broker renews this server's leases and brings none of its messages: other servers cannot reach it."""


class Disconnected(EdgeError):
    """This client's connection has ended and will not come back. `code` says why."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(f"{code.name.lower()}: {reason}" if reason else code.name.lower())
        self.code = code
        self.reason = reason
