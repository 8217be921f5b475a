"""Sessions over HTTP: the issue, the renewal and the refusal of keys, and the places where keys may not appear."""

from __future__ import annotations

import logging
import re
from http.cookies import SimpleCookie

import pytest
import trio

import edge
from edge import Code
from edge.client.client import Status
from edge.client.fallback import TransportKind
from edge.server.sessions import SessionCookie
from edge.testing import RoomUnderTest
from tests.network import joined, open_network
from tests.rooms.quiet import FromPlayer, Guess, Quiet, ToPlayer, Verdict
from tests.server.http import Answer, ask

SECRET = "a secret of thirty-two characters"
PAGE = {"edge-session": "browser", "origin": "http://edge.test"}
FOREIGN = {"edge-session": "browser", "origin": "https://evil.example"}


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def cookie_of(answer: Answer) -> str:
    morsel = SimpleCookie(answer.headers["set-cookie"])["edge_session"]
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Lax", "/")
    return f"other=1; edge_session={morsel.value}"


async def test_a_page_gets_a_key_and_keeps_it_in_a_cookie() -> None:
    """Pages of one browser share a session through a cookie. A page that requests a session for its tab gets a session
    that is not in the cookie."""
    keys = edge.Keys(SECRET)
    async with open_network(edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=keys))) as network:
        first = await ask(network, "POST", "/session", PAGE)
        assert (first.status, first.headers["cache-control"]) == (200, "no-store")
        again = await ask(network, "POST", "/session", {**PAGE, "cookie": cookie_of(first)})
        assert again.json["key"] == first.json["key"]
        tab = await ask(network, "POST", "/session", {**PAGE, "edge-session": "tab", "cookie": cookie_of(first)})
        assert keys.check(tab.json["key"]) != keys.check(first.json["key"])
        assert "set-cookie" not in tab.headers
        bearer = {"edge-session": "tab", "authorization": f"Bearer {tab.json['key']}"}
        assert (await ask(network, "POST", "/session", bearer)).json["key"] == tab.json["key"]
        secure = await ask(network, "POST", "/session", {"edge-session": "browser", "origin": "https://edge.test"})
        assert "Secure" in secure.headers["set-cookie"]


async def test_an_old_key_is_replaced_in_time() -> None:
    """After half of its lifetime, a key is replaced by a new key of the same session. An expired key is replaced by a
    key of a new session."""
    clock = Clock()
    keys = edge.Keys(SECRET, lifetime=100, now=clock)
    async with open_network(edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=keys))) as network:
        issued = keys.issue("u1", name="Ana", claims={"admin": True})
        with_cookie = {**PAGE, "cookie": f"edge_session={issued}"}
        same = await ask(network, "POST", "/session", with_cookie)
        assert same.json["key"] == issued
        assert "set-cookie" not in same.headers  # because the cookie already has this key
        clock.now += 60
        renewed = (await ask(network, "POST", "/session", with_cookie)).json["key"]
        assert renewed != issued
        assert keys.check(renewed) == edge.Session("u1", "Ana", {"admin": True})
        clock.now += 50
        # The server ignores Basic credentials, because they are for a proxy.
        anew = await ask(network, "POST", "/session", {**with_cookie, "authorization": "Basic dTpw"})
        assert keys.check(anew.json["key"]).id != "u1"
        assert "set-cookie" in anew.headers


def forged(key: str) -> str:
    return key[:9] + ("A" if key[9] != "A" else "B") + key[10:]


def bad_keys(keys: edge.Keys, clock: Clock) -> dict[str, tuple[str, Code]]:
    expired = keys.issue("u1", lifetime=0)
    keys.revoke("u2")
    revoked = keys.issue("u2")
    keys.revoke("u2")
    return {
        "forged": (forged(keys.issue("u1")), Code.KEY_INVALID),
        "foreign": (edge.Keys("another secret of that many chars").issue("u1"), Code.KEY_INVALID),
        "expired": (expired, Code.KEY_EXPIRED),
        "revoked": (revoked, Code.REVOKED),
    }


