"""Codecs convert between frames and plain data: JSON in text frames, MessagePack in binary frames.

orjson reads JSON. It rejects input that the standard library accepts: NaN, Infinity and lone surrogates. orjson takes
the same time for every number. msgspec would take 9 µs for a number like 1e308, or 90 ms for 64 KiB of such numbers.
Therefore, msgspec only writes JSON, and reads the name of a frame without decoding the body.

ormsgpack rejects a map key that is not text before it builds the dict. Other decoders accept arrays as keys, and turn
them into tuples. A sender can choose tuples with equal hashes, and 64 KiB of such keys cost a third of a second.
"""

from __future__ import annotations

import abc
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import ormsgpack

from ..errors import InvalidEvent
from .field_types import MAX_INTEGER

Frame = str | bytes


def size_of(frame: Frame) -> int:
    """Return the size of a frame on the wire, in bytes."""
    return len(frame) if type(frame) is bytes or frame.isascii() else len(frame.encode())  # type: ignore[union-attr]


class Codec(abc.ABC):
    """An encoding of frames. A codec is stateless, so one object serves every connection."""

    name: str
    """The last part of the name of the WebSocket sub-protocol, after ``edge.1.``."""

    @abc.abstractmethod
    def encode(self, plain: Any) -> Frame:
        """Encode lists, dicts, text, numbers and bytes as one frame."""

    @abc.abstractmethod
    def decode(self, frame: Frame) -> Any:
        """Decode one frame into plain data.

        Raises:
          InvalidEvent: the frame has the wrong type, is not valid in this encoding, or nests too deeply.
        """

    def _problem(self, exc: Exception) -> InvalidEvent:
        """Return the error for a frame that a decoder has rejected."""
        if any(words in str(exc) for words in TOO_DEEP):
            return InvalidEvent("too_deep", "the frame is nested too deeply")
        return InvalidEvent("malformed", f"the frame is not valid {self.name}: {exc}")

    def peek(self, frame: Frame) -> tuple[str, int | None]:
        """Return the name and the request number of a frame without decoding its body.

        Returns: the name, empty if it is unreadable; and the number, None if it is missing or unreadable.
        """
        try:
            envelope = self._peek(frame)
        except (msgspec.DecodeError, RecursionError, TypeError, ValueError):
            return self._peek_around(frame)
        return envelope.name, self._peek_id(envelope.id)

    @abc.abstractmethod
    def _peek(self, frame: Frame) -> _Envelope: ...

    @abc.abstractmethod
    def _peek_id(self, raw: msgspec.Raw) -> int | None: ...

    @abc.abstractmethod
    def _peek_around(self, frame: Frame) -> tuple[str, int | None]:
        """Peek into a frame. The decoder can't skip its body, which nests too deeply or is not valid."""


class _Envelope(msgspec.Struct, array_like=True):
    """A frame whose body and request number stay encoded."""

    name: str
    body: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()


# Parts of the error messages of orjson and ormsgpack for a frame that nests deeper than about a thousand levels.
TOO_DEEP = ("depth limit exceeded", "Recursion limit reached")
_encode_json = msgspec.json.Encoder().encode
_decode_json_id = msgspec.json.Decoder(int).decode
_decode_packed_id = msgspec.msgpack.Decoder(int).decode

# ormsgpack ignores bytes after the first value of a frame. Therefore a frame is decoded as the first item of an array
# of two, and this mark is added after it. If the frame holds more than one value, the second item is not the mark.
_PAIR, _MARK = b"\x92", b"the end of the frame"
_PACKED_MARK = ormsgpack.packb(_MARK)


# `_HEAD` and `_TAIL` match the parts of a JSON frame before and after its body. `_STRING` matches strings, which have
# to be removed before the brackets around the body are counted.
_HEAD = re.compile(r'\s*\[\s*("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*,', re.DOTALL)
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_TAIL = re.compile(r",\s*([0-9]{1,16})\s*(?:,\s*[0-9.eE+-]{1,32}\s*)?\]\s*\Z")
_TAIL_CHARACTERS = 80


class _Json(Codec):
    """The codec for JSON in text frames."""

    name = "json"

    def encode(self, plain: Any) -> str:
        return _encode_json(plain).decode()

    def decode(self, frame: Frame) -> Any:
        try:
            if type(frame) is not str:
                raise ValueError("expected a text frame, because this connection uses JSON")
            return orjson.loads(frame)
        except (TypeError, ValueError) as exc:
            raise self._problem(exc) from None

    def _peek(self, frame: Frame) -> _Envelope:
        return msgspec.json.decode(frame, type=_Envelope)

    def _peek_id(self, raw: msgspec.Raw) -> int | None:
        return _number(_decode_json_id, raw)

    def _peek_around(self, frame: Frame) -> tuple[str, int | None]:
        head = _HEAD.match(frame) if isinstance(frame, str) else None
        if head is None:
            return "", None
        try:
            name = str(json.loads(head[1])).encode(errors="replace").decode()
        except ValueError:
            return "", None
        bare = _STRING.sub("", head.string)
        tail = _TAIL.search(bare, max(0, len(bare) - _TAIL_CHARACTERS))
        if tail is None:
            return name, None
        before = bare[: tail.start()]
        depth = before.count("[") + before.count("{") - before.count("]") - before.count("}")
        return name, int(tail[1]) if depth == 1 and int(tail[1]) <= MAX_INTEGER else None


