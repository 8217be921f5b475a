"""Records: the encoding of frames in the bodies of HTTP requests and responses, for streams and polls.

A body is a sequence of records. Each record begins with a letter, a decimal number and a line feed. After
``t12`` follow the twelve bytes of a text frame, after ``b12`` those of a binary frame. ``c4221`` means that the sender
has closed the transport with the code 4221. ``k0`` is an empty record, which only a server sends, at the start of a
stream. A body may end anywhere; its complete records are valid.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from ..codes import Code
from ..errors import RemoteProtocolError
from .codec import Frame

NOTHING = b"k0\n"

# The maximum number of bytes of a record's head, including the line feed.
MAX_HEAD_BYTES = 16


@attrs.frozen
class Closed:
    """A record which says that the sender has closed the transport, with a code."""

    code: int


def record(item: Frame | Closed) -> bytes:
    """Encode a frame or a close as a record."""
    if isinstance(item, Closed):
        return b"c%d\n" % item.code
    payload = item.encode() if isinstance(item, str) else item
    return b"%s%d\n" % (b"t" if isinstance(item, str) else b"b", len(payload)) + payload


class Records:
    """A parser of records, for a body that arrives in parts.

    Args:
      max_bytes: the largest frame that is accepted.
      kinds: the letters of the records that are accepted.
    """

    def __init__(self, max_bytes: int, *, kinds: bytes = b"tbck") -> None:
        self.max_bytes = max_bytes
        self._kinds = kinds
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame | Closed]:
        """Add the next part of the body, and yield the records that are complete.

        Raises:
          RemoteProtocolError: the data is not a record, or a frame is too large.
        """
        self._buffer += data
        start = 0
        try:
            while (end := self._buffer.find(b"\n", start, start + MAX_HEAD_BYTES)) >= 0:
                kind, number = self._head(start, end)
                length = number if kind in "tb" else 0
                if len(self._buffer) < end + 1 + length:
                    return
                payload = bytes(self._buffer[end + 1 : end + 1 + length])
                start = end + 1 + length
                if kind == "c":
                    yield Closed(number)
                elif kind != "k":
                    yield _text(payload) if kind == "t" else payload
            if len(self._buffer) - start >= MAX_HEAD_BYTES:
                raise RemoteProtocolError("the body contains data that is not a record")
        finally:
            del self._buffer[:start]

    def _head(self, start: int, end: int) -> tuple[str, int]:
        head = bytes(self._buffer[start:end])
        kind, digits = head[:1], head[1:]
        if not kind or kind not in self._kinds or not digits.isdigit():
            raise RemoteProtocolError("the body contains data that is not a record")
        if kind in b"tb" and int(digits) > self.max_bytes:
            raise RemoteProtocolError(f"a frame of {int(digits)} bytes is too large", Code.TOO_LARGE)
        return kind.decode(), int(digits)


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("a text frame is not valid UTF-8") from None