@pytest.mark.parametrize("fault", ["forged", "foreign", "expired", "revoked"])
async def test_a_bad_key_is_refused_with_its_code(fault: str) -> None:
    """A bad key is refused with a code that gives the reason, by /session and in a hello on every transport."""
    clock = Clock()
    keys = edge.Keys(SECRET, now=clock)
    key, code = bad_keys(keys, clock)[fault]
    async with open_network(edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=keys))) as network:
        refused = await ask(network, "POST", "/session", {"edge-session": "tab", "authorization": f"Bearer {key}"})
        assert (refused.status, refused.code, refused.json["code"]) == (401, str(code.value), code.name.lower())
        for kind in TransportKind:
            async with joined(
                network.connect, "/rooms/quiet/one", kind, sends=FromPlayer, receives=ToPlayer, key=key
            ) as client:
                with trio.fail_after(5):
                    await client.wait_status(Status.CLOSED)
                assert client.ending is not None
                assert client.ending.code is code


async def test_cross_site_posts_are_refused() -> None:
    """Pages of sites that are not listed get no key and no HTTP transport, neither by a script nor by a form."""
    async with open_network(edge.App({"quiet": Quiet}, origins=["https://friend.example"])) as network:
        line = {"edge-connection": "x" * 20, "edge-protocol": "edge.1.json", "edge-first": "0", "edge-has": "0"}
        for path, headers in (("/session", FOREIGN), ("/rooms/quiet/one", {**FOREIGN, **line})):
            refused = await ask(network, "POST", path, headers)
            assert (refused.status, refused.code) == (403, str(Code.FOREIGN_ORIGIN.value))
            preflight = await ask(network, "OPTIONS", path, FOREIGN)
            assert preflight.status == 204
            for answer in (refused, preflight):  # these headers let the page read the reason
                assert answer.headers["access-control-allow-origin"] == FOREIGN["origin"]
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert (await ask(network, "POST", "/session", form)).status == 403
        assert (await ask(network, "POST", "/rooms/quiet/one", form)).status == 426
        friend = {**line, "origin": "https://friend.example"}
        allowed = await ask(network, "OPTIONS", "/rooms/quiet/one", friend)
        assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (204, "https://friend.example")
        assert "edge-connection" in allowed.headers["access-control-allow-headers"]
        posted = await ask(network, "POST", "/rooms/quiet/one", friend)
        assert (posted.status, posted.body) == (200, b"0")
        assert posted.headers["access-control-allow-origin"] == "https://friend.example"


async def test_where_no_guests_may_come() -> None:
    """With `guests=False`, a client without a key gets neither a key nor a seat. A client with a key that the app
    issued gets a seat."""
    keys = edge.Keys(SECRET)
    async with open_network(edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=keys, guests=False))) as network:
        refused = await ask(network, "POST", "/session", PAGE)
        assert (refused.status, refused.code) == (401, str(Code.KEY_INVALID.value))
        path = "/rooms/quiet/one"
        async with joined(network.connect, path, sends=FromPlayer, receives=ToPlayer) as client:
            await client.wait_status(Status.CLOSED)
            assert client.ending is not None
            assert client.ending.code is Code.KEY_INVALID
        async with joined(
            network.connect, path, sends=FromPlayer, receives=ToPlayer, key=keys.issue("u1", name="Ana")
        ) as client:
            await client.wait_status(Status.OPEN)


async def test_one_key_in_pages_rooms_and_transports() -> None:
    """One key identifies the session in routes, in several rooms and on all transports. Its revocation ends the seats
    in all these rooms."""
    keys = edge.Keys(SECRET)
    app = edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=keys))
    seen: list[edge.Session | None] = []

    @app.route("/me")
    async def me(request: edge.Request) -> edge.Response:
        seen.append(app.session(request))
        return edge.json_response({})

    key, path = keys.issue("u1", name="Ana"), "/rooms/quiet/"
    async with open_network(app) as network:
        await ask(network, "GET", "/me", {"cookie": f"edge_session={key}"})
        await ask(network, "GET", "/me", {"authorization": f"Bearer {key}"})
        await ask(network, "GET", "/me")
        assert seen == [edge.Session("u1", "Ana"), edge.Session("u1", "Ana"), None]
        async with trio.open_nursery() as nursery:
            for index, kind in enumerate(TransportKind):

                @nursery.start_soon
                async def sit(kind: TransportKind = kind, index: int = index) -> None:
                    name, client_name = f"{path}r{index}", f"client-number-{index:03}"
                    async with joined(
                        network.connect,
                        name,
                        kind,
                        sends=FromPlayer,
                        receives=ToPlayer,
                        key=key,
                        client=client_name,
                    ) as client:
                        await client.wait_status(Status.CLOSED)
                        assert client.ending is not None
                        assert client.ending.code is Code.REVOKED

            await trio.sleep(1)
            assert [[player.session.id for player in room.players] for room in app.directory.rooms] == [["u1"]] * 3
            app.revoke("u1")


