"""Outgoing messages. Each message is encoded once for all its receivers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from ..errors import MessageProblem
from .codec import JSON, Codec, Frame, size_of
from .events import EventType
from .messages import Cancel, Error, Message, Part, Patch, Reply, Request, is_counted, to_plain
from .unstructure import unstructure


class Outgoing:
    """A message to send, with one frame per codec. All receivers share the frames.

    Args:
      plain: the array that encodes the message: see `to_plain`.

    Raises:
      ValueError: a value in the message can't be encoded.
    """

    __slots__ = ("_packed", "_plain", "counted", "key", "size", "text", "volatile", "whole")

    counted: bool
    """True if both sides count the message, and a resume repeats it."""

    volatile: bool
    """True if the message is dropped when it can't be written at once."""

    key: Hashable
    """The key of a ``latest`` event, which replaces the previous event of this key. None for every other message."""

    whole: Callable[[bool], Outgoing] | None
    """For a message about a shared document: returns the message with the whole document; the argument is
    `Patch.more`. If a write waits, the outbox sends that message instead of all patches that come meanwhile. None for
    every other message."""

    text: Frame
    """The frame for connections that use JSON."""

    size: int
    """The size of the message as JSON, in bytes."""

    def __init__(
        self,
        plain: list[Any],
        *,
        counted: bool = False,
        volatile: bool = False,
        key: Hashable = None,
        whole: Callable[[bool], Outgoing] | None = None,
    ) -> None:
        self.counted = counted
        self.volatile = volatile
        self.key = key
        self.whole = whole
        self._plain = plain
        # Encode the JSON frame now, so that an encoding error is raised before any receiver gets the message.
        self.text = JSON.encode(plain)
        self._packed: Frame | None = None
        self.size = size_of(self.text)

    @classmethod
    def of(cls, message: Message) -> Outgoing:
        """Make the message to send from a message of any class."""
        return cls(to_plain(message), counted=is_counted(message))

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


def outgoing_event(event: Any, kind: EventType) -> Outgoing:
    """Make the message of an event, with the delivery that its type declares.

    Raises:
      TypeError: a value does not have the type of its field.
      ValueError: a value can't be encoded.
    """
    plain = [kind.sign, unstructure(event, kind.cls, kind.rename)]
    if kind.delivery == "reliable":
        return Outgoing(plain, counted=True)
    if kind.delivery == "volatile":
        return Outgoing(plain, volatile=True)
    return Outgoing(plain, key=kind.key_of(event))


def outgoing_patch(name: str, body: list[Any], whole: Callable[[bool], Outgoing], *, more: bool = False) -> Outgoing:
    """Make the message with a patch of a shared document, or with the whole document.

    Args:
      body, more: see `Patch`.
      whole: see `Outgoing.whole`.
    """
    return Outgoing(to_plain(Patch(name, body, more)), whole=whole)


def outgoing_request(event: Any, kind: EventType, id: int, seconds: float | None = None) -> Outgoing:
    """Make the message of a request. A request is reliable, whatever the class of the event declares."""
    return Outgoing.of(Request(kind.name, unstructure(event, kind.cls, kind.rename), id, seconds))


def outgoing_reply(event: Any, kind: EventType, id: int) -> Outgoing:
    """Make the last answer to the request `id`."""
    return Outgoing.of(Reply(kind.name, unstructure(event, kind.cls, kind.rename), id))


def outgoing_end(id: int) -> Outgoing:
    """Make the message that ends the answers to the request `id` without another event."""
    return Outgoing.of(Reply("", None, id))


def outgoing_part(event: Any, kind: EventType, id: int) -> Outgoing:
    """Make one of several answers to the request `id`."""
    return Outgoing.of(Part(kind.name, unstructure(event, kind.cls, kind.rename), id))


def outgoing_cancel(id: int, seconds: float | None = None) -> Outgoing:
    """Make the message that cancels the request `id`, or that changes the seconds for which its sender waits."""
    return Outgoing.of(Cancel(id, seconds))


def outgoing_error(
    problem: MessageProblem, message: str, about: str, id: int | None, data: tuple[Any, EventType] | None = None
) -> Outgoing:
    """Make the refusal of a message. Shorten `about`, which the peer has sent, so that it can't amplify traffic.

    Args:
      data: an event with details, and its type; or None.
    """
    details = None if data is None else [data[1].name, unstructure(data[0], data[1].cls, data[1].rename)]
    return Outgoing.of(Error(problem, message[:300], about[:64], id, details))
