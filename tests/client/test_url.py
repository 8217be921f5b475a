"""Tests of the URL and headers that a Python client sends, and of the failures that it reports.

These tests detect the following kind of bug. A client receives the reason of a failure, but reports only "the
connection closed".
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import edge
import tests.network
from edge.client.client import Client, Status
from edge.client.fallback import TransportKind
from edge.server.serve import open_server
from tests.rooms.quiet import FromPlayer, Guess, Quiet, ToPlayer, Verdict

ROOM = "/rooms/judge/one"


class Judge(Quiet):
    async def run(self) -> None:
        async for player, guess in self.listen(Guess):
            player.reply(guess, Verdict(True))


class Gateway:
    """Records the requests of a client, and answers each request itself or forwards it to a server."""

    def __init__(self, nursery: trio.Nursery, answer: Callable[[str], str | None]) -> None:
        self.heads: list[list[str]] = []
        self._nursery = nursery
        self._answer = answer
        self.serve: Any = None

    async def connect(self) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._run, theirs)
        return ours

    async def _run(self, stream: trio.StapledStream[Any, Any]) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            received = await stream.receive_some()
            if not received:
                return
            head += received
        lines = head.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        self.heads.append(lines)
        answer = self._answer(lines[0].split()[1])
        if answer is not None:
            await stream.send_all(answer.replace("\n", "\r\n").encode())
            await stream.aclose()
            return
        onward, back = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self.serve, back)
        await onward.send_all(head)

        async def pump(source: Any, sink: Any) -> None:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for data in source:
                    await sink.send_all(data)
            await sink.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump, stream, onward)
            nursery.start_soon(pump, onward, stream)


@asynccontextmanager
async def joined(
    url: str, kind: TransportKind, answer: Callable[[str], str | None], **options: Any
) -> AsyncIterator[tuple[Client[Any, Any], Gateway]]:
    """Join a room through a gateway, in virtual time."""
    async with open_server(edge.App({"judge": Judge}, hosts=["edge.test", "news.test"])) as server:
        async with trio.open_nursery() as nursery:
            gateway = Gateway(nursery, answer)
            gateway.serve = server.serve_connection

            async with tests.network.joined(
                gateway.connect, url, kind, sends=FromPlayer, receives=ToPlayer, wait=1, **options
            ) as client:
                yield client, gateway
            nursery.cancel_scope.cancel()
        server.drain()


KINDS = pytest.mark.parametrize("kind", TransportKind)


def redirect(to: str, status: int = 301) -> str:
    return f"HTTP/1.1 {status} Elsewhere\nLocation: {to}\nContent-Length: 0\nConnection: close\n\n"


@KINDS
async def test_a_query_credentials_and_headers_reach_the_server(kind: TransportKind) -> None:
    """The client sends the query and the credentials of its URL, and its own headers, because a gateway may need
    them."""
    url = f"ws://ana:se%63ret@edge.test{ROOM}?token=a%20b&x"
    async with joined(url, kind, lambda target: None, headers={"X-Team": "red"}) as (client, gateway):
        assert await client.request(Guess("x"), Verdict) == Verdict(True)
        for head in gateway.heads:
            assert head[0].split()[1] == f"{ROOM}?token=a%20b&x"
            lines = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in head[1:]}
            assert lines["authorization"] == "Basic YW5hOnNlY3JldA=="
            assert lines["x-team"] == "red"
            assert lines["host"] == "edge.test"


@KINDS
@pytest.mark.parametrize("to", ["/x/rooms/judge/one", "http://edge.test/x/rooms/judge/one", "?again=1"])
async def test_a_redirect_to_the_same_host_is_followed_once(kind: TransportKind, to: str) -> None:
    """A client follows a redirect to the same host, whatever its path."""

    def answer(target: str) -> str | None:
        return redirect(to) if target == ROOM else None

    async with joined(f"ws://edge.test{ROOM}", kind, answer) as (client, gateway):
        with trio.move_on_after(5):
            await client.wait_status(Status.OPEN)
        if to == "?again=1":
            assert client.status is Status.OPEN
            assert await client.request(Guess("x"), Verdict) == Verdict(True)
        assert {head[0].split()[1].partition("?")[0] for head in gateway.heads} == {
            ROOM,
            ROOM if to[0] == "?" else "/x/rooms/judge/one",
        }


@KINDS
async def test_a_host_with_ws_in_its_name_is_redirected_like_any_other(kind: TransportKind) -> None:
    """Only the scheme of the URL is replaced to follow a redirect."""

    def answer(target: str) -> str | None:
        return redirect("?again=1") if target == ROOM else None

    async with joined(f"http://news.test{ROOM}", kind, answer) as (client, _):
        with trio.move_on_after(5):
            await client.wait_status(Status.OPEN)
        assert client.status is Status.OPEN


@KINDS
@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("http://evil.example/rooms/judge/one", "which is another host: if that is intended, join that URL"),
        ("/login", "which is not the URL of a room"),
        (ROOM + "?a", "after another redirect: only one is followed"),
    ],
)
async def test_another_redirect_is_named(kind: TransportKind, to: str, reason: str) -> None:
    """The client reports a redirect that it does not follow, with the target and the reason, and remains in the state
    CONNECTING."""
    async with joined(f"ws://edge.test{ROOM}", kind, lambda target: redirect(to, 307)) as (client, gateway):
        await trio.sleep(30)
        assert client.lost is not None
        assert client.lost.reason.endswith(f"HTTP 307 to {to!r}, {reason}")
        assert client.status is Status.CONNECTING
        assert not any("evil" in line for head in gateway.heads for line in head)


@KINDS
@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        ("HTTP/1.1 502 Bad Gateway\nContent-Type: text/html\nContent-Length: 0\n\n", "LOST", "HTTP 502"),
        ("HTTP/1.1 404 N\nEdge-Code: 4204\nContent-Length: 17\n\n" + '{"message":"nay"}', "NO_ROOM", "nay"),
        ("this is no HTTP\n\n", "LOST", ""),
    ],
)
async def test_a_refusal_says_what_it_was(kind: TransportKind, answer: str, code: str, reason: str) -> None:
    """A client reports a refusal with the message that an edge server gave, or with the HTTP status of another
    server."""
    async with joined(f"ws://edge.test{ROOM}", kind, lambda target: answer) as (client, _):
        await trio.sleep(30)
        assert client.lost is not None
        assert (client.lost.code.name, client.lost.reason != "") == (code, True)
        assert reason in client.lost.reason
        assert "the connection closed" not in client.lost.reason


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "x"},
        {"sec-websocket-protocol": "x"},
        {"Edge-Connection": "x"},
        {"a b": "x"},
        {"x": "a\r\nb: c"},
        {"x": " a"},
        {"x": "ü" * 3 + "\u1234"},
    ],
)
def test_headers_that_are_none_are_refused(headers: dict[str, str]) -> None:
    """An invalid or reserved header is refused when the client is created."""
    with pytest.raises(ValueError, match=r"is not a header|is edge's own"):
        edge.join(f"ws://edge.test{ROOM}", sends=FromPlayer, receives=ToPlayer, headers=headers)


@pytest.mark.parametrize("query", ["a b", "ü", 'a"b'])
def test_a_query_that_cant_travel_is_refused(query: str) -> None:
    """`join` raises ValueError for a URL whose query is not percent-encoded."""
    with pytest.raises(ValueError, match="have to be encoded"):
        edge.join(f"ws://edge.test{ROOM}?{query}", sends=FromPlayer, receives=ToPlayer)
