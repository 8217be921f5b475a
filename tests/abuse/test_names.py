"""Tests of the hosts and origins of requests, and of the addresses that proxies forward."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import pytest
import trio

import edge
from edge.server.hosts import Hosts, Origin
from edge.server.serve import Server, open_server, serve
from tests.abuse.town import ATTACKER, Plaza, link_from

PROXY = "127.0.0.1"


def upgrade(host: str, origin: str, *more: str) -> bytes:
    lines = (
        "GET /rooms/plaza/one HTTP/1.1",
        f"Host: {host}",
        f"Origin: {origin}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: edge.1.json",
        *more,
    )
    return "\r\n".join((*lines, "", "")).encode()


async def status(server: Server, request: bytes, address: str = ATTACKER) -> int:
    """Send a request on a new connection, and return the status of the response."""
    async with await link_from(server, address).connect() as stream:
        await stream.send_all(request)
        return int((await stream.receive_some()).split(b" ", 2)[1])


async def asked(server: Server, host: str, path: str = "/session", address: str = ATTACKER, *more: str) -> int:
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *more)
    return await status(server, "\r\n".join((*lines, "", "")).encode(), address)


async def test_a_site_that_takes_this_machine_s_address() -> None:
    """To prevent DNS rebinding, a server on a loopback address answers only requests for names of its own machine, and
    health checks for any name."""
    async with open_server(edge.App({"plaza": Plaza}), bound="127.0.0.1") as server:
        assert await status(server, upgrade("evil.example:8000", "http://evil.example:8000")) == 421
        for path in ("/", "/edge.js", "/session", "/rooms/plaza/one"):
            assert await asked(server, "evil.example", path) == 421
        for host in ("localhost:8000", "LOCALHOST", "app.localhost:1", "127.0.0.1", "127.3.2.1:80", "[::1]:8000"):
            assert await status(server, upgrade(host, f"http://{host}")) == 101
        for host in (
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil-localhost",
            "10.0.0.1",
            "",
            "[::2]",
        ):
            assert await asked(server, host) == 421
        assert [await asked(server, "10.1.2.3:8000", path) for path in ("/livez", "/readyz")] == [200, 200]
        server.drain()


@pytest.mark.parametrize("forwarded", ["X-Forwarded-Host: play.example", "Forwarded: host=play.example"])
async def test_a_page_cannot_forward_itself(forwarded: str) -> None:
    """A page whose site resolves to this server, in a browser at the address of a trusted proxy, cannot name another
    host. A proxy can, if it requests an address, a name without a dot, or a host of the app."""
    async with open_server(edge.App({"plaza": Plaza}, hosts=["play.example", "inside.example"])) as server:
        for host in ("evil.example:8000", "evil.example", "a b", ""):
            assert await asked(server, host, "/session", PROXY, forwarded) in (421, 400)
        for host in ("127.0.0.1:8000", "[::1]:8000", "10.0.0.7", "localhost:8000", "backend:80", "inside.example"):
            assert await asked(server, host, "/session", PROXY, forwarded) == 405
        server.drain()


async def test_a_server_has_names(caplog: pytest.LogCaptureFixture) -> None:
    """A server with `hosts` answers only requests for these hosts, and logs only the first refused request."""
    app = edge.App({"plaza": Plaza}, hosts=["play.example", "*.games.example"])
    async with open_server(app, bound="0.0.0.0") as server:
        for host in ("play.example", "PLAY.example.:443", "a.games.example", "a.b.games.example:80"):
            assert await asked(server, host) == 405, "the route exists, but not for GET"
        assert await asked(server, "play.example", "http://evil.example/session") == 421, "the target names the host"
        assert await asked(server, "evil.example", "http://play.example/session") == 405
        for host in ("games.example", "localhost", "play.example.evil", "xgames.example"):
            assert await asked(server, host) == 421
        assert caplog.text.count("is refused") == 1
        server.drain()
    async with open_server(edge.App({"plaza": Plaza}, hosts=["*"]), bound="127.0.0.1") as server:
        assert await asked(server, "whatever.example") == 405
        server.drain()


@pytest.mark.parametrize(
    ("host", "origin", "proto", "expected"),
    [
        ("play.example", "https://play.example", "https", 101),
        ("play.example:443", "https://play.example", "https", 101),
        ("PLAY.example", "https://play.example:443", "https", 101),
        ("play.example", "http://play.example", "https", 403),
        ("play.example", "http://play.example", "https, http", 403),
        ("play.example", "http://play.example", "http", 101),
        ("play.example", "http://play.example", "", 101),
        ("play.example", "https://play.example", "", 101),
        ("play.example:8000", "http://play.example", "", 403),
        ("play.example", "https://evil.example", "https", 403),
        ("play.example", "null", "https", 403),
        ("play.example", "https://friend.example", "https", 101),
        ("play.example", "http://friend.example", "https", 403),
        ("play.example", "https://play.example/x", "https", 403),
    ],
)
async def test_origins(host: str, origin: str, proto: str, expected: int) -> None:
    """Pages of the same origin or of an allowed origin may connect, in any spelling of the origin. If the proxy reports
    HTTPS, HTTP pages may not connect."""
    app = edge.App({"plaza": Plaza}, origins=["https://Friend.example:443/"])
    more = ("X-Forwarded-For: 203.0.113.9", f"X-Forwarded-Proto: {proto}") if proto else ()
    async with open_server(app) as server:
        assert await status(server, upgrade(host, origin, *more), PROXY if proto else ATTACKER) == expected
        server.drain()


async def test_only_a_proxy_says_how_it_was_asked() -> None:
    """Forwarded headers count only if a trusted proxy sends them."""
    seen: list[tuple[str, str]] = []
    app = edge.App({"plaza": Plaza})

    @app.route("/see")
    async def see(request: edge.Request) -> edge.Response:
        seen.append((request.address, request.scheme))
        return edge.Response()

    said = ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https")
    async with open_server(app) as server:
        for address in (PROXY, ATTACKER):
            await asked(server, "play.example", "/see", address, *said)
        server.drain()
    assert seen == [("203.0.113.9", "https"), (ATTACKER, "http")]


@pytest.mark.parametrize("bad", ["https://play.example", "play.example:80", "a b", "", "a/b"])
def test_hosts_that_are_none(bad: str) -> None:
    """An invalid host is an error when the app is created."""
    with pytest.raises(ValueError, match="host"):
        edge.App({}, hosts=[bad])
    with pytest.raises(TypeError):
        edge.App({}, hosts="play.example")


@pytest.mark.parametrize(
    "bad",
    [
        "play.example",
        "https://",
        "https://a b",
        "https://play.example/path",
        "ftp://x",
        "https://*.play.example",
        "http://x:99999",
        "wss://play.example",
        "https://b\u00fccher.example",
        "https://play\u200b.example",
        "https://[:::]",
        "https://127.1",
        "https://play..example",
        "https://x%41.example",
        "https://x<y.example",
        "://x",
    ],
)
def test_origins_that_are_none(bad: str) -> None:
    """An origin that can never match is an error when the app is created."""
    with pytest.raises(ValueError, match="not an origin"):
        edge.App({}, origins=[bad])


def test_origins_of_every_kind() -> None:
    """An origin is compared as browsers write it, also one of an app's own scheme."""
    assert Origin.parse("HTTP://Play.Example:80/") == Origin("http", "play.example", 80)
    assert Origin.parse("https://[0:0:0:0:0:0:0:1]") == Origin("https", "[::1]", 443)
    assert Origin.parse("https://xn--bcher-kva.example") == Origin("https", "xn--bcher-kva.example", 443)
    for own in ("capacitor://localhost", "tauri://localhost", "chrome-extension://abcdefgh"):
        assert Origin.parse(own).name
        edge.App({}, origins=[own])


