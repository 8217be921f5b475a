"""A message on its way out, encoded once for however many receive it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ..errors import MessageProblem
from .codec import JSON, Codec, Frame, size_of
from .events import EventType, event_type
from .messages import Cancel, Error, Event, Message, Part, Reply, Request, is_counted, to_plain
from .unstructure import unstructure


class Outgoing:
    """A message and its frames, one per codec, made once and shared from then on.

    Raises:
      ValueError: something in it can't be encoded.
    """

    __slots__ = ("_packed", "_plain", "counted", "key", "size", "text", "volatile")

    counted: bool
    """True if the receiver's seat counts and replays it."""

    volatile: bool
    """True if it is dropped when it can't be written at once."""

    key: Hashable
    """For a ``latest`` event: what it replaces. None for every other message."""

    text: Frame
    """The frame for connections that speak JSON."""

    size: int
    """The size as JSON, in bytes."""

    def __init__(self, message: Message, *, volatile: bool = False, key: Hashable = None) -> None:
        self.counted = is_counted(message)
        self.volatile = volatile
        self.key = key
        self._plain = to_plain(message)
        # One frame at once: what can't be encoded is found here, before anybody has been sent it.
        self.text = JSON.encode(self._plain)
        self._packed: Frame | None = None
        self.size = size_of(self.text)

    def __repr__(self) -> str:
        return f"<outgoing {self.name}>"

    @property
    def name(self) -> str:
        """The first item of the frame: the name of an event, or a name with a sign."""
        return str(self._plain[0])

    @property
    def plain(self) -> Any:
        """The message as plain data for a journal. `from_plain` reads it."""
        return self._plain

    def frame(self, codec: Codec) -> Frame:
        """The frame for connections that speak this codec."""
        if codec is JSON:
            return self.text
        if self._packed is None:
            self._packed = codec.encode(self._plain)
        return self._packed


def outgoing_event(event: Any, kind: EventType | None = None) -> Outgoing:
    """An event, with the delivery that its class declares.

    Args:
      kind: of the event, if it is known.

    Raises:
      TypeError: not an instance of an event class.
      ValueError: something in it can't travel.
    """
    if kind is None:
        kind = event_type(type(event))
    message = Event(kind.name, unstructure(event), kind.delivery == "reliable")
    if message.counted:
        return Outgoing(message)
    if kind.delivery == "volatile":
        return Outgoing(message, volatile=True)
    return Outgoing(message, key=kind.key_of(event))


def outgoing_request(event: Any, id: int, seconds: float | None = None) -> Outgoing:
    """An event that wants an answer: always reliable, whatever its class declares."""
    return Outgoing(Request(event_type(type(event)).name, unstructure(event), id, seconds))


def outgoing_reply(event: Any, id: int) -> Outgoing:
    """The answer to the request `id`; None for the end of several."""
    if event is None:
        return Outgoing(Reply("", None, id))
    return Outgoing(Reply(event_type(type(event)).name, unstructure(event), id))


def outgoing_part(event: Any, id: int) -> Outgoing:
    """One of several answers to the request `id`."""
    return Outgoing(Part(event_type(type(event)).name, unstructure(event), id))


def outgoing_cancel(id: int) -> Outgoing:
    """The answer to the request `id` is not wanted any more."""
    return Outgoing(Cancel(id))


def outgoing_error(problem: MessageProblem, message: str, about: str, id: int | None) -> Outgoing:
    """The refusal of a message. The name it was about is the peer's text: cut, so that it can't be used to amplify."""
    return Outgoing(Error(problem, message[:300], about[:64], id))
