"""Tests of the whole demo below a path prefix, without site data, in frames, in three browsers, and asleep.

These tests detect the following kind of bug. A page works on its developer's machine, but fails silently in another
browser.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Frame, expect
from playwright.sync_api import Page as BrowserPage

from examples.certificate import write_certificate
from tests.browser import DESKTOP, GET_CHROMIUM, PHONE, SCREENSHOTS, chromium, serving
from tests.endurance.process import free_port
from tests.engines import ENGINES, ChromiumPage, Engine, Page, Program, open_engine
from tests.test_topologies import nginx, process

TOKEN = "the token of these tests, long enough"
OPEN = "document.querySelector('#light').dataset.state === 'open'"


@contextlib.contextmanager
def stage(**environment: str) -> Iterator[str]:
    """Serve the demo with these environment variables, and yield its address."""
    options = () if "TLS" not in environment else ("--tls-cert", "cert.pem", "--tls-key", "key.pem")
    folder = environment.pop("TLS", None)
    certificate = [each if each.startswith("--") else f"{folder}/{each}" for each in options]
    with serving(
        "tests.examples.altered_stage:app",
        quiet=False,
        options=certificate,
        environment={"EDGE_MONITOR_TOKEN": TOKEN, **environment},
    ) as url:
        yield url


def enter(page: Page, name: str) -> None:
    page.wait("document.querySelector('#enter button')?.disabled === false")
    page.evaluate(f"void (document.querySelector('#name').value = '{name}')")
    page.evaluate("void document.querySelector('#enter').requestSubmit()")


def play(engine: Engine, url: str, name: str, sizes: tuple[tuple[int, int], ...] = (DESKTOP,)) -> None:
    """Check that every page of the demo connects, shows the state of its room, and sends something."""
    home = engine.open(url)
    home.wait("document.querySelectorAll('#demos a').length === 3")
    home.wait("document.querySelector('#qr').naturalWidth > 100")
    assert home.evaluate("document.querySelector('#address').textContent") in url
    links = home.evaluate("[...document.querySelectorAll('#demos a')].map((link) => link.href)")
    assert sorted(links) == [f"{url}{demo}/" for demo in ("drawing", "hill", "monitor")]

    ana, ben = (engine.open(f"{url}drawing/#elsewhere-{name}") for _ in range(2))
    enter(ana, "Ana")
    ana.wait("document.querySelector('#headline').textContent === 'Waiting for one more'")
    enter(ben, "Ben")
    ben.wait("!document.querySelector('#start').hidden")
    ben.evaluate("void document.querySelector('#start').click()")
    for each in (ana, ben):
        each.wait("/^(Draw|(Ana|Ben) draws) the head$/.test(document.querySelector('#headline').textContent)")

    hill = engine.open(f"{url}hill/")
    enter(hill, "Cyn")
    hill.wait(OPEN)
    hill.evaluate("void document.querySelector('#more-bots').click()")
    hill.wait("Number(document.querySelector('#bots').textContent) > 0")

    monitor = engine.open(f"{url}monitor/")
    monitor.wait("/[1-9]/.test(document.querySelector('#total').textContent)")
    if engine.name != "webkit":  # this page is hidden, and WebKit does not draw hidden pages
        monitor.wait("document.querySelector('#light').dataset.state === 'live'")

    desk = engine.open(f"{url}edge-monitor/")
    desk.wait("!document.querySelector('#door button').disabled")
    desk.evaluate(f"void (document.querySelector('#token').value = '{TOKEN}')")
    desk.evaluate("void document.querySelector('#door').requestSubmit()")
    desk.wait("document.body.dataset.view === 'dashboard' && document.body.textContent.includes('hill/main')")

    pages = {"stage": home, "drawing": ana, "hill": hill, "monitor": monitor, "dashboard": desk}
    for size in sizes if engine.name != "webkit" else ():  # the pages are hidden, and WebKit does not draw hidden pages
        for page_name, page in pages.items():
            page.resize(*size)
            page.screenshot(f"{name}-{page_name}-{'phone' if size == PHONE else 'desktop'}")
    for page in (*pages.values(), ben):
        page.close()


def test_below_a_prefix(program: Program, tmp_path: Path) -> None:
    """Every page works below a path prefix that nginx removes, at both screen sizes."""
    port = free_port()
    with stage() as url:
        command = nginx(program, tmp_path, port, int(url.rstrip("/").rpartition(":")[2]))
        configured = (tmp_path / "nginx.conf").read_text()
        for usual, below in (("location / {", "location /play/ {"), ("http://edge;", "http://edge/;")):
            assert configured.count(usual) == 1
            configured = configured.replace(usual, below)
        (tmp_path / "nginx.conf").write_text(configured)
        with process(*command, port=port, folder=tmp_path), open_engine("chromium", program) as engine:
            play(engine, f"http://127.0.0.1:{port}/play/", "prefix", (PHONE, DESKTOP))


@pytest.mark.parametrize("name", ENGINES)
def test_in_three_browsers(program: Program, name: str) -> None:
    """Every page works in each browser."""
    with stage() as url, open_engine(name, program) as engine:
        play(engine, url, name)


@pytest.mark.parametrize("name", ENGINES)
def test_without_site_data(program: Program, name: str) -> None:
    """Every page works if the browser blocks cookies and storage."""
    by_page = name == "webkit"
    with (
        stage(**({"BLOCKED": "1"} if by_page else {})) as url,
        open_engine(name, program, no_storage=not by_page) as engine,
    ):
        page = engine.open(f"{url}drawing/")
        for storage in ("localStorage", "sessionStorage"):
            asked = f"(() => {{ try {{ return String({storage}); }} catch ({{ name }}) {{ return name; }} }})()"
            assert page.evaluate(asked) == "SecurityError"
        page.close()
        play(engine, url, f"blocked-{name}", (PHONE, DESKTOP))


def session_of(frame: Frame) -> Any:
    """Return the id of the session of the page in a frame."""
    return frame.evaluate("""async () => {
        const headers = { "edge-session": "browser" };
        const response = await fetch("session", { method: "POST", headers, credentials: "include" });
        return JSON.parse(atob((await response.json()).key.split(".")[0].replaceAll("-", "+").replaceAll("_", "/"))).id;
    }""")


@pytest.mark.parametrize("cookie", ["partitioned", "usual"])
def test_in_a_frame_of_another_site(program: Program, tmp_path: Path, cookie: str) -> None:
    """Every demo works over TLS in a frame of another site's page, at both screen sizes. After a reload, the page has
    the same session only if the cookie is partitioned."""
    write_certificate(tmp_path)
    SCREENSHOTS.mkdir(exist_ok=True)
    with stage(FRAMED=cookie, TLS=str(tmp_path)) as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        for size in (PHONE, DESKTOP):
            viewport: Any = {"width": size[0], "height": size[1]}
            page = browser.new_context(ignore_https_errors=True, viewport=viewport).new_page()

            def frame(page: BrowserPage = page) -> Frame:
                (found,) = [each for each in page.frames if each.url.startswith(url)]
                return found

            for demo, light in (("drawing", "open"), ("hill", "open"), ("monitor", "live")):
                page.goto(f"{url.replace('localhost', '127.0.0.1')}around.html?of={url}{demo}/")
                if demo != "monitor":
                    frame().fill("#name", f"Ana {size[0]}")
                    frame().click("#enter button")
                expect(frame().locator("#light")).to_have_attribute("data-state", light)
                page.screenshot(path=SCREENSHOTS / f"frame-{cookie}-{demo}-{size[0]}.png")
            before = session_of(frame())
            page.reload()
            expect(frame().locator("#light")).to_have_attribute("data-state", "live")
            assert (session_of(frame()) == before) == (cookie == "partitioned")


def test_asleep_for_longer_than_the_server_waits(program: Program) -> None:
    """The player of a page that is asleep for longer than the server waits is shown as away. When the page wakes, it
    resumes its seat."""
    with stage(SLEEPY="1") as url, open_engine("chromium", program) as engine:
        ana, ben = (engine.open(f"{url}drawing/#asleep") for _ in range(2))
        assert isinstance(ana, ChromiumPage)
        assert isinstance(ben, ChromiumPage)
        enter(ana, "Ana")
        ana.wait(OPEN)
        enter(ben, "Ben")
        ben.wait(OPEN)
        ben.show()
        ana.freeze()
        ben.wait("document.querySelector('#players .away') !== null")
        ana.thaw()
        ana.show()
        ben.wait("document.querySelector('#players .away') === null")
        ana.wait(OPEN)
        assert ana.evaluate("document.body.dataset.view") == "table"
