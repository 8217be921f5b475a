"""The fast path reads the same messages from any bytes as trio-websocket alone does, however the bytes are split."""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import hypothesis
import hypothesis.strategies as st
import pytest
import trio
import trio.testing
import trio_websocket
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, Ping, Pong

import edge
from edge.connections.driver import drive_connection
from edge.connections.outbox import Outbox
from edge.protocol import connection as protocol
from edge.protocol.codec import JSON, Frame
from edge.protocol.limits import Limits
from edge.protocol.pace import Pace
from edge.testing import run_virtual
from edge.transports.websocket.fast_path import READ_BYTES, FastPath
from edge.transports.websocket.framing import CLOSE, TEXT
from edge.transports.websocket.reader import open_socket_reader
from edge.transports.websocket.websocket import ServedWebSocket

LIMITS = Limits(message_bytes=300)  # so that the server reads frames of up to 1,200 bytes
HEAD = (
    b"GET /rooms/a/b HTTP/1.1\r\nHost: edge.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: edge.1.json\r\n\r\n"
)
MASK = b"\x37\xfa\x21\x3d"


def frame(first: int, payload: bytes, *, masked: bool = True, width: int = 0, declared: int | None = None) -> bytes:
    """Return a client's WebSocket frame, which can be invalid."""
    length = len(payload) if declared is None else declared
    width = width or (1 if length < 126 else 3 if length < 65536 else 9)
    bit = 0x80 if masked else 0
    head = {
        1: struct.pack("!BB", first, bit | min(length, 125)),
        3: struct.pack("!BBH", first, bit | 126, length & 0xFFFF),
    }
    start = head.get(width) or struct.pack("!BBQ", first, bit | 127, length)
    if not masked:
        return start + payload
    return start + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


def text(words: str) -> bytes:
    return frame(0x81, words.encode())


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(0x88, struct.pack("!H", code) + reason)


STREAMS = {
    "nothing": b"",
    "text": text("hello") + text("é🎨") + text(""),
    "binary": frame(0x82, b"\x00\xff") + frame(0x82, b""),
    "a longer length": text("x" * 126) + text("y" * 500) + text("z" * 125),
    "as large as is read": text("x" * 1200),
    "too large": text("before") + text("x" * 1201) + text("after"),
    "too large, and only said to be": text("before") + frame(0x81, b"", declared=2**40),
    "a length in too many bytes": text("before") + frame(0x81, b"abc", width=3) + text("after"),
    "a length in far too many bytes": frame(0x81, b"x" * 200, width=9) + text("after"),
    "pings between": frame(0x89, b"1") + text("a") + frame(0x89, b"") + frame(0x8A, b"who asked") + text("b"),
    "a ping too long": text("a") + frame(0x89, b"x" * 126) + text("b"),
    "a ping in pieces": frame(0x09, b"1") + text("b"),
    "fragments": text("a") + frame(0x01, b"hel") + frame(0x00, b"l") + frame(0x80, b"o") + text("b"),
    "a ping among fragments": frame(0x01, b"hel") + frame(0x89, b"!") + frame(0x80, b"lo") + text("b"),
    "fragments that never begin": text("a") + frame(0x80, b"lo") + text("b"),
    "fragments that begin twice": frame(0x01, b"a") + frame(0x01, b"b") + text("c"),
    "a whole frame among fragments": frame(0x01, b"a") + text("b") + frame(0x80, b"c"),
    "too large in fragments": frame(0x01, b"x" * 1000) + frame(0x80, b"x" * 1000) + text("after"),
    "letters cut between fragments": frame(0x01, "é".encode()[:1]) + frame(0x80, "é".encode()[1:]) + text("b"),
    "not UTF-8": text("a") + frame(0x81, b"\xff\xfe") + text("b"),
    "half a letter": frame(0x81, "é".encode()[:1]),
    "a surrogate": frame(0x81, b"\xed\xa0\x80"),
    "not UTF-8 in fragments": frame(0x01, b"a") + frame(0x80, b"\xff"),
    "reserved bits": text("a") + frame(0xC1, b"compressed") + text("b"),
    "reserved bits of a ping": frame(0xB9, b""),
    "a reserved opcode": text("a") + frame(0x83, b"") + text("b"),
    "a reserved control opcode": frame(0x8B, b""),
    "no mask": text("a") + frame(0x81, b"plain", masked=False) + text("b"),
    "no mask, and longer": frame(0x81, b"x" * 200, masked=False),
    "no mask on a ping": frame(0x89, b"", masked=False),
    "close": text("a") + close(1000, b"bye") + text("after"),
    "close without a code": text("a") + frame(0x88, b""),
    "close with half a code": text("a") + frame(0x88, b"\x03"),
    "close with a code of ours": close(4200, b"left"),
    "close with a code that is none": close(1005),
    "close that is not UTF-8": close(1000, b"\xff"),
    "half a frame, and gone": text("a") + text("never whole")[:-3],
    "half a head, and gone": text("a") + b"\x81",
}


