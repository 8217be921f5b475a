"""HTTPS and WSS over real sockets, with certificates that the tests make."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from playwright.sync_api import expect, sync_playwright

import edge
from edge.cli import addresses, find_tls, main
from edge.client.client import Status
from edge.client.fallback import TransportKind
from edge.server.serve import serve as serve_app
from edge.transports.http.http import HttpClient
from examples.certificate import write_certificate
from tests.browser import FLAGS, GET_CHROMIUM, serving
from tests.rooms.quiet import FromPlayer, Guess, Quiet, ToPlayer, Verdict


class Judge(Quiet):
    async def run(self) -> None:
        async for player, guess in self.listen(Guess):
            player.reply(guess, Verdict(guess.word == "edge"))


async def mounted(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that answers with the scheme of its request."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["scheme"].encode()})


@pytest.mark.real_time
async def test_rooms_and_pages_over_tls() -> None:
    """Rooms and routes work for clients that trust the certificate. Other clients report that the certificate can't be
    verified, and stay in the state CONNECTING."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    drain = trio.Event()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            app = edge.App({"judge": Judge}, mount=mounted)
            serve = partial(serve_app, app, port=0, tls=server, drain=drain, drain_seconds=5)
            (listener,) = await nursery.start(serve)
            port = listener.socket.getsockname()[1]
            room = f"wss://localhost:{port}/rooms/judge/one"
            for kind in TransportKind:
                joining = edge.join(room, sends=FromPlayer, receives=ToPlayer, tls=trusting, transports=(kind,))
                async with joining as client:
                    assert await client.request(Guess("edge"), Verdict) == Verdict(True)
            stream = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=trusting, https_compatible=True)
            async with stream:
                http = HttpClient(stream, "localhost")
                assert (await http.request("GET", "/livez", {}, b""))[0] == 200
                assert await http.receive_all()
                await http.request("GET", "/scheme", {}, b"")
                assert await http.receive_all() == b"https"
            for kind in TransportKind:
                async with edge.join(room, sends=FromPlayer, receives=ToPlayer, transports=(kind,)) as stranger:
                    while stranger.lost is None:
                        await trio.lowlevel.checkpoint()
                    assert stranger.status is Status.CONNECTING
                    assert "no secure connection to localhost" in stranger.lost.reason
                    assert "CERTIFICATE_VERIFY_FAILED" in stranger.lost.reason
            async with await trio.open_tcp_stream("localhost", port) as plain:
                await plain.send_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"200" not in bytes(await plain.receive_some())
            drain.set()


def test_the_options_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command needs both a certificate and a key, and both must be valid. Otherwise it ends with status 2 and a
    message."""
    write_certificate(tmp_path)
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    assert isinstance(find_tls(certificate, key), ssl.SSLContext)
    assert find_tls(None, None) is None
    for options, text in (
        (["--tls-cert", certificate], "go together"),
        (["--tls-cert", certificate, "--tls-key", certificate], "not a certificate and its key"),
        (["--tls-cert", certificate, "--tls-key", str(tmp_path / "none.pem")], "can't be read"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["run", "examples.drawing:app", *options])
        assert ended.value.code == 2
        assert text in capsys.readouterr().err


def test_addresses() -> None:
    """The addresses that a server prints can be opened in a browser, even if the server listens on all interfaces."""
    assert addresses("127.0.0.1", 80, "http") == ["http://localhost:80/"]
    assert addresses("10.0.0.7", 81, "https") == ["https://10.0.0.7:81/"]
    assert addresses("::1", 81, "http") == ["http://[::1]:81/"]
    first, *others = addresses("0.0.0.0", 82, "http")
    assert first == "http://localhost:82/"
    assert all("0.0.0.0" not in other for other in others)


def test_a_page_over_tls(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """The page of the hill works in Chromium over HTTPS, and is a secure context, as the tilt sensor requires."""
    write_certificate(tmp_path)
    options = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    with serving("examples.hill:app", options=options, quiet=False) as url, sync_playwright() as playwright:
        assert url.startswith("https://")
        browser = playwright.chromium.launch(executable_path=program("chromium", GET_CHROMIUM), args=FLAGS)
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(url)
        page.fill("#name", "Ana")
        page.click("#enter button")
        expect(page.locator("#light")).to_have_attribute("data-state", "open")
        assert page.evaluate("isSecureContext")
        browser.close()
