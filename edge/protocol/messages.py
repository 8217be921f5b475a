"""Messages: the envelope in each frame.

A frame is an array that begins with a name. The first character of the name, its sign, determines the kind of message:

| sign       | message | shape                                   | counted |
|------------|---------|-----------------------------------------|---------|
| `$`        | control | `["$ack", 12]`                          | no      |
| `~`        | event   | `["~cursor", {...}]`: latest, volatile  | no      |
| a letter   | event   | `["turn:done", {...}]`                  | yes     |
| a letter   | request | `["guess", {...}, 7]`, `[..., 7, 2.5]`  | yes     |
| `=`        | reply   | `["=guessed", {...}, 7]`                | yes     |
| `+`        | part    | `["+line", {...}, 7]`                   | yes     |
| `-`        | cancel  | `["-", null, 7]`, `["-", 2.5, 7]`       | yes     |
| `!`        | error   | `["!not_now", {...}]`, `[..., 7]`       | yes     |
| `^`        | state   | `["^table", [4, patch]]`                | no      |

A counted frame contains no sequence number, so that a broadcast has the same bytes for all receivers. Both sides count
such frames instead. An unusable frame counts like any other frame with its sign. A frame with an unreadable sign is
counted, on the assumption that its sender counted it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import attrs

from ..errors import InvalidEvent
from .codec import VERSION
from .field_types import MAX_INTEGER
from .structure import structure
from .unstructure import unstructure

# The maximum number of bytes of a client's name, as JSON. A hello has space for such a name and the longest key.
MAX_NAME_BYTES = 512
# The maximum number of bytes of a client's join options, as JSON.
MAX_OPTIONS_BYTES = 1024

Create = Literal["if needed", "never", "only"]
"""Whether a join may open the room: if the room is not open; never; or the join must open it."""

SIGNS = "$~=+-!^"
UNCOUNTED_SIGNS = ("$", "~", "^")


@attrs.frozen(kw_only=True)
class Hello:
    """The first message of a client. It contains the client's identity, and the state of its seat for a resume."""

    sign: ClassVar[str] = "$hello"

    version: int = VERSION
    """The protocol version."""

    name: str = ""
    """The player name that the client requests, used only if the session has no name. `Room.admit` may refuse it."""

    key: str | None = attrs.field(default=None, repr=False)
    """The session's key. Without a key, the cookie determines the session. Without both, the client gets a session of
    its own."""

    client: str = attrs.field(default="", repr=False)
    """A random identifier of this client for all its connections: 16 to 64 letters, digits, _ and -."""

    vocabulary: str = attrs.field(default="", repr=False)
    """The `fingerprint` of the events that this client knows; empty if the client does not have it."""

    attempt: int = 1
    """The number of this attempt to connect. Each attempt of a client has a higher number than its earlier attempts."""

    received: int | None = None
    """The number of counted frames that the client has received from the seat; None if it has no seat to resume."""

    since: int | None = None
    """The number of the attempt that led to the fresh start from which `received` is counted."""

    options: Any = attrs.field(default=None, repr=False)
    """The join options, as plain data: see `Room.join_options`. None for the defaults."""

    create: Create = "if needed"
    """Whether this client may open the room: see `Create`. A client that holds a seat may always join."""


@attrs.frozen(kw_only=True)
class Welcome:
    """The server's answer to a hello: the client has a seat."""

    sign: ClassVar[str] = "$welcome"

    resumed: bool
    """True if the seat is resumed: the missing messages follow. False for a fresh start."""

    why: str = ""
    """The reason for a fresh start: ``new``, ``expired``, ``lost`` (the room ended with its server), ``moved`` (another
    page had the seat), ``miscount`` or ``behind``. `Code` explains ``miscount`` and ``behind``."""

    received: int
    """The number of counted frames that the seat has received from this client."""

    number: int
    """The seat's number in the room, from 0."""

    guest: bool = False
    """True if the player is a guest: see `Session.guest`."""

    heartbeat: float
    """The seconds between two pings of each side."""

    dead_after: float
    """The seconds of silence after which each side ends the connection."""

    ack_frames: int = 32
    """The number of counted frames after which the client must send an ack."""

    ack_bytes: int = 64 * 1024
    """The bytes of counted frames after which the client must send an ack, before the server's window overflows."""

    now: float = 0
    """The room's clock: the seconds since the room opened."""

    message_bytes: int = 64 * 1024
    """The largest message that the server reads, in bytes."""

    sent_bytes: int = 1024 * 1024
    """The largest message that the server sends, in bytes of JSON."""

    vocabulary: str = ""
    """The `fingerprint` of the room's events. A client with another fingerprint may be too old or too new."""

    documents: tuple[str, ...] = ()
    """The names of the shared documents, which follow, each whole. They come after the messages that a resume repeats.
    """


