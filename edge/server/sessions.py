"""Session keys over HTTP: find the session of a request, set the session cookie, and answer ``POST /session``."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Protocol

import attrs

from ..aio.options import check_option
from ..codes import Code
from ..errors import Refused
from ..rooms.session import Session
from ..sessions.keys import Keys
from ..transports.http.http import Request, Response
from ..transports.http.responses import json_response, refusal_response

# The environment variable with the secret that signs keys if an app has no `Keys`.
SECRET = "EDGE_SECRET"  # noqa: S105  # a name, not a secret
# The header of `POST /session`. With "browser", the key is stored in a cookie; with "tab", the page stores the key. The
# header protects against CSRF, because a form cannot send it, and a page of another site needs the permission of CORS.
CUSTOM = "edge-session"
# The number of random bytes in the id of a new guest session.
ID_BYTES = 16

# RFC 6265bis: a browser accepts a cookie with this prefix only over TLS, for all paths, and from exactly this host.
HOST_PREFIX = "__Host-"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# The default lifetime of the cookie, in seconds. It equals the default lifetime of a key in `Keys`.
KEEP_SECONDS = 30 * 24 * 3600.0
PORT = re.compile(r":([0-9]{1,5})$")


class HasCookies(Protocol):
    """A request of edge, or a request of a mounted app, such as Starlette's."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def cookies(self) -> Mapping[str, str]: ...


def _check_name(cookie: SessionCookie, field: object, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a cookie name: use up to 64 letters, digits, '_', '.', '-', and a letter or digit first"
        )


@attrs.frozen
class SessionCookie:
    """The cookie in which a browser stores the key of its session.

    A browser sends a cookie to all ports of a host, so give each app on one host its own cookie name. If a request has
    another app's key under this name, that cookie is not changed, and this app's key is stored under the name with the
    port appended.

    Over TLS the name has the prefix ``__Host-``, so that no other host can set the cookie. A cookie without the prefix
    is read too, because a web app may have set that cookie. A key that your code issued is preferred to a guest's key.

    To log a user in or out, add the headers of `keep` or `clear` to a response of your own.

    Raises:
      ValueError: the name is not a valid cookie name.
    """

    name: str = attrs.field(default="edge_session", validator=_check_name)

    partitioned: bool = attrs.field(default=False, kw_only=True)
    """True if pages run in frames of other sites, or other sites' pages join rooms. Over TLS the cookie is then
    also sent with requests of these pages (``SameSite=None``), and a browser stores a separate cookie for each
    top-level site (``Partitioned``). If false, the cookie is ``SameSite=Lax``."""

    def _names(self, host: str) -> tuple[str, ...]:
        """Return the possible names of the cookie without the prefix; the name without a port first."""
        port = PORT.search(host)
        return (self.name,) if port is None else (self.name, f"{self.name}_{port[1]}")

    def _found(self, request: HasCookies) -> Iterator[tuple[str, str]]:
        """Iterate over the names and values of the request's cookies that may hold a key."""
        cookies = request.cookies
        for prefix in (HOST_PREFIX, ""):
            for name in self._names(request.headers.get("host", "")):
                if value := cookies.get(prefix + name):
                    yield prefix + name, value

    def keep(self, key: str, *, secure: bool, lifetime: float = KEEP_SECONDS) -> tuple[str, str]:
        """Return the response header, as name and value, that stores a key in the browser.

        Args:
          secure: True if the page was loaded over TLS.
          lifetime: the lifetime of the cookie in seconds.
        """
        return self._header(HOST_PREFIX + self.name if secure else self.name, key, secure=secure, lifetime=lifetime)

    def clear(self, request: HasCookies, *, secure: bool) -> list[tuple[str, str]]:
        """Return the response headers that delete the request's session cookies from the browser.

        This also deletes the cookie of another app with the same cookie name.
        """
        names = [name for name, _ in self._found(request)]
        return [self._header(name, "", secure=secure, lifetime=0) for name in names]

    def _free_name(self, request: Request, taken: set[str]) -> str:
        """Return the cookie name for a new key: if possible, a name that holds no key of another app."""
        prefix = HOST_PREFIX if _is_secure(request) else ""
        names = [prefix + name for name in self._names(request.headers.get("host", ""))]
        return next((name for name in names if name not in taken), names[-1])

    def _header(self, name: str, key: str, *, secure: bool, lifetime: float) -> tuple[str, str]:
        """Return the header that stores a key under a name.

        A cookie without the prefix is never partitioned, because a web app that sets this cookie itself could not
        replace a partitioned cookie.
        """
        site = "Secure; SameSite=Lax" if secure else "SameSite=Lax"
        if self.partitioned and name.startswith(HOST_PREFIX):
            site = "Secure; SameSite=None; Partitioned"
        return "set-cookie", f"{name}={key}; Path=/; Max-Age={lifetime:.0f}; HttpOnly; {site}"


def _is_secure(request: Request) -> bool:
    """Return true if the page was loaded over TLS. The page's `Origin` counts because some proxies report no scheme."""
    return request.scheme == "https" or request.headers.get("origin", "").startswith("https://")


