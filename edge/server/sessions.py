"""Session keys over HTTP: who sent a request, and the one request that gives a page its key."""

from __future__ import annotations

import secrets

from ..codes import Code
from ..errors import Refused
from ..rooms.session import Session
from ..sessions.keys import Keys
from ..transports.http import Request, Response
from .responses import json_response, refusal_response

COOKIE = "edge_session"
# Whether the session is the "browser"'s, kept in a cookie, or a "tab"'s, which keeps its key itself. No page of another
# site can send this header unless it is allowed to; a form never can.
CUSTOM = "edge-session"
# How many random bytes name the session of somebody unknown.
ID_BYTES = 16


def bearer(request: Request) -> str | None:
    """What came with a request in ``Authorization: Bearer``."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def session_of(request: Request, keys: Keys, *, guests: bool) -> Session | None:
    """Who sent a request; None if it has no key, or one that is not honoured."""
    try:
        return keys.check(bearer(request) or request.cookies.get(COOKIE), guests=guests)
    except Refused:
        return None


def give_key(request: Request, keys: Keys, *, guests: bool) -> Response:
    """Answer ``POST /session``: the key of whoever asks, a new one of the same session once half its time is over.

    Somebody unknown becomes a new session, where guests may come. A browser keeps the key in a cookie, so that the next
    page has the same session.
    """
    if CUSTOM not in request.headers:
        return refusal_response(403, Code.FOREIGN_ORIGIN, f"a page has to send the header {CUSTOM}")
    by_cookie = request.headers[CUSTOM] != "tab"
    borne = bearer(request)
    before = key = borne or (request.cookies.get(COOKIE) if by_cookie else None)
    try:
        key = keys.renew(key, guests=guests) if key else None
    except Refused as refused:
        if borne or not guests or refused.code is Code.REVOKED:
            return refusal_response(401, refused.code, str(refused))
        key = None  # an old cookie: begin anew
    if key is None and not guests:
        return refusal_response(401, Code.KEY_INVALID, "a key is needed")
    if key is None:
        key = keys.issue(secrets.token_urlsafe(ID_BYTES), guest=True)
    response = json_response({"key": key})
    cookie = f"{COOKIE}={key}; Path=/; Max-Age={keys.lifetime:.0f}; HttpOnly; SameSite=Lax"
    if request.headers.get("origin", "").startswith("https://"):
        cookie += "; Secure"
    more = (("set-cookie", cookie),) if by_cookie and key != before else ()
    return Response(200, response.body, response.content_type, {"cache-control": "no-store"}, more)
