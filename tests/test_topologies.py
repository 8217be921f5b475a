"""edge behind a proxy, inside a web app and beside a web app: the tests run the blocks of the documents."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from playwright.sync_api import expect

import edge
from edge.client.client import Status
from edge.client.fallback import TransportKind
from tests.browser import GET_CHROMIUM, Tab, chromium, serving
from tests.client import echo_app
from tests.endurance.process import free_port
from tests.small_rooms import Say
from tests.test_docs import BLOCKS, write_files

Program = Callable[[str, str], str]


@edge.event("said")
class Said:
    who: str
    text: str


async def wait_port(port: int) -> None:
    """Wait until a process listens on the port."""
    with trio.fail_after(20):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.02)  # another process sends no notification
            else:
                return


@contextmanager
def process(*command: str | Path, port: int, folder: Path, **environment: str) -> Iterator[None]:
    """Run a program, wait until it listens on the port, and terminate it at the end of the block."""
    log = folder / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, env={**os.environ, **environment}
        ) as running,
    ):
        try:
            trio.run(wait_port, port)
            yield
        except BaseException:
            print(log.read_text())
            raise
        finally:
            running.terminate()


def nginx(program: Program, folder: Path, port: int, upstream: int) -> list[str | Path]:
    block = next(block.text for block in BLOCKS["behind-a-proxy.md"] if block.language == "nginx")
    block = block.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}").replace("listen 8080", f"listen 127.0.0.1:{port}")
    places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    temporary = "\n".join(f"{place}_temp_path {folder}/{place};" for place in places)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; events {{}}\nhttp {{ access_log off; {temporary}\n{block}}}\n"
    )
    return [program("nginx", "install nginx-light from your system's packages"), "-c", folder / "nginx.conf"]


def haproxy(program: Program, folder: Path, port: int, upstream: int) -> list[str | Path]:
    block = next(block.text for block in BLOCKS["behind-a-proxy.md"] if block.language == "haproxy")
    block = block.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}").replace("bind :8080", f"bind 127.0.0.1:{port}")
    (folder / "haproxy.cfg").write_text(block)
    return [program("haproxy", "install haproxy from your system's packages"), "-db", "-f", folder / "haproxy.cfg"]


@pytest.mark.parametrize("proxy", [nginx, haproxy])
def test_behind_a_proxy(proxy: Callable[..., list[str | Path]], program: Program, tmp_path: Path) -> None:
    """Every transport passes the proxy, for the Python client and for a page, without a fallback."""
    port = free_port()
    with serving("tests.client.echo_app:app") as url:
        upstream = int(url.rstrip("/").rpartition(":")[2])
        with process(*proxy(program, tmp_path, port, upstream), port=port, folder=tmp_path):
            for kind in TransportKind:
                trio.run(talk, f"http://127.0.0.1:{port}/rooms/echo/{kind}", kind)
            with chromium(program("chromium", GET_CHROMIUM)) as browser:
                tab = Tab(browser, f"http://127.0.0.1:{port}/")
                for kind in TransportKind:
                    heard = tab.page.evaluate(
                        """async ([kind]) => {
                            const { join } = await import("/edge.js");
                            const room = join("/rooms/echo/" + kind, { transports: [kind] });
                            const { body } = await room.request("guess", { word: "owl" });
                            room.leave();
                            return body.text;
                        }""",
                        [str(kind)],
                    )
                    assert heard == "OWL"
                assert tab.faults == []


async def talk(url: str, kind: TransportKind) -> None:
    """Send five requests one after the other within 20 seconds, so that a proxy that delays them fails the test."""
    with trio.fail_after(20):
        async with edge.join(url, sends=echo_app.FromPlayer, receives=echo_app.ToPlayer, transports=(kind,)) as client:
            for number in range(5):
                assert await client.request(echo_app.Guess(f"owl {number}"), echo_app.Said) == echo_app.Said(
                    f"OWL {number}"
                )
            assert client.welcome is not None


def test_inside_a_web_app(tmp_path: Path, program: Program) -> None:
    """The page of the mounted app joins a room, and a request to the app publishes an event in that room."""
    write_files("inside-your-app.md", tmp_path)
    with serving("shop:app", folder=tmp_path) as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        tab = Tab(browser, url)
        expect(tab.page.locator("ul")).to_have_text("ana: hello ")
        assert post(f"{url}announce", b"closing soon") == {"told": 1}
        expect(tab.page.locator("ul")).to_have_text("ana: hello the shop: closing soon ")
        assert [fault for fault in tab.faults if "favicon" not in fault and "404" not in fault] == []


def test_beside_a_web_app(tmp_path: Path) -> None:
    """A Flask app logs a user in, announces and bans. edge accepts the key from Flask, and refuses a client without a
    key."""
    write_files("beside-your-app.md", tmp_path)
    secrets = {"SESSION_SECRET": "a secret of thirty-two characters", "EDGE_TOKEN": "a token that nobody guesses"}
    rooms_port, web_port = free_port(), free_port()
    here = f"http://127.0.0.1:{rooms_port}"
    rooms = [sys.executable, "-m", "edge.cli", "run", "rooms:app", "--port", str(rooms_port)]
    web = [sys.executable, "-m", "flask", "--app", "web:web", "run", "--port", str(web_port)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    path = {"PYTHONPATH": f"{tmp_path}:{os.pathsep.join(sys.path)}"}
    with (
        process(*rooms, port=rooms_port, folder=tmp_path / "a", **secrets, **path),
        process(*web, port=web_port, folder=tmp_path / "b", **secrets, **path, EDGE_URL=here),
    ):
        trio.run(visit, f"{here}/rooms/chat/main", f"http://127.0.0.1:{web_port}")


async def visit(room: str, web: str) -> None:
    """Log in at the web app, and talk in the room."""

    async def ask(path: str, **form: str) -> Any:
        data = urllib.parse.urlencode(form).encode()
        return await trio.to_thread.run_sync(post, f"{web}/{path}", data)

    with trio.fail_after(30):
        async with edge.join(room, sends=Say, receives=Said) as stranger:
            await stranger.wait_status(Status.CLOSED)
            assert stranger.ending is not None
            assert stranger.ending.code is edge.Code.KEY_INVALID
        key = (await ask("login", name="ada"))["key"]
        async with edge.join(room, sends=Say, receives=Said, key=key) as ada:
            ada.send(Say("hello"))
            assert await ada.receive() == Said("ada (staff)", "hello")
            assert await ask("announce", text="closing soon") == {"seated": 1}
            assert await ada.receive() == Said("the shop", "closing soon")
            await ask("ban", name="ada")
            await ada.wait_status(Status.CLOSED)
            assert ada.ending is not None
            assert ada.ending.code is edge.Code.REVOKED


def post(url: str, data: bytes) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=20) as answer:
        return json.load(answer)


def test_the_api_is_documented() -> None:
    """The table of docs/beside-your-app.md lists the five requests of the API, and no others."""
    document = (Path(__file__).parents[1] / "docs" / "beside-your-app.md").read_text()
    assert re.findall(r"^\| `(?:GET|POST) ([^`?]+)`", document, re.MULTILINE) == [
        "rooms",
        "rooms/<kind>/<name>",
        "rooms/<kind>/<name>/publish",
        "rooms/<kind>/<name>/kick",
        "revoke",
    ]