@attrs.frozen
class _Found:
    """The session that was found in the cookies of a request, and the refusals of the other cookies."""

    name: str = ""
    key: str = attrs.field(default="", repr=False)
    session: Session | None = None
    """The session of the key; None if no key is valid."""
    refused: Refused | None = None
    """The refusal of the first invalid key."""
    revoked: Refused | None = None
    """The refusal of a revoked key."""
    foreign: frozenset[str] = frozenset()
    """The names of cookies that hold an invalid key, such as another app's."""


def bearer(request: HasCookies) -> str | None:
    """Return the key in a request's header ``Authorization: Bearer``; None if there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


class Sessions:
    """The session keys and the session cookie of an app, for `App(sessions=...)`.

    Args:
      keys: issues and checks session keys. By default, keys are signed with the environment variable ``EDGE_SECRET``.
        Without that variable, keys are signed with a random secret of this process. In that case a restart ends every
        session, and no other server accepts the keys.
      name: the audience of the default keys. Apps with the same ``EDGE_SECRET`` accept each other's keys if their names
        are equal.
      guests: true if players without a key, or with a guest's key, may join. If false, only players to whom your own
        code has issued a key may join: see `Session.guest`.
      cookie: the cookie in which a browser stores its key.

    Raises:
      TypeError: an option has the wrong type.
      ValueError: `name` was given together with `keys`.
    """

    def __init__(
        self, *, keys: Keys | None = None, name: str = "", guests: bool = True, cookie: SessionCookie | None = None
    ) -> None:
        check_option("Sessions.keys", keys, Keys, type(None), example="an instance of edge.Keys")
        check_option("Sessions.name", name, str, example="a string")
        check_option("Sessions.guests", guests, bool, example="True or False")
        check_option("Sessions.cookie", cookie, SessionCookie, type(None), example="an instance of SessionCookie")
        secret = os.environ.get(SECRET) or None
        if keys is not None and name:
            raise ValueError("name has no effect together with keys: set Keys(audience=...) instead")
        self.keys: Keys = keys or Keys(secret or secrets.token_bytes(32), audience=name)
        self.has_random_secret: bool = keys is None and secret is None
        """True if the keys are signed with a random secret of this process, so that no other server accepts them."""
        self.guests = guests
        self.cookie: SessionCookie = cookie or SessionCookie()

    def find(self, request: HasCookies) -> Session | None:
        """Return the session of a request; None without a valid key."""
        borne = bearer(request)
        if not borne:
            return self._find(request).session
        try:
            return self.keys.check(borne, guests=self.guests)
        except Refused:
            return None

    def give_key(self, request: Request, *, by_cookie: bool) -> Response:
        """Return the response to ``POST /session``, which contains the key of the page's session.

        Once half of the key's lifetime is over, the response has a new key of the same session. A client without a key
        gets a new guest session, if guests are admitted. Unless the page stores the key itself, the response sets a
        cookie with the key, so that the browser's next page has the same session.

        Args:
          by_cookie: true to read and set cookies; false for a page of another site that is not allowed by name.
        """
        if CUSTOM not in request.headers:
            return refusal_response(403, Code.FOREIGN_ORIGIN, f"this request needs the header {CUSTOM}")
        by_cookie = by_cookie and request.headers[CUSTOM] != "tab"
        borne = bearer(request)
        found = self._find(request) if by_cookie else _Found()
        try:
            if borne:
                before, key = borne, self.keys.renew(borne, guests=self.guests)
            elif found.session is not None:
                before, key = found.key, self.keys.renew(found.key, guests=self.guests)
            elif found.revoked is not None or (found.refused is not None and not self.guests):
                raise found.revoked or found.refused or AssertionError
            elif not self.guests:
                raise Refused("a session key is needed: this server does not admit guests", Code.KEY_INVALID)
            else:
                before, key = None, self.keys.issue(secrets.token_urlsafe(ID_BYTES), guest=True)
        except Refused as refused:
            return refusal_response(401, refused.code, str(refused))
        response = json_response({"key": key, "renew_after": self.keys.renew_after(key)})
        more: tuple[tuple[str, str], ...] = ()
        if by_cookie and key != before and (not borne or _is_of(found.session, self.keys.check(key))):
            name = found.name or self.cookie._free_name(request, set(found.foreign))
            more = (self.cookie._header(name, key, secure=_is_secure(request), lifetime=self.keys.lifetime),)
        return attrs.evolve(response, headers={"cache-control": "no-store"}, more=more)

    def _find(self, request: HasCookies) -> _Found:
        found, foreign = _Found(), set()
        for name, key in self.cookie._found(request):
            try:
                session = self.keys.check(key, guests=self.guests)
            except Refused as exc:
                found = attrs.evolve(found, refused=found.refused or exc)
                if exc.code is Code.REVOKED:
                    found = attrs.evolve(found, revoked=exc)
                elif exc.code is Code.KEY_INVALID:
                    foreign.add(name)
            else:
                if found.session is None or (found.session.guest and not session.guest):
                    found = attrs.evolve(found, name=name, key=key, session=session)
        return attrs.evolve(found, foreign=frozenset(foreign))


def _is_of(session: Session | None, other: Session) -> bool:
    """Return true if the cookie belongs to the session of the bearer key.

    The sessions differ if another tab has logged in or out.
    """
    return session is not None and session.id == other.id
