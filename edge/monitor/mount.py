"""Puts the dashboard and the metrics into an app, closed to strangers."""

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
from ..server.static import STRICT_HEADERS
from ..transports.http.http import Request, Response
from ..transports.http.responses import error_response, json_response
from .dashboard import CLAIM, Dashboard, answer_others
from .metrics import CONTENT_TYPE, Metrics

KIND = "edge-monitor"
PREFIX = "/edge-monitor"
MIN_TOKEN_BYTES = 16
# The environment's variable with the token, where the app does not say.
VARIABLE = "EDGE_MONITOR_TOKEN"
# How long an operator may stay away and come back without the token.
KEY_SECONDS = 12 * 3600.0


def mount(app: App, *, token: str | None = None) -> str:
    """Give an app a dashboard at ``/edge-monitor/`` and metrics for Prometheus at ``/metrics``.

    Strangers get neither. The dashboard asks for the token, and gives a key in return with which to come in for twelve
    hours, or until the token is another; so does a key of the app's `Keys` with the claim ``{"edge-monitor": true}``,
    which your own code may issue. Prometheus sends the token as ``Authorization: Bearer``.

    Args:
      token: at least 16 bytes; by default ``EDGE_MONITOR_TOKEN`` of the environment, or else a new one, which is
        printed to the terminal.

    Returns: the token.

    Raises:
      ValueError: there is no token and no terminal to print one to; a token that could be guessed; or a path that is
        taken.
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
            return error_response(401, "token", "this is not the token")
        session = f"operator:{secrets.token_urlsafe(12)}"
        key = app.keys.issue(session, name="operator", claims={CLAIM: mark}, lifetime=KEY_SECONDS)
        response = json_response({"key": key})
        return Response(200, response.body, response.content_type, {"cache-control": "no-store"})

    async def show_metrics(request: Request) -> Response:
        session = app.session(request)
        if not is_token(bearer(request)) and not (session is not None and is_operator(session)):
            return error_response(401, "token", "the token of the monitor is needed")
        return Response(200, metrics.page(), CONTENT_TYPE, {"cache-control": "no-store"})

    make = partial(Dashboard, lambda: app.directory, lambda: site_of(app).node, is_operator=is_operator)
    dashboard = App({KIND: make}, static={"/": Path(__file__).parent / "web"}, static_headers=STRICT_HEADERS)
    dashboard.route("/enter", methods=("POST",))(enter)
    app.route("/metrics")(show_metrics)
    app.include(PREFIX, dashboard)
    answer_others(app)
    return token


def _make_token() -> str:
    """A new token, printed where a person sees it and no log keeps it; and left to the workers of this app."""
    if not sys.stdout.isatty():
        raise ValueError(f"there is no terminal to print a token of the monitor to: give it one, or set {VARIABLE}")
    token = os.environ[VARIABLE] = secrets.token_urlsafe(24)
    print(f"edge: the token of {PREFIX}/ and /metrics is {token}", flush=True)
    return token
