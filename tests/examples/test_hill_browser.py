"""Tests of King of the hill in the browser: with keys, touch and tilt, and over a slow connection with jitter."""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import CDPSession, expect

from examples.hill.physics import BOARD, DRAG, HZ, PUSH, RADIUS, TOP_SPEED
from tests.browser import DESKTOP, GET_CHROMIUM, PHONE, Tab, chromium, hostile, serving
from tests.hostile import Deed

# The colours of the first players' discs.
GOLD, BLUE = (255, 183, 3), (63, 167, 255)
# The largest correction of a disc in one frame, in units of the board. It is a hundredth of the board's radius.
MOST_CORRECTION = 10.0
# The distance, in units of the board, that a disc moves after one tick of full steering until the disc rests.
GLIDE = PUSH * DRAG / (1 - DRAG)

# Discs far from the player's disc are shown with a delay. While such a disc approaches over this distance, in units of
# the board, its delay shrinks to zero.
APPROACH = 6 * RADIUS

# Records each drawn frame: [milliseconds, {number: [x, y]}, seconds by which far discs are delayed]. The milliseconds
# are the page's last reading of its clock, because the page draws the discs of that time, even if it draws them later.
WATCH = """async () => {
  const { View } = await import(new URL("view.js", location.href).href);
  const draw = View.prototype.draw;
  const now = performance.now.bind(performance);
  let read = now();
  performance.now = () => (read = now());
  window.drawn = [];
  View.prototype.draw = function (frame, who, seconds) {
    const discs = Object.fromEntries(frame.discs.map(({ number, x, y }) => [number, [x, y]]));
    window.drawn.push([read, discs, who.delay]);
    return draw.call(this, frame, who, seconds);
  };
}"""

# Holds a key for a number of milliseconds, as exactly as the browser's timers allow.
PRESS = """async ([code, milliseconds]) => {
  dispatchEvent(new KeyboardEvent("keydown", { code }));
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  dispatchEvent(new KeyboardEvent("keyup", { code }));
}"""


class Player(Tab):
    """A tab on the hill."""

    session: CDPSession | None = None

    def enter(self, name: str) -> None:
        self.page.fill("#name", name)
        self.page.click("#enter button")
        expect(self.page.locator("#light")).to_have_attribute("data-state", "open")
        self.page.evaluate(WATCH)
        self.page.wait_for_function("window.drawn.length > 5 && Object.keys(window.drawn.at(-1)[1]).length > 0")

    @property
    def places(self) -> dict[int, tuple[float, float]]:
        """The position of each disc in the last drawn frame, in units of the board."""
        drawn = self.page.evaluate("window.drawn.at(-1)[1]")
        return {int(number): (x, y) for number, (x, y) in drawn.items()}

    def hold(self, *keys: str) -> None:
        """Press these arrow keys, and release all other arrow keys."""
        for key in ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"):
            if key in keys:
                self.page.keyboard.down(key)
            else:
                self.page.keyboard.up(key)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """Send one touch event of one finger."""
        if self.session is None:
            self.session = self.page.context.new_cdp_session(self.page)
        touched = [{"x": x, "y": y, "id": 1} for x, y in points]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

    def seen(self, color: tuple[int, int, int]) -> tuple[float, float]:
        """Return the centre of the disc of this colour, in pixels of the canvas."""
        url = self.page.evaluate("document.querySelector('#board').toDataURL()")
        picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
        pixels = picture.load()
        assert pixels is not None
        found = [(x, y) for x in range(picture.width) for y in range(picture.height) if pixels[x, y] == color]
        assert len(found) > 100, "the disc is not visible"
        left, right = min(x for x, _ in found), max(x for x, _ in found)
        top, bottom = min(y for _, y in found), max(y for _, y in found)
        return (left + right) / 2, (top + bottom) / 2

    def wait_rest(self) -> None:
        """Wait until nothing has moved for half a second."""
        self.page.wait_for_function(
            """() => {
              const [now, places] = window.drawn.at(-1);
              const before = window.drawn.findLast(([then]) => then < now - 500);
              return before !== undefined && JSON.stringify(before[1]) === JSON.stringify(places);
            }""",
            timeout=20_000,
        )

    def figure(self, name: str) -> float:
        line = next(line for line in self.page.inner_text("#figures").splitlines() if line.startswith(name))
        return float(line.partition(": ")[2].split()[0])


def ram(hunter: Player, me: int, target: int) -> None:
    """Steer disc `me` into the resting disc `target`. First steer it vertically to the same height, so that the discs
    do not only graze each other, and then horizontally."""
    goal = hunter.places[target]
    for _ in range(20):
        down = goal[1] - hunter.places[me][1]
        if abs(down) < RADIUS:
            break
        hunter.page.evaluate(PRESS, ["ArrowDown" if down > 0 else "ArrowUp", abs(down) / GLIDE / HZ * 1000])
        hunter.wait_rest()
    else:
        pytest.fail("the discs were never level")
    hunter.hold("ArrowRight" if goal[0] > hunter.places[me][0] else "ArrowLeft")
    moved = "([number, x]) => Math.abs(window.drawn.at(-1)[1][number][0] - x) > 5"
    hunter.page.wait_for_function(moved, arg=[target, goal[0]])
    hunter.hold()


