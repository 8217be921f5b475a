"""A mounted ASGI app: Starlette, and apps with faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

import edge
from edge.client.client import Status
from edge.transports.http.http import HttpClient
from tests.network import joined, open_network
from tests.rooms.quiet import FromPlayer, Quiet, ToPlayer, Verdict
from tests.server.http import ask

log: list[str] = []


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    log.append("up")
    yield {"shop": "open"}
    log.append("down")


async def echo(request: Request) -> Response:
    body = await request.body()
    told = {
        "method": request.method,
        "path": request.url.path,
        "query": dict(request.query_params),
        "cookies": request.cookies,
        "body": body.decode(),
        "shop": request.state.shop,
    }
    response = JSONResponse(told, headers={"x-own": "1"})
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        try:
            for number in range(5):
                yield f"{number} "
                await trio.sleep(1)
        finally:
            log.append("stream ended")

    return StreamingResponse(parts())


async def crash(request: Request) -> Response:
    raise ValueError("as told")


async def tell(request: Request) -> Response:
    room = app.directory.find("quiet", "one")
    assert room is not None
    room.publish(Verdict(True))
    return PlainTextResponse("told")


async def leave(request: Request) -> Response:
    return RedirectResponse("/elsewhere", 307)


def mounted(**options: Any) -> edge.App:
    routes = [
        Route("/echo/{name}", echo, methods=["GET", "POST", "PUT"]),
        Route("/stream", stream),
        Route("/crash", crash),
        Route("/tell", tell),
        Route("/leave", leave),
    ]
    return edge.App({"quiet": Quiet}, mount=Starlette(routes=routes, lifespan=lifespan), **options)


app = mounted()


async def test_starlette_has_every_path_that_is_not_edges() -> None:
    """The mounted Starlette app answers the requests for all paths that edge does not serve. All parts of these
    requests and responses arrive."""
    log.clear()
    async with open_network(mounted()) as network:
        assert log == ["up"]
        answer = await ask(network, "POST", "/echo/%C3%A9?q=1", {"cookie": "c=3; d=4"}, b"hello")
        assert answer.json == {
            "method": "POST",
            "path": "/echo/é",
            "query": {"q": "1"},
            "cookies": {"c": "3", "d": "4"},
            "body": "hello",
            "shop": "open",
        }
        assert (answer.status, answer.headers["x-own"]) == (200, "1")
        assert (await ask(network, "GET", "/livez")).json["status"] == "ok"
        assert (await ask(network, "GET", "/leave")).headers["location"] == "/elsewhere"
        assert (await ask(network, "GET", "/nothing")).status == 404
        head = await ask(network, "HEAD", "/echo/x")
        assert (head.status, head.body) == (200, b"")
        streamed = await ask(network, "HEAD", "/stream")
        assert (streamed.status, streamed.body) == (200, b"")
    assert (log[0], log[-1]) == ("up", "down")


async def test_both_cookies_come_back() -> None:
    """Two response headers of the same name are both sent."""
    async with open_network(mounted()) as network:
        stream = await network.connect()
        await stream.send_all(b"GET /echo/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := await stream.receive_some():
            answer += data
        assert answer.lower().count(b"set-cookie: ") == 2


async def test_a_stream_flows_and_stops_with_its_reader() -> None:
    """Each part of a streamed response is sent at once, and the stream is ended when its client disconnects."""
    log.clear()
    async with open_network(mounted()) as network:
        whole = await ask(network, "GET", "/stream")
        assert whole.body == b"0 1 2 3 4 "
        client = HttpClient(await network.connect(), "edge.test")
        began = trio.current_time()
        await client.request("GET", "/stream", {})
        assert await client.receive() == b"0 "
        assert trio.current_time() - began < 1
        await client.stream.aclose()
        await trio.sleep(2)
        assert log == ["up", "stream ended", "stream ended"]


async def test_a_crash_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in the mounted app is logged and answered with 500, and the connection continues."""
    async with open_network(mounted()) as network:
        client = HttpClient(await network.connect(), "edge.test")
        assert (await client.request("GET", "/crash", {}))[0] == 500
        await client.receive_all()
        assert (await client.request("GET", "/livez", {}))[0] == 200
    assert "as told" in caplog.text


async def test_the_web_app_speaks_into_a_room() -> None:
    """A route of the mounted app can publish an event to the players of a room."""
    async with (
        open_network(app) as network,
        joined(network.connect, "/rooms/quiet/one", sends=FromPlayer, receives=ToPlayer) as client,
    ):
        await client.wait_status(Status.OPEN)
        assert (await ask(network, "GET", "/tell")).body == b"told"
        assert await client.receive() == Verdict(True)


async def test_an_app_without_a_lifespan_and_one_that_cannot_start() -> None:
    """An app without a lifespan is served. If the startup of an app fails, the start of the server raises
    RuntimeError."""

    async def plain(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with open_network(edge.App({}, mount=plain)) as network:
        assert (await ask(network, "GET", "/")).status == 204

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="no database"), flatten_subgroups=True):
        async with open_network(edge.App({}, mount=broken)):
            pass


async def test_a_startup_that_does_not_end_can_be_cancelled() -> None:
    """A startup that does not end can be cancelled. A failed startup is an error even if the app waits instead of
    returning."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(1) as scope:
        async with open_network(edge.App({}, mount=slow)):
            raise AssertionError("the server has started")
    assert scope.cancelled_caught

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})
        await receive()

    with trio.fail_after(1), pytest.RaisesGroup(pytest.RaisesExc(RuntimeError), flatten_subgroups=True):
        async with open_network(edge.App({}, mount=failing)):
            pass


async def test_after_its_response_an_app_hears_that_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """After its response, an app receives `http.disconnect`. If an app returns without a response, the client gets a
    500."""

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError("no lifespan")
        await receive()
        if scope["path"] == "/nothing":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        assert (await receive())["type"] == "http.disconnect"

    async with open_network(edge.App({}, mount=waiting)) as network:
        client = HttpClient(await network.connect(), "edge.test")
        with trio.fail_after(1):
            for path, status in (("/", 200), ("/", 200), ("/nothing", 500)):
                assert (await client.request("GET", path, {}))[0] == status
                await client.receive_all()
    assert "gave no response" in caplog.text
