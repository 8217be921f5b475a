"""The envelope: what travels in one frame.

A frame is an array, name first. The first sign of the name says what kind of message it is:

| first sign | message | shape                                   | counted |
|------------|---------|-----------------------------------------|---------|
| `$`        | control | `["$ack", 12]`                          | no      |
| `~`        | event   | `["~cursor", {...}]`: latest, volatile  | no      |
| a letter   | event   | `["turn:done", {...}]`                  | yes     |
| a letter   | request | `["guess", {...}, 7]`, `[..., 7, 2.5]`  | yes     |
| `=`        | reply   | `["=guessed", {...}, 7]`                | yes     |
| `+`        | part    | `["+line", {...}, 7]`                   | yes     |
| `-`        | cancel  | `["-", null, 7]`                        | yes     |
| `!`        | error   | `["!not_now", {...}]`, `[..., 7]`       | yes     |

Both sides count the counted frames instead of numbering them, so that a broadcast is the same bytes for everyone. A
frame that can't be used counts like any other of its sign, and one without a sign that can be read counts as one: its
sender did count it.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import attrs

from ..errors import InvalidEvent
from .codec import VERSION
from .field_types import MAX_INTEGER
from .structure import structure
from .unstructure import unstructure

# How long a client's name may be, as JSON: a hello has room for it beside the longest key.
MAX_NAME_BYTES = 512

SIGNS = "$~=+-!"
UNCOUNTED_SIGNS = ("$", "~")


@attrs.frozen(kw_only=True)
class Hello:
    """The first message, from the client: who it is, and how much it has if it is coming back."""

    sign: ClassVar[str] = "$hello"

    version: int = VERSION
    """The protocol version."""

    name: str = ""
    """The name for this player that the client asks for; `Room.admit` decides."""

    key: str | None = attrs.field(default=None, repr=False)
    """The session's key; without one, the session is the cookie's, or one of this client alone."""

    client: str = attrs.field(default="", repr=False)
    """The name of this client, the same for all its connections: random, 16 to 64 letters, digits, _ and -."""

    vocabulary: str = attrs.field(default="", repr=False)
    """The `fingerprint` of the events that this client knows, if it knows it."""

    attempt: int = 1
    """Which of this client's attempts this is: each has a higher number than any before."""

    received: int | None = None
    """The counted frames that the client has of the seat that it resumes; None if it never had a welcome."""

    since: int | None = None
    """Which of its attempts was answered with the fresh start that these are counted from."""


@attrs.frozen(kw_only=True)
class Welcome:
    """The server's answer: the seat is given."""

    sign: ClassVar[str] = "$welcome"

    resumed: bool
    """True: an exact replay follows. False: a fresh start, and `why` says so."""

    why: str = ""
    """For a fresh start: ``new``, ``expired``, ``lost`` (the room was, with its server), ``moved`` (the seat was
    another page's), ``miscount`` or ``behind``."""

    received: int
    """The counted frames of this client that the seat has."""

    number: int
    """The seat's number in the room, from 0."""

    guest: bool = False
    """True if nobody has vouched for the session whose seat it is: see `Session.guest`."""

    heartbeat: float
    """How often the server pings, in seconds."""

    dead_after: float
    """After how many seconds of silence each side gives the other up."""

    ack_frames: int = 32
    """Acknowledge at once after this many counted frames."""

    ack_bytes: int = 64 * 1024
    """Acknowledge at once after this many bytes of counted frames, so that the server's window does not overflow."""

    now: float = 0
    """The room's clock: the seconds since the room opened."""

    message_bytes: int = 64 * 1024
    """The largest message that the server reads."""

    sent_bytes: int = 1024 * 1024
    """The largest message that it sends, as JSON."""

    vocabulary: str = ""
    """The `fingerprint` of the room's events. A client that was made for others may be too old, or too new."""


@attrs.frozen
class Bye:
    """The last message of either side."""

    sign: ClassVar[str] = "$bye"

    code: int
    """A `Code`; a client that does not know it goes by the hundreds."""

    reason: str = ""
    """One sentence for a person."""

    where: str = ""
    """The room's address at the server that has it, if the client may go there."""

    unconfirmed: bool = False
    """True if the end may not be in the journal: another server may continue with the room."""


@attrs.frozen
class Ack:
    """The counted frames of the peer that have arrived, in total. Also the answer to a ping."""

    sign: ClassVar[str] = "$ack"
    count: int
    asked: float | None = None
    """As the answer to a ping: what it said."""
    told: float | None = None
    """As the answer to a ping: what this side's clock shows."""