@attrs.frozen
class Seen:
    """The frames that a server read from a stream, how the stream ended, and the server's answers."""

    frames: list[Frame]
    ended: str
    answers: list[tuple[str, Any]]


async def serve_lane(stream: trio.abc.Stream, frames: list[Frame]) -> str:
    """Read a stream as edge does."""
    async with open_socket_reader() as socket_reader:
        transport = ServedWebSocket(stream, b"", max_bytes=LIMITS.socket_bytes, socket_reader=socket_reader)
        try:
            while True:
                frames.append(await transport.receive())
        except trio.EndOfChannel:
            return f"closed {transport.close_code}"
        except trio.BrokenResourceError:
            return "broken"
        finally:
            await transport.close()


async def serve_alone(stream: trio.abc.Stream, frames: list[Frame]) -> str:
    """Read a stream with trio-websocket alone."""
    async with trio.open_nursery() as nursery:
        request = await trio_websocket.wrap_server_stream(nursery, Ahead(stream), max_message_size=LIMITS.socket_bytes)
        websocket = await request.accept(subprotocol="edge.1.json")
        try:
            while True:
                frames.append(await websocket.get_message())
        except trio_websocket.ConnectionClosed as exc:
            await websocket.aclose()
            nursery.cancel_scope.cancel()
            return "broken" if exc.reason is None or exc.reason.code == 1006 else f"closed {exc.reason.code}"


