"""Session keys, through itsdangerous: the only file that knows it.

A key is signed and needs no store: whoever has the secret can issue one, in this process or in another, and any server
with the secret honours it. It is no place for secrets: whoever holds a key can read what it says.

A key is JSON, in base64, with its signature. It is not compressed: a key of 3 KB would hold megabytes of claims.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import itsdangerous

from ..codes import Code
from ..errors import InvalidEvent, Refused
from ..protocol.codec import JSON
from ..protocol.structure import structure
from ..rooms.session import Session

# A key must fit a hello, a header and a cookie.
MAX_KEY_BYTES = 3072
# How much later than its revocation a key may seem to have been issued, in seconds, by a machine whose clock is ahead.
SKEW_SECONDS = 5.0
MIN_SECRET_BYTES = 16


@attrs.frozen
class _Body:
    """The contents of a key."""

    id: str
    name: str
    claims: Any
    issued: float
    expires: float
    renews: bool
    """True if it may be exchanged for a new one of the same session."""
    guest: bool
    """True if it was given to anybody who asked."""


class Keys:
    """Issues the keys of sessions, and says whose a key is.

    Args:
      secrets: the first signs, all are honoured: put a new one in front, drop an old one once its keys have expired.
        Each at least 16 bytes, best 32 random ones.
      audience: the app that these keys are for; keys of the same secrets for another audience are not honoured.
      lifetime: how many seconds a key is good for.
      is_revoked: asked about every key that is presented, besides what `revoke` was told: for a list that outlives the
        process. It must not wait.
      now: the time in seconds since the epoch.

    Raises:
      ValueError: no secret, or one that could be guessed.
    """

    def __init__(
        self,
        *secrets: str | bytes,
        audience: str = "",
        lifetime: float = 30 * 24 * 3600,
        is_revoked: Callable[[Session], bool] = lambda session: False,
        now: Callable[[], float] = time.time,
    ) -> None:
        known = [secret.encode() if isinstance(secret, str) else secret for secret in secrets]
        if not known or any(len(secret) < MIN_SECRET_BYTES for secret in known):
            raise ValueError(f"keys need at least one secret, each of at least {MIN_SECRET_BYTES} bytes")
        self.lifetime = lifetime
        self._is_revoked = is_revoked
        self._now = now
        self._revoked: dict[str, float] = {}
        # itsdangerous signs with the last, and compares signatures in constant time
        self._signer = itsdangerous.Signer(
            known[::-1],
            salt=f"edge.session.2:{audience}",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )

    def issue(
        self,
        id: str,
        *,
        name: str = "",
        claims: Mapping[str, Any] | None = None,
        lifetime: float | None = None,
        guest: bool = False,
    ) -> str:
        """A key for a session.

        Args:
          id: what tells the session from all others: the user's id, or something random. It is no secret.
          name: what rooms call them; without one they may choose.
          claims: whatever else rooms should know of them, as plain data.
          lifetime: instead of the usual one: then the key is good for exactly this many seconds, and is not renewed.
          guest: True if you don't know who they are: see `Session.guest`.

        Raises:
          ValueError: there is no id, or the key would be too long to travel.
          TypeError: the claims are not plain data.
        """
        if not id or not isinstance(id, str):
            raise ValueError(f"a session's id is text, and not empty: {id!r}")
        now = self._now()
        body = {
            "id": id,
            "name": name,
            "claims": dict(claims or {}),
            "issued": now,
            "expires": now + (self.lifetime if lifetime is None else lifetime),
            "renews": lifetime is None,
            "guest": guest,
        }
        text = JSON.encode(body)
        assert isinstance(text, str)
        key = self._signer.sign(itsdangerous.base64_encode(text)).decode()
        if len(key) > MAX_KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes is too long: {MAX_KEY_BYTES} at most")
        return key

    def check(self, key: str | None, *, guests: bool = True) -> Session:
        """Whose key this is. None, as of a cookie that is not there, is no key.

        Args:
          guests: whether a guest's key will do.

        Raises:
          Refused: it is not honoured: `Code.KEY_INVALID`, `Code.KEY_EXPIRED` or `Code.REVOKED`.
        """
        return self._check(self._read(key), guests=guests)

    def _check(self, body: _Body, *, guests: bool) -> Session:
        if body.guest and not guests:
            raise Refused("a guest's key will not do", Code.KEY_INVALID)
        if self._now() >= body.expires:
            raise Refused("the session's key has expired", Code.KEY_EXPIRED)
        session = Session(body.id, body.name, body.claims, guest=body.guest)
        if body.issued <= self._revoked.get(body.id, -1.0) or self._is_revoked(session):
            raise Refused("the session was revoked", Code.REVOKED)
        return session

    def renew(self, key: str, *, guests: bool = True) -> str:
        """The same key; or, once half of its time is over, a new one of the same session, if it may be renewed.

        Args:
          guests: whether a guest's key will do.

        Raises:
          Refused: it is not honoured.
        """
        body = self._read(key)
        session = self._check(body, guests=guests)
        if not body.renews or self._now() <= (body.issued + body.expires) / 2:
            return key
        return self.issue(session.id, name=session.name, claims=session.claims, guest=session.guest)

    def renew_after(self, key: str) -> float | None:
        """In how many seconds `renew` gives a new key for this one; None if it never does.

        Raises:
          Refused: it is not one of ours.
        """
        body = self._read(key)
        return max(0.0, (body.issued + body.expires) / 2 - self._now()) if body.renews else None

    def revoke(self, id: str, *, until: float | None = None) -> float:
        """Honour no key any more, in this process, that was issued for this session up to an instant.

        Args:
          until: that instant, in seconds since the epoch; by default five seconds from now, since the clock of the
            machine that issued the key may be ahead. A key that is issued to the same session within these seconds is
            dead, too.

        Returns: that instant, for other processes to revoke until the same.
        """
        until = self._now() + SKEW_SECONDS if until is None else until
        self._revoked[id] = max(until, self._revoked.get(id, until))
        return until

    def _read(self, key: str | None) -> _Body:
        if not key or len(key) > MAX_KEY_BYTES:
            raise Refused("the session's key is not one of ours", Code.KEY_INVALID)
        try:
            text = itsdangerous.base64_decode(self._signer.unsign(key)).decode()
            body = structure(JSON.decode(text), _Body)
        except (itsdangerous.BadData, InvalidEvent, ValueError):
            raise Refused("the session's key is not one of ours", Code.KEY_INVALID) from None
        if not isinstance(body.claims, dict):
            raise Refused("the session's key is not one of ours", Code.KEY_INVALID)
        return body
