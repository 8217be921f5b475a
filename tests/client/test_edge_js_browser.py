"""Tests of edge.js in a real browser, against a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser import GET_CHROMIUM, Tab, chromium, serving

JOIN = """async ([name]) => {
    const { join } = await import("/edge.js");
    window.heard = [];
    window.states = [];
    window.room = join("/rooms/echo/one", { name });
    for (const event of ["said", "state", "$error", "$welcome"]) room.on(event, (body) => heard.push([event, body]));
    room.on("$status", (state) => states.push(state));
    room.answer("choose", ({ options }) => ["chosen", { option: options[1] }]);
    room.send("say", { text: "before the welcome" });
}"""


@pytest.fixture(scope="module")
def tabs(program: Callable[[str, str], str]) -> Iterator[Callable[[], Page]]:
    with (
        serving("tests.client.echo_app:app", quiet=False) as url,
        chromium(program("chromium", GET_CHROMIUM)) as browser,
    ):
        yield lambda: Tab(browser, url).page


@pytest.fixture
def page(tabs: Callable[[], Page]) -> Iterator[Page]:
    page = tabs()
    page.evaluate(JOIN, ["ana"])
    page.wait_for_function("room.status === 'open' && heard.some(([name]) => name === 'said')")
    yield page
    page.evaluate("room.leave()")
    assert page.evaluate("[room.status, room.ending.code]") == ["closed", 4200]


def heard(page: Page, name: str) -> list[Any]:
    found: list[Any] = page.evaluate(
        "(name) => heard.filter(([event]) => event === name).map(([, body]) => body)", name
    )
    return found


def test_events_and_state(page: Page) -> None:
    """An event that a page sends before the welcome reaches the room, and the page knows its state and its seat
    number."""
    assert heard(page, "said") == [{"text": "before the welcome"}]
    assert page.evaluate("[states, room.number]") == [["open"], 0]
    (welcome,) = heard(page, "$welcome")
    assert (welcome["resumed"], welcome["why"]) == (False, "new")


def test_requests_both_ways(page: Page) -> None:
    """A request gets its answer or its error, and the page's handler answers a request of the room."""
    answer = page.evaluate("room.request('guess', { word: 'owl' })")
    assert answer == {"name": "said", "body": {"text": "OWL"}}
    fault = page.evaluate("room.request('guess', { word: 7 }).catch((error) => [error.problem, error.message])")
    assert fault == ["invalid", "word: expected text"]
    page.evaluate("room.send('ask:me')")
    page.wait_for_function("heard.some(([, body]) => body.text === 'you chose b')")


def test_what_the_room_refuses_is_told(page: Page) -> None:
    """The page gets a `$error` for each event that is unknown, invalid, or refused as `not_now`, volatile events
    included."""
    page.evaluate(
        "room.send('cursor', { x: 1 }, { delivery: 'volatile' }); room.send('nonsense'); room.send('say', {})"
    )
    page.wait_for_function("heard.filter(([name]) => name === '$error').length === 3")
    assert [(error["problem"], error["about"]) for error in heard(page, "$error")] == [
        ("not_now", "cursor"),
        ("unknown_event", "nonsense"),
        ("invalid", "say"),
    ]


def test_a_cut_connection_is_resumed(page: Page) -> None:
    """A page resumes by itself after its connection is cut. Events sent during the interruption arrive once, in order,
    and the newest `latest` value arrives again."""
    page.evaluate("""() => {
        heard.length = 0;
        room.on("$status", (state) => {
            if (state === "away") for (const text of ["one", "two", "three"]) room.send("say", { text });
        });
        return fetch("/cut?code=SILENT");
    }""")
    page.wait_for_function("heard.filter(([name]) => name === 'said').length === 3")
    assert heard(page, "said") == [{"text": "one"}, {"text": "two"}, {"text": "three"}]
    assert heard(page, "state")[0] == {"value": 18}
    assert page.evaluate("room.welcome.resumed")
    assert page.evaluate("states") == ["open", "away", "open"]


def test_a_lost_seat_is_a_fresh_start(page: Page) -> None:
    """After a goodbye with a 41xx code, the page starts fresh, and `$welcome` reports the fresh start."""
    page.evaluate("heard.length = 0; window.lost = room.request('cursor').catch(({ problem }) => problem)")
    assert page.evaluate("lost") in ("invalid", "gone")
    page.evaluate("fetch('/cut?code=MISCOUNT')")
    page.wait_for_function("heard.some(([name]) => name === '$welcome')")
    (welcome,) = heard(page, "$welcome")
    assert not welcome["resumed"]
    page.evaluate("room.send('say', { text: 'again' })")
    page.wait_for_function("heard.some(([, body]) => body.text === 'again')")


def test_a_crash_or_a_kick_is_for_good(tabs: Callable[[], Page]) -> None:
    """After a crash of its player's code in the room, a page does not reconnect, and its later events and requests
    fail."""
    page = tabs()
    page.evaluate(JOIN, ["cyn"])
    page.wait_for_function("room.status === 'open'")
    page.evaluate("room.send('say', { text: 'crash' })")
    page.wait_for_function("room.status === 'closed'")
    assert page.evaluate("room.ending.code") == 4222
    assert page.evaluate("room.send('say', { text: 'too late' })") is False
    (told,) = heard(page, "$error")
    assert (told["problem"], told["about"]) == ("gone", "say")
    assert told["message"].startswith("the room is closed: ")
    failed = page.evaluate("room.request('guess', { word: 'late' }).catch(({ problem }) => problem)")
    assert failed == "gone"
    streamed = "(async () => { for await (const each of room.stream('count', { to: 1 })) return each; })()"
    assert page.evaluate(streamed + ".catch(({ problem }) => problem)") == "gone"


def test_a_full_room(tabs: Callable[[], Page], page: Page) -> None:
    """The third page in a room for two is refused because all seats are taken."""
    second, third = tabs(), tabs()
    second.evaluate(JOIN, ["ben"])
    second.wait_for_function("room.status === 'open'")
    third.evaluate(JOIN, ["cyn"])
    third.wait_for_function("room.status === 'closed'")
    assert third.evaluate("room.ending") == {"code": 4210, "reason": "all 2 seats are taken"}
    second.evaluate("room.leave()")
