"""A server on real sockets: HTTP, WebSocket, refusals, limits, drains."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import edge
from edge import Code
from edge.client.client import Status
from edge.protocol.codec import JSON, MESSAGEPACK
from edge.server.limiter import AddressLimits
from edge.server.serve import serve as serve_app
from edge.transports.http.responses import redirect
from tests.small_rooms import Said, Say

pytestmark = pytest.mark.real_time


@edge.event("guess")
class Guess:
    word: str


Player = edge.Player[Say | Guess, Said]


class Echo(edge.Room[Say | Guess, Said]):
    seats = edge.Seats(minimum=1, maximum=2, grace=5)

    async def player(self, player: Player) -> None:
        try:
            async for event in player:
                match event:
                    case Say(text):
                        self.broadcast(Said(text))
                    case Guess(word):
                        player.reply(event, Said(word.upper()))
        finally:
            self.broadcast(Said("left"))


@attrs.frozen
class Served:
    """A running server, with methods that send requests to it."""

    port: int
    app: edge.App
    drain: trio.Event

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def join(self, path: str = "/rooms/echo/one", **options: Any) -> Any:
        return edge.join(self.url(path), sends=Say | Guess, receives=Said, **options)

    async def http(self, request: str, *, read: int = 1) -> bytes:
        """Send this request, with CRLF line ends, and return all bytes that the server sends."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            await stream.send_all(request.replace("\n", "\r\n").encode("latin-1"))
            answer = b""
            while True:
                try:
                    received = await stream.receive_some()
                except trio.BrokenResourceError:
                    return answer
                if not received:
                    return answer
                answer += received

    async def get(self, path: str, headers: str = "") -> tuple[int, dict[str, str], bytes]:
        head, _, body = (
            await self.http(f"GET {path} HTTP/1.1\nHost: localhost\nConnection: close\n{headers}\n")
        ).partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


@asynccontextmanager
async def serving(app: edge.App | None = None) -> AsyncIterator[Served]:
    """Serve an app on a free port until the block ends, and fail after twenty seconds. The default app has an echo
    room."""
    app = app or edge.App({"echo": Echo})
    drain = trio.Event()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(serve_app, app, port=0, drain=drain, drain_seconds=5))
            yield Served(listeners[0].socket.getsockname()[1], app, drain)
            drain.set()


def upgrade(
    path: str = "/rooms/echo/one",
    *,
    subprotocol: str = "edge.1.json",
    origin: str = "",
    key: str = base64.b64encode(b"0123456789abcdef").decode(),
    version: str = "13",
) -> str:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        f"Sec-WebSocket-Version: {version}",
        f"Sec-WebSocket-Protocol: {subprotocol}",
        *([f"Origin: {origin}"] if origin else []),
    ]
    return "\n".join(lines) + "\n\n"


async def test_a_client_talks_to_a_room() -> None:
    """Events and requests work over a real WebSocket, in JSON and in MessagePack, and a too large request fails."""
    async with serving() as served:
        for codec in (JSON, MESSAGEPACK):
            async with served.join(name="ana", codec=codec) as client:
                client.send(Say("hi"))
                assert await client.receive() == Said("hi")
                assert await client.request(Guess("owl"), Said) == Said("OWL")
                client._message_bytes = 100_000  # a client that ignores the welcome's limit
                with pytest.raises(edge.RequestFailed) as caught:
                    await client.request(Say("x" * 70_000), Said)
                assert caught.value.problem == "too_large"


async def test_a_full_room_is_told() -> None:
    """A full room refuses a client as FULL, and the client does not try again."""
    async with serving() as served, served.join(name="ana") as ana, served.join(name="ben") as ben:
        await ana.wait_status("open")
        await ben.wait_status("open")
        async with served.join(name="cyn") as cyn:
            with pytest.raises(edge.Disconnected, match="all 2 seats are taken") as caught:
                await cyn.receive()
        assert caught.value.code is Code.FULL


