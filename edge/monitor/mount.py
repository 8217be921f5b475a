"""Puts the dashboard and the metrics into an app, closed to strangers."""

from __future__ import annotations

import hmac
import logging
import secrets
from functools import partial
from pathlib import Path

from ..server.app import App
from ..server.responses import error_response, json_response
from ..server.sessions import bearer
from ..transports.http import Request, Response
from .dashboard import CLAIM, Dashboard, answer_others
from .metrics import CONTENT_TYPE, Metrics

log = logging.getLogger("edge.monitor")

KIND = "edge-monitor"
PREFIX = "/edge-monitor"
MIN_TOKEN_BYTES = 16
# How long an operator may stay away and come back without the token.
KEY_SECONDS = 12 * 3600.0


def mount(app: App, *, token: str | None = None) -> str:
    """Give an app a dashboard at ``/edge-monitor/`` and metrics for Prometheus at ``/metrics``.

    Strangers get neither. The dashboard asks for the token, and gives a key in return with which to come in for twelve
    hours; so does a key of the app's `Keys` with the claim ``{"edge-monitor": true}``, which your own code may issue.
    Prometheus sends the token as ``Authorization: Bearer``.

    Args:
      token: at least 16 bytes; by default a new one each time, which is logged.

    Returns: the token.

    Raises:
      ValueError: a token that could be guessed, or a path that is taken.
    """
    if token is None:
        token = secrets.token_urlsafe(24)
        log.info("the token of %s/ and /metrics is %s", PREFIX, token)
    if len(token.encode()) < MIN_TOKEN_BYTES:
        raise ValueError(f"the token of the monitor needs at least {MIN_TOKEN_BYTES} bytes")
    known = token.encode()
    metrics = Metrics(lambda: app.directory)

    def is_token(offered: str | None) -> bool:
        return hmac.compare_digest((offered or "").encode(), known)

    async def enter(request: Request) -> Response:
        if not app.allows_origin(request) or not is_token(bearer(request)):
            return error_response(401, "token", "this is not the token")
        session = f"operator:{secrets.token_urlsafe(12)}"
        key = app.keys.issue(session, name="operator", claims={CLAIM: True}, lifetime=KEY_SECONDS)
        response = json_response({"key": key})
        return Response(200, response.body, response.content_type, {"cache-control": "no-store"})

    async def show_metrics(request: Request) -> Response:
        session = app.session(request)
        if not is_token(bearer(request)) and not (session is not None and session.claims.get(CLAIM) is True):
            return error_response(401, "token", "the token of the monitor is needed")
        return Response(200, metrics.page(), CONTENT_TYPE, {"cache-control": "no-store"})

    make = partial(Dashboard, lambda: app.directory, lambda: app.node)
    dashboard = App({KIND: make}, static={"/": Path(__file__).parent / "web"})
    dashboard.route("/enter", methods=("POST",))(enter)
    app.route("/metrics")(show_metrics)
    app.include(PREFIX, dashboard)
    answer_others(app)
    return token
