"""Tests that a server refuses malformed messages, frames, requests and names, and serves everything else."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

import edge
from edge import Code
from tests.abuse.town import ATTACKER, CLIENT, GET, MASK, Heard, everything, frame, town
from tests.small_rooms import Say


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


BOMBS: dict[str, tuple[Any, str]] = {
    "too large": (["say", {"text": "x" * 70_000}], "!too_large"),
    "nested": (b'["say",' + b"[" * 30_000 + b"]" * 30_000 + b"]", "!too_deep"),
    "nested a little too deep": (["say", {"text": nested(40)}], "!too_deep"),
    "nested objects": (b'["say",' + b'{"a":' * 9_000 + b"1" + b"}" * 9_000 + b"]", "!too_deep"),
    "a long number": (b'["say",{"text":' + b"9" * 60_000 + b"}]", "!malformed"),
    "a large exponent": (b'["say",{"text":1e99999}]', "!malformed"),
    "many keys": (["say", {f"k{n}": n for n in range(4000)}], "!invalid"),
    "one key many times": (b'["say",{' + b'"text":"a",' * 5000 + b'"text":"b"}]', ""),
    "a pollution": (b'["say",{"__proto__":{"admin":true},"text":"a"}]', "!invalid"),
    "a long name": (["x" * 60_000, {}], "!unknown_event"),
    "an empty name": (["", {}], "!malformed"),
    "a null": (b'["say",{"text":"a\\u0000b"}]', ""),
    "a lone surrogate": (b'["say",{"text":"\\ud800"}]', "!malformed"),
    "not a number": (b'["say",{"text":NaN}]', "!malformed"),
    "half of it": (b'["say",{"text":"a', "!malformed"),
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_costs_a_message(bomb: str) -> None:
    """Each unusual message gets the error that the test expects, or none if the message is valid. The connection
    continues."""
    payload, answer = BOMBS[bomb]
    async with town() as here:
        raw = await here.websocket()
        await raw.send(frame(payload), frame(["know", {}, 1]))
        if answer:
            assert (await raw.until(answer, "=heard", "$bye", "close"))[0] == answer
        assert (await raw.until("=heard", "$bye", "close"))[0] == "=heard"


BROKEN_FRAMES: dict[str, tuple[bytes, int]] = {
    "bytes that are not UTF-8": (frame(b"\xff\xfe"), 1007),
    "a surrogate in UTF-8": (frame(b"\xed\xa0\x80"), 1007),
    "not masked": (frame(["say", {"text": "a"}], masked=False), 1002),
    "a reserved bit": (frame(["say", {"text": "a"}], first=0xC1), 1002),
    "an opcode that is none": (frame(b"", first=0x83), 1002),
    "a ping in fragments": (frame(b"", first=0x09), 1002),
    "a long ping": (bytes([0x89, 0xFE, 0, 126]) + MASK + b"\0" * 126, 1002),
    "a continuation of nothing": (frame(b"x", first=0x80), 1002),
    "a message inside a message": (frame(b"[", first=0x01) + frame(b"]", first=0x81), 1002),
    "a length in too many bytes": (bytes([0x81, 0xFE, 0, 5]) + MASK + b"\0" * 5, 1002),
    "a length that is negative": (bytes([0x81, 0xFF]) + b"\xff" * 8 + MASK, 1002),
    "a frame that is too large": (frame(b"x" * 300_000), 1009),
    "fragments that are too large": (frame(b"x" * 200_000, first=0x01) + frame(b"x" * 200_000, first=0x80), 1009),
}


@pytest.mark.parametrize("name", BROKEN_FRAMES)
async def test_a_broken_frame_ends_the_connection(name: str) -> None:
    """A broken frame ends the connection with the close code of RFC 6455, and nothing after the frame is received."""
    data, code = BROKEN_FRAMES[name]
    async with town() as here:
        raw = await here.websocket()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.flood, data + frame(["know", {}, 1]))
            assert await raw.until("close", "=heard") == ["close", code]
            nursery.cancel_scope.cancel()


SMUGGLED: dict[str, tuple[bytes, bytes]] = {
    "a length and chunks": (b"Content-Length: 4\r\nTransfer-Encoding: chunked", b"400"),
    "a control character": (b"X: a\x0bb", b"400"),
    "chunks by another name": (b"Transfer-Encoding: xchunked", b"501"),
    "two lengths": (b"Content-Length: 4\r\nContent-Length: 5", b"400"),
    "one length twice": (b"Content-Length: 4\r\nContent-Length: 4", b"400"),
    "one length twice in one": (b"Content-Length: 4, 4", b"400"),
    "two lengths in one": (b"Content-Length: 4, 5", b"400"),
    "a length with a sign": (b"Content-Length: +4", b"400"),
    "a length in letters": (b"Content-Length: four", b"400"),
    "a length without end": (b"Content-Length: " + b"9" * 30, b"400"),
    "a space before the colon": (b"Content-Length : 4", b"400"),
    "a folded line": (b"X: a\r\n b", b"400"),
    "a bare line feed": (b"X: a\nY: b", b"400"),
    "a bare carriage return": (b"X: a\rY: b", b"400"),
    "a null": (b"X: a\0b", b"400"),
    "no host": (b"", b"400"),
    "two hosts": (b"Host: x\r\nHost: y", b"400"),
    "too many headers": (b"\r\n".join(b"X%d: x" % n for n in range(200)), b"431"),
    "a long header": (b"X: " + b"x" * 20_000, b"431"),
    "a long name": (b"x" * 20_000 + b": x", b"431"),
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_a_request_that_others_would_read_otherwise(name: str) -> None:
    """A request that another server could read differently is refused, and nothing after it is read as a request."""
    headers, status = SMUGGLED[name]
    host = b"" if b"ost" in name.encode() else b"Host: x\r\n"
    async with town() as here:
        answer = await here.say(b"POST /session HTTP/1.1\r\n" + host + headers + b"\r\n\r\nAAAA" + GET)
    assert answer.startswith(b"HTTP/1.1 " + status), answer
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\n", b"\r\r\n", b"\n", b"\rX"], ids=repr)
@pytest.mark.parametrize("split", [False, True])
async def test_a_head_with_bare_line_ends_is_refused_at_once(end: bytes, split: bool) -> None:
    """A request head with a line end other than CRLF is refused within two seconds, even if the head is not
    complete."""
    async with town() as here:
        began = trio.current_time()
        data = b"GET /livez HTTP/1.1\r\nHost: x" + end
        async with await here.connects(ATTACKER)() as stream:
            for piece in [data[at : at + 1] for at in range(len(data))] if split else [data]:
                await stream.send_all(piece)
            assert (await everything(stream)).startswith(b"HTTP/1.1 400")
        assert trio.current_time() - began < 2


async def test_a_name_forges_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """The log escapes the text of a client, so that this text can't forge a log line or control a terminal."""

    class Crashing(edge.Room[Say, Heard]):
        async def player(self, player: edge.Player[Say, Heard]) -> None:
            raise ValueError("on purpose")

    forged = "eve\r\n2012-01-01 ERROR edge: all is lost\x1b[2J"
    caplog.set_level(logging.DEBUG)
    async with town() as here:
        here.server.site.directory.add_kinds({"crashing": Crashing})
        raw = await here.websocket(path="/rooms/crashing/one", hello=False)
        await raw.send(frame(["$hello", {"name": forged, "client": CLIENT}]))
        assert (await raw.until("$bye"))[1]["code"] == Code.CRASHED
        await here.say(b"GET /%0d%0a2012-01-01%20ERROR%20edge:%20all%20is%20lost HTTP/1.1\r\nHost: x\r\n\r\n")
        await here.say(b"GET /rooms/a%0d%0a2012-01-01/b HTTP/1.1\r\nHost: x\r\n\r\n")
    said = [record.getMessage() for record in caplog.records if record.name.startswith("edge")]
    assert any("all is lost" in message for message in said)
    assert not any(line.startswith("2012") for message in said for line in message.splitlines())
    assert not any("\x1b" in message for message in said)