async def test_a_key_that_expires_is_replaced_and_the_seat_resumed() -> None:
    """When its key has expired, a client with a key function gets a new key and resumes its seat. A client with a fixed
    key ends with KEY_EXPIRED."""
    clock = Clock()
    keys = edge.Keys(SECRET, lifetime=100, now=clock)
    async with open_network(edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=keys))) as network:

        async def find_key() -> str:
            return keys.issue("u1")

        renewing = joined(network.connect, "/rooms/quiet/one", sends=FromPlayer, receives=ToPlayer, key=find_key)
        fixed = joined(
            network.connect,
            "/rooms/quiet/one",
            sends=FromPlayer,
            receives=ToPlayer,
            key=keys.issue("u2"),
            client="another-client-of-it",
        )
        async with renewing as one, fixed as two:
            await one.wait_status(Status.OPEN)
            await two.wait_status(Status.OPEN)
            clock.now += 200
            for wire in network.wires:
                wire.cut()
            await one.wait_status(Status.AWAY)
            await one.wait_status(Status.OPEN)
            assert one.welcome is not None
            assert one.welcome.resumed
            await two.wait_status(Status.CLOSED)
            assert two.ending is not None
            assert two.ending.code is Code.KEY_EXPIRED


@pytest.mark.parametrize("kind", TransportKind)
async def test_a_key_is_in_no_log_line_and_no_url(kind: TransportKind, caplog: pytest.LogCaptureFixture) -> None:
    """A key appears in no log record of any level, in no URL and in no repr."""
    caplog.set_level(logging.DEBUG)
    keys = edge.Keys(SECRET)

    class Crashing(Quiet):
        async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
            async for _ in player.listen(Guess):
                raise ValueError(f"{player} {player.session} {self}")

    app = edge.App({"quiet": Crashing}, sessions=edge.Sessions(keys=keys))

    @app.route("/crash")
    async def crash(request: edge.Request) -> edge.Response:
        raise ValueError(f"{request}")

    key = keys.issue("u1", name="Ana")
    async with open_network(app) as network:
        await ask(network, "GET", "/crash", {"cookie": f"edge_session={key}", "authorization": f"Bearer {key}"})
        for presented in (key, forged(key)):
            async with joined(
                network.connect, "/rooms/quiet/one", kind, sends=FromPlayer, receives=ToPlayer, key=presented
            ) as client:
                client.send(Guess("x"))
                await client.wait_status(Status.CLOSED)
        said = b"".join(bytes(wire.said) for wire in network.wires)
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "ValueError" in logged
    assert "GET '/crash'" in logged
    assert key[10:] not in logged
    targets = re.findall(rb"(?:GET|POST) (\S+) HTTP/1.1", said)
    assert len(targets) >= 3
    assert {target.decode() for target in targets} == {"/crash", "/rooms/quiet/one"}


async def test_claims_reach_the_room(edge_room: RoomUnderTest[Quiet]) -> None:
    """`admit` and `player` can read the claims of the session."""

    class Staff(Quiet):
        def admit(self, applicant: edge.Applicant) -> None:
            if not applicant.session.claims.get("staff"):
                raise edge.Refused("staff only")

        async def player(self, player: edge.Player[FromPlayer, ToPlayer]) -> None:
            player.send(Verdict(player.session.claims["staff"] == "yes"))
            await trio.sleep_forever()

    room = await edge_room(Staff)  # type: ignore[operator]  # a fixture
    (ana,) = await room.join("ana", session=edge.Session("u1", claims={"staff": "yes"}))
    assert await ana.receive() == Verdict(True)
    with pytest.raises(edge.Disconnected, match="staff only"):
        await room.join("ben")


TLS = {"edge-session": "browser", "origin": "https://edge.test"}


def kept(answer: Answer) -> tuple[str, str, str]:
    """Return the name, the value and the attributes of the cookie that an answer sets."""
    pair, _, about = answer.headers["set-cookie"].partition("; ")
    name, _, value = pair.partition("=")
    return name, value, about