class _MessagePack(Codec):
    """The codec for MessagePack in binary frames."""

    name = "msgpack"

    def encode(self, plain: Any) -> bytes:
        return ormsgpack.packb(plain, default=_as_list)

    def decode(self, frame: Frame) -> Any:
        try:
            if not isinstance(frame, bytes):
                raise ValueError("expected a binary frame, because this connection uses MessagePack")
            plain, mark = ormsgpack.unpackb(_PAIR + frame + _PACKED_MARK)
            if mark != _MARK:
                raise ValueError("the frame holds more than one value")
            return plain
        except (TypeError, ValueError) as exc:
            raise self._problem(exc) from None

    def _peek(self, frame: Frame) -> _Envelope:
        if not isinstance(frame, bytes):
            raise ValueError("expected a binary frame")
        return msgspec.msgpack.decode(frame, type=_Envelope)

    def _peek_id(self, raw: msgspec.Raw) -> int | None:
        return _number(_decode_packed_id, raw)

    def _peek_around(self, frame: Frame) -> tuple[str, int | None]:
        if not isinstance(frame, bytes) or frame[:1] not in (b"\x92", b"\x93", b"\x94"):
            return "", None
        try:
            body = _skip(frame, 1)
        except IndexError:
            return "", None
        sign = frame[1]
        head = 1 if 0xA0 <= sign < 0xC0 else {0xD9: 2, 0xDA: 3, 0xDB: 5}.get(sign)
        if head is None:
            return "", None
        name = frame[1 + head : body].decode(errors="replace")
        try:
            after = _skip(frame, body)
            id = msgspec.Raw(frame[after : _skip(frame, after)])
        except IndexError:
            return name, None
        return name, self._peek_id(id)


def _skip(frame: bytes, at: int) -> int:
    """Return the index after the MessagePack value that begins at `at`. The value may nest to any depth.

    Raises:
      IndexError: the frame ends before the value.
    """
    values = 1
    while values:
        sign, values, at = frame[at], values - 1, at + 1
        if sign < 0x80 or sign >= 0xE0 or 0xC0 <= sign <= 0xC3:  # small integers, nil, true, false
            continue
        if sign < 0xC0:  # the first byte of a small map, array or string contains the size
            values += (2 * (sign & 15), sign & 15, 0, 0)[(sign >> 4) - 8]
            at += sign & 31 if sign >= 0xA0 else 0
            continue
        fixed, width = _PACKED[sign]
        size = int.from_bytes(frame[at : at + width], "big") if width else 0
        at += width + fixed
        if sign >= 0xDC:
            values += size * (2 if sign >= 0xDE else 1)
        else:
            at += size
        if at > len(frame) or values > len(frame):
            raise IndexError
    return at


# For each first byte of a value, from 0xc4 on: the number of the following bytes of a fixed length, and the number of
# bytes that contain the size of the content after them.
_PACKED = dict(
    zip(
        range(0xC4, 0xE0),
        [
            *((0, 1), (0, 2), (0, 4)),  # bytes
            *((1, 1), (1, 2), (1, 4)),  # extensions
            *((4, 0), (8, 0)),  # floats
            *((1, 0), (2, 0), (4, 0), (8, 0)) * 2,  # unsigned and signed integers
            *((2, 0), (3, 0), (5, 0), (9, 0), (17, 0)),  # extensions of a fixed size
            *((0, 1), (0, 2), (0, 4)),  # text
            *((0, 2), (0, 4)) * 2,  # arrays and maps
        ],
        strict=True,
    )
)


def _number(decode: Callable[[msgspec.Raw], int], raw: msgspec.Raw) -> int | None:
    """Return a request number, or None if the value is missing or invalid."""
    try:
        number = decode(raw)
    except msgspec.DecodeError:
        return None
    return number if 0 <= number <= MAX_INTEGER else None


def _as_list(value: object) -> list[Any]:
    """Convert a set to a list. ormsgpack calls this function for values that it can't encode."""
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} can't be encoded")


JSON: Codec = _Json()
MESSAGEPACK: Codec = _MessagePack()

VERSION = 1
SUBPROTOCOLS = {f"edge.{VERSION}.{codec.name}": codec for codec in (JSON, MESSAGEPACK)}
"""The supported WebSocket sub-protocols, the preferred one first."""
