"""Tests that edge.js in a real browser connects and loses no event behind proxies that block, buffer or cut traffic."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import GET_CHROMIUM, Tab, chromium, hostile, serving
from tests.hostile import Deed

JOIN = """async ([options]) => {
    const { join } = await import("/edge.js");
    window.heard = [];
    window.room = join("/rooms/echo/one", { name: "ana", session: "tab", ...options });
    room.on("said", ({ text }) => heard.push(text));
    room.send("say", { text: "first" });
}"""


@pytest.fixture(scope="module")
def browser(program: Callable[[str, str], str]) -> Iterator[Browser]:
    with chromium(program("chromium", GET_CHROMIUM)) as browser:
        yield browser


@pytest.fixture
def url() -> Iterator[str]:
    with serving("tests.client.echo_app:app") as url:
        yield url


def talk(page: Page, words: list[str], *, every: int = 30) -> None:
    """Send one of these words every `every` milliseconds, and check that the room echoes each word once, in order."""
    page.evaluate(
        "([words, every]) => words.forEach((text, at) => setTimeout(() => room.send('say', { text }), at * every))",
        [words, every],
    )
    page.wait_for_function("([last]) => heard.at(-1) === last", arg=[words[-1]])
    assert page.evaluate("heard") == ["first", *words]


@pytest.mark.parametrize(
    ("deed", "transport"),
    [
        (Deed.BUFFER, "poll"),
        (Deed.POSTS, "websocket"),
        (Deed.STRIP, "stream"),
        (Deed.REFUSE, "poll"),
    ],
)
@pytest.mark.usefixtures("each_edge_js")
def test_a_page_gets_through(browser: Browser, url: str, deed: Deed, transport: str) -> None:
    """A page connects over a transport that the proxy lets through, and starts with that transport after a reload."""
    with hostile(deed, url) as (proxied, _):
        tab = Tab(browser, proxied)
        tab.page.evaluate(JOIN, [{}])
        tab.page.wait_for_function("heard.length === 1")
        assert tab.page.evaluate("room.transport") == transport
        talk(tab.page, [str(number) for number in range(50)])
        tab.page.reload()
        tab.page.evaluate(JOIN, [{}])
        assert tab.page.evaluate("room.transport") == transport  # the page has stored the transport
        tab.page.wait_for_function("heard.length === 1")
        tab.page.evaluate("room.leave()")


@pytest.mark.parametrize("transports", [["websocket"], ["stream"], ["poll"]], ids=str)
@pytest.mark.usefixtures("each_edge_js")
def test_cuts_lose_nothing(browser: Browser, url: str, transports: list[str]) -> None:
    """Each word arrives once, in order, through a proxy that disconnects after every 1,500 bytes of
    responses, and through a proxy that disconnects every second."""
    words = [f"{number} {'x' * 40}" for number in range(60)]
    for deed, seconds in ((Deed.CUT, 30), (Deed.KILL, 1)):
        with hostile(deed, url, seconds) as (proxied, _):
            tab = Tab(browser, proxied)
            tab.page.evaluate(JOIN, [{"transports": transports}])
            tab.page.wait_for_function("heard.length === 1")
            talk(tab.page, words, every=50)
            tab.page.evaluate("room.leave()")


def test_a_page_climbs_again(browser: Browser, url: str) -> None:
    """A page that uses the stream transport later tries a WebSocket, and resumes its seat over that WebSocket."""
    tab = Tab(browser, url)
    tab.page.clock.install()
    tab.page.evaluate("localStorage.setItem('edge transport ' + origin, 'stream 99999999999')")
    tab.page.evaluate(JOIN, [{}])
    tab.page.clock.run_for(1000)
    tab.page.wait_for_function("heard.length === 1")
    assert tab.page.evaluate("room.transport") == "stream"
    for _ in range(16):
        tab.page.clock.fast_forward(19_000)
        tab.page.evaluate("room.request('guess', { word: 'still there' })")
    tab.page.wait_for_function("room.transport === 'websocket'")
    tab.page.clock.run_for(2000)
    tab.page.wait_for_function("room.status === 'open'")
    assert tab.page.evaluate("room.welcome.resumed")
    tab.page.evaluate("room.leave()")


def test_a_page_that_goes_is_missed_at_once(browser: Browser, url: str) -> None:
    """When the user leaves a page, the page sends a goodbye, even over the poll transport, and the server shows its
    player as disconnected."""
    tab, other = Tab(browser, url), Tab(browser, url)
    tab.page.evaluate(JOIN, [{"transports": ["poll"]}])
    tab.page.wait_for_function("heard.length === 1")
    tab.page.goto("about:blank")
    other.page.wait_for_function("async () => (await (await fetch('/seats')).json()).join() === 'false'")


def test_sessions_of_browsers_and_tabs(browser: Browser, url: str) -> None:
    """Tabs of a browser share its session and its seat. With `session: "tab"`, each tab has its own session and seat,
    also after a reload."""
    context = browser.new_context()
    one, two = context.new_page(), context.new_page()
    for page in (one, two):
        page.goto(url)
    one.evaluate(JOIN, [{"session": "browser"}])
    one.wait_for_function("heard.length === 1")
    two.evaluate(JOIN, [{"session": "browser"}])
    one.wait_for_function("room.ending?.code === 4220")
    two.wait_for_function("heard.length === 1")
    assert two.evaluate("[room.number, room.welcome.why]") == [0, "moved"]
    two.evaluate("room.leave()")
    for page in (one, two):
        page.reload()
        page.evaluate(JOIN, [{}])
        page.wait_for_function("heard.length === 1")
    assert sorted(page.evaluate("room.number") for page in (one, two)) == [0, 1]
    number = two.evaluate("room.number")
    two.reload()
    two.evaluate(JOIN, [{}])
    two.wait_for_function("heard.length === 1")
    assert two.evaluate("[room.number, room.welcome.why]") == [number, "moved"]
    addresses = [page.url for page in (one, two)]
    assert all(re.fullmatch(r"http://localhost:\d+/", address) for address in addresses)
    for page in (one, two):
        page.evaluate("room.leave()")


def test_requests_are_given_up_and_streams_stopped(browser: Browser, url: str) -> None:
    """The room's reply scope is cancelled if the page aborts its request, if the request times out, or if the page
    leaves the loop over the replies. The page's handler is aborted if the room withdraws its own request."""
    tab = Tab(browser, url)
    tab.page.evaluate(JOIN, [{}])
    tab.page.wait_for_function("heard.length === 1")
    outcomes = tab.page.evaluate("""async () => {
        const told = (error) => error.problem;
        const abort = new AbortController();
        const aborted = room.request("wait", {}, { signal: abort.signal }).catch(told);
        abort.abort();
        const late = await room.request("wait", {}, { seconds: 0.1 }).catch(told);
        const counted = [];
        for await (const { body } of room.stream("count", { to: 3 })) counted.push(body.text);
        for await (const { body } of room.stream("count", { to: 1000000 })) if (body.text === "5") break;
        let given;
        do given = (await room.request("given:up")).body.text; while (!given.endsWith("count"));
        return [await aborted, late, counted, given];
    }""")
    assert outcomes == ["cancelled", "cancelled", ["0", "1", "2"], "wait wait count"]
    withdrawn = tab.page.evaluate("""() => new Promise((resolve) => {
        room.answer("choose", (body, { signal }) => new Promise(() => {
            signal.addEventListener("abort", () => resolve("withdrawn"));
        }));
        room.send("ask:briefly");
    })""")
    assert withdrawn == "withdrawn"
    tab.page.evaluate("room.leave()")


