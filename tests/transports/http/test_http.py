"""Rules of the RFCs for HTTP/1.1, of which public test suites had found violations in edge.

These tests detect three kinds of fault. The server reads a header with a list as one text. It accepts more syntax than
the RFC allows. Or a refusal does not name the accepted values.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import pytest
import trio
from hypothesis import event, given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

import edge
from edge.server.serve import Server, open_server
from edge.transports.http.http import ORDINARY_HEAD, BadRequest, HttpConnection, Request, Response
from tests.rooms.quiet import Quiet

KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
WEBSOCKET = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "edge.1.json",
}


def upgrade(**changed: str) -> str:
    headers = {**WEBSOCKET, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return "GET /rooms/quiet/one HTTP/1.1\n" + "".join(f"{name}: {value}\n" for name, value in headers.items()) + "\n"


def make_app() -> edge.App:
    app = edge.App({"quiet": Quiet})

    @app.route("/echo", methods=("POST", "PUT"), max_body_bytes=3_000_000)
    async def echo(request: Request) -> Response:
        return Response(200, request.body)

    @app.route("/host")
    async def host(request: Request) -> Response:
        return Response(200, f"{request.headers['host']} {request.raw_path}?{request.raw_query}".encode())

    return app


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    async with open_server(make_app()) as server:
        yield server
        server.drain()


async def raw(server: Server, data: bytes) -> bytes:
    """Send these bytes, and return all bytes that the server sends in one second, or until it closes the connection."""
    answer = b""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, theirs)
        await ours.send_all(data)
        with trio.move_on_after(1):
            while received := await ours.receive_some():
                answer += received
        nursery.cancel_scope.cancel()
    return answer


async def ask(server: Server, text: str) -> tuple[int, dict[str, str], bytes]:
    answer = await raw(server, text.replace("\n", "\r\n").encode("latin-1"))
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


@pytest.mark.parametrize(
    "host", ["a b", "a/b", "u@h", "a,b", "a:b", "[::1", "a\x80", "a:1:2", "a?b", "a#b", "a\\b", 'a"b', "<a>"]
)
async def test_an_invalid_host_is_a_bad_request(host: str) -> None:
    """An invalid Host, or an invalid host in the absolute form, is answered with 400 (RFC 9112 section 3.2)."""
    async with serving() as server:
        assert (await ask(server, f"GET /host HTTP/1.1\nHost: {host}\n\n"))[0] == 400
        assert (await ask(server, f"GET http://localhost/host HTTP/1.1\nHost: {host}\n\n"))[0] == 400
        assert (await ask(server, "GET http:///host HTTP/1.1\nHost: x\n\n"))[0] == 400
        if not set(host) & set(" /?#\x80"):
            assert (await ask(server, f"GET http://{host}/host HTTP/1.1\nHost: x\n\n"))[0] == 400


@pytest.mark.parametrize("host", ["a.b", "A-B_c.:80", "[::1]:8000", "1.2.3.4", "a%20b", "x:", ""])
async def test_a_valid_host_is_none(host: str) -> None:
    """A valid Host header is accepted, even an empty one."""
    async with serving() as server:
        assert (await ask(server, f"GET /livez HTTP/1.1\nHost: {host}\n\n"))[0] == 200


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("http://there.example/host?q", "there.example /host?q"),
        ("HTTP://there.example:81/host", "there.example:81 /host?"),
    ],
)
async def test_the_absolute_form_names_the_host(target: str, told: str) -> None:
    """The host of the absolute form replaces the Host header (RFC 9112 section 3.2.2)."""
    async with serving() as server:
        assert (await ask(server, f"GET {target} HTTP/1.1\nHost: here\n\n"))[2].decode() == told


async def test_the_absolute_form_without_a_path() -> None:
    """An absolute-form target without a path is a request for `/`."""
    async with serving() as server:
        assert (await ask(server, "GET http://there.example HTTP/1.1\nHost: x\n\n"))[0] == 404
        assert (await ask(server, "GET http://there.example?q HTTP/1.1\nHost: x\n\n"))[0] == 404


@pytest.mark.parametrize(("version", "status"), [("2.0", 505), ("0.9", 505), ("3.0", 505), ("1.1", 200), ("1.0", 200)])
async def test_another_major_version_is_not_spoken(version: str, status: int) -> None:
    """Another major version of HTTP is answered with 505 (RFC 9110 section 15.6.6)."""
    async with serving() as server:
        assert (await ask(server, f"GET /livez HTTP/{version}\nHost: x\n\n"))[0] == status


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 101),
        ({"Upgrade": "WebSocket"}, 101),
        ({"Upgrade": "h2c, websocket"}, 101),
        ({"Connection": "keep-alive, UPGRADE"}, 101),
        ({"Upgrade": "xwebsockety"}, 426),
        ({"Upgrade": "websocket2"}, 426),
        ({"Connection": "no-upgrades-please"}, 400),
        ({"Connection": "keep-alive"}, 400),
        ({"Transfer-Encoding": "chunked"}, 400),
    ],
)
async def test_upgrade_and_connection_are_lists_of_tokens(changed: dict[str, str], status: int) -> None:
    """Upgrade and Connection are read as lists of tokens, and each token is compared as a whole (RFC 9110 sections
    7.6.1 and 7.8)."""
    async with serving() as server:
        assert (await ask(server, upgrade(**changed)))[0] == status


async def test_another_version_of_websocket_is_told_which_is_spoken() -> None:
    """An unsupported WebSocket version is answered with 426 and the supported version (RFC 6455 section 4.4)."""
    async with serving() as server:
        for version in ("8", "14", "13, 8"):
            status, headers, _ = await ask(server, upgrade(Sec_WebSocket_Version=version))
            assert (status, headers["sec-websocket-version"]) == (426, "13")
            assert (headers["upgrade"], "upgrade" in headers["connection"]) == ("websocket", True)


async def test_each_response_says_when_it_was_made() -> None:
    """Each response, including refusals, has one Date header (RFC 9110 section 6.6.1)."""
    async with serving() as server:
        for text in (
            "GET /livez HTTP/1.1\nHost: x\n\n",
            "GET /no HTTP/1.1\nHost: x\n\n",
            "nonsense\n\n",
            upgrade(Upgrade="x"),
        ):
            answer = await raw(server, text.replace("\n", "\r\n").encode())
            (date,) = re.findall(rb"(?i)\r\ndate: ([^\r]+)\r\n", answer)
            assert parsedate_to_datetime(date.decode()).utcoffset() is not None
            assert date.endswith(b" GMT")


async def test_a_method_that_is_not_allowed_is_told_which_are() -> None:
    """A wrong method is answered with 405 and the allowed methods (RFC 9110 section 15.5.6)."""
    async with serving() as server:
        status, headers, _ = await ask(server, "DELETE /livez HTTP/1.1\nHost: x\n\n")
        assert (status, headers["allow"]) == (405, "get, head")
        status, headers, _ = await ask(server, "GET /echo HTTP/1.1\nHost: x\n\n")
        assert (status, headers["allow"]) == (405, "post, put")


async def test_what_the_server_as_a_whole_can_do() -> None:
    """`OPTIONS *` lists the server's methods, and other methods can't use the asterisk (RFC 9110 section 9.3.7)."""
    async with serving() as server:
        status, headers, _ = await ask(server, "OPTIONS * HTTP/1.1\nHost: x\n\n")
        assert (status, "get" in headers["allow"]) == (204, True)
        assert (await ask(server, "GET * HTTP/1.1\nHost: x\n\n"))[0] == 400


@pytest.mark.parametrize(("count", "status"), [(1, 200), (2, 200), (4, 200), (5, 400)])
async def test_empty_lines_before_a_request_are_ignored(count: int, status: int) -> None:
    """Up to four empty lines before or between requests are ignored, even if they arrive byte by byte (RFC 9112 section
    2.2)."""
    async with serving() as server:
        empty = "\n" * count
        assert (await ask(server, f"{empty}GET /livez HTTP/1.1\nHost: x\n\n"))[0] == status
        if status == 200:
            answer = await raw(server, (f"GET /livez HTTP/1.1\nHost: x\n\n{empty}" * 2).replace("\n", "\r\n").encode())
            assert answer.count(b"HTTP/1.1 200 ") == 2
    ours, theirs = trio.testing.memory_stream_pair()
    async with serving() as server, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, theirs)
        for piece in (b"\r", b"\n", b"\r\nGE", b"T /livez HTTP/1.1\r\nHost: x\r\n\r\n"):
            await ours.send_all(piece)
            await wait_all_tasks_blocked()
        assert (await ours.receive_some()).startswith(b"HTTP/1.1 200 ")
        await ours.aclose()


@pytest.mark.parametrize("character", [chr(code) for code in [*range(1, 9), 11, 12, *range(14, 32), 127]])
async def test_a_control_character_in_a_header_is_refused(character: str) -> None:
    """Control characters in a header value, except a tab, are answered with 400 (RFC 9110 section 5.5)."""
    async with serving() as server:
        assert (await ask(server, f"GET /livez HTTP/1.1\nHost: x\nX: a{character}b\n\n"))[0] == 400
        assert (await ask(server, "GET /livez HTTP/1.1\nHost: x\nX: a\tb\n\n"))[0] == 200


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_body_in_chunks() -> None:
    """A chunked body arrives complete, and the next request on the connection is served."""
    async with serving() as server:
        answer = await raw(server, CHUNKED + chunks(b"hello ", b"world") + b"GET /host HTTP/1.1\r\nHost: next\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200 ") == 2
        assert b"hello world" in answer
        assert answer.endswith(b"next /host?")


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (CHUNKED, chunks(b"x" * 1_500_000, b"y" * 1_500_000), 200),
        (CHUNKED, chunks(b"x" * 1_500_000, b"y" * 1_500_001), 413),
        (CHUNKED.replace(b"/echo", b"/other"), chunks(b"x" * 1_100_000), 413),
        (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0"), chunks(b"x"), 400),
        (CHUNKED.replace(b"Transfer", b"Content-Length: 3\r\nTransfer"), chunks(b"x"), 400),
        (CHUNKED.replace(b": chunked", b": gzip, chunked"), chunks(b"x"), 501),
        (CHUNKED, b"3\r\nabcX\r\n0\r\n\r\n", 400),
        (CHUNKED, b"0x3\r\nabc\r\n0\r\n\r\n", 400),
        (
            CHUNKED.replace(b"/echo", b"/rooms/quiet/one").replace(
                b"Host", b"edge-connection: a-line-of-tests\r\nHost"
            ),
            chunks(b"x"),
            411,
        ),
    ],
    ids=[
        "largest",
        "too large",
        "too large for most",
        "HTTP/1.0",
        "two lengths",
        "gzip",
        "overlong",
        "0x",
        "a line",
    ],
)
async def test_what_chunks_may_not_be(head: bytes, body: bytes, status: int) -> None:
    """A chunked body is refused if it is larger than the route's limit or malformed."""
    async with serving() as server:
        assert await raw(server, CHUNKED + b"3\nabc\n0\n\n") == b"", "a bare line feed has ended the head of a chunk"
        assert (await raw(server, head + body)).startswith(b"HTTP/1.1 %d " % status)