class Ahead(trio.abc.Stream):
    """A stream that begins with `HEAD`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream, self._head = stream, HEAD

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        head, self._head = self._head, b""
        return head or bytes(await self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def see(serve: Callable[[trio.abc.Stream, list[Frame]], Any], pieces: Sequence[bytes]) -> Seen:
    """Send these parts of a stream to a server one after the other, then close, and return the result."""
    client, server = trio.testing.memory_stream_pair()
    frames: list[Frame] = []
    ended: list[str] = []
    said = bytearray()

    async def run() -> None:
        ended.append(await serve(server, frames))
        await server.aclose()

    async def listen() -> None:
        async for data in client:
            said.extend(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        for piece in pieces:
            try:
                await client.send_all(piece)
            except trio.BrokenResourceError:
                break  # the server has closed
            await trio.testing.wait_all_tasks_blocked()
        await client.send_eof()
    return Seen(frames, ended[0], list(answers(bytes(said))))


def answers(said: bytes) -> Iterator[tuple[str, Any]]:
    """Yield the pongs and the close that a server sent after the handshake."""
    peer = Connection(ConnectionType.CLIENT)
    peer.receive_data(said.partition(b"\r\n\r\n")[2] if said.startswith(b"HTTP") else said)
    for event in peer.events():
        if isinstance(event, Ping | Pong):
            yield type(event).__name__, bytes(event.payload)
        elif isinstance(event, CloseConnection):
            yield "Close", event.code


def see_alone(pieces: Sequence[bytes]) -> Seen:
    """Return the result of trio-websocket, in virtual time. For a failed connection, add the close that edge sends,
    because RFC 6455 section 7.1.7 requires it."""
    seen = run_virtual(see, serve_alone, pieces)
    if seen.ended in ("closed 1002", "closed 1007") and "Close" not in dict(seen.answers):
        seen.answers.append(("Close", int(seen.ended.removeprefix("closed "))))
    return seen


def both(pieces: Sequence[bytes]) -> tuple[Seen, Seen]:
    """Return the results of edge and of trio-websocket."""
    return run_virtual(see, serve_lane, pieces), see_alone(pieces)


def check(fast_path: Seen, alone: Seen) -> None:
    """Check that the results are the same. One difference is allowed: edge may refuse a message because of its size
    before it reads a fault in the message."""
    if fast_path.ended == "closed 1009" != alone.ended:
        assert alone.ended in ("broken", "closed 1002", "closed 1007")
        answered = [answer for answer in alone.answers if answer[0] != "Close"]
        alone = attrs.evolve(alone, ended=fast_path.ended, answers=[*answered, ("Close", 1009)])
    assert fast_path == alone


@pytest.mark.parametrize("name", STREAMS)
def test_in_one_piece_and_byte_by_byte(name: str) -> None:
    """edge and trio-websocket give the same frames, pongs and close code, whether a stream arrives at once or byte by
    byte."""
    stream = STREAMS[name]
    for pieces in ([stream] if stream else [], [stream[at : at + 1] for at in range(min(len(stream), 700))]):
        check(*both(pieces))


@pytest.mark.parametrize("name", [name for name, stream in STREAMS.items() if 1 < len(stream) < 60])
def test_in_two_pieces_cut_anywhere(name: str) -> None:
    """A short stream in two parts gives the same result as the whole stream, wherever it is split."""
    stream = STREAMS[name]
    whole = see_alone([stream])
    for cut in range(1, len(stream)):
        check(run_virtual(see, serve_lane, [stream[:cut], stream[cut:]]), whole)


@hypothesis.settings(deadline=None, max_examples=3 * hypothesis.settings().max_examples // 2)
@hypothesis.given(
    st.lists(st.sampled_from([stream for stream in STREAMS.values() if len(stream) < 700]), min_size=1, max_size=4),
    st.lists(st.integers(1, 300), max_size=8),
)
def test_any_streams_in_any_pieces(streams: list[bytes], sizes: list[int]) -> None:
    """A sequence of streams, split at any places, gives the same result in edge and in trio-websocket."""
    rest, pieces = b"".join(streams), []
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    check(*both([piece for piece in (*pieces, rest) if piece]))


@hypothesis.settings(deadline=None, max_examples=3 * hypothesis.settings().max_examples // 2)
@hypothesis.given(st.binary(min_size=1, max_size=80))
def test_any_bytes_at_all(noise: bytes) -> None:
    """Random bytes give the same result in edge and in trio-websocket."""
    check(*both([noise]))


def test_the_oracle_notices() -> None:
    """The compared results contain frames and pongs, and have different close codes for different faults."""
    seen = see_alone([STREAMS["pings between"]])
    assert seen.frames == ["a", "b"]
    assert seen.answers[:2] == [("Pong", b"1"), ("Pong", b"")]
    ends = {name: run_virtual(see, serve_lane, [STREAMS[name]]).ended for name in ("not UTF-8", "no mask", "too large")}
    assert ends == {"not UTF-8": "closed 1007", "no mask": "closed 1002", "too large": "closed 1009"}


class Patient:
    """A receiver that has space for a number of frames."""

    def __init__(self, space: int) -> None:
        self.space = space
        self.taken: list[Frame] = []

    @property
    def has_space(self) -> bool:
        return len(self.taken) < self.space

    def receive_frame(self, frame: Frame, now: float) -> None:
        self.taken.append(frame)


@asynccontextmanager
async def open_lane(stream: trio.abc.Stream) -> AsyncIterator[FastPath]:
    """Open a fast path that reads this stream."""
    async with (
        open_socket_reader() as socket_reader,
        FastPath(stream, b"", max_bytes=1000, socket_reader=socket_reader) as fast_path,
    ):
        fast_path.start()
        yield fast_path


async def test_without_space_the_lane_stops_reading_and_loses_nothing() -> None:
    """If the receiver has no space, the fast path stops reading, and its buffer stays bounded. Later it delivers all
    frames in order."""
    client, server = trio.testing.memory_stream_pair()
    words = [f"{number} {'x' * 100}" for number in range(5000)]
    async with open_lane(server) as fast_path, trio.open_nursery() as nursery:
        few = Patient(3)
        nursery.start_soon(client.send_all, b"".join(map(text, words)))
        await fast_path.deliver_to(few)
        await trio.testing.wait_all_tasks_blocked()
        assert few.taken == words[:3]
        assert len(fast_path._buffer) <= 2 * READ_BYTES
        many = Patient(len(words) - 3)
        await fast_path.deliver_to(many)
        assert few.taken + many.taken == words
        nursery.cancel_scope.cancel()


async def test_a_cancelled_feed_loses_nothing() -> None:
    """Frames that arrive after a cancelled delivery go to the next receiver."""
    client, server = trio.testing.memory_stream_pair()
    async with open_lane(server) as fast_path, trio.open_nursery() as nursery:
        first, second = Patient(10), Patient(2)
        with trio.move_on_after(1):
            await fast_path.deliver_to(first)
        await client.send_all(text("a") + text("b"))
        await fast_path.deliver_to(second)
        assert (first.taken, second.taken) == ([], ["a", "b"])
        nursery.cancel_scope.cancel()


async def test_space_that_comes_back_at_once_is_used() -> None:
    """A fast path that stopped because its receiver had no space continues, even if there is space again in the same
    step of the event loop."""
    client, server = trio.testing.memory_stream_pair()
    words = [str(number) for number in range(50)]

    class Brief(Patient):
        """Has no space after each fifth frame until `blocked` is cleared."""

        blocked = False

        @property
        def has_space(self) -> bool:
            return not self.blocked and len(self.taken) < self.space

        def receive_frame(self, frame: Frame, now: float) -> None:
            super().receive_frame(frame, now)
            self.blocked = len(self.taken) % 5 == 0

    async with open_lane(server) as fast_path, trio.open_nursery() as nursery:
        brief = Brief(len(words))

        async def free() -> None:
            for _ in range(1000):
                brief.blocked = False
                await trio.lowlevel.checkpoint()

        nursery.start_soon(client.send_all, b"".join(map(text, words)))
        nursery.start_soon(free)
        while len(brief.taken) < len(words):
            with trio.fail_after(1):
                await fast_path.deliver_to(brief)
        assert brief.taken == words
        nursery.cancel_scope.cancel()


async def test_a_goodbye_is_answered_behind_a_frame_without_space() -> None:
    """While a server closes a connection, the client's close frame is read even if frames for which there is no space
    arrive before it."""
    client, server = trio.testing.memory_stream_pair()
    async with open_socket_reader() as socket_reader, trio.open_nursery() as nursery:
        transport = ServedWebSocket(server, b"", max_bytes=1000, socket_reader=socket_reader)
        await client.send_all(text("without space"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(transport.close, 4221, "kicked")
        for piece in (text("under way"), close(4221)):
            await trio.testing.wait_all_tasks_blocked()
            await client.send_all(piece)
    assert trio.current_time() == 0


async def test_a_fault_in_taking_in_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in the receiver is logged, and ends the delivery."""

    class Fragile(Patient):
        def receive_frame(self, frame: Frame, now: float) -> None:
            raise KeyError("a fault of ours")

    client, server = trio.testing.memory_stream_pair()
    async with open_lane(server) as fast_path, trio.open_nursery() as nursery:
        nursery.start_soon(fast_path.deliver_to, Fragile(1))
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(text("a"))
    assert "a fault of ours" in caplog.text


