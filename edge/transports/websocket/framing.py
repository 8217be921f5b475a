"""The format of WebSocket frames (RFC 6455 section 5.2), and how many unusual ones a peer may send.

No other file of edge knows the format.
"""

from __future__ import annotations

from collections.abc import Sequence

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # where it is C, or Python where that is missing

from ...codes import Code
from ...protocol.codec import Frame
from ...protocol.limits import Limits
from ...protocol.pace import Pace

# RFC 6455 section 5.2. The first byte of a frame: FIN and an opcode, of which one bit tells control frames.
CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A
FINAL, CONTROL_BIT = 0x80, 0x08
CONTROL, KNOWN = (CLOSE, PING, PONG), (TEXT, BINARY, CLOSE, PING, PONG)
# What the second byte says besides a length.
MASKED = 0x80
# By a first length that stands for a longer one: in how many bytes that follows, and the least it may be.
EXTENDED = {126: (2, 126), 127: (8, 65536)}

# What `next_frame` says of a frame that only trio-websocket can judge.
UNUSUAL = -1


def short_text(data: bytes) -> bytes | None:
    """The payload of a client's frame of text of up to 125 bytes, if these bytes are just that."""
    size = len(data)
    if 6 <= size <= 131 and data[0] == TEXT and data[1] == size + 122:
        return apply_mask(data[6:], data[2:6])
    return None


def next_frame(data: bytes | bytearray, at: int, max_bytes: int) -> tuple[int, int, bytes] | None:
    """The client's frame that begins here.

    Returns: its first byte, where the next frame begins, and its payload; None if it has not come whole. The first byte
      is `UNUSUAL` if the frame is no text, binary message, ping, pong or close; if it breaks a rule; or if it is larger
      than `max_bytes` and than 125 bytes.
    """
    if len(data) - at < 2:
        return None
    kind, length, start = data[at], data[at + 1] - MASKED, at + 2
    if kind not in KNOWN or length < 0:
        return UNUSUAL, at, b""
    if length > 125:  # a longer one follows, in as few bytes as it needs
        width, least = EXTENDED[length]
        if len(data) < start + width:
            return None
        length, start = int.from_bytes(data[start : start + width], "big"), start + width
        if length < least or length > max_bytes or kind in CONTROL:
            return UNUSUAL, at, b""
    end = start + 4 + length
    if len(data) < end:
        return None
    return kind, end, apply_mask(data[start + 4 : end], data[start : start + 4])


def frames_of_server(frames: Sequence[Frame]) -> bytes:
    """Messages as a server sends them: each in one frame, unmasked."""
    if len(frames) != 1:
        return b"".join([frames_of_server([frame]) for frame in frames])
    frame = frames[0]
    kind, payload = (TEXT, frame.encode()) if isinstance(frame, str) else (BINARY, frame)
    size = len(payload)
    if size < 126:
        return bytes((kind, size)) + payload
    if size < 65536:
        return bytes((kind, 126)) + size.to_bytes(2, "big") + payload
    return bytes((kind, 127)) + size.to_bytes(8, "big") + payload


class FrameCache:
    """Frames the messages of a server. The newest result is stored: a broadcast is framed once for all connections."""

    def __init__(self) -> None:
        self._messages: tuple[Frame, ...] = ()
        self._framed = b""

    def frame(self, messages: Sequence[Frame]) -> bytes:
        """These messages as they go over the wire."""
        same = tuple(messages)
        if same != self._messages:
            self._messages, self._framed = same, frames_of_server(messages)
        return self._framed


def fragments_pace(limits: Limits) -> Pace:
    """The pace of one connection's fragments and control frames."""
    return Pace(limits.fragments_per_second, limits.fragments_burst)


# RFC 6455 section 7.4 and IANA's list: with these a peer may close. Any other is for trio-websocket to judge.
CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
NO_CODE = 1005


def read_close(payload: bytes) -> tuple[int, str] | None:
    """The code and the reason of a close frame; None if the payload breaks a rule (RFC 6455 section 5.5.1)."""
    if not payload:
        return NO_CODE, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or code not in CLOSE_CODES:
        return None
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        return None


def cut_reason(reason: str) -> str:
    """As much of a reason as fits into a close frame."""
    return reason.encode()[:120].decode(errors="ignore")


def close_frame(payload: bytes) -> bytes:
    """A close frame of a server."""
    return bytes((CLOSE, len(payload))) + payload


def is_close(data: bytes | bytearray | memoryview) -> bool:
    """True if these bytes begin with a close frame."""
    return data[0] == CLOSE


def close_payload(code: int, reason: str) -> bytes:
    """The payload of a close frame. A reason is cut after 120 bytes (RFC 6455 section 5.5: 123 are allowed)."""
    return code.to_bytes(2, "big") + cut_reason(reason).encode()


class Unusual:
    """What trio-websocket is given of one connection, from the start of a frame on, in any pieces.

    Args:
      pace: of fragments and control frames.
    """

    def __init__(self, pace: Pace) -> None:
        self.closed = False
        """True if the peer has closed it."""
        self._pace = pace
        self._unmade = 0
        """The bytes of fragments that are not a whole message yet."""
        self._kind, self._cut_head, self._payload_left = CONTINUED, b"", 0
        """The last frame: its first byte, its head if that was cut off, and the bytes still to come."""

    @property
    def at_end(self) -> bool:
        """True if the peer has closed it, and its close frame has come whole."""
        return self.closed and not (self._payload_left or self._cut_head)

    def check(self, data: bytes | bytearray, max_bytes: int, now: float) -> tuple[Code | None, int]:
        """What the connection ends with, if it does with these bytes.

        Returns: `Code.FLOODING` if more fragments and control frames begin than may; `Code.TOO_LARGE` if a message is
          announced that is longer than so many bytes; None if neither. And how many of these bytes come before that.
        """
        known = len(self._cut_head)
        data, at = self._cut_head + data, min(self._payload_left, len(data))
        self._cut_head = b""
        self._note_payload(at, ends=at == self._payload_left)
        self._payload_left -= at
        while at < len(data):
            self._kind, size = data[at], data[at + 1] & 127 if at + 1 < len(data) else 0
            width = EXTENDED[size][0] if size > 125 else 0
            if at + 2 + width > len(data):
                self._cut_head = bytes(data[at:])
                break
            if self._kind not in (TEXT, BINARY):
                if not self._pace.allows(now):
                    return Code.FLOODING, max(0, at - known)
                self._pace.take(now)
            self.closed |= self._kind == CLOSE
            length = int.from_bytes(data[at + 2 : at + 2 + width], "big") if width else size
            proper = self._kind & ~FINAL in (0, TEXT & ~FINAL, BINARY & ~FINAL) and data[at + 1] & MASKED
            if proper and self._unmade + length > max_bytes and length < 2**63:  # RFC 6455 section 5.2
                return Code.TOO_LARGE, max(0, at - known)
            at += 2 + width + (4 if data[at + 1] & MASKED else 0)
            self._note_payload(min(length, max(0, len(data) - at)), ends=at + length <= len(data))
            at += length
            self._payload_left = max(0, at - len(data))
        return None, len(data) - known

    def _note_payload(self, size: int, *, ends: bool) -> None:
        """So many bytes of a frame's payload came, its last among them or not."""
        if not self._kind & CONTROL_BIT:
            self._unmade = 0 if ends and self._kind in (TEXT, BINARY, CONTINUED) else self._unmade + size