async def test_a_body_is_as_large_as_its_route_says() -> None:
    """A body larger than the route's limit is refused by its Content-Length, before it is read."""
    async with serving() as server:
        for path, size, status in (("/echo", 3_000_000, 200), ("/echo", 3_000_001, 413), ("/livez", 1_048_577, 413)):
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
            answer = await raw(server, head + (b"x" * size if status == 200 else b""))
            assert answer.startswith(b"HTTP/1.1 %d " % status)


async def test_requests_that_were_sent_ahead_do_not_hold_up_others() -> None:
    """A request on a new connection is answered before the 8,000 requests that four hundred connections have
    pipelined."""
    async with serving() as server, trio.open_nursery() as nursery:

        async def pipeline(stream: trio.abc.Stream) -> None:
            await stream.send_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            answer = b""
            while answer.count(b"HTTP/1.1 200 ") < 20:
                answer += bytes(await stream.receive_some())
            answered.append(stream)
            await stream.aclose()

        answered: list[object] = []
        for _ in range(400):
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server.serve_connection, theirs)
            nursery.start_soon(pipeline, ours)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(server.serve_connection, theirs)
        await ours.send_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await ours.receive_some()).startswith(b"HTTP/1.1 200 ")
        served = server.site.directory.counters.requests
        assert served < 900, "too many pipelined requests were served first"
        await ours.aclose()
    assert len(answered) == 400


