"""Helpers that the browser tests share. They run a real server, and open tabs of a real Chromium."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.hostile import Deed

ROOT = Path(__file__).parents[1]
SCREENSHOTS = ROOT / "screenshots"

GET_CHROMIUM = "install chromium from your system's packages"

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PHONE = (390, 844)
DESKTOP = (1200, 850)


@contextmanager
def serving(
    app: str,
    *,
    folder: Path = ROOT,
    quiet: bool = True,
    port: int = 0,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run `edge run <app>`, and yield its address. Require the exit code 0 and, if `quiet`, an empty log."""
    surroundings = {**os.environ, **(environment or {})}
    command = [sys.executable, "-m", "edge.cli", "run", app, "--port", str(port), "--log-level", "warning", *options]
    with subprocess.Popen(
        command, cwd=folder, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"https?://\S+", process.stdout.readline())
            assert found is not None, process.communicate()
            yield found[0]
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert not (quiet and errors), errors


@contextmanager
def hostile(deed: Deed, url: str, seconds: float = 1e9) -> Iterator[tuple[str, Callable[[], None]]]:
    """Run a proxy in front of a server. Yield the proxy's address, and a function that cuts all its connections.

    The next call of the function lets the proxy accept connections again.
    """
    port = url.rstrip("/").rpartition(":")[2]
    command = [sys.executable, "-m", "tests.hostile", deed, port, str(seconds)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), lambda: process.send_signal(signal.SIGUSR1)
        finally:
            process.kill()


@contextmanager
def chromium(executable: str) -> Iterator[Browser]:
    """Run Chromium without a window and with its own profile, and yield it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A tab in its own browser context. The object records the frames that the page receives, and its errors."""

    def __init__(self, browser: Browser, url: str, size: tuple[int, int] = DESKTOP) -> None:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, has_touch=size == PHONE)
        self.page: Page = context.new_page()
        self.received: list[str] = []
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        self.page.on(
            "websocket",
            lambda socket: socket.on("framereceived", lambda frame: self.received.append(str(frame))),
        )
        self.modes: list[str] = []
        """The `edge-mode` header of each request of an HTTP transport."""
        self.page.on("request", lambda request: self.modes.extend(filter(None, [request.headers.get("edge-mode")])))
        self.page.goto(url)

    def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")
