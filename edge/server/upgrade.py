"""Check WebSocket handshake requests (RFC 6455 section 4.2)."""

from __future__ import annotations

import base64

import attrs

from ..protocol.codec import SUBPROTOCOLS
from ..transports.http.http import Request, tokens_of


@attrs.frozen
class Upgrade:
    """An accepted WebSocket handshake, and the room that it is for."""

    granting: bytes
    """The handshake response, which must be written before any frame."""
    ahead: bytes
    """The bytes that the client sent after the handshake request."""
    subprotocol: str
    kind: str
    name: str
    address: str
    place: str | None
    """The peer whose place the connection takes until it ends, see `ConnectionLimiter.add_place`; None if a proxy has
    not forwarded the request."""


def agreed_subprotocol(request: Request) -> str | None:
    """Return the first sub-protocol of the client's list that edge supports; None if it supports none of them."""
    offered = [each.strip() for each in request.headers.get("sec-websocket-protocol", "").split(",")]
    return next((each for each in offered if each in SUBPROTOCOLS), None)


def is_websocket(request: Request) -> bool:
    """Return true if a request is a WebSocket handshake of any version. The caller checks the header `Upgrade`."""
    try:
        nonce = base64.b64decode(request.headers.get("sec-websocket-key", ""), validate=True)
    except ValueError:  # also binascii.Error, and the error for a key that is not ASCII
        return False
    return (
        request.method == "GET"
        and request.headers.get("content-length", "0") == "0"
        and "transfer-encoding" not in request.headers
        and len(nonce) == 16
        and "upgrade" in tokens_of(request.headers.get("connection", ""))
    )
