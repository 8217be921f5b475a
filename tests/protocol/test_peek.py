"""`peek`, which reads the name and the request number of a frame whose body can't be read.

These tests detect two kinds of fault. An error lacks the number of its request, so that the client waits forever. Or
the receiver counts an unreadable uncounted message, because its name is not known.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import ormsgpack
import pytest
import trio

import edge
from edge.protocol.codec import JSON, MESSAGEPACK, Codec, _skip, size_of
from edge.testing import EdgeRoom
from edge.transports.memory import open_memory_transports

DEEP = "[" * 3000 + "]" * 3000
DEEP_PACKED = b"\x91" * 3000 + b"\xc0"


@pytest.mark.parametrize(
    ("frame", "name", "request_id"),
    [
        (r'["say",{"text":"half \ud83d"},7]', "say", 7),
        (f'["say",{{"text":{DEEP}}},7]', "say", 7),
        ('["say",{"x":NaN}, 7 , 2.5 ]', "say", 7),
        ('["~cursor",{"x":NaN}]', "~cursor", None),
        ('["say",{"x":NaN}]', "say", None),
        (r'["say",{"text":"\ud83d],8]"},7]', "say", 7),
        (r'["say",{"text":"\"\\\"],[8,\ud83d"},7]', "say", 7),
        ('["say",["a",7]', "say", None),  # the outer array is not closed
        ('["say",[NaN,7]]', "say", None),  # this 7 belongs to the body
        ('["say",{"x":NaN},70000000000000000]', "say", None),
        (r'["say","' + '\\"' * 32_000 + r'\ud83d",7]', "say", 7),
        (r'["say\ud83d",{},7]', "say?", 7),
        (r'["~\ud83d",{}]', "~?", None),
        (r'["\u007eaim",{"x":NaN}]', "~aim", None),
        ('["a\nb",{},7]', "", None),
        ('{"say":NaN,"x":7}', "", None),
        ('["sa', "", None),
        ("", "", None),
    ],
)
def test_json(frame: str, name: str, request_id: int | None) -> None:
    """In JSON, `peek` finds the name and the number in spite of a faulty body, if the body's brackets and strings are
    closed."""
    assert JSON.peek(frame) == (name, request_id)


@pytest.mark.parametrize(
    ("frame", "name", "request_id"),
    [
        (b"\x93\xa3say" + DEEP_PACKED + b"\x07", "say", 7),
        (b"\x93\xa3say\xa3\xed\xa0\x80\x07", "say", 7),  # text that is not UTF-8
        (b"\x93\xa3say\x81\x91\x01\x02\x07", "say", 7),  # a key that is not text
        (b"\x94\xa3say" + DEEP_PACKED + b"\x07\xcb\x40\x04\x00\x00\x00\x00\x00\x00", "say", 7),
        (b"\x92\xa7~cursor" + DEEP_PACKED, "~cursor", None),
        (b"\x92\xa2~\xff\xc0", "~\ufffd", None),
        (b"\x93\xd9\x03say" + DEEP_PACKED + b"\x07", "say", 7),
        (b"\x93\x01" + DEEP_PACKED + b"\x07", "", None),
        (b"\x93\xa3say" + b"\x91" * 3000, "say", None),
        (b"\x93\xa3say\xdd\xff\xff\xff\xff\x07", "say", None),
        (b"\xdf\xff\xff\xff\xff", "", None),
        (b"", "", None),
    ],
)
def test_messagepack(frame: bytes, name: str, request_id: int | None) -> None:
    """In MessagePack, `peek` finds the name and the number in spite of a faulty body, if the body's length can be
    determined."""
    assert MESSAGEPACK.peek(frame) == (name, request_id)


def test_every_value_of_messagepack_is_skipped() -> None:
    """`_skip` finds the exact end of every value that ormsgpack or msgspec writes."""
    chance = random.Random(7)

    def value(depth: int) -> Any:
        if depth > 3 or chance.random() < 0.5:
            numbers = [chance.choice([1, -1]) * chance.getrandbits(chance.randrange(1, 63)), chance.random()]
            sizes = chance.choice([0, 1, 31, 32, 255, 256, 65_536])
            return chance.choice([None, True, False, *numbers, "x" * sizes, b"y" * sizes])
        size = chance.choice([0, 1, 15, 16, 300])
        if chance.random() < 0.5:
            return [value(depth + 2) for _ in range(size)]
        return {str(number): value(depth + 2) for number in range(size)}

    packed = [ormsgpack.packb(value(0)) for _ in range(200)]
    packed += [ormsgpack.packb([1] * 70_000), ormsgpack.packb({str(number): 1 for number in range(70_000)})]
    packed += [msgspec.msgpack.encode(msgspec.msgpack.Ext(5, b"e" * size)) for size in (1, 2, 3, 4, 8, 16, 300, 70_000)]
    for frame in packed:
        assert _skip(frame + b"\x01", 0) == len(frame)


def test_sizes_are_bytes() -> None:
    """`size_of` returns the number of bytes, not of characters."""
    for text in ("", "plain", "é", "😀" * 3):
        assert size_of(text) == len(text.encode())
    assert size_of(b"\xff\xff") == 2


@edge.event
class Say:
    text: str


@edge.event
class Said:
    text: str


class Echo(edge.Room[Say, Said]):
    async def player(self, player: edge.Player[Say, Said]) -> None:
        async for say in player.listen(Say):
            player.reply(say, Said(say.text))


@pytest.mark.parametrize(
    ("codec", "request_frame", "problem"),
    [
        (JSON, r'["Say",{"text":"\ud83d"},7]', "malformed"),
        (JSON, f'["Say",{{"text":{DEEP}}},7]', "too_deep"),
        (MESSAGEPACK, b"\x93\xa3Say" + DEEP_PACKED + b"\x07", "too_deep"),
    ],
)
async def test_a_request_that_can_not_be_read_is_answered(
    edge_room: EdgeRoom, codec: Codec, request_frame: str | bytes, problem: str
) -> None:
    """The error for an unreadable request has the number of the request. An unreadable uncounted event is not
    counted."""
    room = await edge_room(Echo)
    ours, theirs = open_memory_transports()
    room.serve_seat(theirs, codec)
    await ours.send([codec.encode(["$hello", {"client": "a-client-of-its-own", "attempt": 1}])])
    with trio.fail_after(5):
        assert codec.decode(await ours.receive())[0] == "$welcome"
        uncounted = r'["~Say",{"text":"\ud83d"}]' if codec is JSON else b"\x92\xa4~Say" + DEEP_PACKED
        await ours.send([uncounted, request_frame, codec.encode(["$ping", 1])])
        answers = [codec.decode(await ours.receive()) for _ in range(3)]
    first = "malformed" if codec is JSON else "too_deep"
    assert [name for name, *_ in answers] == [f"!{first}", f"!{problem}", "$ack"]
    assert answers[1][2] == 7
    assert answers[2][1] == 1


async def test_limits_count_bytes(edge_room: EdgeRoom) -> None:
    """The limit for the size of a client's message is a number of bytes, not of characters."""
    room = await edge_room(Echo)
    ours, theirs = open_memory_transports()
    room.serve_seat(theirs, limits=edge.Limits(message_bytes=3000))
    await ours.send([JSON.encode(["$hello", {"client": "a-client-of-its-own", "attempt": 1}])])
    assert JSON.decode(await ours.receive())[1]["message_bytes"] == 3000
    await ours.send([JSON.encode(["Say", {"text": "語" * 1000}, 1]), JSON.encode(["Say", {"text": "語" * 990}, 2])])
    refused, answered = [JSON.decode(await ours.receive()) for _ in range(2)]
    assert (refused[0], refused[1]["message"]) == (
        "!too_large",
        "3021 bytes exceed the limit of 3000 bytes for a message: see Limits",
    )
    assert (answered[0], answered[2]) == ("=Said", 2)