@pytest.mark.parametrize("cancelled", [False, True])
async def test_closing_wakes_who_receives(cancelled: bool) -> None:
    """`close` wakes a task that waits in `receive`, even if `close` is cancelled."""
    client, server = trio.testing.memory_stream_pair()
    async with open_socket_reader() as socket_reader, trio.open_nursery() as nursery:
        transport = ServedWebSocket(server, b"", max_bytes=1000, socket_reader=socket_reader)

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
                await transport.receive()

        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            if cancelled:
                scope.cancel()
            else:
                nursery.start_soon(client.send_all, close(1000))
            await transport.close()


class Later:
    """A receiver that calls `stop_delivery` at the first frame."""

    def __init__(self, transport: ServedWebSocket) -> None:
        self.transport = transport
        self.kept: list[Frame] = []

    @property
    def has_space(self) -> bool:
        return not self.kept

    def receive_frame(self, frame: Frame, now: float) -> None:
        self.kept.append(frame)
        self.transport.stop_delivery()


@pytest.mark.real_time
@pytest.mark.parametrize("size", [5, 500])
async def test_a_frame_that_is_kept_for_later_ends_the_feed(size: int) -> None:
    """`stop_delivery` ends `deliver_to` at once, and not at the next frame."""
    ours, theirs = trio.socket.socketpair()
    with trio.fail_after(30), theirs:
        async with open_socket_reader() as socket_reader:
            transport = ServedWebSocket(trio.SocketStream(ours), b"", max_bytes=1000, socket_reader=socket_reader)
            receiver = Later(transport)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(transport.deliver_to, receiver)
                await trio.testing.wait_all_tasks_blocked(0.01)
                await theirs.send(frame(TEXT, b"x" * size))
            assert receiver.kept == ["x" * size]
            theirs.close()
            await transport.close()