@pytest.mark.parametrize("path", ["/rooms/nonsense/one", "/rooms/echo/..%2fone", "/rooms/echo/" + "x" * 100])
async def test_no_such_room(path: str) -> None:
    """An unknown kind of room and an invalid name are refused as NO_ROOM."""
    async with serving() as served, served.join(path) as client:
        with pytest.raises(edge.Disconnected) as caught:
            await client.receive()
        assert caught.value.code is Code.NO_ROOM


async def test_no_more_rooms_than_the_cap() -> None:
    """A server that has `AddressLimits.rooms` rooms refuses to open a further room as FULL. Open rooms continue."""
    async with (
        serving(edge.App({"echo": Echo}, address_limits=AddressLimits(rooms=1))) as served,
        served.join("/rooms/echo/one") as one,
    ):
        await one.wait_status("open")
        async with served.join("/rooms/echo/two") as two:
            with pytest.raises(edge.Disconnected) as caught:
                await two.receive()
        assert caught.value.code is Code.FULL
        assert [listing.name for listing in served.app.directory.list()] == ["one"]


HOST = "Host: localhost\n"
LAST = HOST + "Connection: close\n\n"
REFUSED: dict[str, tuple[str, int, str]] = {
    "foreign origin": (upgrade(origin="https://evil.example"), 403, "foreign_origin"),
    "null origin": (upgrade(origin="null"), 403, "foreign_origin"),
    "unbalanced origin": (upgrade(origin="http://["), 403, "foreign_origin"),
    "wrong version": (upgrade(subprotocol="edge.2.json"), 400, "version"),
    "no sub-protocol": (upgrade(subprotocol=""), 400, "version"),
    "short key": (upgrade(key="short"), 400, "malformed"),
    "key that is not ASCII": (upgrade(key="\xe9" * 24), 400, "malformed"),
    "old WebSocket": (upgrade(version="8"), 426, "version"),
    "upgrade with a body": (upgrade().replace("\n\n", "\nContent-Length: 2\n\nxx"), 400, "malformed"),
    "upgrade over HTTP/1.0": (upgrade().replace("HTTP/1.1", "HTTP/1.0"), 426, "upgrade"),
    "not found": ("GET /nothing HTTP/1.1\n" + LAST, 404, "not_found"),
    "name too long for a file": (f"GET /files/{'a' * 300} HTTP/1.1\n" + LAST, 404, "not_found"),
    "unbalanced target": ("GET //[ HTTP/1.1\n" + LAST, 404, "not_found"),
    "no path": ("GET * HTTP/1.1\n" + HOST + "\n", 400, "malformed"),
    "method": ("PUT /livez HTTP/1.1\n" + LAST, 405, "method"),
    "folded header": ("GET / HTTP/1.1\n" + HOST + " folded: y\n\n", 400, "malformed"),
    "two lengths": ("POST / HTTP/1.1\n" + HOST + "Content-Length: 1\nTransfer-Encoding: chunked\n\n", 400, "malformed"),
    "chunks": ("POST / HTTP/1.1\n" + LAST.strip() + "\nTransfer-Encoding: chunked\n\n0\n\n", 404, "not_found"),
    "large body": ("POST / HTTP/1.1\n" + HOST + "Content-Length: 9999999\n\n" + "x" * 1_100_000, 413, "too_large"),
    "many headers": ("GET / HTTP/1.1\n" + HOST + "h: v\n" * 200 + "\n", 431, "too_large"),
    "large head": ("GET /" + "x" * 40_000 + " HTTP/1.1\n\n", 431, "too_large"),
    "no host": ("GET / HTTP/1.1\n\n", 400, "malformed"),
    "nonsense": ("nonsense\n\n", 400, "malformed"),
}


@pytest.mark.parametrize(("request_text", "status", "code"), list(REFUSED.values()), ids=list(REFUSED))
async def test_refused_over_http(request_text: str, status: int, code: str, caplog: pytest.LogCaptureFixture) -> None:
    """A bad HTTP request gets the expected status and a JSON body with a code, and is not logged as a crash. The server
    continues."""
    caplog.set_level(logging.WARNING)
    async with serving(edge.App({"echo": Echo}, static={"/files": Path(__file__).parent})) as served:
        answer = await served.http(request_text)
        assert int(answer.split()[1]) == status
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == code
        assert (await served.get("/livez"))[0] == 200
    assert all("may not connect" in record.getMessage() for record in caplog.records)
    assert len(caplog.records) == (code == "foreign_origin")


