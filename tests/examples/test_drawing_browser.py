"""Tests of the drawing game in the browser, with desktop and phone tabs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from tests.browser import GET_CHROMIUM, PHONE, Tab, chromium, hostile, serving
from tests.hostile import Deed

RED, BLUE, GREEN, INK, WHITE = (214, 69, 69), (47, 111, 219), (58, 157, 93), (29, 36, 51), (255, 255, 255)
SWATCH = {INK: 1, RED: 2, GREEN: 5, BLUE: 6}


class Player(Tab):
    """A tab at the drawing table."""

    def enter(self, name: str) -> None:
        self.page.fill("#name", name)
        self.page.click("#enter button")

    def draw(self, color: tuple[int, int, int], *points: tuple[float, float]) -> None:
        """Draw one line of this colour through these points, whose coordinates are fractions of the paper's width and
        height."""
        self.page.click(f".swatch:nth-child({SWATCH[color]})")
        self.page.click(".nib:nth-child(3)")
        for index, place in enumerate(points):
            self.page.mouse.move(*self.point(*place), steps=8)
            if index == 0:
                self.page.mouse.down()
        self.page.mouse.up()

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return the position on the page of a point whose coordinates are fractions of the paper's width and
        height."""
        box = self.page.locator("#canvas").bounding_box()
        assert box is not None
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def light(self, state: str) -> None:
        expect(self.page.locator("#light")).to_have_attribute("data-state", state)

    def expect_turn(self, part: str) -> None:
        expect(self.page.locator("#headline")).to_have_text(f"Draw the {part}")
        expect(self.page.locator("#canvas")).to_be_visible()

    def headline(self, text: str) -> None:
        # A page tries the poll transport last, so that it may connect late.
        expect(self.page.locator("#headline")).to_have_text(text, timeout=20_000)

    def saved_picture(self) -> Image.Image:
        with self.page.expect_download() as download:
            self.page.click("#save")
        assert download.value.suggested_filename == "exquisite-corpse.png"
        return Image.open(io.BytesIO(download.value.path().read_bytes())).convert("RGB")


def near(picture: Image.Image, place: tuple[int, int], color: tuple[int, int, int]) -> bool:
    pixel = picture.getpixel(place)
    assert isinstance(pixel, tuple)
    return all(abs(one - other) <= 12 for one, other in zip(pixel, color, strict=True))


@pytest.mark.usefixtures("each_edge_js")
def test_a_round_of_three_with_one_leaving_in_their_turn(program: Callable[[str, str], str]) -> None:
    """In a round that one player leaves, each stroke is in the right part of the figure, and no player receives a
    hidden stroke before the reveal."""
    with serving("examples.drawing:app") as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        ana, ben, cyn = Player(browser, url), Player(browser, url), Player(browser, url, PHONE)
        cyn.screenshot("door-phone")
        ana.screenshot("door-desktop")
        ana.enter("Ana")
        ana.headline("Waiting for one more")
        ben.enter("Ben")
        ben.headline("Sharpen your pencils")
        cyn.enter("Cyn <b>")
        expect(cyn.page.locator("#players li")).to_have_count(3)
        cyn.screenshot("gathering-phone")
        cyn.page.click("#start")

        ana.expect_turn("head")
        ana.draw(RED, (0.5, 0.3), (0.5, 1.0))
        ana.draw(BLUE, (0.1, 0.2), (0.3, 0.2))
        ana.draw(INK, (0.8, 0.2), (0.8, 0.5))
        ana.page.click("#undo")
        ana.screenshot("drawing-desktop")
        cyn.headline("Ana draws the head")
        cyn.screenshot("watching-phone")
        ana.page.click("#done")

        ben.expect_turn("body")
        ben.draw(GREEN, (0.2, 0.5), (0.8, 0.5))
        ben.page.click("#leave")

        cyn.expect_turn("legs")
        cyn.draw(BLUE, (0.5, 0.1), (0.5, 0.9))
        cyn.screenshot("drawing-phone")
        before_reveal = [list(tab.received) for tab in (ana, ben, cyn)]
        cyn.page.click("#done")

        for tab, name in ((ana, "reveal-desktop"), (cyn, "reveal-phone")):
            tab.headline("Unfolded!")
            expect(tab.page.locator("#figure")).to_be_visible()
            expect(tab.page.locator("#credits")).to_have_text("head: Ana  ·  body: Ben  ·  legs: Cyn <b>")
            tab.page.wait_for_timeout(800)  # wait for the end of the animation
            tab.screenshot(name)
            picture = tab.saved_picture()
            assert picture.size == (1000, 3 * 750)
            assert near(picture, (500, 500), RED), "the head's line must be red"
            assert near(picture, (200, 150), BLUE), "the head's dash must be blue"
            assert near(picture, (800, 260), WHITE), "the undone line must be absent"
            assert near(picture, (400, 750 + 375), GREEN), "the line of the player who left must be green"
            assert near(picture, (500, 1500 + 375), BLUE), "the line of the legs must be blue"
            assert near(picture, (50, 2200), WHITE), "the paper must be white"
        check_nothing_hidden_was_received(*before_reveal)
        assert [ana.faults, ben.faults, cyn.faults] == [[], [], []]


