"""One interface for three browsers: Chromium over DevTools, Firefox over WebDriver BiDi, and WebKitGTK over WebDriver.

These classes do not use Playwright. Playwright drives only its own builds of Firefox and WebKit, and prevents pages of
Chromium from being hidden, frozen or cached.
"""

from __future__ import annotations

import abc
import base64
import contextlib
import itertools
import json
import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.browser import FLAGS, GET_CHROMIUM, SCREENSHOTS

Program = Callable[[str, str], str]

GET_FIREFOX = "install firefox-esr from your system's packages"
GET_WEBKIT = "install webkit2gtk-driver and xvfb from your system's packages"

ENGINES = ("chromium", "firefox", "webkit")
OPEN_COPY = "void open(location.href)"
# JSON has the same form in all browsers, whereas each browser protocol returns objects in another form.
EVALUATE = "(async () => JSON.stringify((await ({})) ?? null))()"


class Page(abc.ABC):
    """A tab of a browser."""

    @abc.abstractmethod
    def goto(self, url: str) -> None: ...

    @abc.abstractmethod
    def _evaluate(self, script: str) -> str: ...

    @abc.abstractmethod
    def reload(self) -> None: ...

    @abc.abstractmethod
    def back(self) -> None: ...

    @abc.abstractmethod
    def close(self) -> None: ...

    @abc.abstractmethod
    def resize(self, width: int, height: int) -> None: ...

    @abc.abstractmethod
    def _screenshot(self) -> bytes: ...

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression. If the value is a promise, wait for its result."""
        return json.loads(self._evaluate(EVALUATE.format(expression)))

    def wait(self, expression: str, seconds: float = 30) -> None:
        """Wait until an expression is true. While a page loads, the expression counts as false."""
        until, seen = time.monotonic() + seconds, None
        while time.monotonic() < until:
            with contextlib.suppress(Gone):
                seen = self.evaluate(f"Boolean({expression})")
                if seen:
                    return
            time.sleep(0.05)  # a browser sends no notification when an expression becomes true
        with contextlib.suppress(Gone):
            seen = self.evaluate("[location.href, {...document.body.dataset}, document.body.innerText]")
        raise TimeoutError(f"the expression was not true within {seconds} s: {expression}; the page shows {seen}")

    def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        (SCREENSHOTS / f"{name}.png").write_bytes(self._screenshot())


class Gone(Exception):
    """Raised if a page has no document at present, or if a command or a script failed."""


class Engine(abc.ABC):
    """A browser with its own profile."""

    name: str

    @abc.abstractmethod
    def open(self, url: str) -> Page:
        """Open a tab of this browser."""

    @abc.abstractmethod
    def duplicate(self, page: Page) -> Page:
        """Open another tab at the same address, with a copy of the first tab's session storage."""


