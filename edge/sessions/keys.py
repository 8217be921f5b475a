"""Session keys, signed with itsdangerous. No other file imports itsdangerous.

Keys are signed, so they need no store: any process with the secret can issue a key, and any server with the secret
accepts the key. Keys are not encrypted, so the holder of a key can read its contents.

A key is JSON in base64, with a signature. Keys are not compressed, because a compressed key of 3 KB could contain
megabytes.
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

# A key must fit into a hello, a header and a cookie.
MAX_KEY_BYTES = 3072
# The clock of a machine that issues keys may be ahead of this machine's clock by this many seconds: see `Keys.revoke`.
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
    """True if `Keys.renew` may return a new key of the same session for this key."""
    guest: bool
    """True if the key was issued to an unknown person: see `Session.guest`."""


class Keys:
    """Issues and checks the keys of sessions.

    Args:
      secrets: new keys are signed with the first secret; keys signed with any of the secrets are accepted. A secret has
        at least 16 bytes; 32 random bytes are best. To replace a secret, put the new secret in front, and remove the
        old secret once its keys have expired.
      audience: the app that these keys are for. Keys for another audience are rejected, even with the same secrets.
      lifetime: the seconds for which a key is valid.
      is_revoked: returns True if a session is revoked. Use this for a revocation list that outlives the process. Called
        in each check of a key that is otherwise valid. The function must not block.
      now: returns the time in seconds since the epoch.

    Raises:
      ValueError: there is no secret, or a secret is too short.
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
        # itsdangerous signs with the last secret, and compares signatures in constant time
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
        """Issue a key for a session.

        Args:
          id: the unique id of the session: the user's id, or a random string. The id is not a secret.
          name: the name of the player in rooms. If the name is empty, the player may choose a name.
          claims: further data for rooms, as plain data.
          lifetime: the seconds for which this key is valid. A key with its own lifetime is not renewed. By default, the
            key has the `lifetime` of `Keys` and can be renewed.
          guest: True if the person is unknown: see `Session.guest`.

        Raises:
          ValueError: `id` is empty or is not a string, or the key would be longer than 3,072 bytes.
          TypeError: `claims` is not plain data.
        """
        if not id or not isinstance(id, str):
            raise ValueError(f"a session's id must be a str that is not empty: {id!r}")
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
            size = f"{len(key)} bytes, and at most {MAX_KEY_BYTES} are allowed"
            raise ValueError(f"the key is too long: {size}; put less into `claims`")
        return key

    def check(self, key: str | None, *, guests: bool = True) -> Session:
        """Check a key, and return its session.

        Args:
          key: the key, or None, for example if there is no cookie. None is rejected.
          guests: True if a guest's key is accepted.

        Raises:
          Refused: the key is rejected with `Code.KEY_INVALID`, `Code.KEY_EXPIRED` or `Code.REVOKED`.
        """
        return self._check(self._read(key), guests=guests)

    def _check(self, body: _Body, *, guests: bool) -> Session:
        if body.guest and not guests:
            raise Refused("a guest's key is not accepted here", Code.KEY_INVALID)
        if self._now() >= body.expires:
            raise Refused("the session's key has expired", Code.KEY_EXPIRED)
        session = Session(body.id, body.name, body.claims, guest=body.guest)
        if body.issued <= self._revoked.get(body.id, -1.0) or self._is_revoked(session):
            raise Refused("the session was revoked", Code.REVOKED)
        return session

    def renew(self, key: str, *, guests: bool = True) -> str:
        """Return a new key of the same session if half of the key's lifetime has passed; otherwise the same key.

        A key that was issued with a `lifetime` of its own is not renewed.

        Args:
          guests: True if a guest's key is accepted.

        Raises:
          Refused: the key is rejected: see `check`.
        """
        body = self._read(key)
        session = self._check(body, guests=guests)
        if not body.renews or self._now() <= (body.issued + body.expires) / 2:
            return key
        return self.issue(session.id, name=session.name, claims=session.claims, guest=session.guest)

    def renew_after(self, key: str) -> float | None:
        """Return the seconds until `renew` returns a new key for this key; None if this key is never renewed.

        Raises:
          Refused: the key is not valid.
        """
        body = self._read(key)
        return max(0.0, (body.issued + body.expires) / 2 - self._now()) if body.renews else None

    def revoke(self, id: str, *, until: float | None = None) -> float:
        """Reject, in this process, all keys of a session that were issued at or before a time.

        Args:
          id: the id of the session.
          until: the time, in seconds since the epoch. The default is five seconds from now, because the clock of the
            machine that issued a key may be ahead. Keys that are issued within these seconds are rejected, too.

        Returns: the time, to be passed as `until` in other processes.
        """
        until = self._now() + SKEW_SECONDS if until is None else until
        self._revoked[id] = max(until, self._revoked.get(id, until))
        return until

    def _read(self, key: str | None) -> _Body:
        if not key or len(key) > MAX_KEY_BYTES:
            raise Refused("the session's key is not valid", Code.KEY_INVALID)
        try:
            text = itsdangerous.base64_decode(self._signer.unsign(key)).decode()
            body = structure(JSON.decode(text), _Body)
        except (itsdangerous.BadData, InvalidEvent, ValueError):
            raise Refused("the session's key is not valid", Code.KEY_INVALID) from None
        if not isinstance(body.claims, dict):
            raise Refused("the session's key is not valid", Code.KEY_INVALID)
        return body