@pytest.mark.real_time
async def test_a_frame_that_waits_for_its_address_is_taken_when_its_time_comes() -> None:
    """A frame that was delayed by the pace of its address is delivered when it is due, even if the peer sends no more
    bytes."""
    ours, theirs = trio.socket.socketpair()
    text = str(JSON.encode(["x", {"a": "b" * 400}])).encode()
    heard, again = list[str](), trio.Event()

    class Hearing:
        has_space = True

        async def wait_space(self) -> None:
            await trio.lowlevel.checkpoint()

        def deliver(self, message: Any) -> None:
            heard.append(message.name)
            again.set()  # looked up at each call, because the test replaces it

        def refuse(self, fault: Any) -> None:
            raise AssertionError(fault)

    with trio.fail_after(10), theirs:
        async with open_socket_reader() as socket_reader, trio.open_nursery() as nursery:
            limits = edge.Limits(events_per_second=math.inf)
            connection = protocol.Connection(protocol.Side.SERVER, JSON, now=trio.current_time(), limits=limits)
            connection.state = protocol.State.OPEN
            transport = ServedWebSocket(trio.SocketStream(ours), b"", max_bytes=1000, socket_reader=socket_reader)
            outbox, shared = Outbox(JSON, edge.Limits()), Pace(500, 1)
            nursery.start_soon(drive_connection, transport, connection, outbox, Hearing(), None, shared)
            sent = 0
            while sent == len(heard):  # until the burst is used up and a frame has to wait
                await theirs.send(frame(TEXT, text))
                sent += 1
                await trio.testing.wait_all_tasks_blocked(0.01)
            again = trio.Event()
            await again.wait()
            assert sent == len(heard)
            nursery.cancel_scope.cancel("all is heard")


@pytest.mark.real_time
@pytest.mark.parametrize("ahead", [frame(CLOSE, b"\x03\xe8"), frame(CLOSE, b"")])
async def test_a_close_that_came_with_the_request_is_answered_after_the_grant(ahead: bytes) -> None:
    """If a close frame arrives together with the request for the WebSocket, the close is answered after the response to
    the request."""
    ours, theirs = trio.socket.socketpair()
    with trio.fail_after(30), theirs:
        async with open_socket_reader() as socket_reader:
            transport = ServedWebSocket(
                trio.SocketStream(ours), ahead, granting=b"granted", max_bytes=1000, socket_reader=socket_reader
            )
            with pytest.raises(trio.EndOfChannel):
                await transport.receive()
            await transport.close()
        assert (await theirs.recv(100)).startswith(b"granted\x88")
