"""How requests to a mounted app end: background tasks, clients that disconnect, drains.

These tests detect two kinds of fault. The end of a client's connection cancels a task of the app that should continue.
Or a task of the app prevents the end of a connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from trio.testing import wait_all_tasks_blocked

import edge
from edge.server.asgi import Mount
from edge.server.limiter import AddressLimits
from edge.server.serve import Server, open_server


class Life:
    """A mounted app that records its background tasks."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.routes = [
            Route("/quick", self.quick),
            Route("/after", self.after),
            Route("/failing", self.failing),
            Route("/size", self.size, methods=["POST"]),
            Route("/who", self.who),
            Route("/slash/", self.quick),
        ]

    async def quick(self, request: Request) -> Response:
        return PlainTextResponse("quick")

    async def after(self, request: Request) -> Response:
        async def work() -> None:
            try:
                await trio.sleep(float(request.query_params.get("seconds", "3")))
                self.log.append("done")
            except trio.Cancelled:
                self.log.append("cancelled")
                raise

        return PlainTextResponse("soon", background=BackgroundTask(work))

    async def failing(self, request: Request) -> Response:
        async def work() -> None:
            raise ValueError("afterwards")

        return PlainTextResponse("soon", background=BackgroundTask(work))

    async def size(self, request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    async def who(self, request: Request) -> Response:
        server, client = request.scope["server"], request.scope["client"]
        return JSONResponse([request.scope["scheme"], server, client and client[0], str(request.url)])


@asynccontextmanager
async def serving(mount: Any, **options: Any) -> AsyncIterator[Server]:
    async with open_server(edge.App({}, mount=mount, **options)) as server:
        yield server
        server.drain()


def connect(server: Server, nursery: trio.Nursery, address: str = "") -> trio.StapledStream[Any, Any]:
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(server.serve_connection, theirs, address)
    return ours


def get(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: here.example\r\n{headers}\r\n".encode()


async def test_what_follows_a_response_does_not_hold_the_connection() -> None:
    """A background task after the response does not delay the next request, and outlives the connection."""
    life = Life()
    async with serving(Starlette(routes=life.routes)) as server, trio.open_nursery() as nursery:
        stream = connect(server, nursery)
        began = trio.current_time()
        for path, answer in (("/after", b"soon"), ("/quick", b"quick")):
            await stream.send_all(get(path))
            assert (await stream.receive_some()).endswith(answer)
        assert trio.current_time() - began < 1
        assert life.log == []
        await stream.aclose()
        await trio.sleep(5)
        assert life.log == ["done"], "the end of the connection must not end the task"


async def test_what_follows_a_response_ends_with_the_drain() -> None:
    """During a drain without a deadline, background tasks have ten seconds, and are then cancelled."""
    life = Life()
    async with serving(Starlette(routes=life.routes)) as server:
        async with trio.open_nursery() as nursery:
            for seconds in (3, 60):
                stream = connect(server, nursery)
                await stream.send_all(get(f"/after?seconds={seconds}"))
                await stream.receive_some()
                await stream.aclose()
        began = trio.current_time()
    assert life.log == ["done", "cancelled"]
    assert trio.current_time() - began == pytest.approx(10, abs=1)


async def test_an_error_after_the_response_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in a background task is logged with its request, and the connection continues."""
    life = Life()
    async with serving(Starlette(routes=life.routes)) as server, trio.open_nursery() as nursery:
        stream = connect(server, nursery)
        for path in ("/failing", "/quick"):
            await stream.send_all(get(path))
            assert b"200 OK" in await stream.receive_some()
        await stream.aclose()
    assert "the mounted app, at GET '/failing', raised" in caplog.text
    assert "ValueError: afterwards" in caplog.text


async def listening(scope: Any, receive: Any, send: Any) -> None:
    """Stream events until `http.disconnect`."""
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def watch() -> None:
            assert (await receive())["type"] == "http.disconnect"
            nursery.cancel_scope.cancel()

        while True:
            await send({"type": "http.response.body", "body": b"tick", "more_body": True})
            await trio.sleep(0.3)


async def test_a_stream_is_told_of_a_drain() -> None:
    """An app that streams receives `http.disconnect` one second after the start of a drain, so that it can end its
    stream."""
    async with trio.open_nursery() as nursery:
        async with serving(listening) as server:
            stream = connect(server, nursery)
            await stream.send_all(get("/events"))
            await stream.receive_some()
            began = trio.current_time()
        assert 1 <= trio.current_time() - began < 3
        nursery.cancel_scope.cancel()


async def deaf(scope: Any, receive: Any, send: Any) -> None:
    """Stream events, and never call `receive`."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    scope["state"]["log"].append("began")
    try:
        while True:
            await send({"type": "http.response.body", "body": b"tick", "more_body": True})
            await trio.sleep(1)
    finally:
        scope["state"]["log"].append("ended")


async def test_an_app_that_never_receives_ends_after_its_client() -> None:
    """An app that never calls `receive` is cancelled a few seconds after its client has closed the sending side of the
    connection."""
    log: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["log"] = log
        await deaf(scope, receive, send)

    async with serving(app) as server, trio.open_nursery() as nursery:
        stream = connect(server, nursery)
        await stream.send_all(get("/"))
        await stream.receive_some()
        await stream.send_stream.aclose()
        await trio.sleep(3)
        assert log == ["began"], "a client that closed its sending side may still read"
        await trio.sleep(4)
        assert log == ["began", "ended"]
        assert server._limiter.connections("") == 0
        await stream.aclose()


async def test_a_client_that_has_said_all_still_gets_its_answer() -> None:
    """A client that closes its sending side right after the request still gets the response."""
    life = Life()
    async with serving(Starlette(routes=life.routes)) as server, trio.open_nursery() as nursery:
        stream = connect(server, nursery)
        await stream.send_all(get("/quick"))
        await stream.send_stream.aclose()
        answer = b""
        while received := await stream.receive_some():
            answer += received
        assert answer.endswith(b"quick")
        await wait_all_tasks_blocked()


async def test_a_mounted_app_may_take_large_bodies() -> None:
    """A mounted app gets chunked bodies of up to `Mount.max_body_bytes`. Larger bodies are refused with 413."""
    life = Life()
    served = serving(Mount(Starlette(routes=life.routes), max_body_bytes=4_000_000))
    async with served as server, trio.open_nursery() as nursery:
        for size, status in ((4_000_000, b"200"), (4_000_001, b"413")):
            stream = connect(server, nursery)
            await stream.send_all(
                b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                + b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size)
            )
            answer = bytes(await stream.receive_some())
            assert answer.split()[1] == status
            assert (b"\r\n\r\n%d" % size in answer) == (status == b"200")
            await stream.aclose()


PROXY, OTHER = "10.0.0.1", "203.0.113.9"


@pytest.mark.parametrize(
    ("peer", "headers", "told"),
    [
        (OTHER, "X-Forwarded-Proto: https\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil.example\r\n",
         ["http", ["here.example", 80], OTHER, "http://here.example/who"]),
        (OTHER, "Forwarded: for=1.2.3.4;proto=https;host=evil.example\r\n",
         ["http", ["here.example", 80], OTHER, "http://here.example/who"]),
        (PROXY, "X-Forwarded-Proto: https\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: play.example:8443\r\n",
         ["https", ["play.example", 8443], "1.2.3.4", "https://play.example:8443/who"]),
        (PROXY, 'Forwarded: for="[2001:db8::7]:4711";proto=https;host="play.example"\r\n',
         ["https", ["play.example", 443], "2001:db8::7", "https://play.example/who"]),
        (PROXY, "Forwarded: for=6.6.6.6, for=1.2.3.4;proto=https\r\n",
         ["https", ["here.example", 443], "1.2.3.4", "https://here.example/who"]),
        (PROXY, "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=6.6.6.6;proto=https;host=evil.example\r\n",
         ["http", ["here.example", 80], "1.2.3.4", "http://here.example/who"]),
        (PROXY, "Forwarded: for=\"unbalanced\r\n", ["http", ["here.example", 80], "unknown", "http://here.example/who"]),
        (PROXY, "Forwarded: for=_hidden;PROTO=HTTPS\r\n",
         ["https", ["here.example", 443], "unknown", "https://here.example/who"]),
        (PROXY, "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: a b\r\n",
         ["http", ["here.example", 80], "1.2.3.4", "http://here.example/who"]),
    ],
)  # fmt: skip
async def test_what_trusted_proxies_say(peer: str, headers: str, told: list[Any]) -> None:
    """Only trusted proxies can set the client, the scheme and the host of a request. X-Forwarded headers take
    precedence over the Forwarded header."""
    life = Life()
    options: dict[str, Any] = {
        "address_limits": AddressLimits(proxies=("10.0.0.0/8",)),
        "hosts": ["here.example", "play.example", "evil.example"],
    }
    async with serving(Starlette(routes=life.routes), **options) as server, trio.open_nursery() as nursery:
        stream = connect(server, nursery, peer)
        await stream.send_all(get("/who", headers))
        answer = bytes(await stream.receive_some())
        assert JSONResponse(told).body == answer.partition(b"\r\n\r\n")[2]
        await stream.aclose()


async def test_a_redirect_behind_tls_is_to_https() -> None:
    """A redirect of the mounted app uses the scheme and the host that the proxy reports."""
    life = Life()
    served = serving(Starlette(routes=life.routes), hosts=["play.example", "here.example"])
    async with served as server, trio.open_nursery() as nursery:
        stream = connect(server, nursery, "127.0.0.1")
        forwarded = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: play.example\r\n"
        await stream.send_all(get("/slash", forwarded))
        assert b"\r\nlocation: https://play.example/slash/\r\n" in await stream.receive_some()
        await stream.aclose()


async def test_a_host_that_a_proxy_says_counts_only_where_hosts_are_named() -> None:
    """Without `hosts`, X-Forwarded-Host is ignored, because a proxy may forward a value that the client chose."""
    life = Life()
    async with serving(Starlette(routes=life.routes)) as server, trio.open_nursery() as nursery:
        stream = connect(server, nursery, "127.0.0.1")
        await stream.send_all(get("/who", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil.example\r\n"))
        assert b"evil" not in await stream.receive_some()
        await stream.aclose()


async def test_a_client_that_has_said_all_does_not_end_what_follows() -> None:
    """A background task continues if the client closes its sending side after the request, and then the connection."""
    life = Life()
    async with serving(Starlette(routes=life.routes)) as server, trio.open_nursery() as nursery:
        stream = connect(server, nursery)
        await stream.send_all(get("/after?seconds=8"))
        await stream.send_stream.aclose()
        assert b"200 OK" in await stream.receive_some()
        await stream.aclose()
        await trio.sleep(10)
    assert life.log == ["done"]


async def test_a_request_that_takes_long_has_as_long_as_the_drain() -> None:
    """During a drain, a request that ignores `http.disconnect` can still be answered."""

    async def slow(request: Request) -> Response:
        await trio.sleep(30)
        return PlainTextResponse("at last")

    async with serving(Starlette(routes=[Route("/slow", slow)])) as server:
        stream = connect(server, server.connections)
        await stream.send_all(get("/slow"))
        await trio.sleep(1)
    assert (await stream.receive_some()).endswith(b"at last")


async def test_a_request_that_outlives_its_client_is_no_crash(caplog: pytest.LogCaptureFixture) -> None:
    """A request whose client has closed its sending side is cancelled after five seconds, and nothing is logged."""

    async def slow(request: Request) -> Response:
        await trio.sleep(30)
        return PlainTextResponse("at last")

    async with serving(Starlette(routes=[Route("/slow", slow)])) as server, trio.open_nursery() as nursery:
        stream = connect(server, nursery)
        await stream.send_all(get("/slow"))
        await stream.send_stream.aclose()
        began = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - began == pytest.approx(5, abs=0.5)
    assert caplog.records == []


@pytest.mark.parametrize("seconds", [2, 30])
async def test_what_follows_a_response_has_the_time_of_the_drain(seconds: float) -> None:
    """Background tasks are cancelled at the deadline of the drain."""
    life = Life()
    async with serving(Starlette(routes=life.routes)) as server:
        async with trio.open_nursery() as nursery:
            stream = connect(server, nursery)
            await stream.send_all(get("/after?seconds=100"))
            await stream.receive_some()
            await stream.aclose()
        began = trio.current_time()
        server.connections.cancel_scope.deadline = began + seconds
    assert life.log == ["cancelled"]
    assert trio.current_time() - began == pytest.approx(seconds, abs=0.5)


@pytest.mark.parametrize("ahead", [b"", b"x" * 20_000, b"x" * 200_000])
async def test_an_app_that_asks_whether_its_client_is_there(ahead: bytes) -> None:
    """Starlette's `is_disconnected` detects that the client has disconnected, although it calls `receive` in a
    cancelled scope, and although the client has sent much before."""
    asked: list[float] = []

    async def wait(request: Request) -> Response:
        while not await request.is_disconnected():  # noqa: ASYNC110  # as users of Starlette do
            await trio.sleep(0.1)  # users of Starlette poll in this way
        asked.append(trio.current_time())
        return PlainTextResponse("nobody hears this")

    async with serving(Starlette(routes=[Route("/wait", wait)])) as server, trio.open_nursery() as nursery:
        stream = connect(server, nursery)
        await stream.send_all(get("/wait") + ahead)
        await trio.sleep(1)
        await stream.aclose()
        gone = trio.current_time()
        await trio.sleep(1)
        assert asked[0] - gone < 0.3