async def test_a_bare_line_feed_is_refused() -> None:
    """A request with a bare line feed in its head is refused, because a proxy might read the head differently."""
    async with serving() as served, await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
        await stream.send_all(b"GET /livez HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 400 ")


async def test_allowed_origins() -> None:
    """Pages of the same host, and of listed origins, may connect."""
    app = edge.App({"echo": Echo}, origins=["https://friend.example"])
    async with serving(app) as served:
        for origin in ("http://localhost", "https://localhost", "https://friend.example"):
            async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
                await stream.send_all(upgrade(origin=origin).replace("\n", "\r\n").encode())
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")


async def test_static_files_and_nothing_else(tmp_path: Path) -> None:
    """Static files in the folder are served with content type and entity tag. No path and no link gives access to files
    outside, and hidden files are not served."""
    web = tmp_path / "web"
    (web / "sub").mkdir(parents=True)
    (web / "index.html").write_text("<p>hi")
    (web / "sub" / "a.js").write_text("export {}")
    (tmp_path / "secret").write_text("secret")
    (web / "link").symlink_to(tmp_path / "secret")
    (web / ".env").write_text("secret")
    async with serving(edge.App({}, static={"/": web, "/deep": web / "sub"})) as served:
        status, headers, body = await served.get("/")
        assert (status, headers["content-type"], body) == (200, "text/html; charset=utf-8", b"<p>hi")
        status, headers, _ = await served.get("/sub/a.js")
        assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        assert (await served.get("/sub/a.js", f"If-None-Match: {headers['etag']}\n"))[0] == 304
        assert (await served.get("/deep/a.js"))[0] == 200
        assert (await served.get("http://localhost/deep/a.js?query"))[0] == 200
        for path in (
            "/.env",
            "/../secret",
            "/%2e%2e/secret",
            "/sub/../../secret",
            "/..%5csecret",
            "/link",
            "/%00",
            "//etc/passwd",
        ):
            assert (await served.get(path))[0] == 404, path


async def test_routes_and_keep_alive(caplog: pytest.LogCaptureFixture) -> None:
    """Routes get bodies and queries, a route that crashes is answered with 500, and the connection is reused."""
    app = edge.App({})

    @app.route("/add", methods=["POST"])
    async def add(request: edge.Request) -> edge.Response:
        return edge.json_response(int(request.query["to"]) + json.loads(request.body))

    @app.route("/crash")
    async def crash(request: edge.Request) -> edge.Response:
        raise RuntimeError("by request")

    @app.route("/elsewhere")
    async def elsewhere(request: edge.Request) -> edge.Response:
        return redirect("/é?ü=1")

    @app.route("/impossible")
    async def impossible(request: edge.Request) -> edge.Response:
        return edge.Response(headers={"x": "a\nb"})

    with pytest.raises(ValueError, match="has a route already"):
        app.route("/crash")(crash)
    async with serving(app) as served, await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
        exchanges = [
            ("POST /add?to=40 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n2", b"200", b"42"),
            ("GET /elsewhere HTTP/1.1\r\nHost: localhost\r\n\r\n", b"302", b""),
            ("GET /impossible HTTP/1.1\r\nHost: localhost\r\n\r\n", b"500", b'{"code": "crashed"'),
            ("GET /crash HTTP/1.1\r\nHost: localhost\r\n\r\n", b"500", b'{"code": "crashed"'),
            ("HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200", b""),
            ("GET /edge.js HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200", b"var "),
            ("GET /" + "x" * 40_000, b"431", b'{"code": "too_large"'),
        ]
        for request, status, body in exchanges:
            await stream.send_all(request.encode())
            head, _, start = (await stream.receive_some()).partition(b"\r\n\r\n")
            assert head.split()[1] == status
            assert start.startswith(body)
            length = int(next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))[15:])
            while len(start) < length and not request.startswith("HEAD"):
                start += await stream.receive_some()
    assert "by request" in caplog.text


