"""The fuzz targets. Each target accepts any bytes, and raises an exception if edge misbehaves."""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Callable
from typing import Any

import attrs
import trio
import trio.testing

import edge
from edge.errors import InvalidEvent, RemoteProtocolError
from edge.protocol.codec import JSON, MESSAGEPACK, Codec
from edge.protocol.connection import Connection, Side, State
from edge.protocol.events import Vocabulary
from edge.protocol.limits import Limits
from edge.protocol.messages import Event, Request, Welcome
from edge.protocol.structure import structure
from edge.protocol.unstructure import unstructure
from edge.testing import run_virtual
from edge.transports.http.http import BadRequest, HttpConnection
from tests.abuse.cost import FRAME_BYTES
from tests.abuse.test_cost import check as check_cost
from tests.transports.websocket.test_fast_path import both, check

Target = Callable[[bytes], None]
# For the cost per byte, a shorter input counts as this number of bytes.
SHORT_BYTES = 64

# The strictest reading of a request head by RFC 9112 section 3 and RFC 9110 section 5.6.2. By RFC 9112 section 2.2, a
# server ignores empty lines before a request.
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
HEAD = re.compile(
    rb"(?:\r\n)*(?P<method>%s) (?P<target>[!-~]+) HTTP/\d\.\d\r\n(?P<lines>(?:%s:[ \t]*[^\r\n\0]*\r\n)*)\r\n"
    % (TOKEN, TOKEN)
)
LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)


def http(data: bytes) -> None:
    """Read requests from one connection, on which the input arrives in two pieces. Check that a strict reader finds the
    same requests and bodies, that a bad request has a known status, and that no header contains a line end."""
    cut = data[0] if data else 0
    run_virtual(_http, [piece for piece in (data[1 : 1 + cut], data[1 + cut :]) if piece])


async def _http(pieces: list[bytes]) -> None:
    client, server = trio.testing.memory_stream_pair()
    rest = b"".join(pieces)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            try:
                for piece in pieces:
                    await client.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked()
                await client.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the server has refused the input

        async def listen() -> None:
            async for _ in client:
                pass

        nursery.start_soon(send)
        nursery.start_soon(listen)
        connection = HttpConnection(server)
        try:
            while request := await connection.next_request(idle=1, seconds=1):
                request = await connection.read_body(request)
                head = HEAD.match(rest)
                assert head is not None, f"{request!r} from {rest!r}"
                assert head["method"].decode() == request.method
                lengths = LENGTH.findall(head["lines"])
                assert len(lengths) <= 1
                body = rest[head.end() :][: int(lengths[0]) if lengths else 0]
                assert body == request.body
                rest = rest[head.end() + len(body) :]
                assert request.raw_path.startswith("/") or (request.method, request.raw_path) == ("OPTIONS", "*")
                assert not re.search(r"[\r\n\0]", "".join(request.headers.values()))
                assert isinstance((request.path, request.query, request.cookies), tuple)
                await connection.respond(edge.Response())
                if not connection.reusable:
                    break
        except BadRequest as bad:
            assert bad.status in (400, 408, 411, 413, 431, 501, 505), bad
            await connection.respond(edge.Response(bad.status), close=True)
        except trio.BrokenResourceError:
            pass
        await server.aclose()
        nursery.cancel_scope.cancel()


@attrs.frozen
class Point:
    x: float
    y: float


@edge.event("everything")
class Everything:
    text: str = ""
    whole: int = 0
    number: float = 0.0
    yes: bool = False
    data: bytes = b""
    maybe: str | None = None
    many: list[Point] = attrs.field(factory=list)
    named: dict[str, int] = attrs.field(factory=dict)
    pair: tuple[int, str] = (0, "")
    one_of: int | str = 0


