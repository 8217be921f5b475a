"""Adds the dashboard and the metrics to an app, protected by a token."""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import sys
from functools import partial
from pathlib import Path

from ..rooms.session import Session
from ..server.app import App, site_of
from ..server.sessions import bearer
from ..server.static import STRICT_HEADERS, StaticFolder
from ..transports.http.http import Request, Response
from ..transports.http.responses import error_response, json_response
from .dashboard import CLAIM, Dashboard, answer_others
from .metrics import CONTENT_TYPE, Metrics

KIND = "edge-monitor"
PREFIX = "/edge-monitor"
MIN_TOKEN_BYTES = 16
# The environment variable from which `mount` takes the token if the app passes none.
VARIABLE = "EDGE_MONITOR_TOKEN"
# The lifetime of an operator's key, in seconds. When it expires, the dashboard asks for the token again.
KEY_SECONDS = 12 * 3600.0


def mount(app: App, *, token: str | None = None) -> str:
    """Add a dashboard at ``/edge-monitor/`` and metrics for Prometheus at ``/metrics`` to an app.

    The dashboard and the metrics need authorization. The dashboard asks for the token, and issues a key that is valid
    for twelve hours, or until the token changes. Your own code can also issue keys with the app's `Keys`: such a key
    needs the claim ``{"edge-monitor": true}``. Prometheus sends the token as ``Authorization: Bearer``.

    Args:
      token: at least 16 bytes; by default the environment variable ``EDGE_MONITOR_TOKEN``, or else a new token, which
        is printed to the terminal.

    Returns: the token.

    Raises:
      ValueError: there is no token, and no terminal to which a new token could be printed; the token is too short; or
        a path is already in use.
    """
    token = token or os.environ.get(VARIABLE) or _make_token()
    if len(token.encode()) < MIN_TOKEN_BYTES:
        raise ValueError(f"the token of the monitor needs at least {MIN_TOKEN_BYTES} bytes")
    known = token.encode()
    metrics = Metrics(lambda: app.directory)

    def is_token(offered: str | None) -> bool:
        return hmac.compare_digest((offered or "").encode(), known)

    mark = base64.urlsafe_b64encode(hmac.digest(known, b"an operator's key", "sha256")).decode()

    def is_operator(session: Session) -> bool:
        claim = session.claims.get(CLAIM)
        return not session.guest and (claim is True or claim == mark)

    async def enter(request: Request) -> Response:
        if not site_of(app).origins.allow(request) or not is_token(bearer(request)):
            return error_response(401, "token", "the token is wrong")
        session = f"operator:{secrets.token_urlsafe(12)}"
        key = app.keys.issue(session, name="operator", claims={CLAIM: mark}, lifetime=KEY_SECONDS)
        response = json_response({"key": key})
        return Response(200, response.body, response.content_type, {"cache-control": "no-store"})

    async def show_metrics(request: Request) -> Response:
        session = app.session(request)
        if not is_token(bearer(request)) and not (session is not None and is_operator(session)):
            return error_response(401, "token", "send the token of the monitor as Authorization: Bearer")
        return Response(200, metrics.page(), CONTENT_TYPE, {"cache-control": "no-store"})

    make = partial(Dashboard, lambda: app.directory, lambda: site_of(app).node, is_operator=is_operator)
    dashboard = App({KIND: make}, static={"/": StaticFolder(Path(__file__).parent / "web", headers=STRICT_HEADERS)})
    dashboard.route("/enter", methods=("POST",))(enter)
    app.route("/metrics")(show_metrics)
    app.include(PREFIX, dashboard)
    answer_others(app)
    return token


def _make_token() -> str:
    """Make a token, and print it to the terminal, not to a log. Put it into the environment, which workers inherit."""
    if not sys.stdout.isatty():
        raise ValueError(f"there is no terminal to print a monitor token to: pass a token, or set {VARIABLE}")
    token = os.environ[VARIABLE] = secrets.token_urlsafe(24)
    print(f"edge: the token of {PREFIX}/ and /metrics is {token}", flush=True)
    return token
