"""Responses that routes and the server itself give."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import attrs

from ...codes import Code
from ...errors import Refused
from .http import Response
from .served import TransportOver
from .transport import CODE


def json_response(plain: Any, *, status: int = 200) -> Response:
    """A response of plain data as JSON."""
    return Response(status, json.dumps(plain, allow_nan=False).encode(), "application/json")


def redirect(location: str) -> Response:
    """Send the browser elsewhere; it asks again each time (302)."""
    return Response(302, headers={"location": quote(location, safe="/:?#[]@!$&'()*+,;=%")})


def error_response(status: int, code: str, message: str) -> Response:
    """A refusal that a program and a person can both read."""
    return json_response({"code": code, "message": message}, status=status)


def refusal_response(status: int, code: Code, message: str) -> Response:
    """A refusal with one of the codes of the wire: its number in a header, for clients, and its name in the body."""
    response = error_response(status, code.name.lower(), message)
    return attrs.evolve(response, headers={CODE: str(code.value)})


def transport_over_response(over: TransportOver) -> Response:
    """The refusal of a request of an HTTP transport that has ended or never was."""
    return refusal_response(410, over.code, "there is no such transport any more")


def crowded_response(refused: Refused) -> Response:
    """A refusal for want of space or time: come back later."""
    response = refusal_response(503, refused.code, str(refused))
    return attrs.evolve(response, headers={**response.headers, "retry-after": "1"})