@pytest.mark.usefixtures("each_edge_js")
def test_two_collide_and_both_screens_agree(program: Callable[[str, str], str]) -> None:
    """After a collision, each disc comes to rest at the same place on both screens, within two pixels."""
    with serving("tests.examples.short_hill:long") as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        ana, ben = Player(browser, url), Player(browser, url)
        ana.screenshot("hill-door-desktop")
        ana.enter("Ana")
        ben.enter("Ben")
        ana.page.wait_for_function("Object.keys(window.drawn.at(-1)[1]).length === 2")
        before = ana.seen(BLUE)
        ram(ana, 0, 1)
        ana.screenshot("hill-desktop")
        for tab in (ana, ben):
            tab.wait_rest()
        for color in (GOLD, BLUE):
            one, other = ana.seen(color), ben.seen(color)
            assert math.dist(one, other) <= 2
        assert math.dist(before, ana.seen(BLUE)) > 20, "the collision must move ben's disc"
        collided = [json.loads(frame) for tab in (ana, ben) for frame in tab.received if '"facts"' in frame]
        assert any(fact[1]["collided"] == [[0, 1]] for fact in collided)
        ana.page.click("#network")
        expect(ana.page.locator("#figures")).to_contain_text("boards shown again: 0")
        assert [ana.faults, ben.faults] == [[], []]


def test_touch_and_tilt_steer(program: Callable[[str, str], str]) -> None:
    """Dragging a finger and tilting the phone move the player's disc on another player's screen."""
    with serving("tests.examples.short_hill:long") as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        phone = Player(browser, url, PHONE)
        phone.screenshot("hill-door-phone")
        phone.enter("Phone")
        watcher = Player(browser, url)
        watcher.enter("Watcher")
        start = watcher.places[0]
        phone.touch("touchStart", (200, 500))
        phone.touch("touchMove", (140, 500))
        phone.page.wait_for_timeout(600)
        phone.screenshot("hill-touch-phone")
        phone.touch("touchEnd")
        watcher.wait_rest()
        touched = watcher.places[0]
        assert touched[0] < start[0] - 100
        assert touched[1] == pytest.approx(start[1], abs=15)

        phone.page.click("#tilt")
        expect(phone.page.locator("#tilt")).to_have_attribute("aria-pressed", "true")
        tilt = "([beta, gamma]) => dispatchEvent(new DeviceOrientationEvent('deviceorientation', { beta, gamma }))"
        phone.page.evaluate(tilt, [40, 2])  # the first tilt counts as level
        phone.page.evaluate(tilt, [62, 2])
        phone.page.wait_for_timeout(500)
        phone.page.evaluate(tilt, [41, 1])
        watcher.wait_rest()
        tilted = watcher.places[0]
        assert tilted[1] > touched[1] + 100
        assert tilted[0] == pytest.approx(touched[0], abs=15)
        phone.page.click("#tilt")
        phone.page.evaluate(tilt, [62, 2])  # tilt is switched off
        phone.page.wait_for_timeout(300)
        assert watcher.places[0] == pytest.approx(tilted, abs=1)
        assert [phone.faults, watcher.faults] == [[], []]


def test_a_slow_and_jittery_line_stays_smooth(program: Callable[[str, str], str]) -> None:
    """With a round trip of 200 ms and 80 ms of jitter, no frame moves a disc further than its speed and 10 units of
    correction allow."""
    with serving("tests.examples.short_hill:long") as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        with hostile(Deed.LAG, url, 0.2) as (slow, _):
            ana, ben = Player(browser, slow), Player(browser, slow)
            ana.enter("Ana")
            ben.enter("Ben")
            for _ in range(5):
                ana.page.click("#more-bots")
                ana.page.wait_for_timeout(300)
            ana.page.click("#network")
            for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown") * 3:
                ana.hold(key)
                ben.hold("ArrowRight" if key == "ArrowLeft" else "ArrowUp")
                ana.page.wait_for_timeout(500)
            ana.screenshot("hill-slow-desktop")
            ana.hold()
            ben.hold()
            frames = ana.page.evaluate("window.drawn")
            assert ana.figure("round trip") > 120
            assert ana.figure("boards shown again") == 0
            assert ana.figure("corrected") <= MOST_CORRECTION
            assert [ana.faults, ben.faults] == [[], []]
        check_smooth(frames, me="0")


