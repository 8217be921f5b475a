"""The exception classes of edge.

    EdgeError
    ├── ProtocolError           a rule of the protocol was broken; has the `Code` of the goodbye
    │   ├── LocalProtocolError  this side broke the rule: a bug in edge or in its caller
    │   └── RemoteProtocolError the peer broke the rule
    ├── InvalidEvent            a payload does not fit its event class; has the path
    ├── Refused                 a client was refused; has the `Code`
    ├── SendOverflow            a room sent a player too much before other tasks could run
    ├── RequestFailed           a call of `ask` or `request` got an error, or no answer
    ├── Gone                    the player that a task waited for has left the room
    ├── BrokerDown              the broker cannot be reached
    ├── ServerUnreachable       other servers cannot reach this server, which therefore ends
    └── Disconnected            a client's connection has ended for good; has the `Code`

Streams, channels and transports raise Trio's own `trio.ClosedResourceError`, `trio.BrokenResourceError` and
`trio.EndOfChannel`. This module imports only `codes` from edge.
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
    "refused",
    "unanswered",
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
      about: the name of the received event; empty if the code that raises the error does not know it.
      request: the number of the request; None if the message is no request, or if that code does not know the number.
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
    """A client is refused. To refuse an applicant, raise this error in `Room.admit`.

    Args:
      message: the reason, as a sentence for the applicant.
      code: keep the default in your own code. edge uses other codes, such as `Code.FULL`.
      where: with `Code.MOVED`, the address of the server that has the room.
    """

    def __init__(self, message: str, code: Code = Code.REFUSED, where: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.where = where


class SendOverflow(EdgeError):
    """A room sent a player too many messages or bytes before other tasks could run.

    `Limits.step_frames` and `Limits.step_bytes` are the maximums. The event for which the error is raised is not sent
    to the player, but all earlier events are sent. Pause between large parts, for example with
    ``await trio.sleep(0.01)``, because queued events are written only after all runnable tasks have run.
    """


class RequestFailed(EdgeError):
    """A request was answered with an error instead of an event.

    `problem` is a `MessageProblem`: ``refused`` if the other side's code raised `RequestRefused` or called `refuse`;
    ``unanswered`` if the other side ended the request without an answer. It is ``gone`` if the seat ended before an
    answer arrived. `data` is the event that the other side sent with its refusal, if any.
    """

    def __init__(self, problem: str, message: str, data: object = None) -> None:
        super().__init__(message)
        self.problem = problem
        self.data = data


class RequestRefused(EdgeError):
    """Refuse a request: raise this error in the block of `Player.answering`.

    Args:
      message: the reason, for the sender of the request.
      data: an event with details that this side may send, or None.
    """

    def __init__(self, message: str, *, data: object = None) -> None:
        super().__init__(message)
        self.data = data


class Gone(EdgeError):
    """The player that a task waited for has left the room."""

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} has left the room")


class BrokerDown(EdgeError):
    """The broker, or another server, did not answer in time. The request may or may not have been executed.

    When a server starts, this error also means that edge cannot use the broker.
    """


class ServerUnreachable(EdgeError):
    """Other servers cannot reach this server. The broker renews the server's leases, but delivers no messages to it."""


class Disconnected(EdgeError):
    """This client's connection has ended, and the client does not connect again. `code` is the reason."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(f"{code.name.lower()}: {reason}" if reason else code.name.lower())
        self.code = code
        self.reason = reason
