"""Session keys over HTTP: who sent a request, and the one request that gives a page its key."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Protocol

import attrs

from ..codes import Code
from ..errors import Refused
from ..rooms.session import Session
from ..sessions.keys import Keys
from ..transports.http.http import Request, Response
from ..transports.http.responses import json_response, refusal_response

# Whether the session is the "browser"'s, kept in a cookie, or a "tab"'s, which keeps its key itself. No page of another
# site can send this header unless it is allowed to; a form never can.
CUSTOM = "edge-session"
# How many random bytes name the session of somebody unknown.
ID_BYTES = 16

# RFC 6265bis: a browser takes a cookie of this prefix only over TLS, for all paths, and of this very host.
HOST_PREFIX = "__Host-"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# How long a browser keeps a key, where nobody says: as long as `Keys` makes them good for.
KEEP_SECONDS = 30 * 24 * 3600.0
PORT = re.compile(r":([0-9]{1,5})$")


class HasCookies(Protocol):
    """A request, of edge's or of a mounted app's."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def cookies(self) -> Mapping[str, str]: ...


def _check_name(cookie: SessionCookie, field: object, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a cookie: 1 to 64 letters, digits, '_', '.', '-'; no sign first")


@attrs.frozen
class SessionCookie:
    """The cookie in which a browser keeps the key of its session.

    Cookies know no ports: two apps on one host share a jar, so give each a name of its own. Where another app's key is
    found under this name, it is left alone, and this app's is kept under the name with the port appended.

    Over TLS the name has the prefix ``__Host-``, so that no other host can set it; a cookie without the prefix is read,
    too, for a web app may have set it by itself. A key that your code issued is preferred to a guest's.

    Log somebody in with `keep`, and out with `clear`, in a response of yours.

    Raises:
      ValueError: not such a name.
    """

    name: str = attrs.field(default="edge_session", validator=_check_name)

    partitioned: bool = attrs.field(default=False, kw_only=True)
    """True if pages may be in frames of other sites, or join from other sites: over TLS the cookie is then sent there,
    too (``SameSite=None``), and is another one below each of these sites (``Partitioned``). Otherwise it is
    ``SameSite=Lax``."""

    def _names(self, host: str) -> tuple[str, ...]:
        """Without the prefix, the usual one first."""
        port = PORT.search(host)
        return (self.name,) if port is None else (self.name, f"{self.name}_{port[1]}")

    def _found(self, request: HasCookies) -> Iterator[tuple[str, str]]:
        """The names under which a request has something, and what."""
        cookies = request.cookies
        for prefix in (HOST_PREFIX, ""):
            for name in self._names(request.headers.get("host", "")):
                if value := cookies.get(prefix + name):
                    yield prefix + name, value

    def keep(self, key: str, *, secure: bool, lifetime: float = KEEP_SECONDS) -> tuple[str, str]:
        """The header of a response that keeps a key: its name and its value.

        Args:
          secure: whether the page came over TLS.
          lifetime: for how many seconds.
        """
        return self._header(HOST_PREFIX + self.name if secure else self.name, key, secure=secure, lifetime=lifetime)

    def clear(self, request: HasCookies, *, secure: bool) -> list[tuple[str, str]]:
        """The headers of a response that make a browser forget the keys of its request, also those of another app that
        has the same name for its cookie."""
        names = [name for name, _ in self._found(request)]
        return [self._header(name, "", secure=secure, lifetime=0) for name in names]

    def _free_name(self, request: Request, taken: set[str]) -> str:
        """The name under which to keep a new key: if possible, one under which there is no key of another app."""
        prefix = HOST_PREFIX if _is_secure(request) else ""
        names = [prefix + name for name in self._names(request.headers.get("host", ""))]
        return next((name for name in names if name not in taken), names[-1])

    def _header(self, name: str, key: str, *, secure: bool, lifetime: float) -> tuple[str, str]:
        """The header that keeps a key under a name. One without the prefix may be a web app's, which knows of no
        partitions, and would not find its cookie again."""
        site = "Secure; SameSite=Lax" if secure else "SameSite=Lax"
        if self.partitioned and name.startswith(HOST_PREFIX):
            site = "Secure; SameSite=None; Partitioned"
        return "set-cookie", f"{name}={key}; Path=/; Max-Age={lifetime:.0f}; HttpOnly; {site}"


def _is_secure(request: Request) -> bool:
    """True if the page came over TLS. Not every proxy says so, but the page's own origin does."""
    return request.scheme == "https" or request.headers.get("origin", "").startswith("https://")


@attrs.frozen
class _Found:
    """The session that the cookies of a request name."""

    name: str = ""
    key: str = attrs.field(default="", repr=False)
    session: Session | None = None
    """Whose that key is; None if none is honoured."""
    refused: Refused | None = None
    """Why the first that was not honoured was not."""
    revoked: Refused | None = None
    """Likewise, of one that was revoked."""
    foreign: frozenset[str] = frozenset()
    """The names under which there are keys of another app's."""


def _find(request: HasCookies, keys: Keys, cookie: SessionCookie, *, guests: bool) -> _Found:
    found, foreign = _Found(), set()
    for name, key in cookie._found(request):
        try:
            session = keys.check(key, guests=guests)
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


def bearer(request: HasCookies) -> str | None:
    """The key of a request, from its header ``Authorization: Bearer``."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def session_of(request: HasCookies, keys: Keys, cookie: SessionCookie, *, guests: bool) -> Session | None:
    """The session of a request; None without a valid key."""
    borne = bearer(request)
    if not borne:
        return _find(request, keys, cookie, guests=guests).session
    try:
        return keys.check(borne, guests=guests)
    except Refused:
        return None


def give_key(request: Request, keys: Keys, cookie: SessionCookie, *, guests: bool, by_cookie: bool) -> Response:
    """Answer ``POST /session``: the key of whoever asks, a new one of the same session once half its time is over.

    Somebody unknown becomes a new session, where guests may come. A browser keeps the key in a cookie, so that the next
    page has the same session.

    Args:
      by_cookie: whether the cookies of a page like this one count.
    """
    if CUSTOM not in request.headers:
        return refusal_response(403, Code.FOREIGN_ORIGIN, f"a page has to send the header {CUSTOM}")
    by_cookie = by_cookie and request.headers[CUSTOM] != "tab"
    borne = bearer(request)
    found = _find(request, keys, cookie, guests=guests) if by_cookie else _Found()
    try:
        if borne:
            before, key = borne, keys.renew(borne, guests=guests)
        elif found.session is not None:
            before, key = found.key, keys.renew(found.key, guests=guests)
        elif found.revoked is not None or (found.refused is not None and not guests):
            raise found.revoked or found.refused or AssertionError
        elif not guests:
            raise Refused("a key is needed", Code.KEY_INVALID)
        else:
            before, key = None, keys.issue(secrets.token_urlsafe(ID_BYTES), guest=True)
    except Refused as refused:
        return refusal_response(401, refused.code, str(refused))
    response = json_response({"key": key, "renew_after": keys.renew_after(key)})
    more: tuple[tuple[str, str], ...] = ()
    if by_cookie and key != before and (not borne or _is_of(found.session, keys.check(key))):
        name = found.name or cookie._free_name(request, set(found.foreign))
        more = (cookie._header(name, key, secure=_is_secure(request), lifetime=keys.lifetime),)
    return attrs.evolve(response, headers={"cache-control": "no-store"}, more=more)


def _is_of(session: Session | None, other: Session) -> bool:
    """True if the cookie is still of the session whose key was borne: another tab may have logged in, or out."""
    return session is not None and session.id == other.id