@attrs.frozen
class Bye:
    """The goodbye: the last message of a side."""

    sign: ClassVar[str] = "$bye"

    code: int
    """A `Code`. If a client does not know the code, it reacts to the first two digits, as in 41xx."""

    reason: str = ""
    """One sentence for people."""

    where: str = ""
    """The address of the room on the server that has the room; empty if the client has no other address to use."""

    unconfirmed: bool = False
    """True if the end of the player may be missing from the journal, so that another server may restore the seat."""


@attrs.frozen
class Ack:
    """An acknowledgement of the peer's first `count` counted frames since the fresh start. Also answers a ping."""

    sign: ClassVar[str] = "$ack"
    count: int
    asked: float | None = None
    """In the answer to a ping: the `asked` of the ping."""
    told: float | None = None
    """In the answer to a ping: the time on the clock of the ack's sender."""


@attrs.frozen
class Ping:
    """The heartbeat, with the number of counted frames that its sender has sent. A mismatch ends the connection."""

    sign: ClassVar[str] = "$ping"
    count: int
    asked: float | None = None
    """The time on the sender's clock; the answer repeats it. None if the sender does not measure the clocks."""


@attrs.define  # not frozen: nearly every frame makes an instance, and a frozen instance takes twice as long
class Event:
    """An event whose body is plain data. `counted` is False for ``latest`` and ``volatile`` events."""

    name: str
    body: Any
    counted: bool = True
    too_fast: bool = False
    """True if the event exceeded its connection's pace. No listener may get such an event."""
    size: int = attrs.field(default=0, eq=False, repr=False)
    """The size of the received frame, in bytes; 0 if the message was not received."""


@attrs.frozen
class Request:
    """An event that expects an answer with the same `id`."""

    name: str
    body: Any
    id: int
    seconds: float | None = None
    """Seconds for which the sender waits for the answer; None without a limit."""
    size: int = attrs.field(default=0, eq=False, repr=False)
    """The size of the received frame, in bytes; 0 if the message was not received."""
    too_fast: ClassVar[bool] = False
    """Always false: requests beyond the pace are delayed, not refused."""


@attrs.frozen
class Reply:
    """The only or last answer to the request `id`. With an empty name, it ends the answers without another event."""

    name: str
    body: Any
    id: int


@attrs.frozen
class Part:
    """One of several answers to the request `id`. A `Reply` or an `Error` ends the answers."""

    name: str
    body: Any
    id: int


@attrs.frozen
class Cancel:
    """A notice that the sender of the request `id` no longer waits for the answer, or waits for another time."""

    sign: ClassVar[str] = "-"
    id: int
    seconds: float | None = None
    """The seconds for which the sender waits from now on; None if it no longer waits."""


@attrs.frozen
class Error:
    """A notice that a message was refused, or that the request `id` failed. The connection continues."""

    problem: str
    message: str
    about: str = ""
    """The name of the refused message; empty if unknown."""
    id: int | None = None
    data: Any = None
    """Details of a refused request: the name and the body of an event, as a list; or None."""


@attrs.frozen
class Patch:
    """A patch of a shared document, ``[version, patch]``, or the whole document, ``[version, None, document]``.

    A patch fits the document with the version before its own. See `edge.shared.patches` for its form.
    """

    name: str
    body: Any
    more: bool = False
    """True if patches of other documents follow that belong to the same change. The client shows them together."""


# The beginning of the reason with which a client ends a connection because a patch does not fit, in any language.
UNFIT_PATCH = "a patch of "

Control = Hello | Welcome | Bye | Ack | Ping
Message = Control | Event | Request | Reply | Part | Cancel | Error | Patch

_OBJECTS: dict[str, type[Hello] | type[Welcome] | type[Bye]] = {cls.sign: cls for cls in (Hello, Welcome, Bye)}

_HELLO_DEFAULTS = {"options": None, "create": "if needed"}


@attrs.frozen
class _ErrorBody:
    message: str
    about: str = ""
    data: Any = None