async def test_two_apps_on_one_host_leave_each_other_alone() -> None:
    """Two apps on different ports of a host use cookies with different names, because browsers send cookies to all
    ports of a host."""
    jar: dict[str, str] = {}
    one, two = edge.Keys("x" * 32), edge.Keys("y" * 32)

    async def visit(keys: edge.Keys, port: int) -> str:
        async with open_network(edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=keys))) as network:
            host = f"edge.test:{port}"
            cookie = "; ".join(f"{name}={value}" for name, value in jar.items())
            answer = await ask(
                network, "POST", "/session", {**PAGE, "origin": f"http://{host}", "host": host, "cookie": cookie}
            )
            if "set-cookie" in answer.headers:
                name, value, _ = kept(answer)
                jar[name] = value
            return keys.check(answer.json["key"]).id

    first = [await visit(one, 8000), await visit(two, 8001)]
    assert set(jar) == {"edge_session", "edge_session_8001"}
    assert [await visit(one, 8000), await visit(two, 8001)] == first
    await visit(edge.Keys("z" * 32), 8001)  # after a restart with a new secret, the app may replace its own cookie
    assert set(jar) == {"edge_session", "edge_session_8001"}
    async with open_network(edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=two, guests=False))) as network:
        refused = await ask(network, "POST", "/session", {**PAGE, "cookie": f"edge_session={jar['edge_session']}"})
        assert (refused.status, "set-cookie" in refused.headers) == (401, False)


async def test_the_name_of_the_cookie_can_be_chosen() -> None:
    """An app can choose the name of the cookie. An invalid name raises ValueError."""
    app = edge.App({"quiet": Quiet}, sessions=edge.Sessions(cookie=SessionCookie("chat")))
    async with open_network(app) as network:
        assert kept(await ask(network, "POST", "/session", PAGE))[0] == "chat"
    for wrong in ("", "a b", "a;b", "a=b"):
        with pytest.raises(ValueError, match="is not a cookie name"):
            SessionCookie(wrong)


async def test_cookies_over_tls() -> None:
    """Over TLS, the name of the cookie has the prefix `__Host-`, and the cookie is partitioned if the app has
    `partitioned=True`."""
    keys = edge.Keys(SECRET)
    async with open_network(edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=keys))) as network:
        name, key, about = kept(await ask(network, "POST", "/session", TLS))
        assert (name, about.partition("HttpOnly; ")[2]) == ("__Host-edge_session", "Secure; SameSite=Lax")
        again = await ask(network, "POST", "/session", {**TLS, "cookie": f"{name}={key}"})
        assert (again.json["key"], "set-cookie" in again.headers) == (key, False)
        by_app = f"{name}={key}; edge_session={keys.issue('u1')}"  # set by a web app, after a login
        assert keys.check((await ask(network, "POST", "/session", {**TLS, "cookie": by_app})).json["key"]).id == "u1"
    app = edge.App({"quiet": Quiet}, sessions=edge.Sessions(cookie=SessionCookie(partitioned=True)))
    async with open_network(app) as network:
        for page, expected in ((TLS, "Secure; SameSite=None; Partitioned"), (PAGE, "SameSite=Lax")):
            _, _, about = kept(await ask(network, "POST", "/session", page))
            assert about.partition("HttpOnly; ")[2] == expected


async def test_a_renewal_does_not_log_anybody_out() -> None:
    """The renewal of a key replaces the cookie only if the cookie has the same session as the key, so that it undoes no
    login or logout."""
    clock = Clock()
    keys = edge.Keys(SECRET, lifetime=100, now=clock)
    async with open_network(edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=keys))) as network:
        given = await ask(network, "POST", "/session", PAGE)
        assert given.json["renew_after"] == 50
        clock.now += 60
        borne = {**PAGE, "authorization": f"Bearer {given.json['key']}"}
        same = await ask(network, "POST", "/session", {**borne, "cookie": cookie_of(given)})
        assert keys.check(same.json["key"]) == keys.check(given.json["key"])
        assert kept(same)[1] == same.json["key"] != given.json["key"]
        other = await ask(network, "POST", "/session", {**borne, "cookie": f"edge_session={keys.issue('u1')}"})
        assert keys.check(other.json["key"]) == keys.check(given.json["key"])
        assert "set-cookie" not in other.headers
        logged_out = await ask(network, "POST", "/session", borne)
        assert (logged_out.status, "set-cookie" in logged_out.headers) == (200, False)
        fixed = keys.issue("u2", lifetime=10)
        answer = await ask(network, "POST", "/session", {**PAGE, "authorization": f"Bearer {fixed}"})
        assert answer.json == {"key": fixed, "renew_after": None}


