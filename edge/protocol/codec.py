"""Frames to plain data and back: JSON in text frames, MessagePack in binary frames.

orjson reads JSON. It refuses what the standard library lets through (NaN, Infinity, lone surrogates, truncated input),
and takes the same time for every number: msgspec takes 9 µs for one like 1e308, so 64 KiB of them cost 90 ms. msgspec
writes JSON, and finds the name of a frame whose body is not read.

ormsgpack refuses every map key that is not text before it builds the dict. Other decoders accept arrays as keys, as
tuples, whose hashes the sender can choose: 64 KiB of equal hashes cost a third of a second.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import ormsgpack

from ..errors import InvalidEvent
from .field_types import MAX_INTEGER

Frame = str | bytes


class Codec(abc.ABC):
    """One encoding of frames. Stateless, so one object serves every connection."""

    name: str
    """What follows ``edge.1.`` in the WebSocket sub-protocol."""

    @abc.abstractmethod
    def encode(self, plain: Any) -> Frame:
        """Lists, dicts, text, numbers and bytes as one frame."""

    def decode(self, frame: Frame) -> Any:
        """One frame as plain data.

        Raises:
          InvalidEvent: the frame is of the wrong kind, is not this encoding, or nests too deeply to read.
        """
        try:
            return self._decode(frame)
        except (TypeError, ValueError) as exc:
            if any(words in str(exc) for words in TOO_DEEP):
                raise InvalidEvent("too_deep", "nested too deeply to read") from None
            raise InvalidEvent("malformed", f"not readable as {self.name}: {exc}") from None

    def peek(self, frame: Frame) -> tuple[str, int | None]:
        """The name and the request number of a frame whose body will not be read, where they can be read."""
        try:
            envelope = self._peek(frame)
        except (msgspec.DecodeError, RecursionError, TypeError, ValueError):
            return "", None
        return envelope.name, self._peek_id(envelope.id)

    @abc.abstractmethod
    def _peek(self, frame: Frame) -> _Envelope: ...

    @abc.abstractmethod
    def _peek_id(self, raw: msgspec.Raw) -> int | None: ...

    @abc.abstractmethod
    def _decode(self, frame: Frame) -> Any: ...


class _Envelope(msgspec.Struct, array_like=True):
    """A frame whose body and number are left as bytes."""

    name: str
    body: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()


# Parts of the errors of orjson and ormsgpack for a frame that nests deeper than about a thousand levels.
TOO_DEEP = ("depth limit exceeded", "Recursion limit reached")
_encode_json = msgspec.json.Encoder().encode
_decode_json_id = msgspec.json.Decoder(int).decode
_decode_packed_id = msgspec.msgpack.Decoder(int).decode

# ormsgpack ignores bytes after the first value of a frame. A frame is therefore read as the first of two values, the
# second being this mark: if the frame holds more than one value, the second value is not the mark.
_PAIR, _MARK = b"\x92", b"the end of the frame"
_PACKED_MARK = ormsgpack.packb(_MARK)


class _Json(Codec):
    """JSON, in text frames."""

    name = "json"

    def encode(self, plain: Any) -> str:
        return _encode_json(plain).decode()

    def _decode(self, frame: Frame) -> Any:
        if type(frame) is not str:
            raise ValueError("expected a text frame")
        return orjson.loads(frame)

    def _peek(self, frame: Frame) -> _Envelope:
        return msgspec.json.decode(frame, type=_Envelope)

    def _peek_id(self, raw: msgspec.Raw) -> int | None:
        return _number(_decode_json_id, raw)


class _MessagePack(Codec):
    """MessagePack, in binary frames."""

    name = "msgpack"

    def encode(self, plain: Any) -> bytes:
        return ormsgpack.packb(plain, default=_as_list)

    def _decode(self, frame: Frame) -> Any:
        if not isinstance(frame, bytes):
            raise ValueError("expected a binary frame")
        plain, mark = ormsgpack.unpackb(_PAIR + frame + _PACKED_MARK)
        if mark != _MARK:
            raise ValueError("more than one value")
        return plain

    def _peek(self, frame: Frame) -> _Envelope:
        if not isinstance(frame, bytes):
            raise ValueError("expected a binary frame")
        return msgspec.msgpack.decode(frame, type=_Envelope)

    def _peek_id(self, raw: msgspec.Raw) -> int | None:
        return _number(_decode_packed_id, raw)


def _number(decode: Callable[[msgspec.Raw], int], raw: msgspec.Raw) -> int | None:
    """The number of a request, if there is one and it can be one."""
    try:
        number = decode(raw)
    except msgspec.DecodeError:
        return None
    return number if 0 <= number <= MAX_INTEGER else None


def _as_list(value: object) -> list[Any]:
    """Sets travel as arrays."""
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} can't be encoded")


JSON: Codec = _Json()
MESSAGEPACK: Codec = _MessagePack()

VERSION = 1
SUBPROTOCOLS = {f"edge.{VERSION}.{codec.name}": codec for codec in (JSON, MESSAGEPACK)}
"""The WebSocket sub-protocols spoken here, best first."""
