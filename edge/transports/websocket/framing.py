"""The format of WebSocket frames (RFC 6455 section 5.2), and the limits on unusual frames.

No other file of edge knows the format.
"""

from __future__ import annotations

from collections.abc import Sequence

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # the C version, if it is installed

from ...codes import Code
from ...protocol.codec import Frame
from ...protocol.limits import Limits
from ...protocol.pace import Pace

# The first byte of a frame is FIN and an opcode (RFC 6455 section 5.2). One bit of the opcode marks control frames.
CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A
FINAL, CONTROL_BIT = 0x80, 0x08
CONTROL, KNOWN = (CLOSE, PING, PONG), (TEXT, BINARY, CLOSE, PING, PONG)
# The bit of the second byte that marks a masked frame. The other bits are a length.
MASKED = 0x80
# After the lengths 126 and 127, the real length follows. For each, these are the size of the real length in bytes,
# and its lowest valid value.
EXTENDED = {126: (2, 126), 127: (8, 65536)}

# The result of `next_frame` for a frame that trio-websocket has to handle.
UNUSUAL = -1


def short_text(data: bytes) -> bytes | None:
    """Return the unmasked payload of a client's text frame; None unless `data` is one frame of at most 125 bytes."""
    size = len(data)
    if 6 <= size <= 131 and data[0] == TEXT and data[1] == size + 122:
        return apply_mask(data[6:], data[2:6])
    return None


def next_frame(data: bytes | bytearray, at: int, max_bytes: int) -> tuple[int, int, bytes] | None:
    """Parse the client's frame that begins at the position `at`.

    Returns: the first byte of the frame, the position of the next frame, and the payload; None if the frame is not
      complete yet. Instead of the first byte, `UNUSUAL` is returned for a frame that is invalid or not a whole text or
      binary message, ping, pong or close. `UNUSUAL` also marks a frame larger than both `max_bytes` and 125 bytes.
    """
    if len(data) - at < 2:
        return None
    kind, length, start = data[at], data[at + 1] - MASKED, at + 2
    if kind not in KNOWN or length < 0:
        return UNUSUAL, at, b""
    if length > 125:  # the real length follows, and must use the fewest bytes possible
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
    """Return the bytes of a server's messages, each in one unmasked frame."""
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


def frame_of_client(frame: Frame) -> bytes:
    """Return the bytes of a client's message, in one frame whose mask is zero."""
    plain = frames_of_server([frame])
    width, _ = EXTENDED.get(plain[1], (0, 0))
    return plain[:1] + bytes((plain[1] | MASKED,)) + plain[2 : 2 + width] + bytes(4) + plain[2 + width :]


class FrameCache:
    """Converts a server's messages to WebSocket frames. All receivers of a broadcast reuse the newest result."""

    def __init__(self) -> None:
        self._messages: tuple[Frame, ...] = ()
        self._framed = b""

    def frame(self, messages: Sequence[Frame]) -> bytes:
        """Return these messages as bytes for the wire."""
        same = tuple(messages)
        if same != self._messages:
            self._messages, self._framed = same, frames_of_server(messages)
        return self._framed


def fragments_pace(limits: Limits) -> Pace:
    """Return the pace of one connection's fragments and control frames."""
    return Pace(limits.fragments_per_second, limits.fragments_burst)


# The valid close codes (RFC 6455 section 7.4, and IANA's list). trio-websocket handles any other code.
CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
NO_CODE = 1005


def read_close(payload: bytes) -> tuple[int, str] | None:
    """Return the code and the reason of a close frame; None if the payload is invalid (RFC 6455 section 5.5.1)."""
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
    """Cut a reason to the length that fits into a close frame."""
    return reason.encode()[:120].decode(errors="ignore")


def close_frame(payload: bytes) -> bytes:
    """Return a close frame of a server."""
    return bytes((CLOSE, len(payload))) + payload


def is_close(data: bytes | bytearray | memoryview) -> bool:
    """True if these bytes begin with a close frame."""
    return data[0] == CLOSE


def close_payload(code: int, reason: str) -> bytes:
    """Return the payload of a close frame. The reason is cut after 120 bytes (RFC 6455 section 5.5 allows 123)."""
    return code.to_bytes(2, "big") + cut_reason(reason).encode()


class Unusual:
    """Checks the bytes of one connection that are passed to trio-websocket.

    The first bytes begin with a frame. Later calls may continue in the middle of a frame.

    Args:
      pace: the pace of fragments and control frames.
    """

    def __init__(self, pace: Pace) -> None:
        self.closed: bool = False
        """True once a close frame of the peer has begun."""
        self._pace = pace
        self._unmade = 0
        """The number of bytes of fragments that do not form a whole message yet."""
        self._kind, self._cut_head, self._payload_left = CONTINUED, b"", 0
        """The last frame: its first byte, its head if incomplete, and the number of missing payload bytes."""

    @property
    def at_end(self) -> bool:
        """True once the close frame of the peer is complete."""
        return self.closed and not (self._payload_left or self._cut_head)

    def check(self, data: bytes | bytearray, max_bytes: int, now: float) -> tuple[Code | None, int]:
        """Check the next bytes.

        Returns: a code and a number of bytes. The code is `Code.FLOODING` if the pace does not allow a fragment or
          control frame, `Code.TOO_LARGE` if a message announces more than `max_bytes`, and otherwise None. The number
          counts the bytes of `data` before the refused frame, or all bytes if no frame is refused.
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
        """Count `size` bytes of a frame's payload. `ends` is True if these bytes complete the frame."""
        if not self._kind & CONTROL_BIT:
            self._unmade = 0 if ends and self._kind in (TEXT, BINARY, CONTINUED) else self._unmade + size
