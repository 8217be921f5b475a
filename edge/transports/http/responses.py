"""Make the HTTP responses of the server and of an app's routes."""

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
    """Return a response whose body is plain data as JSON."""
    return Response(status, json.dumps(plain, allow_nan=False).encode(), "application/json")


def redirect(location: str) -> Response:
    """Return a redirect that browsers do not cache (302)."""
    return Response(302, headers={"location": quote(location, safe="/:?#[]@!$&'()*+,;=%")})


def error_response(status: int, code: str, message: str) -> Response:
    """Return a refusal as JSON, with a code for programs and a message for people."""
    return json_response({"code": code, "message": message}, status=status)


def refusal_response(status: int, code: Code, message: str) -> Response:
    """Return a refusal with a `Code`. The number of the code is in a header, for clients. Its name is in the body."""
    response = error_response(status, code.name.lower(), message)
    return attrs.evolve(response, headers={CODE: str(code.value)})


def transport_over_response(over: TransportOver) -> Response:
    """Return the refusal of a request whose HTTP transport has ended, or never existed."""
    return refusal_response(410, over.code, "this HTTP transport has ended, or never existed")


def crowded_response(refused: Refused) -> Response:
    """Return the refusal of an overloaded server, which asks the client to try again after a second."""
    response = refusal_response(503, refused.code, str(refused))
    return attrs.evolve(response, headers={**response.headers, "retry-after": "1"})
