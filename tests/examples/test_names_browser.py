"""A test that every page shows a player's name as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.browser import GET_CHROMIUM, Tab, chromium
from tests.examples.test_stage_browser import demo

# A name that becomes an element with a script if a page reads the name as HTML. It is short enough for every page.
NAME = "<svg/onload=h()>"


class Watched(Tab):
    """A tab whose `broken` is true if a name has become an element of its page."""

    def enter(self, name: str) -> None:
        self.page.fill("#name", name)
        self.page.click("#enter button")

    @property
    def broken(self) -> bool:
        return bool(self.page.evaluate("document.querySelector('[onload]') !== null"))


def test_a_name_is_text_on_every_page(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """The drawing table, the hill and the dashboard show a name as text, and create no element from it."""
    with demo(tmp_path) as served, chromium(program("chromium", GET_CHROMIUM)) as browser:
        eve, ana, operator = tabs = [Watched(browser, served.url + "drawing/#names") for _ in range(3)]
        eve.page.evaluate("(name) => document.body.insertAdjacentHTML('beforeend', name)", NAME)
        assert eve.broken, "`broken` must detect a name that a page reads as HTML"
        eve.page.reload()
        eve.enter(NAME)
        ana.enter("Ana")
        expect(ana.page.locator("#players")).to_contain_text(NAME)
        ana.page.click("#start")
        expect(eve.page.locator("#headline")).to_contain_text("Draw the")
        operator.page.goto(served.url + "edge-monitor/")
        operator.page.fill("#token", served.token)
        operator.page.click("#door button")
        operator.page.click("text=drawing/names")
        expect(operator.page.locator("body")).to_contain_text(NAME)
        assert [tab.broken for tab in tabs] == [False] * 3
        for tab in (eve, ana):
            tab.page.goto(served.url + "hill/#names")
        eve.enter(NAME)
        expect(eve.page.locator("#light")).to_have_attribute("data-state", "open")
        ana.enter("Ana")
        expect(ana.page.locator("body")).to_contain_text(NAME)
        assert [tab.broken for tab in tabs] == [False] * 3
