"""Check the requests of HTTP transports. The checks need only a request, not its transport."""

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

# The name that a client chooses for its HTTP transport. The name is long, because any client that knows the name can
# send on the transport.
NAME = re.compile(r"[A-Za-z0-9_-]{16,64}")
# The bytes that a body may have in addition to the largest frame: for the heads that `Records` puts before frames.
HEADS_BYTES = 64


def opens(request: Request) -> bool:
    """True if a request may open an HTTP transport, because its client has sent and received no frames on it."""
    return number_in(request.headers, HAS) == 0 and (request.method != "POST" or number_in(request.headers, FIRST) == 0)


def check_opening(request: Request, limits: Limits) -> None:
    """Check that a POST request that opens an HTTP transport begins with a hello.

    Raises:
      RemoteProtocolError: the first record of the body is not a hello.
    """
    first = next(Records(limits.opening_bytes, kinds=CLIENTS_KINDS).feed(request.body), None)
    if not isinstance(first, str | bytes):
        raise RemoteProtocolError("the first frame of an HTTP transport must be a hello")
    connection = Connection(Side.SERVER, codec_of(request), now=0, limits=limits)
    if not isinstance(connection.receive(first, now=0), Hello):
        raise RemoteProtocolError("the first frame of an HTTP transport must be a hello")


def max_body(limits: Limits) -> int:
    """Return the size of the largest request body of an open HTTP transport, in bytes."""
    return max(POST_BYTES, limits.socket_bytes) + HEADS_BYTES


def codec_of(request: Request) -> Codec:
    """Return the codec of a request's connection.

    Raises:
      RemoteProtocolError: the request has no sub-protocol that this server supports.
    """
    codec = SUBPROTOCOLS.get(request.headers.get(PROTOCOL, ""))
    if codec is None:
        raise RemoteProtocolError(f"this server supports: {', '.join(SUBPROTOCOLS)}", Code.VERSION)
    return codec


def number_in(headers: Mapping[str, str], name: str) -> int:
    """Return the number in the header with this name.

    Raises:
      RemoteProtocolError: the header is missing, or is not a number.
    """
    text = headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise RemoteProtocolError(f"the header {name} must be a number of at most 15 digits")
    return int(text)


def mode_of(request: Request) -> Mode:
    """Return the mode that a GET request asks for.

    Raises:
      RemoteProtocolError: the request has no valid mode.
    """
    try:
        return Mode(request.headers.get(MODE, ""))
    except ValueError:
        raise RemoteProtocolError(f"{MODE} must be one of {', '.join(Mode)}") from None
