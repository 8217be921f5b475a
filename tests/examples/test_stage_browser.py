"""Tests of `make demo` in the browser: the stage, the admin page, the monitor and the dashboard, on one port."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from playwright.sync_api import expect

from tests.browser import DESKTOP, GET_CHROMIUM, PHONE, ROOT, Tab, chromium


@attrs.frozen
class Demo:
    """A server with all examples."""

    process: subprocess.Popen[bytes]
    url: str
    admin: str
    """The address of the admin page that the server printed."""
    token: str
    """The token of the dashboard and the metrics."""


@contextmanager
def demo(folder: Path) -> Iterator[Demo]:
    """Run the server of `make demo` until the block ends. Then check that the server ended without an error and logged
    no secret."""
    command = [sys.executable, "-m", "edge.cli", "run", "examples.stage:app", "--port", "0"]
    log = folder / "log"
    ours, theirs = pty.openpty()
    with (
        os.fdopen(ours) as terminal,
        log.open("w") as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=theirs, stderr=errors) as process,
    ):
        os.close(theirs)
        try:
            printed = ""
            while (found := re.search(r"serving on (http://\S+)", printed)) is None:
                printed += terminal.readline()
            admin, token = re.search(r"/admin\.html#\S+", printed), re.search(r"/metrics is (\S+)", printed)
            assert admin is not None
            assert token is not None
            yield Demo(process, found[1], found[1].rstrip("/") + admin[0], token[1])
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(30)
    assert process.returncode == 0
    logged = log.read_text()
    assert not [secret for secret in ("Traceback", admin[0], token[1]) if secret in logged]


@pytest.mark.usefixtures("each_edge_js")
def test_the_stage(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """The speaker's switches change every open page, the admin page removes the key from its address, and a page
    without a valid key gets no switches."""
    with demo(tmp_path) as served, chromium(program("chromium", GET_CHROMIUM)) as browser:
        desk, phone = Tab(browser, served.url), Tab(browser, served.url, PHONE)
        expect(phone.page.locator("#demos a")).to_have_count(3)
        expect(desk.page.locator("#watching")).to_have_text("2 of you are here")
        admin = Tab(browser, served.admin, PHONE)
        expect(admin.page.locator("#switches div")).to_have_count(3)
        assert "#" not in admin.page.url
        admin.page.click("[data-key=monitor] .switch")
        for tab in (desk, phone):
            expect(tab.page.locator("#demos a")).to_have_count(2)
        admin.page.click("[data-key=hill] .prefer")
        for tab in (desk, phone):
            expect(tab.page.locator("#demos .default b")).to_have_text("King of the hill")
        assert desk.page.evaluate("document.querySelector('#qr').naturalWidth") > 100
        for tab, name in ((desk, "stage-desktop"), (phone, "stage-phone"), (admin, "stage-admin-phone")):
            tab.page.wait_for_timeout(500)  # their appearance is animated
            tab.screenshot(name)
        admin.page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        admin.screenshot("stage-admin-desktop")
        admin.page.reload()
        expect(admin.page.locator("[data-key=hill] .prefer")).to_have_attribute("aria-pressed", "true")
        stranger = Tab(browser, served.url + "admin.html")
        expect(stranger.page.locator("#complaint")).to_contain_text("Open the address that was printed")
        expect(stranger.page.locator("#switches div")).to_have_count(0)
        stranger.page.goto(served.url + "admin.html?#forged")
        expect(stranger.page.locator("#complaint")).to_contain_text("not valid")
        expect(stranger.page.locator("#switches div")).to_have_count(0)
        phone.page.click("#demos .default")
        phone.page.fill("#name", "Ana")
        phone.page.click("#enter button")
        expect(phone.page.locator("#light")).to_have_attribute("data-state", "open")
        desk.page.click("[data-key=drawing]")
        desk.page.fill("#name", "Ben")
        desk.page.click("#enter button")
        expect(desk.page.locator("#headline")).to_have_text("Waiting for one more")
        assert [tab.faults for tab in (desk, phone, admin)] == [[], [], []]


@pytest.mark.usefixtures("each_edge_js")
def test_the_monitor(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """The monitor's total grows by the number of requests, the result of a garbage collection is shown, and the light
    shows when the server stops sending."""
    with demo(tmp_path) as served, chromium(program("chromium", GET_CHROMIUM)) as browser:
        desk, phone = Tab(browser, served.url + "monitor/"), Tab(browser, served.url + "monitor/", PHONE)
        expect(desk.page.locator("#light")).to_have_attribute("data-state", "live")
        expect(phone.page.locator("#light")).to_have_attribute("data-state", "live")
        desk.page.wait_for_timeout(1000)  # until the pages have loaded and send no more requests
        before = total(desk)
        for _ in range(43):
            with urllib.request.urlopen(served.url + "monitor/load") as response:
                assert response.status == 200
        desk.page.click("#hundred")
        expect(desk.page.locator("#sent")).to_have_text("100 answered", timeout=20_000)
        expect(desk.page.locator("#total")).to_have_text(f"{before + 143:,}")
        phone.page.click("#collect")
        expect(desk.page.locator("#collected")).to_have_text(
            re.compile(r"[\d,]+ objects, [\d.-]+ MiB freed, in \d+ ms")
        )
        desk.page.wait_for_timeout(1500)  # so that the charts show something
        desk.screenshot("monitor-desktop")
        phone.screenshot("monitor-phone")
        served.process.send_signal(signal.SIGSTOP)  # the process stops, and its sockets stay open
        expect(desk.page.locator("#light")).to_have_attribute("data-state", "quiet", timeout=10_000)
        desk.screenshot("monitor-quiet-desktop")
        served.process.send_signal(signal.SIGCONT)
        expect(desk.page.locator("#light")).to_have_attribute("data-state", "live", timeout=10_000)
        assert [desk.faults, phone.faults] == [[], []]


def total(tab: Tab) -> int:
    return int(tab.page.inner_text("#total").replace(",", ""))


@pytest.mark.usefixtures("each_edge_js")
def test_the_dashboard(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """The dashboard opens only with the token, shows the tree of a room, and kicks a player at once."""
    with demo(tmp_path) as served, chromium(program("chromium", GET_CHROMIUM)) as browser:
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(served.url + "metrics")
        refused.value.close()
        ana = Tab(browser, served.url + "hill/", PHONE)
        ana.page.fill("#name", "Ana")
        ana.page.click("#enter button")
        expect(ana.page.locator("#light")).to_have_attribute("data-state", "open")
        operator = Tab(browser, served.url + "edge-monitor/")
        operator.screenshot("dashboard-door-desktop")
        Tab(browser, served.url + "edge-monitor/", PHONE).screenshot("dashboard-door-phone")
        operator.page.fill("#token", "a guess")
        operator.page.click("#door button")
        expect(operator.page.locator("#complaint")).to_have_text("The token is wrong.")
        expect(operator.page.locator("#dashboard")).to_be_hidden()
        operator.page.fill("#token", served.token)
        operator.page.click("#door button")
        operator.page.click("text=hill/main")
        expect(operator.page.locator("#tree")).to_contain_text("0 Ana")
        expect(operator.page.locator("#tree")).to_contain_text(re.compile(r"round · \d+ s left"))
        expect(operator.page.locator("#tree li", has_text="0 Ana").last).to_contain_text(re.compile(r"\d+ ms"))
        operator.page.wait_for_timeout(2500)  # so that the charts show something
        operator.screenshot("dashboard-desktop")
        operator.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        operator.screenshot("dashboard-phone")
        operator.page.locator("#tree li", has_text="0 Ana").last.get_by_role("button", name="Kick").click()
        expect(operator.page.locator("#said")).to_have_text("Ana was kicked")
        expect(ana.page.locator("#closed")).to_be_visible()
        expect(ana.page.locator("#reason")).to_have_text("an operator removed you from the room")
        operator.page.click("#close")
        expect(operator.page.locator("#age")).to_have_text("this room is closed")
        assert [fault for fault in operator.faults if "401" not in fault] == []
        assert ana.faults == []