async def test_a_frame_larger_than_a_socket_reads() -> None:
    """A WebSocket frame that is larger than the server reads ends the connection with TOO_LARGE, and the room
    continues."""
    async with serving() as served, served.join(name="ben") as ben:
        async with served.join(name="ana", limits=edge.Limits(outbox_bytes=10_000_000)) as ana:
            await ana.wait_status("open")
            ana._message_bytes = 1_000_000  # a client that ignores the welcome's limit
            ana.send(Say("x" * 500_000))
            with pytest.raises(edge.Disconnected) as caught:
                await ana.receive()
            assert caught.value.code is Code.TOO_LARGE
        assert await ben.receive() == Said("left")
        ben.send(Say("still here"))
        assert await ben.receive() == Said("still here")


async def test_a_client_whose_message_is_far_too_large_is_told() -> None:
    """A client whose message is much too large closes with TOO_LARGE, and its `join` block raises no exception."""
    async with serving() as served:
        for _ in range(5):
            async with served.join(name="ana", limits=edge.Limits(outbox_bytes=10_000_000)) as ana:
                await ana.wait_status(Status.OPEN)
                ana._message_bytes = 1_000_000  # a client that ignores the welcome's limit
                ana.send(Say("x" * 300_000))
                await ana.wait_status(Status.CLOSED)
                assert ana.ending.code is edge.Code.TOO_LARGE


async def test_a_client_comes_back_when_its_connection_breaks() -> None:
    """A client whose connection breaks reconnects, resumes its seat, and loses nothing."""
    async with serving() as served, served.join(name="ana") as ana:
        await ana.wait_status("open")
        (player,) = served.app.directory.open("echo", "one").players
        ana._send_buffer.outbox.end(Code.SILENT, "as if the network had gone")
        ana.send(Say("while away"))
        assert await ana.receive() == Said("while away")
        assert ana.welcome is not None
        assert ana.welcome.resumed
        assert player.connected


async def test_draining(caplog: pytest.LogCaptureFixture) -> None:
    """A drain disconnects players, closes idle connections and rooms, accepts no new connection, and logs no
    warning."""
    caplog.set_level(logging.WARNING)
    async with serving() as served:
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as idle, served.join(name="ana") as ana:
            await idle.send_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b'"status": "ok"' in await idle.receive_some()
            await ana.wait_status("open")
            served.drain.set()
            await ana.wait_status("away")
            assert await idle.receive_some() == b""
            with pytest.raises(OSError, match="all attempts to connect"):
                await trio.open_tcp_stream("127.0.0.1", served.port)
        assert len(served.app.directory) == 0
    assert caplog.records == []


async def test_draining_does_not_wait_for_a_hello() -> None:
    """At a drain, a connection that has not sent a hello ends at once, with DRAINING."""
    async with serving() as served, await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
        await stream.send_all(upgrade().replace("\n", "\r\n").encode())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
        await trio.testing.wait_all_tasks_blocked(0.05)
        served.drain.set()
        assert str(int(Code.DRAINING)).encode() in await stream.receive_some()


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", None])
async def test_a_client_survives_a_server_that_is_none(answer: bytes | None) -> None:
    """A client tries again if a server sends nothing, garbage or an error, and stops at the end of its `join` block."""
    tries = 0
    tried_again = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            tried_again.set()
        await stream.receive_some()
        if answer is None:
            await trio.sleep_forever()
        await stream.send_all(answer)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/rooms/echo/one"
            async with edge.join(url, sends=Say, receives=Said, limits=edge.Limits(hello_seconds=0.2)) as client:
                await tried_again.wait()
                assert client.status == "connecting"
            nursery.cancel_scope.cancel()


async def test_what_a_block_raises_comes_out_as_it_is() -> None:
    """An exception in the block of `edge.join` is raised unchanged, and not in a group. A URL with another scheme
    raises ValueError."""
    async with serving() as served:
        with pytest.raises(edge.Disconnected):
            async with served.join("/rooms/nonsense/one") as client:
                await client.receive()
    with pytest.raises(ValueError, match="is not a ws://, wss://"):
        edge.join("ftp://x/", sends=Say, receives=Said)