def codec(data: bytes) -> None:
    """Decode a frame, and check the result. The frame must be refused with a known problem, or become an event that
    stays equal when it is encoded and decoded."""
    for spoken, frame in _frames(data):
        envelope = spoken.peek(frame)
        assert isinstance(envelope[0], str)
        try:
            plain = spoken.decode(frame)
        except InvalidEvent as exc:
            assert exc.problem in ("malformed", "too_deep")
            continue
        try:
            event = structure(plain, Everything)
        except InvalidEvent as exc:
            assert exc.problem in ("invalid", "too_deep")
            assert str(exc)
            continue
        said = spoken.encode(unstructure(event))
        assert structure(spoken.decode(said), Everything) == event


def _frames(data: bytes) -> list[tuple[Codec, Any]]:
    frames: list[tuple[Codec, Any]] = [(MESSAGEPACK, data)]
    with contextlib.suppress(UnicodeDecodeError):
        frames.append((JSON, data.decode()))
    return frames


def machine(data: bytes) -> None:
    """Receive each line as a frame. Check that each frame is a message, is refused with a known problem, or ends the
    connection with a code. Check also that the count of received messages never decreases, that sent frames can be
    decoded, and that a closed connection receives nothing."""
    limits = Limits(message_bytes=2000, hello_bytes=500)
    connection, now = Connection(Side.SERVER, JSON, now=0, limits=limits), 0.0
    vocabulary = Vocabulary.of(Everything)
    for line in data.split(b"\n"):
        now += len(line) % 7
        received = connection.counts.received
        try:
            if now >= connection.next_due:
                for frame in connection.due(now):
                    assert JSON.decode(frame)[0] in ("$ack", "$ping")
            message = connection.receive(line.decode(errors="replace"), now=now)
        except InvalidEvent as exc:
            assert connection.state is State.OPEN
            assert exc.problem in ("malformed", "too_large", "too_deep", "invalid", "unknown_event")
        except RemoteProtocolError as exc:
            assert isinstance(exc.code, edge.Code)
            return
        else:
            if isinstance(message, Event | Request) and message.name in vocabulary.by_name:
                with contextlib.suppress(InvalidEvent):
                    structure(message.body, Everything)
        assert connection.counts.received in (received, received + 1)
        assert not math.isnan(connection.next_read_at)
        if connection.state is State.GREETED:
            welcome = Welcome(resumed=False, received=0, number=0, heartbeat=20, dead_after=30)
            connection.send(welcome, now=now)
        if connection.state is State.CLOSED:
            assert connection.receive('["everything", {}]', now=now) is None


def fast_path(data: bytes) -> None:
    """Receive frames in two pieces, and check that edge's fast path delivers the same messages and sends the same
    answers as trio-websocket and wsproto."""
    cut = data[0] if data else 0
    check(*both([piece for piece in (data[1 : 1 + cut], data[1 + cut :]) if piece]))


def cost(data: bytes) -> None:
    """Check the cost of a frame of the largest size that repeats a part of these bytes, as MessagePack and as JSON. It
    may take at most ten times the CPU time of an honest frame."""
    at = data[0] % 24 if data else 0
    head, unit, tail = data[1 : 1 + at], data[1 + at : 9 + at], data[9 + at : 17 + at]
    for spoken, name in ((MESSAGEPACK, b"\x92\xa5mixed"), (JSON, b'["mixed",')):
        start = data[1 : 1 + at] if at > 12 else name + head
        body = start + unit * ((FRAME_BYTES - len(start) - len(tail)) // max(1, len(unit))) + tail
        check_cost(spoken, body if spoken is MESSAGEPACK else body.decode(errors="replace"))


TARGETS: dict[str, Target] = {"http": http, "codec": codec, "machine": machine, "fast_path": fast_path, "cost": cost}


def cost_per_byte(target: Target, data: bytes) -> float:
    """Return the CPU seconds per byte of an input, from the fastest of three runs, because noise only adds time."""
    least = math.inf
    for _ in range(3):
        began = time.thread_time()
        target(data)
        least = min(least, time.thread_time() - began)
    return least / max(len(data), SHORT_BYTES)
