"""Frames to plain data and back: JSON in text frames, MessagePack in binary frames, both through msgspec.

msgspec refuses what the standard library lets through: NaN, Infinity, lone surrogates, truncated input.
"""

from __future__ import annotations

import abc
from typing import Any

import msgspec

from ..errors import InvalidEvent

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
        except RecursionError:
            raise InvalidEvent("too_deep", "nested too deeply to read") from None
        except (msgspec.DecodeError, TypeError, ValueError) as exc:
            raise InvalidEvent("malformed", f"not readable as {self.name}: {exc}") from None

    def peek(self, frame: Frame) -> tuple[str, int | None]:
        """The name and the request number of a frame whose body will not be read, where they can be read."""
        try:
            envelope = self._peek(frame)
        except (msgspec.DecodeError, RecursionError, TypeError, ValueError):
            return "", None
        return envelope.name, envelope.id if type(envelope.id) is int else None

    @abc.abstractmethod
    def _peek(self, frame: Frame) -> _Envelope: ...

    @abc.abstractmethod
    def _decode(self, frame: Frame) -> Any: ...


class _Envelope(msgspec.Struct, array_like=True):
    """A frame whose body is left as bytes."""

    name: str
    body: msgspec.Raw = msgspec.Raw()
    id: Any = None


_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode


class _Json(Codec):
    """JSON, in text frames."""

    name = "json"

    def encode(self, plain: Any) -> str:
        return _encode_json(plain).decode()

    def _decode(self, frame: Frame) -> Any:
        if type(frame) is not str:
            raise ValueError("expected a text frame")
        return _decode_json(frame)

    def _peek(self, frame: Frame) -> _Envelope:
        return msgspec.json.decode(frame, type=_Envelope)


class _MessagePack(Codec):
    """MessagePack, in binary frames."""

    name = "msgpack"

    def encode(self, plain: Any) -> bytes:
        return msgspec.msgpack.encode(plain)

    def _decode(self, frame: Frame) -> Any:
        if not isinstance(frame, bytes):
            raise ValueError("expected a binary frame")
        return msgspec.msgpack.decode(frame)

    def _peek(self, frame: Frame) -> _Envelope:
        if not isinstance(frame, bytes):
            raise ValueError("expected a binary frame")
        return msgspec.msgpack.decode(frame, type=_Envelope)


JSON: Codec = _Json()
MESSAGEPACK: Codec = _MessagePack()

VERSION = 1
SUBPROTOCOLS = {f"edge.{VERSION}.{codec.name}": codec for codec in (JSON, MESSAGEPACK)}
"""The WebSocket sub-protocols spoken here, best first."""