HEADERS = [
    *WEBSOCKET.items(),
    ("Origin", "http://localhost"),
    ("Cookie", "a=b; c=d"),
    ("Connection", "keep-alive, Upgrade"),
    ("Connection", "close"),
    ("Content-Length", "0"),
    ("Content-length ", "3"),
    ("Expect", "100-continue"),
    ("Host", ""),
    ("Host", "a b"),
    ("Transfer-Encoding", "chunked"),
    ("Upgrade", "h2c"),
    ("X|~", "a  b"),
    ("X_Y", ""),
    ("X", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
]
TARGETS = ["/rooms/a/b", "/rooms/a/b?c=d?e", "//a", "/%zz", "/#a", '/a"<>', "*", "http://a/b", "a", ""]


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Draw the head of a request for a WebSocket, with more, fewer and moved headers, and at most one changed byte."""
    headers = draw(st.permutations(list(WEBSOCKET.items())))
    headers += draw(st.lists(st.sampled_from(HEADERS), max_size=3)) + draw(st.sampled_from([0, 0, 0, 95])) * [
        ("h", "x")
    ]
    headers = headers[draw(st.sampled_from([0, 0, 0, 1])) :]
    method, version = draw(st.sampled_from(["GET"] * 9 + ["POST"])), draw(st.sampled_from(["1.1"] * 9 + ["1.0", "2.0"]))
    target = draw(st.sampled_from([TARGETS[0]] * 9 + TARGETS))
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in headers)]
    head = bytearray("".join(f"{line}\r\n" for line in lines).encode("latin-1"))
    if draw(st.booleans()):
        head[draw(st.integers(0, len(head) - 1))] = draw(st.integers(0, 255) | st.sampled_from(list(b" \t\r\n:,;")))
    return bytes(head) + b"\r\n" + draw(st.sampled_from([b"", b"\x81\x80\0\0\0\0"]))


async def parsed(sent: bytes, *, by_h11: bool) -> tuple[object, ...]:
    """Return the request of a head, and the state of h11 after this request; or the refusal of the head."""
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(sent)
    await ours.aclose()
    connection = HttpConnection(theirs, "192.0.2.1")
    if by_h11:
        connection._read_ordinary_head = lambda head: None  # type: ignore[method-assign]
    try:
        request = await connection.next_request(idle=1, seconds=1)
    except BadRequest as bad:
        return bad.status, bad.code, str(bad)
    if request is None:
        return ("the stream has ended",)
    ordinary = connection._machine is None
    assert not (by_h11 and ordinary)
    event(f"ordinary: {ordinary}" if not by_h11 else "h11")
    machine = connection._h11
    return request, machine.our_state, machine.their_state, machine.trailing_data, connection.switch()


@given(heads())
def test_an_ordinary_head_is_read_as_h11_reads_it(head: bytes) -> None:
    """A head that is read without h11 gives the same request, and h11 has the same state if it is needed later."""

    async def compare() -> None:
        assert await parsed(head, by_h11=False) == await parsed(head, by_h11=True)

    trio.run(compare)


def test_a_browsers_head_is_ordinary() -> None:
    """The head of a browser is read without h11, so that the comparison above compares something."""
    head = "GET /rooms/a/b HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in WEBSOCKET.items()) + "\r\n"
    assert ORDINARY_HEAD.fullmatch(head.encode())
    assert HttpConnection(trio.testing.memory_stream_pair()[0])._read_ordinary_head(head.encode()) is not None