async def test_cookies_count_for_pages_that_are_named() -> None:
    """With "*" in `origins`, pages of all sites get keys. Only pages of this host or of a listed origin get the session
    in the cookie."""
    keys = edge.Keys(SECRET)
    app = edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=keys), origins=["*", "https://friend.example"])
    async with open_network(app) as network:
        for origin, known in (
            ("http://edge.test", True),
            ("https://friend.example", True),
            ("https://any.example", False),
        ):
            headers = {"edge-session": "browser", "origin": origin, "cookie": f"edge_session={keys.issue('u1')}"}
            answer = await ask(network, "POST", "/session", headers)
            assert (keys.check(answer.json["key"]).id == "u1") == known
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert "set-cookie" not in answer.headers


async def test_cookies_by_hand() -> None:
    """A web app can set the cookie with the right name and attributes, and can clear each name of the cookie."""
    keys = edge.Keys(SECRET)
    app = edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=keys, cookie=SessionCookie(partitioned=True)))
    for secure, name in ((True, "__Host-edge_session"), (False, "edge_session")):
        header, value = app.cookie.keep(keys.issue("u1"), secure=secure)
        assert header == "set-cookie"
        assert value.startswith(f"{name}=")
        assert value.endswith("HttpOnly; Secure; SameSite=None; Partitioned" if secure else "HttpOnly; SameSite=Lax")
        jar = {"cookie": f"__Host-edge_session={keys.issue('u1')}; edge_session_80={keys.issue('u2')}; other=1"}
        request = edge.Request("POST", "/logout", "", {**jar, "host": "edge.test:80"})
        cleared = [each for _, each in app.cookie.clear(request, secure=True)]
        assert [each.partition(";")[0] for each in cleared] == ["__Host-edge_session=", "edge_session_80="]
        assert all("Max-Age=0" in each for each in cleared)


@pytest.mark.parametrize("origin", ["null", "https://x\u0020y", "x" * 5000])
async def test_a_strange_origin_is_foreign(origin: str, caplog: pytest.LogCaptureFixture) -> None:
    """A malformed or very long origin is refused as foreign, and logged in one line of bounded length."""
    async with open_network(edge.App({"quiet": Quiet})) as network:
        for path in ("/session", "/rooms/quiet/one"):
            refused = await ask(network, "POST", path, {"edge-session": "tab", "origin": origin})
            assert (refused.status, refused.code) == (403, "4208")
    (record,) = caplog.records
    assert record.getMessage().startswith("pages ")
    assert len(record.getMessage()) < 600


async def test_an_origin_that_is_not_ascii_is_foreign(caplog: pytest.LogCaptureFixture) -> None:
    """An origin that is not ASCII is refused as foreign, and is not an error of the server."""
    async with open_network(edge.App({"quiet": Quiet})) as network:
        for path in (b"/session", b"/rooms/quiet/one"):
            async with await network.connect() as stream:
                head = b"POST %b HTTP/1.1\r\nHost: edge.test\r\nOrigin: http://\xe9.test\r\nContent-Length: 0\r\n\r\n"
                await stream.send_all(head % path)
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 403 ")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_refused_key_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With `guests=False`, three refused requests for keys give one log record."""
    caplog.set_level(logging.INFO)
    async with open_network(edge.App({"quiet": Quiet}, sessions=edge.Sessions(guests=False))) as network:
        for _ in range(3):
            assert (await ask(network, "POST", "/session", PAGE)).status == 401
    (told,) = [record.getMessage() for record in caplog.records if record.name == "edge.rooms"]
    assert told.startswith("a request for a session key from ")


async def test_a_foreign_origin_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Each foreign origin is logged once, with the setting that allows it, up to a bound."""
    async with open_network(edge.App({"quiet": Quiet})) as network:
        for number in [*range(150), 0, 0]:
            origin = f"https://{number}.example"
            line = {"edge-connection": "x" * 20, "edge-protocol": "edge.1.json", "edge-has": "0", "edge-mode": "poll"}
            refused = await ask(network, "GET", "/rooms/quiet/one", {**line, "origin": origin})
            assert (refused.status, refused.code) == (403, "4208")
            assert refused.headers["access-control-allow-origin"] == origin
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == (
        "pages of 'https://0.example' may not connect: to allow them, set App(origins=['https://0.example'])"
    )
    assert len(told) == 101
