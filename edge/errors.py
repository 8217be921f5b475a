"""The exception classes of edge.

    EdgeError
    ├── ProtocolError           a rule of the protocol was broken; has the `Code` of the goodbye
    │   ├── LocalProtocolError  by this side: a bug in edge or in its caller
    │   └── RemoteProtocolError by the peer
    ├── InvalidEvent            a payload does not fit its event class; has the path
    ├── Refused                 a client was refused; has the `Code`
    ├── SendOverflow            a room sent a player more in one step than a connection may hold
    ├── RequestFailed           an `ask` or `request` was answered with an error
    ├── Gone                    the player that a task waited for has left the room
    ├── BrokerDown              the broker cannot be reached
    ├── ServerUnreachable       other servers cannot reach this server, and it ends
    └── Disconnected            a client's connection has ended for good; has the `Code`

Streams, channels and transports raise Trio's own `trio.ClosedResourceError`, `trio.BrokenResourceError` and
`trio.EndOfChannel`. This module imports nothing of edge but `codes`.
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
"""The values of `problem` in an error message."""


class EdgeError(Exception):
    """The base class of edge's exceptions."""


class ProtocolError(EdgeError):
    """A rule of the protocol was broken. `code` is the code of the goodbye to send."""

    def __init__(self, message: str, code: Code = Code.MALFORMED) -> None:
        super().__init__(message)
        self.code = code


class LocalProtocolError(ProtocolError):
    """This side tried to break a rule of the protocol."""


class RemoteProtocolError(ProtocolError):
    """The peer broke a rule of the protocol."""


class InvalidEvent(EdgeError):
    """A payload does not fit its event class, or its name is no known event.

    Args:
      problem: the kind of the problem.
      message: one sentence that describes the problem.
      path: the place in the payload, such as ``drawing.strokes[3].width``; empty for the payload as a whole.
      about: the name of the message; empty if the code that raises the error does not know it.
      request: the number of the request; None for other messages, or if that code does not know the number.
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
    """A client is refused. Raise this error in `Room.admit`, with a sentence for the applicant.

    Args:
      message: the reason, for the applicant.
      code: keep the default in your own code. edge uses other codes, such as `Code.FULL`.
      where: with `Code.MOVED`, the address of the server that has the room.
    """

    def __init__(self, message: str, code: Code = Code.REFUSED, where: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.where = where


class SendOverflow(EdgeError):
    """A room sent a player more without a pause than a connection may hold: see `Limits.step_bytes`.

    The event that raises this error is not sent to the player; all earlier events are sent. Pause between large parts,
    for example with ``await trio.sleep(0.01)``: queued events are written after all runnable tasks have run.
    """


class RequestFailed(EdgeError):
    """A request was answered with an error instead of an event.

    `problem` is a `MessageProblem`; ``unanswered`` if the other side ended the request without an answer; ``gone`` if
    the seat ended before an answer arrived.
    """

    def __init__(self, problem: str, message: str) -> None:
        super().__init__(message)
        self.problem = problem


class Gone(EdgeError):
    """The player that a task waited for has left the room."""

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} has left the room")


class BrokerDown(EdgeError):
    """The broker, or another server, did not answer in time. The request may or may not have been executed.

    Also raised at the start, for a broker that edge cannot use.
    """


class ServerUnreachable(EdgeError):
    """Other servers cannot reach this server: the broker renews the server's leases, but delivers no messages."""


class Disconnected(EdgeError):
    """This client's connection has ended, and the client does not connect again. `code` is the reason."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(f"{code.name.lower()}: {reason}" if reason else code.name.lower())
        self.code = code
        self.reason = reason
