"""Session keys: how they are issued and checked."""

from __future__ import annotations

import inspect
import json
import zlib

import itsdangerous.signer
import pytest

import edge
from edge import Code

SECRET, OTHER = "a secret of thirty-two characters", "another secret of that many chars"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def refusal(keys: edge.Keys, key: str) -> Code:
    with pytest.raises(edge.Refused) as caught:
        keys.check(key)
    assert key not in str(caught.value)
    return caught.value.code


def test_a_key_says_who_it_is() -> None:
    """Any process with the same secret can read the id, the name and the claims from a key."""
    key = edge.Keys(SECRET).issue("u1", name="Ana", claims={"admin": True, "teams": ["red"]})
    assert edge.Keys(SECRET).check(key) == edge.Session("u1", "Ana", {"admin": True, "teams": ["red"]})
    assert "Ana" not in repr(edge.Session("u1").claims)


def test_forged_foreign_and_damaged_keys_are_refused() -> None:
    """A key with another secret or audience, a changed key, and a text that is not a key are refused."""
    keys = edge.Keys(SECRET)
    key = keys.issue("u1")
    foreign = [edge.Keys(OTHER).issue("u1"), edge.Keys(SECRET, audience="shop").issue("u1")]
    damaged = [key[:at] + ("x" if key[at] != "x" else "y") + key[at + 1 :] for at in range(len(key) - 1)]
    for bad in [*foreign, *damaged, ".", "a.b", "é", "\ud800", "x" * 100_000, key + key]:
        assert refusal(keys, bad) is Code.KEY_INVALID


def test_a_signed_body_of_another_shape_is_refused() -> None:
    """A signed body whose fields are not those of a key is refused, because other code may sign with the same
    secret."""
    keys = edge.Keys(SECRET)
    good = {"id": "u1", "name": "", "claims": {}, "issued": 0, "expires": 9e9, "renews": True, "guest": False}
    bodies: list[object] = [
        7,
        [],
        {"id": "u1"},
        {**good, "id": 7},
        {**good, "claims": []},
        {name: value for name, value in good.items() if name != "guest"},
    ]
    for body in bodies:
        assert refusal(keys, signed(keys, json.dumps(body).encode())) is Code.KEY_INVALID
    assert keys.check(signed(keys, json.dumps(good).encode())).id == "u1"


def signed(keys: edge.Keys, data: bytes) -> str:
    """Sign these bytes as the body of a key."""
    return keys._signer.sign(itsdangerous.base64_encode(data)).decode()


def test_a_key_is_not_decompressed() -> None:
    """A compressed body is refused even if it is signed, because a few kilobytes could expand to megabytes."""
    keys = edge.Keys(SECRET)
    packed = zlib.compress(json.dumps({"id": "u1", "claims": {"essay": "a" * 2_000_000}}).encode())
    assert len(packed) < 2300
    dotted = keys._signer.sign(b"." + itsdangerous.base64_encode(packed)).decode()
    for key in (signed(keys, packed), dotted):
        assert refusal(keys, key) is Code.KEY_INVALID
    with pytest.raises(ValueError, match="too long"):
        keys.issue("u1", claims={"essay": "a" * 3000})


def test_a_guests_key_says_so() -> None:
    """A renewed guest's key is still a guest's key. With `guests=False`, guests' keys are neither accepted nor
    renewed."""
    clock = Clock()
    keys = edge.Keys(SECRET, lifetime=100, now=clock)
    key, member = keys.issue("g1", guest=True), keys.issue("u1")
    clock.now += 60
    renewed = keys.renew(key)
    assert renewed != key
    assert [keys.check(each).guest for each in (key, renewed, member)] == [True, True, False]
    for refused in (lambda: keys.check(renewed, guests=False), lambda: keys.renew(renewed, guests=False)):
        with pytest.raises(edge.Refused, match="guest") as caught:
            refused()
        assert caught.value.code is Code.KEY_INVALID
    assert keys.check(member, guests=False).id == "u1"


def test_a_key_expires() -> None:
    """A key expires exactly at the end of its lifetime. `renew` returns a new key only after half of the lifetime."""
    clock = Clock()
    keys = edge.Keys(SECRET, lifetime=100, now=clock)
    exact = keys.issue("u1", lifetime=60)
    key, brief = keys.issue("u1"), keys.issue("u1", lifetime=10)
    clock.now += 10
    assert refusal(keys, brief) is Code.KEY_EXPIRED
    clock.now += 30
    assert keys.renew(exact) == exact  # a key that was issued with `lifetime` is not renewed
    clock.now -= 30
    assert keys.renew(key) == key
    clock.now += 45
    renewed = keys.renew(key)
    assert renewed != key
    assert keys.check(renewed) == keys.check(key)
    clock.now += 45
    assert refusal(keys, key) is Code.KEY_EXPIRED


def test_secrets_rotate() -> None:
    """A key is accepted if its secret is one of the configured secrets. New keys are signed with the first secret."""
    old = edge.Keys(OTHER).issue("u1")
    both = edge.Keys(SECRET, OTHER)
    assert both.check(old).id == "u1"
    new = both.issue("u1")
    assert edge.Keys(SECRET).check(new).id == "u1"
    assert refusal(edge.Keys(OTHER), new) is Code.KEY_INVALID
    assert refusal(edge.Keys(SECRET), old) is Code.KEY_INVALID


def test_revocation() -> None:
    """After `revoke`, the earlier keys of a session are refused, even if the clocks of servers differ. `is_revoked` can
    refuse further keys."""
    clock = Clock()
    keys = edge.Keys(SECRET, now=clock)
    key, other = keys.issue("u1"), keys.issue("u2")
    keys.revoke("u1")
    assert refusal(keys, key) is Code.REVOKED
    assert keys.check(other).id == "u2"
    ahead = edge.Keys(SECRET, now=lambda: clock.now + 4).issue("u1")
    assert refusal(keys, ahead) is Code.REVOKED, "the clock of the issuing server may be ahead"
    clock.now += 6
    later = keys.issue("u1")
    assert keys.check(later).id == "u1"
    other_server = edge.Keys(SECRET, now=lambda: clock.now - 30)
    other_server.revoke("u1", until=keys.revoke("u1", until=clock.now))
    assert refusal(other_server, later) is Code.REVOKED, "the clock of the checking server may be late"
    keys.revoke("u1", until=clock.now - 100)
    assert refusal(keys, later) is Code.REVOKED, "an earlier instant must not undo the revocation"
    listed = edge.Keys(SECRET, is_revoked=lambda session: session.id == "u2", now=clock)
    assert refusal(listed, other) is Code.REVOKED


def test_secrets_that_could_be_guessed_are_refused() -> None:
    """Missing and short secrets raise ValueError, and so do a key without an id and a key that is too long."""
    for secrets in ((), ("short",), (SECRET, b"short")):
        with pytest.raises(ValueError, match="at least 16 bytes"):
            edge.Keys(*secrets)
    with pytest.raises(ValueError, match="not empty"):
        edge.Keys(SECRET).issue("")
    with pytest.raises(edge.Refused):
        edge.Keys(SECRET).check(None)
    with pytest.raises(ValueError, match="too long"):
        edge.Keys(SECRET).issue("u1", claims={"essay": "".join(map(str, range(3000)))})


def test_signatures_are_compared_in_constant_time() -> None:
    """itsdangerous, which checks the signatures, compares them with `hmac.compare_digest`."""
    assert "hmac.compare_digest" in inspect.getsource(itsdangerous.signer)