async def test_a_proxy_that_says_for_nobody_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """If a trusted proxy sends no forwarded headers, the log warns once, at a request for a public name or after many
    connections. A developer's own requests cause no warning."""
    async with open_server(edge.App({"plaza": Plaza}, hosts=["*"])) as server:
        for _ in range(3):
            await asked(server, "localhost:8000", address=PROXY)
        await asked(server, "play.example", "/session", PROXY, "X-Forwarded-For: 203.0.113.9")
        await asked(server, "10.1.2.3", "/livez", PROXY)
        assert not caplog.records
        for _ in range(3):
            await asked(server, "play.example", address=PROXY)
        server.drain()
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "requests of 127.0.0.1 have no X-Forwarded-For or Forwarded"
    ]
    caplog.clear()
    async with open_server(edge.App({"plaza": Plaza})) as server, AsyncExitStack() as stack:
        for _ in range(60):
            stream = await stack.enter_async_context(await link_from(server, PROXY).connect())
            await stream.send_all(b"GET /session HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await stream.receive_some()
        await stack.aclose()
        server.drain()
    assert len(caplog.records) == 1


@pytest.mark.real_time
@pytest.mark.parametrize(("host", "any_host"), [("127.0.0.1", False), ("0.0.0.0", True)])
async def test_the_log_says_that_any_name_will_do(host: str, any_host: bool, caplog: pytest.LogCaptureFixture) -> None:
    """At its start, a server without `hosts` logs that it answers requests with any Host, unless its address is a
    loopback address."""
    caplog.set_level("INFO", "edge.server")
    drain = trio.Event()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve, edge.App({}), host=host, port=0, drain=drain))
            drain.set()
    assert ("requests with any Host are answered" in caplog.text) == any_host
    assert Hosts(None, bound=host).any == any_host
