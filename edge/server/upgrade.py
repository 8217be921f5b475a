"""Requests that ask for a WebSocket (RFC 6455 section 4.2)."""

from __future__ import annotations

import base64

import attrs

from ..protocol.codec import SUBPROTOCOLS
from ..transports.http.http import Request, tokens_of


@attrs.frozen
class Upgrade:
    """A WebSocket that is granted."""

    granting: bytes
    """The response that grants it, which is to be written first."""
    ahead: bytes
    """The bytes that the client has sent after its request."""
    subprotocol: str
    kind: str
    name: str
    address: str


def agreed_subprotocol(request: Request) -> str | None:
    """The first sub-protocol of the client's that is spoken here; None if there is none."""
    offered = [each.strip() for each in request.headers.get("sec-websocket-protocol", "").split(",")]
    return next((each for each in offered if each in SUBPROTOCOLS), None)


def is_websocket(request: Request) -> bool:
    """True if a request is a WebSocket handshake, of whatever version."""
    try:
        nonce = base64.b64decode(request.headers.get("sec-websocket-key", ""), validate=True)
    except ValueError:  # binascii.Error is one; so is what is not ASCII
        return False
    return (
        request.method == "GET"
        and request.headers.get("content-length", "0") == "0"
        and "transfer-encoding" not in request.headers
        and len(nonce) == 16
        and "upgrade" in tokens_of(request.headers.get("connection", ""))
    )