@attrs.frozen
class Ping:
    """The heartbeat, with how many counted frames its sender has sent: a mismatch is an error, never silence."""

    sign: ClassVar[str] = "$ping"
    count: int
    asked: float | None = None
    """The sender's clock, which the answer repeats. None if the sender does not measure the clocks."""


@attrs.define  # made for nearly every frame, and a frozen one takes twice as long
class Event:
    """An event, not yet structured. `counted` is False for latest and volatile ones."""

    name: str
    body: Any
    counted: bool = True
    too_fast: bool = False
    """True if the event came faster than its connection's pace, and is to be refused."""
    size: int = attrs.field(default=0, eq=False, repr=False)
    """The length of its frame, where it came in one."""


@attrs.frozen
class Request:
    """An event that wants an answer carrying the same `id`."""

    name: str
    body: Any
    id: int
    seconds: float | None = None
    """Seconds for which the sender waits for the answer; None without a limit."""
    size: int = attrs.field(default=0, eq=False, repr=False)
    """The length of its frame, where it came in one."""
    too_fast: ClassVar[bool] = False
    """It is never heard too late: it waits."""


@attrs.frozen
class Reply:
    """The event that answers the request `id`, and the last answer to it; without a name, that no more come."""

    name: str
    body: Any
    id: int


@attrs.frozen
class Part:
    """One of several events that answer the request `id`."""

    name: str
    body: Any
    id: int


@attrs.frozen
class Cancel:
    """Nobody waits for the answer to the request `id` any more."""

    sign: ClassVar[str] = "-"
    id: int


@attrs.frozen
class Error:
    """A message was refused; the room goes on. `id` when it answers a request."""

    problem: str
    message: str
    about: str = ""
    """The name of the refused message, where it could be read."""
    id: int | None = None


Control = Hello | Welcome | Bye | Ack | Ping
Message = Control | Event | Request | Reply | Part | Cancel | Error

_OBJECTS: dict[str, type[Hello] | type[Welcome] | type[Bye]] = {cls.sign: cls for cls in (Hello, Welcome, Bye)}


@attrs.frozen
class _ErrorBody:
    message: str
    about: str = ""


def to_plain(message: Message) -> list[Any]:
    """The array of a message, its event body being plain already."""
    match message:
        case Event():  # nearly all
            return [message.name if message.counted else f"~{message.name}", message.body]
        case Ack(count, None):
            return [message.sign, count]
        case Ack(count, asked, told):
            return [message.sign, count, asked, told]
        case Ping(count, asked):
            return [message.sign, count] if asked is None else [message.sign, count, asked]
        case Bye(code, reason, "", False):
            return [message.sign, {"code": code, "reason": reason}]
        case Hello() | Welcome() | Bye():
            return [message.sign, unstructure(message)]
        case Request(name, body, id, seconds):
            return [name, body, id] if seconds is None else [name, body, id, seconds]
        case Reply(name, body, id):
            return [f"={name}", body, id]
        case Part(name, body, id):
            return [f"+{name}", body, id]
        case Cancel(id):
            return [message.sign, None, id]
        case Error(problem, text, about, id):
            body = unstructure(_ErrorBody(text, about))
            return [f"!{problem}", body] if id is None else [f"!{problem}", body, id]


def from_plain(plain: Any, size: int = 0, ignore_extra: bool = False) -> Message:
    """The message of an array.

    Args:
      size: the length of its frame.
      ignore_extra: ignore what a newer server says besides in a welcome, an error or a goodbye.

    Raises:
      InvalidEvent: it is not a message.
    """
    if type(plain) is list and len(plain) == 2 and type(plain[0]) is str and plain[0][:1].isalpha():  # nearly all
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
        case [str(name), body] if name[:1] == "!":
            return _error(name, body, None, ignore_extra)
        case [str(name), body, id] if name[:1] == "!" and _is_number(id):
            return _error(name, body, id, ignore_extra)
    raise InvalidEvent("malformed", "not a message: expected an array of a name, a body and perhaps a request's number")


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _is_duration(value: object) -> bool:
    return type(value) in (int, float) and 0 <= cast("float", value) <= MAX_INTEGER


def _error(name: str, body: Any, id: int | None, ignore_extra: bool) -> Error:
    fields = structure(body, _ErrorBody, ignore_extra=ignore_extra)
    return Error(name[1:], fields.message, fields.about, id)


def is_counted(message: Message) -> bool:
    """True if both sides count this message."""
    return message.counted if isinstance(message, Event) else not isinstance(message, Control)
