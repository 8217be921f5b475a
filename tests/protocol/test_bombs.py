"""MessagePack frames that are made to be expensive, such as those that declare more content than they have, are
refused."""

from __future__ import annotations

import struct

import pytest

from edge.errors import InvalidEvent
from edge.protocol.codec import MESSAGEPACK
from edge.protocol.structure import structure
from tests.small_rooms import Say

PACKED: dict[str, tuple[bytes, str]] = {
    "an array that says it is long": (b"\x92\xa3say\xdd\xff\xff\xff\xff", "malformed"),
    "a map that says it is long": (b"\x92\xa3say\xdf\xff\xff\xff\xff", "malformed"),
    "text that says it is long": (b"\x92\xa3say\xdb\xff\xff\xff\xff", "malformed"),
    "arrays in arrays": (b"\x92\xa3say" + b"\x91" * 50_000 + b"\xc0", "too_deep"),
    "long arrays in long arrays": (b"\x92\xa3say" + b"\xdd\x00\x00\xff\xff" * 10_000, "too_deep"),
    "extensions": (b"\x92\xa3say\x81\xa4text\xd4\x05\x00", "malformed"),
    "keys that are numbers": (
        b"\x92\xa3say\xde\x17\x70"
        + b"".join(b"\xcf" + (n << 48 | n).to_bytes(8, "big") + b"\xc0" for n in range(6000)),
        "malformed",
    ),
    "keys that hash alike": (
        b"\x92\xa3say\xdc\x00\x22"
        + b"".join(b"\x81" + b"\xcb" + struct.pack(">d", 2.0 ** (61 * e)) + b"\xc0" for e in range(-17, 17)),
        "malformed",
    ),
    "a key that is a list": (b"\x92\xa3say\x81\x90\xc0", "malformed"),
    "more than one value": (b"\x92\xa3say\x81\xa4text\xa0\xc0", "malformed"),
    "never used": (b"\x92\xa3say\xc1", "malformed"),
    "not text": (b"\x92\xa3say\x81\xa4text\xa1\xff", "malformed"),
}


@pytest.mark.parametrize("bomb", PACKED)
def test_a_bomb_in_messagepack(bomb: str) -> None:
    """Each expensive or invalid MessagePack frame is refused as `malformed` or `too_deep`."""
    data, problem = PACKED[bomb]
    with pytest.raises(InvalidEvent) as caught:
        structure(MESSAGEPACK.decode(data)[1], Say)
    assert caught.value.problem == problem
