"""Tests of a page's life in three browsers: each step of the table in docs/pages.md that a browser driver can perform.

These tests detect the following kind of bug. A browser hides, caches, copies or reloads a page, and the page loses its
seat or its events.
"""

from __future__ import annotations

import itertools
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from tests.browser import serving
from tests.engines import ENGINES, ChromiumPage, Engine, FirefoxPage, Page, Program, open_engine

PAGES = Path(__file__).parents[2] / "docs" / "pages.md"


@attrs.frozen
class Walk:
    """One browser, and the room in which its pages go through one step."""

    engine: Engine
    url: str
    room: str

    def open(self, **query: str) -> Page:
        page = self.engine.open(self.address(**query))
        page.wait("window.room?.status === 'open'")
        return page

    def address(self, **query: str) -> str:
        said = "&".join(f"{name}={value}" for name, value in {"room": self.room, **query}.items())
        return f"{self.url}page?{said}"

    def seats(self) -> dict[str, bool]:
        """Return a dict that tells for each seat number whether the server has a connection for that seat."""
        with urllib.request.urlopen(f"{self.url}seats?room={self.room}") as answer:
            found: dict[str, bool] = json.load(answer)
            return found

    def hidden(self, page: Page) -> Page:
        """Show another page in front of this one, and return the other page."""
        other = self.engine.open(f"{self.url}other")
        show(other)
        page.wait("document.visibilityState === 'hidden'")
        return other


def show(page: Page) -> None:
    assert isinstance(page, ChromiumPage | FirefoxPage)
    page.show()


def log(page: Page) -> list[str]:
    found: list[str] = page.evaluate("log")
    return found


def forget(page: Page) -> None:
    page.evaluate("void (log.length = 0)")


def reopened(page: Page) -> None:
    page.wait("window.room?.status === 'open'")


def join(walk: Walk) -> None:
    page = walk.open()
    assert log(page)[:3] == ["$hello", "open", "new"] or log(page)[:4] == ["pageshow", "$hello", "open", "new"]
    assert page.evaluate("room.guest") is True


def hide(walk: Walk) -> None:
    page = walk.open()
    forget(page)
    walk.hidden(page)
    assert [each for each in log(page) if each != "$ack"] == ["hidden"]
    page.evaluate("room.send('say', { text: 'from behind' })")
    page.wait("said.includes('0: from behind')")


def show_again(walk: Walk) -> None:
    page = walk.open()
    other = walk.hidden(page)
    forget(page)
    other.close()
    show(page)
    page.wait("log.includes('visible')")
    assert "$ping" in log(page)
    assert page.evaluate("room.status") == "open"


def freeze(walk: Walk) -> None:
    page = walk.open()
    assert isinstance(page, ChromiumPage)
    walk.hidden(page)
    page.freeze()  # a frozen page runs no script, so that the test can read the log only after `thaw`
    page.thaw()
    page.wait("log.includes('freeze')")


def wake(walk: Walk) -> None:
    page = walk.open()
    assert isinstance(page, ChromiumPage)
    walk.hidden(page)
    forget(page)
    page.freeze()
    page.thaw()
    page.wait("log.includes('resume')")
    page.wait("log.includes('$ping') || log.includes('$hello')")
    reopened(page)
    page.evaluate("room.send('say', { text: 'awake' })")
    page.wait("said.includes('0: awake')")


def lose_network(walk: Walk) -> None:
    page = walk.open()
    assert isinstance(page, ChromiumPage | FirefoxPage)
    forget(page)
    page.set_offline(True)
    page.wait("log.includes('offline')")
    assert "$ping" in log(page)
    page.set_offline(False)


def regain_network(walk: Walk) -> None:
    page = walk.open()
    assert isinstance(page, ChromiumPage | FirefoxPage)
    page.set_offline(True)
    page.wait("log.includes('offline')")
    forget(page)
    page.evaluate("room.send('say', { text: 'meanwhile' })")
    page.set_offline(False)
    page.wait("log.includes('online')")
    page.wait("said.includes('0: meanwhile')")
    assert {"$ping", "$hello"} & set(log(page))


def go_away(walk: Walk) -> None:
    page, friend = walk.open(), walk.open(session="tab")
    page.evaluate("void addEventListener('pagehide', () => room.send('say', { text: 'last words' }))")
    page.goto(f"{walk.url}other")
    if walk.engine.name != "firefox":  # Firefox closes the WebSocket before `pagehide`
        friend.wait("said.includes('0: last words')")
    friend.wait(f"(await (await fetch('seats?room={walk.room}')).json())[0] === false")


def come_back(walk: Walk) -> None:
    page, friend = walk.open(), walk.open(session="tab")
    page.evaluate("void addEventListener('pagehide', () => room.send('say', { text: 'last words' }))")
    forget(page)
    page.goto(f"{walk.url}other")
    friend.wait("said.includes('0: last words')")
    friend.evaluate("room.send('say', { text: 'meanwhile' })")
    friend.wait("said.includes('1: meanwhile')")
    page.back()
    reopened(page)
    page.wait("log.includes('pageshow persisted')")
    page.wait("said.includes('1: meanwhile')")
    assert log(page)[-1] == "resumed"
    assert page.evaluate("said.filter((each) => each === '0: last words').length") == 1