class Chromium(Engine):
    name = "chromium"

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)

    def command(self, method: str, session: str | None = None, **parameters: object) -> Any:
        """Send a DevTools command to the browser, or to one of its pages, and return the result."""
        id = next(self._ids)
        message = {"id": id, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        self._connection.send(json.dumps(message))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == id:
                if "error" in answer:
                    raise Gone(f"{method}: {answer['error']}")
                return answer["result"]

    def targets(self) -> list[str]:
        found = self.command("Target.getTargets")["targetInfos"]
        return [each["targetId"] for each in found if each["type"] == "page"]

    def open(self, url: str) -> ChromiumPage:
        page = ChromiumPage(self, self.command("Target.createTarget", url="about:blank")["targetId"])
        page.goto(url)
        return page

    def duplicate(self, page: Page) -> ChromiumPage:
        before = self.targets()
        page.evaluate(OPEN_COPY)
        return ChromiumPage(self, _wait_other(self.targets, before))


class ChromiumPage(Page):
    def __init__(self, engine: Chromium, target: str) -> None:
        self._engine, self._target = engine, target
        self._session = engine.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def command(self, method: str, **parameters: object) -> Any:
        return self._engine.command(method, self._session, **parameters)

    def goto(self, url: str) -> None:
        self.command("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def _evaluate(self, script: str) -> str:
        done = self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in done:
            raise Gone(done["exceptionDetails"]["exception"].get("description", "an error"))
        return str(done["result"].get("value"))

    def reload(self) -> None:
        self.evaluate("(window.old = 1)")
        self.command("Page.reload")
        self.wait("window.old === undefined && document.readyState === 'complete'")

    def back(self) -> None:
        history = self.command("Page.getNavigationHistory")
        before = history["entries"][history["currentIndex"] - 1]
        self.command("Page.navigateToHistoryEntry", entryId=before["id"])

    def close(self) -> None:
        self.command("Page.close")

    def show(self) -> None:
        self.command("Page.bringToFront")

    def resize(self, width: int, height: int) -> None:
        phone = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.command("Emulation.setTouchEmulationEnabled", enabled=phone)

    def _screenshot(self) -> bytes:
        return base64.b64decode(self.command("Page.captureScreenshot")["data"])

    def set_offline(self, offline: bool) -> None:
        self.command("Network.enable")
        speed = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.command("Network.emulateNetworkConditions", offline=offline, **speed)

    def freeze(self) -> None:
        self.command("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        self.command("Page.setWebLifecycleState", state="active")


@contextmanager
def _chromium(program: Program, *, no_storage: bool) -> Iterator[Engine]:
    executable = program("chromium", GET_CHROMIUM)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if no_storage:  # the browser's setting "block all cookies" writes the same preference
            (Path(folder) / "Default").mkdir()
            blocked = {"profile": {"default_content_setting_values": {"cookies": 2}}}
            (Path(folder) / "Default" / "Preferences").write_text(json.dumps(blocked))
        command = [executable, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={folder}"]
        command += ["--ignore-certificate-errors", "about:blank"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                found = next(filter(None, (re.search(r"DevTools listening on (\S+)", line) for line in process.stderr)))
                with connect(found[1], max_size=None) as connection:
                    yield Chromium(connection)
            finally:
                process.kill()


PREFERENCES = {
    "app.update.auto": False,
    "app.normandy.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.region.network.url": "",
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.disable_open_during_load": False,
    "messaging-system.rsexperimentloader.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}
NO_COOKIES = {"network.cookie.cookieBehavior": 2}


class Firefox(Engine):
    name = "firefox"

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self.command("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})

    def command(self, method: str, **parameters: object) -> Any:
        """Send a WebDriver BiDi command, and return the result."""
        id = next(self._ids)
        self._connection.send(json.dumps({"id": id, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == id:
                if answer["type"] == "error":
                    raise Gone(f"{method}: {answer['message']}")
                return answer["result"]

    def contexts(self) -> list[str]:
        return [each["context"] for each in self.command("browsingContext.getTree", maxDepth=0)["contexts"]]

    def open(self, url: str) -> FirefoxPage:
        page = FirefoxPage(self, self.command("browsingContext.create", type="tab")["context"])
        page.goto(url)
        return page

    def duplicate(self, page: Page) -> FirefoxPage:
        before = self.contexts()
        page.evaluate(OPEN_COPY)
        return FirefoxPage(self, _wait_other(self.contexts, before))


class FirefoxPage(Page):
    def __init__(self, engine: Firefox, context: str) -> None:
        self._engine, self._context = engine, context

    def goto(self, url: str) -> None:
        self._engine.command("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def _evaluate(self, script: str) -> str:
        target = {"context": self._context}
        done = self._engine.command("script.evaluate", expression=script, target=target, awaitPromise=True)
        if done["type"] == "exception":
            raise Gone(done["exceptionDetails"]["text"])
        return str(done["result"]["value"])

    def reload(self) -> None:
        self._engine.command("browsingContext.reload", context=self._context, wait="complete")

    def back(self) -> None:
        self._engine.command("browsingContext.traverseHistory", context=self._context, delta=-1)

    def close(self) -> None:
        self._engine.command("browsingContext.close", context=self._context)

    def resize(self, width: int, height: int) -> None:
        viewport = {"width": width, "height": height}
        self._engine.command("browsingContext.setViewport", context=self._context, viewport=viewport)

    def _screenshot(self) -> bytes:
        taken = self._engine.command("browsingContext.captureScreenshot", context=self._context)
        return base64.b64decode(taken["data"])

    def show(self) -> None:
        self._engine.command("browsingContext.activate", context=self._context)

    def set_offline(self, offline: bool) -> None:
        conditions = {"type": "offline"} if offline else None
        self._engine.command("emulation.setNetworkConditions", networkConditions=conditions, contexts=[self._context])


@contextmanager
def _firefox(program: Program, *, no_storage: bool) -> Iterator[Engine]:
    executable = program("firefox-esr", GET_FIREFOX)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        preferences = PREFERENCES | (NO_COOKIES if no_storage else {})
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in preferences.items()]
        (Path(folder) / "user.js").write_text("\n".join(lines))
        command = [executable, "--headless", "--no-remote", "--remote-debugging-port=0", "--profile", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                found = next(filter(None, (re.search(r"BiDi listening on (\S+)", line) for line in process.stderr)))
                with connect(f"{found[1]}/session", max_size=None) as connection:
                    yield Firefox(connection)
            finally:
                process.kill()


class WebKit(Engine):
    name = "webkit"

    def __init__(self, address: str) -> None:
        self._address = address
        self._session = ""
        capabilities: dict[str, object] = {"capabilities": {"alwaysMatch": {"acceptInsecureCerts": True}}}
        self._session = self.command("POST", "", capabilities)["sessionId"]
        self.command("POST", "/timeouts", {"script": 60_000})

    def command(self, method: str, path: str, body: dict[str, object] | None = None) -> Any:
        """Send a WebDriver command, and return the result."""
        session = f"/{self._session}" if self._session else ""
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(f"{self._address}/session{session}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as exc:
            raise Gone(f"{path}: {exc.read().decode()}") from exc

    def open(self, url: str) -> WebKitPage:
        self.command("POST", "/window", {"handle": self.command("GET", "/window/handles")[0]})
        page = WebKitPage(self, self.command("POST", "/window/new", {"type": "tab"})["handle"])
        page.goto(url)
        return page

    def duplicate(self, page: Page) -> WebKitPage:
        kept = page.evaluate("Object.entries(sessionStorage)")
        copy = self.open(page.evaluate("location.origin + '/favicon.ico'"))  # under WebDriver, a page can't open a tab
        copy.evaluate(f"{json.dumps(kept)}.forEach(([name, value]) => sessionStorage.setItem(name, value))")
        copy.goto(page.evaluate("location.href"))
        return copy

    def quit(self) -> None:
        self.command("DELETE", "")


class WebKitPage(Page):
    def __init__(self, engine: WebKit, handle: str) -> None:
        self._engine, self._handle = engine, handle

    def _command(self, method: str, path: str, body: dict[str, object] | None = None) -> Any:
        self._engine.command("POST", "/window", {"handle": self._handle})
        return self._engine.command(method, path, body)

    def goto(self, url: str) -> None:
        self._command("POST", "/url", {"url": url})

    def _evaluate(self, script: str) -> str:
        told = "(text) => done([text]), (error) => done([null, String(error)])"
        wrapped: dict[str, object] = {"script": f"const done = arguments[0]; {script}.then({told});", "args": []}
        text, *fault = self._command("POST", "/execute/async", wrapped)
        if fault:
            raise Gone(fault[0])
        return str(text)

    def reload(self) -> None:
        self._command("POST", "/refresh")

    def back(self) -> None:
        self._command("POST", "/back")

    def close(self) -> None:
        self._command("DELETE", "/window")

    def resize(self, width: int, height: int) -> None:
        self._command("POST", "/window/rect", {"width": width, "height": height})

    def _screenshot(self) -> bytes:
        return base64.b64decode(self._command("GET", "/screenshot"))


@contextmanager
def _webkit(program: Program, *, no_storage: bool) -> Iterator[Engine]:
    driver, display = program("WebKitWebDriver", GET_WEBKIT), program("Xvfb", GET_WEBKIT)
    if no_storage:
        raise ValueError("WebKitGTK has no setting that blocks site data; the page must block it")
    with contextlib.ExitStack() as stack:
        screen = stack.enter_context(
            subprocess.Popen(
                [display, "-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        stack.callback(screen.kill)
        assert screen.stdout is not None
        environment = {"DISPLAY": f":{screen.stdout.readline().strip()}", "HOME": "/nonexistent", "PATH": os.defpath}
        port = _free_port()
        process = stack.enter_context(subprocess.Popen([driver, f"--port={port}"], env=environment))
        stack.callback(process.kill)
        address = f"http://127.0.0.1:{port}"
        _wait_answer(f"{address}/status")
        engine = WebKit(address)
        stack.callback(engine.quit)
        yield engine


def _wait_other(look: Callable[[], list[str]], before: list[str]) -> str:
    """Wait for an item that was not in `before`, and return it."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for each in look():
            if each not in before:
                return each
        time.sleep(0.05)  # a browser sends no notification of a new tab
    raise TimeoutError("no tab was opened within 20 s")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_answer(url: str) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.05)  # the other process sends no notification
    raise TimeoutError(url)


_OPENERS = {"chromium": _chromium, "firefox": _firefox, "webkit": _webkit}


def open_engine(name: str, program: Program, *, no_storage: bool = False) -> contextlib.AbstractContextManager[Engine]:
    """Return a context manager that runs the browser with this name and yields its engine.

    Args:
      no_storage: True if the browser blocks site data.
    """
    return _OPENERS[name](program, no_storage=no_storage)
