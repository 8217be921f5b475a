"""Frames in the bodies of HTTP requests and responses: what a stream and a poll carry.

A body is a run of records, each a letter, a number in decimal and a line feed: ``t12`` and ``b12`` are followed by the
twelve bytes of a text or binary frame, ``c4221`` says that its sender has closed with this code. ``k0`` says nothing;
only a server sends it, at the start of a stream. A body may break off anywhere; what is whole counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from ..codes import Code
from ..errors import RemoteProtocolError
from .codec import Frame

NOTHING = b"k0\n"

# No head of a record is longer.
MAX_HEAD_BYTES = 16


@attrs.frozen
class Closed:
    """The sender has closed."""

    code: int


def record(item: Frame | Closed) -> bytes:
    """One record."""
    if isinstance(item, Closed):
        return b"c%d\n" % item.code
    payload = item.encode() if isinstance(item, str) else item
    return b"%s%d\n" % (b"t" if isinstance(item, str) else b"b", len(payload)) + payload


class Records:
    """Reads records from pieces of a body.

    Args:
      max_bytes: the largest frame there may be.
      kinds: the letters of the records that there may be.
    """

    def __init__(self, max_bytes: int, *, kinds: bytes = b"tbck") -> None:
        self.max_bytes = max_bytes
        self._kinds = kinds
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame | Closed]:
        """What is whole by now.

        Raises:
          RemoteProtocolError: these are no records, or one is too large.
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
                raise RemoteProtocolError("not a record")
        finally:
            del self._buffer[:start]

    def _head(self, start: int, end: int) -> tuple[str, int]:
        head = bytes(self._buffer[start:end])
        kind, digits = head[:1], head[1:]
        if not kind or kind not in self._kinds or not digits.isdigit():
            raise RemoteProtocolError("not a record")
        if kind in b"tb" and int(digits) > self.max_bytes:
            raise RemoteProtocolError(f"a frame of {int(digits)} bytes is too large", Code.TOO_LARGE)
        return kind.decode(), int(digits)


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("a text frame that is not UTF-8") from None
