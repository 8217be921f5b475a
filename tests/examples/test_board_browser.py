"""Tests of the board in the browser: two people, one at a desktop and one with a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser import DESKTOP, GET_CHROMIUM, PHONE, Tab, chromium, serving


class Person(Tab):
    """A person's tab with the board."""

    def log_in(self, name: str, password: str) -> None:
        self.page.fill("#name", name)
        self.page.fill("#password", password)
        self.page.click("#login button")

    def column(self, name: str) -> Locator:
        return self.page.locator(f'[data-column="{name}"]')

    def card(self, text: str) -> Locator:
        return self.page.locator(".card", has_text=text)

    def add(self, column: str, text: str) -> None:
        field = self.column(column).locator(".new input")
        field.fill(text)
        field.press("Enter")
        expect(self.card(text)).to_have_count(1)
        expect(field).to_have_value("")


@pytest.mark.usefixtures("each_edge_js")
def test_two_people_at_one_board(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """Two people log in, write, edit, move and remove cards, see each other and each other's pointer, and find the
    cards again after a restart of the server."""
    environment = {
        "BOARD_DATABASE": str(tmp_path / "boards.sqlite"),
        "EDGE_SECRET": "a secret of the board in Chromium",
    }
    with chromium(program("chromium", GET_CHROMIUM)) as browser:
        with serving("examples.board:app", environment=environment) as url:
            ada, ben = Person(browser, url, DESKTOP), Person(browser, url, PHONE)
            expect(ada.page.locator("#door h1")).to_be_visible()
            ben.screenshot("board-door-phone")
            ada.screenshot("board-door-desktop")
            ada.log_in("ada", "wrong")
            expect(ada.page.locator("#complaint")).to_have_text("this name and password do not belong together")
            assert ada.faults == ["Failed to load resource: the server responded with a status of 401 (Unauthorized)"]
            ada.faults.clear()
            ada.log_in("ada", "analytical")
            ben.log_in("ben", "bernoulli")
            expect(ada.page.locator("#people li")).to_have_text(["Ada", "Ben"])
            expect(ben.page.locator("#boards button")).to_have_text(["plans"])

            ada.add("todo", "buy milk")
            ada.add("todo", "write the <b>book</b>")
            ben.add("doing", "paint the fence")
            expect(ada.card("paint the fence").locator(".by")).to_have_text("Ben")
            ben.card("buy milk").locator(".right").click()
            expect(ada.column("doing").locator(".text")).to_have_text(["paint the fence", "buy milk"])
            ada.card("buy milk").drag_to(ada.column("done").locator(".cards"))
            expect(ben.column("done").locator(".text")).to_have_text(["buy milk"])
            text = ben.card("buy milk").locator(".text")
            text.click()
            ben.page.keyboard.press("End")
            ben.page.keyboard.type(" and oats")
            ben.screenshot("board-editing")
            ben.page.keyboard.press("Enter")
            expect(ada.card("buy milk and oats")).to_have_count(1)
            ben.card("paint the fence").locator(".remove").click()
            expect(ada.page.locator(".card")).to_have_count(2)

            ada.page.mouse.move(500, 400)
            expect(ben.page.locator(".cursor span")).to_have_text("Ada")
            ben.screenshot("board-phone")
            ada.screenshot("board-desktop")
            ada.page.click("#boards button >> text=home")
            expect(ada.page.locator(".card")).to_have_count(0)
            expect(ben.page.locator("#people li")).to_have_text(["Ben"])
            ben.page.click("#logout")
            expect(ben.page.locator("#door h1")).to_be_visible()
            for person in (ada, ben):
                assert person.faults == []
                person.page.close()
        with serving("examples.board:app", environment=environment) as url:
            ben = Person(browser, url, PHONE)
            ben.log_in("ben", "bernoulli")
            expect(ben.page.locator(".text")).to_have_text(["write the <b>book</b>", "buy milk and oats"])
            assert ben.faults == []