def come_back_to_a_taken_seat(walk: Walk) -> None:
    page = walk.open()
    forget(page)
    page.goto(walk.address(again="1"))  # both pages have the session of the browser, and so the same seat
    page.wait("log.includes('moved')")
    page.back()
    page.wait("log.includes('pageshow persisted')")
    reopened(page)
    page.wait("log.at(-1) === 'moved'")
    assert page.evaluate("room.number") == 0
    page.evaluate("room.send('say', { text: 'back' })")
    page.wait("said.includes('0: back')")


def close(walk: Walk) -> None:
    page, friend = walk.open(), walk.open(session="tab")
    page.close()
    friend.wait(f"(await (await fetch('seats?room={walk.room}')).json())[0] === false")


def reload(walk: Walk) -> None:
    for session in ("browser", "tab"):
        page = walk.open(session=session)
        number = page.evaluate("room.number")
        page.reload()
        page.wait("window.log?.includes('moved')")
        assert page.evaluate("[room.number, said[0]]") == [number, f"{number}: hello"]
        page.close()


def duplicate(walk: Walk) -> None:
    page = walk.open(session="tab")
    copies = [walk.engine.duplicate(page) for _ in range(2)]
    for copy in copies:
        reopened(copy)
    copies.append(walk.engine.duplicate(copies[0]))
    reopened(copies[2])
    numbers = [each.evaluate("room.number") for each in (page, *copies)]
    assert (numbers[0], set(numbers)) == (0, {0, 1, 2, 3}), (
        "each page must have its own seat; the first two copies may join in any order"
    )
    assert page.evaluate("room.status") == "open"
    for number, each in zip(numbers, (page, *copies), strict=True):
        each.reload()
        each.wait("window.log?.includes('moved')")
        assert each.evaluate("room.number") == number
    shared = walk.open()
    other = walk.engine.duplicate(shared)
    shared.wait("room.ending?.code === 4220")
    reopened(other)


def frame(walk: Walk) -> None:
    page = walk.open(session="tab")
    inside = walk.address(session="tab").replace(f"room={walk.room}", f"room={walk.room}-inside")
    page.evaluate(
        f"void document.body.append(Object.assign(document.createElement('iframe'), {{ src: {json.dumps(inside)} }}))"
    )
    page.wait("frames[0].room?.status === 'open'")
    for _ in range(2):
        page.evaluate("void document.body.append(document.querySelector('iframe').cloneNode())")
    for number in (1, 2):
        page.wait(f"['open', 'closed'].includes(frames[{number}].room?.status)")
    kept = "JSON.stringify(Object.entries(sessionStorage).filter(([name]) => name.startsWith('edge http')))"
    before = page.evaluate(kept)
    page.wait("frames[0].room?.ending?.code === 4220")  # the three frames share one session, and so one seat
    assert page.evaluate(kept) == before
    page.reload()
    page.wait("window.log?.includes('moved')")
    assert page.evaluate("room.number") == 0  # the frames have not replaced the page's key


# The functions that perform each step, by the step's name in docs/pages.md. No browser driver can perform the steps
# without functions.
STEPS: dict[str, tuple[Callable[[Walk], None], ...]] = {
    "join": (join,),
    "hide": (hide,),
    "show": (show_again,),
    "freeze": (freeze,),
    "wake": (wake,),
    "discard": (),
    "lose the network": (lose_network,),
    "regain the network": (regain_network,),
    "go to another page": (go_away,),
    "come back": (come_back, come_back_to_a_taken_seat),
    "drop the cached page": (),
    "close": (close,),
    "reload": (reload,),
    "duplicate": (duplicate,),
    "open a frame": (frame,),
}


def table() -> dict[str, list[str]]:
    """Return the steps in docs/pages.md, and the browsers in which a driver can perform each step."""
    rows = re.findall(r"^\| (.+) \|$", PAGES.read_text(), re.MULTILINE)
    steps = [re.split(r" *\| *", row) for row in rows]
    found = {step[0]: step[-1] for step in steps if len(step) == 6 and step[0] not in ("step", "---")}
    return {
        step: [engine for engine in ENGINES if said == "all" or engine in said.lower()] for step, said in found.items()
    }


def test_every_step_is_in_the_document() -> None:
    """The document lists the steps of this test, in the same order, and marks the steps that no browser driver can
    perform."""
    assert list(table()) == list(STEPS)
    assert [step for step, known in table().items() if not known] == [step for step in STEPS if not STEPS[step]]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("tests.client.page_app:app") as url:
        yield url


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, program: Program) -> Iterator[Engine]:
    with open_engine(request.param, program) as engine:
        yield engine


ROOMS = itertools.count()


@pytest.mark.parametrize("step", [step for step, walks in STEPS.items() if walks])
def test_a_step(engine: Engine, url: str, step: str) -> None:
    """A page behaves at each step as the document describes."""
    if engine.name not in table()[step]:
        return
    for walk in STEPS[step]:
        walk(Walk(engine, url, f"room-{next(ROOMS)}"))
