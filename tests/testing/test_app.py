"""Tests of whole apps in virtual time: rooms, routes, a mounted web app, several servers, restarts and threads."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from email.utils import format_datetime
from http.cookies import SimpleCookie
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import edge
from edge import Code
from edge.cluster.broker.broker import Broker
from edge.testing import EdgeApp, EdgeRoom, Seen, seeds
from tests.small_rooms import Echo, Said, Say

SAVED: dict[str, list[str]] = {}
# Seconds without a ready task after which `wait_all_tasks_blocked` returns. An autojumping clock would jump earlier.
LONGER_THAN_A_JUMP = 0.05


class Wall(edge.Room[Say, Said]):
    """Loads and saves what is said, by its name."""

    async def setup(self) -> None:
        await trio.sleep(0.1)
        self.texts = list(SAVED.get(self.name, ()))

    def greet(self, player: edge.Player[Say, Said]) -> None:
        for text in self.texts:
            player.send(Said(text))

    async def run(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with self.shielded_cleanup():
                await trio.to_thread.run_sync(SAVED.__setitem__, self.name, self.texts)

    async def player(self, player: edge.Player[Say, Said]) -> None:
        async for said in player:
            self.texts.append(said.text)
            self.broadcast(Said(f"{player.name}: {said.text}"))


class Counting(edge.Room[Say, Said]):
    """A persistent room that counts."""

    seats = edge.Seats(grace=60)

    def __init__(self) -> None:
        self.count = 0

    def snapshot(self) -> int:
        return self.count

    def restore(self, state: int) -> None:
        self.count = state

    async def player(self, player: edge.Player[Say, Said]) -> None:
        async for said in player:
            self.count += 1
            player.reply(said, Said(str(self.count)))


def make_wall() -> Wall:
    return Wall()


def make_app() -> edge.App:
    keys = edge.Keys("a secret of the whole app under test")

    async def web(scope: Any, receive: Any, send: Any) -> None:
        """A mounted ASGI app: a login form, and a route that tells the name of the person."""
        assert scope["type"] == "http"
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        status, body, cookies = 200, b"welcome", []
        if scope["path"] == "/login":
            name = (await receive())["body"].decode().partition("=")[2]
            if name == "eve":
                status, body = 401, b"no"
            else:
                cookies.append(app.cookie.keep(keys.issue(f"user-{name}", name=name.title()), secure=False))
        else:
            jar = {key: morsel.value for key, morsel in SimpleCookie(headers.get("cookie", "")).items()}
            session = app.session(SimpleNamespace(headers=headers, cookies=jar))
            body = json.dumps({"name": None if session is None else session.name}).encode()
        lines = [(name.encode(), value.encode()) for name, value in cookies]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": body})

    app = edge.App({"wall": make_wall, "echo": Echo}, mount=web, sessions=edge.Sessions(keys=keys))

    @app.route("/lobby")
    async def lobby(request: edge.Request) -> edge.Response:
        return edge.json_response([room.name for room in app.directory.rooms])

    return app


@seeds(5)
async def test_people_log_in_and_join(edge_app: EdgeApp) -> None:
    """Two people log in at the mounted web app, each with cookies of their own, and join a room with their sessions."""
    app = await edge_app(make_app)
    ana, ben = app.browser(), app.browser()
    for browser, name in ((ana, "ana"), (ben, "ben")):
        page = await browser.post("/login", form={"name": name})
        assert (page.status, page.text) == (200, "welcome")
        assert (await browser.get("/me")).json() == {"name": name.title()}
    assert (await app.get("/me")).json() == {"name": None}
    assert (await app.post("/login", form={"name": "eve"})).status == 401
    one = await ana.join("/rooms/wall/plans")
    other = await ben.join("/rooms/wall/plans")
    one.send(Say("hello"))
    await other.wait(lambda seen: seen.newest(Said) == Said("Ana: hello"))
    assert (await app.get("/lobby")).json() == ["plans"]
    assert app.rooms() == ["wall/plans"]
    assert isinstance(app.room("wall/plans"), Wall)
    with pytest.raises(KeyError, match="wall/other is not open"):
        app.room("wall/other")


async def test_a_restart(edge_app: EdgeApp) -> None:
    """A restart saves the rooms and opens them again with what they saved; clients resume their play."""
    SAVED.clear()
    app = await edge_app(make_app)
    ana = await app.join("/rooms/wall/plans", session=edge.Session("u1", "Ana"))
    ana.send(Say("hello"))
    await ana.wait(lambda seen: len(seen.all(Said)) == 1)
    await app.restart()
    assert SAVED == {"plans": ["hello"]}
    assert app.rooms() == []
    await ana.resume()
    await ana.wait(lambda seen: seen.newest(Said) == Said("hello"))
    assert ana.welcome is not None
    assert ana.welcome.why == "new"


def make_shared(broker: Broker) -> edge.App:
    sessions = edge.Sessions(keys=edge.Keys("a secret of two servers under test"))
    return edge.App({"counting": Counting}, cluster=edge.Cluster(broker), sessions=sessions)


async def test_two_servers(edge_app: EdgeApp) -> None:
    """Clients of two servers meet in one room, and a persistent room moves when its server is stopped."""
    app = await edge_app(make_shared, servers=2)
    ana = await app.join("/rooms/counting/one", name="ana", server=0)
    ben = await app.join("/rooms/counting/one", name="ben", server=1)
    assert await ana.request(Say(""), Said) == Said("1")
    assert await ben.request(Say(""), Said) == Said("2")
    assert (app.rooms(0), app.rooms(1)) == (["counting/one"], [])
    await app.stop(0)
    with trio.move_on_after(100) as waiting:
        await ana.resume()
    assert waiting.cancelled_caught  # the client waits between its attempts
    await ana.resume(server=1)
    assert await ana.request(Say(""), Said) == Said("3")
    await ben.resume()
    assert await ben.request(Say(""), Said) == Said("4")
    assert app.rooms(1) == ["counting/one"]
    await app.start(0)


async def test_an_app_that_no_function_made(edge_app: EdgeApp) -> None:
    """An app itself can be tested, but not restarted."""
    app = await edge_app(make_app())
    ana = await app.join("/rooms/echo/one", name="ana")
    assert await ana.request(Say("hi"), Said) == Said("hi")
    with pytest.raises(TypeError, match="needs a function that makes the app"):
        await app.restart()


async def test_refusals_and_mistakes(edge_app: EdgeApp) -> None:
    """A refused join raises the refusal; a kind whose class is not known is an error that says what to write."""
    app = await edge_app(lambda: edge.App({"echo": lambda: Echo()}))
    with pytest.raises(edge.Disconnected) as caught:
        await app.join("/rooms/nothing/one", name="ana")
    assert caught.value.code is Code.NO_ROOM
    with pytest.raises(TypeError, match="the class of /rooms/echo/one is not known before it is open: annotate"):
        await app.join("/rooms/echo/one", name="ana")
    with pytest.raises(ValueError, match="begin the path with a slash: /rooms/echo/one"):
        await app.join("rooms/echo/one", name="ana")
    with pytest.raises(ValueError, match="`create` must be one of 'if needed', 'never', 'only', not 'sometimes'"):
        await app.join("/rooms/echo/one", name="ana", sends=Say, receives=Said, create="sometimes")
    ana = await app.join("/rooms/echo/one", name="ana", sends=Say, receives=Said)
    assert app.room("/rooms/echo/one") is app.room("echo/one")
    ben = await app.join("/rooms/echo/one", name="ben")
    assert [await each.request(Say("x"), Said) for each in (ana, ben)] == [Said("x"), Said("x")]


async def test_cookies_expire(edge_app: EdgeApp) -> None:
    """A browser sends a cookie until it expires, in virtual time."""
    app = edge.App({"echo": Echo})

    @app.route("/set", methods=["POST"])
    async def keep(request: edge.Request) -> edge.Response:
        return edge.Response(more=(("set-cookie", request.body.decode()),))

    @app.route("/")
    async def show(request: edge.Request) -> edge.Response:
        return edge.json_response(sorted(request.cookies))

    browser = (await edge_app(app)).browser()
    assert (await browser.get("/")).json() == []
    for cookie in (
        "a=1; Max-Age=10",
        "b=2",
        f"c=3; Expires={format_datetime(edge.utc_now() + timedelta(seconds=20), usegmt=True)}",
        "d=4; Expires=Thu, 01 Jan 2015 00:00:00 GMT",
    ):
        await browser.post("/set", body=cookie.encode())
    assert (await browser.get("/")).json() == ["a", "b", "c"]
    await trio.sleep(11)
    assert (await browser.get("/")).json() == ["b", "c"]
    await trio.sleep(11)
    assert (await browser.get("/")).json() == ["b"]
    await browser.post("/set", body=b"b=; Max-Age=0")
    assert (await browser.get("/")).json() == []


async def test_a_wait_for_what_is_never_received(edge_room: EdgeRoom) -> None:
    """A wait ends with the client, and sees events that were received before it began."""
    room = await edge_room(Echo)
    (ana,) = await room.join("ana")
    ana.send(Say("hi"))
    assert await ana.receive() == Said("hi")
    await ana.wait(lambda seen: seen.newest(Said))
    asked: list[Seen] = []
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(edge.Disconnected):
                await ana.wait(asked.append)

        nursery.start_soon(wait)
        await trio.sleep(1)
        ana.leave()
    assert len(asked) > 0


async def test_a_thread_holds_the_clock() -> None:
    """While a thread works, no virtual time passes, whatever deadlines are pending."""
    began = trio.current_time()
    done: list[float] = []
    finish = threading.Event()

    async def work() -> None:
        await trio.to_thread.run_sync(finish.wait)
        done.append(trio.current_time() - began)

    with trio.move_on_after(3600) as limit:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            nursery.start_soon(work)
            await wait_all_tasks_blocked(LONGER_THAN_A_JUMP)
            assert trio.current_time() == began
            finish.set()
    assert not limit.cancelled_caught
    assert done == [0.0, 0.0]
    await trio.sleep(100)
    assert trio.current_time() == began + 100


async def test_a_thread_that_waits_for_trio_does_not_hold_the_clock() -> None:
    """While a thread waits for a task of Trio, virtual time passes, and afterwards the thread holds the clock again."""
    began = trio.current_time()
    done: list[float] = []
    finish = threading.Event()

    def work() -> None:
        trio.from_thread.run(trio.sleep, 5)
        finish.wait()
        done.append(trio.from_thread.run_sync(trio.current_time) - began)

    with trio.move_on_after(3600) as limit:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, work)
            await trio.sleep(5)
            await wait_all_tasks_blocked(LONGER_THAN_A_JUMP)
            finish.set()
    assert not limit.cancelled_caught
    assert done == [5]
