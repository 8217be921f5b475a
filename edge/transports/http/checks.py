"""Checks of requests of an HTTP transport that need only the request."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...codes import Code
from ...errors import RemoteProtocolError
from ...protocol.codec import SUBPROTOCOLS, Codec
from ...protocol.connection import Connection, Side
from ...protocol.limits import Limits
from ...protocol.messages import Hello
from ...protocol.records import Records
from .http import Request
from .served import CLIENTS_KINDS
from .transport import FIRST, HAS, MODE, POST_BYTES, PROTOCOL, Mode

# What a client may call an HTTP transport: not to be guessed, for whoever knows it can speak on it.
NAME = re.compile(r"[A-Za-z0-9_-]{16,64}")
# Bytes that the heads of records may take in a body, besides its largest frame.
HEADS_BYTES = 64


def opens(request: Request) -> bool:
    """True if a request may open an HTTP transport: its client has neither heard nor said anything on it before."""
    return number_in(request.headers, HAS) == 0 and (request.method != "POST" or number_in(request.headers, FIRST) == 0)


def check_opening(request: Request, limits: Limits) -> None:
    """Check that a post which opens an HTTP transport begins with a hello.

    Raises:
      RemoteProtocolError: it does not.
    """
    first = next(Records(limits.opening_bytes, kinds=CLIENTS_KINDS).feed(request.body), None)
    if not isinstance(first, str | bytes):
        raise RemoteProtocolError("an HTTP transport begins with a hello")
    connection = Connection(Side.SERVER, codec_of(request), now=0, limits=limits)
    if not isinstance(connection.receive(first, now=0), Hello):
        raise RemoteProtocolError("an HTTP transport begins with a hello")


def max_body(limits: Limits) -> int:
    """The largest body on an open transport."""
    return max(POST_BYTES, limits.socket_bytes) + HEADS_BYTES


def codec_of(request: Request) -> Codec:
    """The codec of a request's connection.

    Raises:
      RemoteProtocolError: there is no such sub-protocol.
    """
    codec = SUBPROTOCOLS.get(request.headers.get(PROTOCOL, ""))
    if codec is None:
        raise RemoteProtocolError(f"spoken here: {', '.join(SUBPROTOCOLS)}", Code.VERSION)
    return codec


def number_in(headers: Mapping[str, str], name: str) -> int:
    """The number in a header.

    Raises:
      RemoteProtocolError: it is none.
    """
    text = headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise RemoteProtocolError(f"{name} should be a number")
    return int(text)


def mode_of(request: Request) -> Mode:
    """How a GET wants to be answered.

    Raises:
      RemoteProtocolError: it does not say.
    """
    try:
        return Mode(request.headers.get(MODE, ""))
    except ValueError:
        raise RemoteProtocolError(f"{MODE} should be one of {', '.join(Mode)}") from None