def check_nothing_hidden_was_received(ana: list[str], ben: list[str], cyn: list[str]) -> None:
    """Check that the frames that each player received before the reveal contain only the strip above that player's
    part."""
    frames = {"ana": ana, "ben": ben, "cyn": cyn}
    strokes = {
        name: [stroke for frame in received for stroke in strokes_of(frame)] for name, received in frames.items()
    }
    assert strokes["ana"] == []
    (strip,) = strokes["ben"]
    assert strip["color"] == 1
    assert all(0 <= y <= 60 for _, y in strip["points"])
    assert strokes["cyn"] == []  # cyn gets no strip, because no stroke of the body reaches the lower edge of the body


def strokes_of(frame: str) -> list[dict[str, Any]]:
    message = json.loads(frame)
    if message[0] != "your:turn":
        assert "points" not in frame
        return []
    edge: list[dict[str, Any]] = message[1]["edge"]
    return edge


def test_a_full_table_a_taken_name_and_another_table(program: Callable[[str, str], str]) -> None:
    """The fifth player is informed that the table is full, and joins another table. A taken name is refused."""
    with serving("examples.drawing:app") as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        ana = Player(browser, url)
        ana.enter("Ana")
        ana.headline("Waiting for one more")
        table = ana.page.url
        twin = Player(browser, table)
        twin.enter("ana")
        expect(twin.page.locator("#complaint")).to_have_text("Sorry, this name is taken.")
        others = [Player(browser, table) for _ in range(3)]
        for number, tab in enumerate(others):
            tab.enter(f"p{number}")
            expect(tab.page.locator("#players li")).to_have_count(number + 2)
        late = Player(browser, table, PHONE)
        late.enter("Late")
        expect(late.page.locator("#why")).to_have_text("This table is full")
        late.screenshot("full-phone")
        late.page.click("#again")
        late.headline("Waiting for one more")
        assert late.page.url != table
        assert late.faults == []


def begin(browser: Browser, url: str) -> tuple[Player, Player]:
    """Let two players join a table, and start a round in which the first player has the first turn."""
    ana, ben = Player(browser, url), Player(browser, url, PHONE)
    ana.enter("Ana")
    ana.headline("Waiting for one more")
    ben.enter("Ben")
    ben.page.click("#start")
    ana.expect_turn("head")
    return ana, ben


def finish(ana: Player, ben: Player) -> Image.Image:
    """Play the rest of the round, and return the saved figure."""
    ana.page.click("#done")
    ben.expect_turn("body")
    ben.draw(GREEN, (0.2, 0.5), (0.8, 0.5))
    ben.page.click("#done")
    ana.headline("Unfolded!")
    picture = ana.saved_picture()
    assert near(picture, (400, 750 + 375), GREEN)
    return picture


def test_a_connection_killed_in_the_middle_of_a_stroke(program: Callable[[str, str], str]) -> None:
    """If a connection is lost during a stroke, the player keeps the turn, and no stroke is lost."""
    with serving("examples.drawing:app") as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        with hostile(Deed.KILL, url) as (proxied, cut_or_mend):
            ana, ben = begin(browser, proxied)
            ana.draw(BLUE, (0.1, 0.2), (0.3, 0.2))
            ana.page.click(f".swatch:nth-child({SWATCH[RED]})")
            ana.page.mouse.move(*ana.point(0.1, 0.5))
            ana.page.mouse.down()
            ana.page.mouse.move(*ana.point(0.5, 0.5), steps=8)
            cut_or_mend()
            ana.light("away")
            ana.page.mouse.move(*ana.point(0.9, 0.5), steps=8)
            ana.page.mouse.up()
            ana.screenshot("killed-desktop")
            cut_or_mend()
            ana.light("open")
            ana.draw(INK, (0.1, 0.8), (0.3, 0.8))
            ana.expect_turn("head")
            picture = finish(ana, ben)
        assert near(picture, (200, 150), BLUE)
        assert near(picture, (300, 375), RED)
        assert near(picture, (700, 375), RED)
        assert near(picture, (200, 600), INK)
        faults = [fault for tab in (ana, ben) for fault in tab.faults]
        assert [fault for fault in faults if "WebSocket" not in fault and "net::ERR" not in fault] == []


def test_a_reload_in_the_middle_of_a_turn(program: Callable[[str, str], str]) -> None:
    """After a reload during a turn, the page has its seat, the turn, and the strokes so far."""
    with serving("examples.drawing:app") as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        ana, ben = begin(browser, url)
        ana.draw(BLUE, (0.1, 0.2), (0.3, 0.2))
        ana.page.reload()
        ana.expect_turn("head")
        ana.screenshot("reloaded-desktop")
        ana.draw(RED, (0.1, 0.5), (0.9, 0.5))
        ana.page.click("#undo")
        ana.draw(INK, (0.1, 0.8), (0.3, 0.8))
        picture = finish(ana, ben)
        assert near(picture, (200, 150), BLUE)
        assert near(picture, (500, 375), WHITE)
        assert near(picture, (200, 600), INK)
        assert [ana.faults, ben.faults] == [[], []]


@pytest.mark.parametrize(("deed", "transport"), [(Deed.STRIP, "stream"), (Deed.REFUSE, "poll")])
def test_where_websocket_is_refused(program: Callable[[str, str], str], deed: Deed, transport: str) -> None:
    """The game works over the stream transport if WebSocket is blocked, and over the poll transport if streams are
    blocked as well."""
    with serving("examples.drawing:app") as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        with hostile(deed, url) as (proxied, _):
            ana, ben = begin(browser, proxied)
            ana.draw(BLUE, (0.1, 0.2), (0.3, 0.2))
            ana.screenshot(f"{transport}-desktop")
            picture = finish(ana, ben)
        assert near(picture, (200, 150), BLUE)
        assert ana.modes[-1] == ben.modes[-1] == transport