@pytest.mark.parametrize(
    ("url_of_room", "options", "told"),
    [
        ("/room/echo/one", {}, "is not the address of a room"),
        ("/rooms/echo/", {}, "is not the address of a room"),
        ("/rooms/echo/one", {"transports": []}, "transports are some of websocket,stream,poll"),
        ("/rooms/echo/one", {"transports": ["pigeon"]}, "not pigeon"),
        ("/rooms/echo/one", {"session": "cookie"}, 'session is "browser" or'),
    ],
)
def test_a_wrong_setup_is_told_at_once(
    browser: Browser, url: str, url_of_room: str, options: dict[str, object], told: str
) -> None:
    """An invalid argument of `join` is an error at the call."""
    tab = Tab(browser, url)
    with pytest.raises(Exception, match=told):
        tab.page.evaluate(
            "async ([url, options]) => (await import('/edge.js')).join(url, options)", [url_of_room, options]
        )


def test_a_key_that_is_refused_is_told(browser: Browser, url: str) -> None:
    """If the key that the page passed to `join` is refused, the page's room closes with the code of the refusal. A key
    function that fails is called again."""
    tab = Tab(browser, url)
    tab.page.evaluate(JOIN, [{"key": "forged"}])
    tab.page.wait_for_function("room.ending?.code === 4205")
    tab.page.evaluate("""async () => {
        const { join } = await import("/edge.js");
        let asked = 0;
        window.again = join("/rooms/echo/two", { key: async () => {
            asked += 1;
            if (asked < 3) throw new Error("no key yet");
            return (await (await fetch("/session", { method: "POST", headers: { "edge-session": "tab" } })).json()).key;
        } });
    }""")
    tab.page.wait_for_function("again.status === 'open'")
    assert tab.page.evaluate("again.transport") == "websocket"
    tab.page.evaluate("again.leave()")


def test_a_browser_that_remembers_nothing(browser: Browser, url: str) -> None:
    """A page that can't write to its storage still connects, even over a fallback transport."""
    with hostile(Deed.STRIP, url) as (proxied, _):
        tab = Tab(browser, proxied)
        tab.page.evaluate("void (Storage.prototype.setItem = () => { throw new Error('full'); })")
        tab.page.evaluate(JOIN, [{}])
        tab.page.wait_for_function("heard.length === 1")
        assert tab.page.evaluate("room.transport") == "stream"
        tab.page.evaluate("room.leave()")


@pytest.mark.parametrize("transports", [["websocket"], ["poll"]], ids=str)
def test_a_restarted_server(browser: Browser, transports: list[str]) -> None:
    """At each of two restarts of its server, a page reconnects and starts fresh, although its old key is no longer
    valid."""
    with serving("tests.client.echo_app:app") as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        tab = Tab(browser, url)
        tab.page.evaluate(JOIN, [{"transports": transports}])
        tab.page.wait_for_function("heard.length === 1")
        tab.page.evaluate("window.welcomes = []; void room.on('$welcome', (welcome) => welcomes.push(welcome))")
    for restarts in (1, 2):
        with serving("tests.client.echo_app:app", port=port):
            tab.page.wait_for_function("([count]) => welcomes.length === count", arg=[restarts], timeout=60_000)
            tab.page.evaluate("([text]) => room.send('say', { text })", [f"again {restarts}"])
            tab.page.wait_for_function("([text]) => heard.at(-1) === text", arg=[f"again {restarts}"])
            if restarts == 2:
                tab.page.evaluate("room.leave()")
    told = tab.page.evaluate("welcomes.map(({ resumed, why }) => [resumed, why])")
    assert told == [[False, "new"], [False, "new"]]
