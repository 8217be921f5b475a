"""Outgoing messages. Each message is encoded once for all its receivers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ..errors import MessageProblem
from .codec import JSON, Codec, Frame, size_of
from .events import EventType, event_type
from .messages import Cancel, Error, Event, Message, Part, Reply, Request, is_counted, to_plain
from .unstructure import unstructure


class Outgoing:
    """A message to send, with one frame per codec. All receivers share the frames.

    Raises:
      ValueError: a value in the message can't be encoded.
    """

    __slots__ = ("_packed", "_plain", "counted", "key", "size", "text", "volatile")

    counted: bool
    """True if both sides count the message, and a resume repeats it."""

    volatile: bool
    """True if the message is dropped when it can't be written at once."""

    key: Hashable
    """The key of a ``latest`` event, which replaces the previous event of this key. None for every other message."""

    text: Frame
    """The frame for connections that use JSON."""

    size: int
    """The size of the message as JSON, in bytes."""

    def __init__(self, message: Message, *, volatile: bool = False, key: Hashable = None) -> None:
        self.counted = is_counted(message)
        self.volatile = volatile
        self.key = key
        self._plain = to_plain(message)
        # Encode the JSON frame now, so that an encoding error is raised before any receiver gets the message.
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
        """Return the frame for connections that use this codec."""
        if codec is JSON:
            return self.text
        if self._packed is None:
            self._packed = codec.encode(self._plain)
        return self._packed


def outgoing_event(event: Any, kind: EventType | None = None) -> Outgoing:
    """Make the message of an event, with the delivery that its class declares.

    Args:
      kind: the type of the event, if the caller knows it.

    Raises:
      TypeError: `event` is not an instance of an event class, or a value does not have the type of its field.
      ValueError: a value can't be encoded.
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
    """Make the message of a request. A request is reliable, whatever the class of the event declares."""
    return Outgoing(Request(event_type(type(event)).name, unstructure(event), id, seconds))


def outgoing_reply(event: Any, id: int) -> Outgoing:
    """Make the last answer to the request `id`. If the event is None, the answers end without another event."""
    if event is None:
        return Outgoing(Reply("", None, id))
    return Outgoing(Reply(event_type(type(event)).name, unstructure(event), id))


def outgoing_part(event: Any, id: int) -> Outgoing:
    """Make one of several answers to the request `id`."""
    return Outgoing(Part(event_type(type(event)).name, unstructure(event), id))


def outgoing_cancel(id: int, seconds: float | None = None) -> Outgoing:
    """Make the message that cancels the request `id`, or that changes the seconds for which its sender waits."""
    return Outgoing(Cancel(id, seconds))


def outgoing_error(problem: MessageProblem, message: str, about: str, id: int | None, data: Any = None) -> Outgoing:
    """Make the refusal of a message. Shorten `about`, which the peer has sent, so that it can't amplify traffic.

    Args:
      data: an event with details, or None.
    """
    details = None if data is None else [event_type(type(data)).name, unstructure(data)]
    return Outgoing(Error(problem, message[:300], about[:64], id, details))