def to_plain(message: Message) -> list[Any]:
    """Return the array that encodes a message. The body of an event must be plain data."""
    match message:
        case Event():  # the first case, because nearly all messages are events
            return [message.name if message.counted else f"~{message.name}", message.body]
        case Ack(count, None):
            return [message.sign, count]
        case Ack(count, asked, told):
            return [message.sign, count, asked, told]
        case Ping(count, asked):
            return [message.sign, count] if asked is None else [message.sign, count, asked]
        case Bye(code, reason, "", False):
            return [message.sign, {"code": code, "reason": reason}]
        case Hello():
            body = unstructure(message)
            for name, default in _HELLO_DEFAULTS.items():
                if body[name] == default:
                    del body[name]  # most clients need neither, and a hello is small
            return [message.sign, body]
        case Welcome():
            body = unstructure(message)
            if not message.documents:
                del body["documents"]
            return [message.sign, body]
        case Bye():
            return [message.sign, unstructure(message)]
        case Patch(name, body, more):
            return [f"^{name}", body, 1] if more else [f"^{name}", body]
        case Request(name, body, id, seconds):
            return [name, body, id] if seconds is None else [name, body, id, seconds]
        case Reply(name, body, id):
            return [f"={name}", body, id]
        case Part(name, body, id):
            return [f"+{name}", body, id]
        case Cancel(id, seconds):
            return [message.sign, seconds, id]
        case Error(problem, text, about, id, data):
            body = unstructure(_ErrorBody(text, about, data))
            if data is None:
                del body["data"]
            return [f"!{problem}", body] if id is None else [f"!{problem}", body, id]


def from_plain(plain: Any, size: int = 0, ignore_extra: bool = False) -> Message:
    """Return the message that an array encodes.

    Args:
      size: the size of the frame in bytes.
      ignore_extra: ignore unknown fields of a welcome, an error or a goodbye, which a newer server may send.

    Raises:
      InvalidEvent: the array is not a message.
    """
    # Test for counted events first, because most frames contain them.
    if type(plain) is list and len(plain) == 2 and type(plain[0]) is str and plain[0][:1].isalpha():
        return Event(plain[0], plain[1], size=size)
    match plain:
        case [str(sign), body] if sign in _OBJECTS:
            return structure(body, _OBJECTS[sign], ignore_extra=ignore_extra)
        case [Ack.sign, count] if _is_number(count):
            return Ack(count)
        case [Ack.sign, count, asked, told] if _is_number(count) and _is_duration(asked) and _is_duration(told):
            return Ack(count, float(asked), float(told))
        case [Ping.sign, count] if _is_number(count):
            return Ping(count)
        case [Ping.sign, count, asked] if _is_number(count) and _is_duration(asked):
            return Ping(count, float(asked))
        case [str(name), body] if name[:1] == "~":
            return Event(name[1:], body, counted=False, size=size)
        case [str(name), body] if name[:1] == "^":
            return Patch(name[1:], body)
        case [str(name), body, 1] if name[:1] == "^":
            return Patch(name[1:], body, more=True)
        case [str(name), body, id] if name[:1].isalpha() and _is_number(id):
            return Request(name, body, id, size=size)
        case [str(name), body, id, seconds] if name[:1].isalpha() and _is_number(id) and _is_duration(seconds):
            return Request(name, body, id, float(seconds), size=size)
        case [str(name), body, id] if name[:1] == "=" and _is_number(id):
            return Reply(name[1:], body, id)
        case [str(name), body, id] if name[:1] == "+" and _is_number(id):
            return Part(name[1:], body, id)
        case [Cancel.sign, None, id] if _is_number(id):
            return Cancel(id)
        case [Cancel.sign, seconds, id] if _is_number(id) and _is_duration(seconds):
            return Cancel(id, float(seconds))
        case [str(name), body] if name[:1] == "!":
            return _error(name, body, None, ignore_extra)
        case [str(name), body, id] if name[:1] == "!" and _is_number(id):
            return _error(name, body, id, ignore_extra)
    raise InvalidEvent("malformed", "the frame is not a message: expected [name, body] or [name, body, request number]")


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _is_duration(value: object) -> bool:
    return type(value) in (int, float) and 0 <= cast("float", value) <= MAX_INTEGER


def _error(name: str, body: Any, id: int | None, ignore_extra: bool) -> Error:
    fields = structure(body, _ErrorBody, ignore_extra=ignore_extra)
    return Error(name[1:], fields.message, fields.about, id, fields.data)


def is_counted(message: Message) -> bool:
    """Return whether both sides count this message."""
    return message.counted if isinstance(message, Event) else not isinstance(message, Control | Patch)