def check_smooth(frames: list[Any], me: str) -> None:
    """Check that no disc moves further between two frames than top speed and the bound on corrections allow."""
    assert len(frames) > 100
    moved = 0.0
    for (at, before, _), (later, after, delay) in itertools.pairwise(frames):
        # the page adjusts its clock and its lead, each of which then runs a tenth faster or slower at most
        ticks = (later - at) / 1000 * HZ * 1.1 * 1.1
        for number, place in after.items():
            if number in before:
                distance = math.dist(before[number], place)
                moved += distance
                catches_up = 1.0 if number == me else 1 + 2 * TOP_SPEED * delay * HZ / APPROACH
                # a collision separates overlapping discs by the distance that they can move in a tick
                most = TOP_SPEED * (ticks * catches_up + 1) + MOST_CORRECTION
                assert distance <= most, f"disc {number} jumped by {distance:.0f} of {most:.0f} units at {at:.0f} ms"
    assert moved > 4 * BOARD


# SLEEP delays animation frames, as a browser does in a hidden tab. WAKE runs the delayed frames.
SLEEP = """() => {
  window.awake = window.requestAnimationFrame;
  window.held = [];
  window.requestAnimationFrame = (run) => window.held.push(run);
}"""
WAKE = """() => {
  window.requestAnimationFrame = window.awake;
  for (const run of window.held) requestAnimationFrame(run);
}"""


def test_a_page_that_sleeps_leaves_and_comes_again(program: Callable[[str, str], str]) -> None:
    """A page that was asleep shows the current board when it wakes. A player who leaves and enters again can steer the
    new disc."""
    with serving("tests.examples.short_hill:long") as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        ana, ben = Player(browser, url), Player(browser, url)
        ana.enter("Ana")
        ben.enter("Ben")
        ana.page.click("#network")
        ana.hold("ArrowLeft")
        ana.page.wait_for_timeout(300)
        ana.hold()
        ana.page.evaluate(SLEEP)
        ana.page.wait_for_timeout(12_000)
        ben.hold("ArrowUp")
        ben.page.wait_for_timeout(500)
        ben.hold()
        ben.wait_rest()
        ana.page.evaluate(WAKE)
        expect(ana.page.locator("#figures")).to_contain_text("boards shown again: 1")
        ana.wait_rest()
        for number, place in ben.places.items():
            assert math.dist(place, ana.places[number]) < 1
        ana.page.click("#leave")
        ana.page.click("#enter button")
        expect(ana.page.locator("#light")).to_have_attribute("data-state", "open")
        ana.page.wait_for_function("'0' in window.drawn.at(-1)[1]")
        start = ana.places[0]
        ana.hold("ArrowLeft")
        ana.page.wait_for_timeout(500)
        ana.hold()
        ben.wait_rest()
        assert ben.places[0][0] < start[0] - 50
        assert [ana.faults, ben.faults] == [[], []]


def test_a_full_board_and_the_next(program: Callable[[str, str], str]) -> None:
    """A player whose board is full plays on another board, whose name is in the page's address."""
    with serving("tests.examples.short_hill:tiny") as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        tabs = [Player(browser, url) for _ in range(3)]
        for number, tab in enumerate(tabs):
            tab.enter(f"P{number}")
        assert [tab.page.url.partition("#")[2] for tab in tabs] == ["", "main-2", "main-3"]
        tabs[1].page.reload()
        expect(tabs[1].page.locator("#light")).to_have_attribute("data-state", "open")
        assert [tab.faults for tab in tabs] == [[], [], []]


def test_the_scoreboard_names_the_winner(program: Callable[[str, str], str]) -> None:
    """Every screen shows the winner's name, and the next round begins without a player's action. A taken name is
    refused."""
    with serving("tests.examples.short_hill:short") as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        ana, ben = Player(browser, url, DESKTOP), Player(browser, url, PHONE)
        ana.enter("Ana <b>")
        ben.enter("Ben")
        twin = Tab(browser, url)
        twin.page.fill("#name", "ben")
        twin.page.click("#enter button")
        expect(twin.page.locator("#complaint")).to_have_text("Sorry, this name is taken.")
        ana.hold("ArrowLeft")
        ana.page.wait_for_timeout(900)
        ana.hold()
        expect(ana.page.locator("#winner-name")).to_have_text("Ana <b>", timeout=20_000)
        expect(ben.page.locator("#winner")).to_be_visible()
        ana.screenshot("hill-winner-desktop")
        ben.screenshot("hill-winner-phone")
        expect(ben.page.locator("#score li").first).to_contain_text("Ana <b>")
        expect(ana.page.locator("#winner")).to_be_hidden(timeout=20_000)
        ana.page.reload()
        expect(ana.page.locator("#light")).to_have_attribute("data-state", "open")
        ben.page.click("#leave")
        expect(ana.page.locator("#score li")).to_have_count(1)
        ben.page.click("#enter button")
        expect(ana.page.locator("#score li")).to_have_count(2)
        assert [ana.faults, ben.faults] == [[], []]
