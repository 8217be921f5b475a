"""Several apps on one port."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge
from edge.client.client import Status
from edge.client.fallback import TransportKind
from edge.rooms.room import runtime_of
from edge.server.app import site_of
from tests.network import joined, open_network
from tests.rooms.quiet import FromPlayer, Quiet, ToPlayer

from .http import ask


def small(name: str, folder: Path) -> edge.App:
    """Return an app with a kind of room, a page and a route."""
    (folder / name).mkdir()
    (folder / name / "index.html").write_text(f"the page of {name}")
    app = edge.App({name: Quiet}, static={"/": folder / name})

    @app.route("/rooms-open")
    async def rooms_open(request: edge.Request) -> edge.Response:
        session = app.session(request)
        return edge.json_response({"rooms": len(app.directory), "session": session.id if session else None})

    return app


@pytest.mark.real_time  # because a thread reads the files
async def test_apps_side_by_side(tmp_path: Path) -> None:
    """Included apps serve pages and routes below their prefixes, and share rooms, sessions and counters."""
    outer = small("outer", tmp_path)
    one, other = small("one", tmp_path), small("other", tmp_path)
    outer.include("/one", one)
    outer.include("/other/", other)
    async with open_network(outer) as network:
        for path, text in (("/", b"outer"), ("/one/", b"one"), ("/other/index.html", b"other")):
            assert (await ask(network, "GET", path)).body == b"the page of " + text
        moved = await ask(network, "GET", "/one")
        # The location is relative, because a proxy may add a prefix.
        assert (moved.status, moved.headers["location"]) == (302, "./one/")
        key = (await ask(network, "POST", "/session", {"edge-session": "tab"})).json["key"]
        opened = outer.directory.open("other", "room")
        assert [listing.kind for listing in one.directory.list()] == ["other"]
        for path in ("/rooms-open", "/one/rooms-open", "/other/rooms-open"):
            answer = (await ask(network, "GET", path, {"authorization": f"Bearer {key}"})).json
            assert answer == {"rooms": 1, "session": outer.keys.check(key).id}
        assert (await ask(network, "GET", "/one/livez")).status == 404
        assert runtime_of(opened).counters is outer.directory.counters
        assert outer.directory.counters.requests == 9


@pytest.mark.real_time  # because a thread reads the files
async def test_relative_addresses_work_below_the_prefix(tmp_path: Path) -> None:
    """edge.js, keys and rooms on every transport are available below the prefix of an included app."""
    outer, one, inner = small("outer", tmp_path), small("one", tmp_path), small("inner", tmp_path)
    one.include("/in", inner)
    outer.include("/one", one)
    async with open_network(outer) as network:
        for prefix in ("", "/one", "/one/in"):
            assert (await ask(network, "GET", f"{prefix}/edge.js")).status == 200
            given = await ask(network, "POST", f"{prefix}/session", {"edge-session": "tab"})
            kind = prefix.rpartition("/")[2].replace("in", "inner") or "outer"
            for transport in TransportKind:
                path = f"{prefix}/rooms/{kind}/{transport}"
                async with joined(
                    network.connect, path, transport, sends=FromPlayer, receives=ToPlayer, key=given.json["key"]
                ) as client:
                    await client.wait_status(Status.OPEN)
        assert (await ask(network, "GET", "/elsewhere/rooms/outer/one")).status == 404


def test_what_can_not_be_included(tmp_path: Path) -> None:
    """`include` raises ValueError if the included app has a kind of room or a path that the outer app has, or has its
    own settings for sessions or the API."""
    outer = small("outer", tmp_path)
    with pytest.raises(ValueError, match="kind of room 'outer'"):
        outer.include("/again", edge.App({"outer": Quiet}))
    outer.include("/one", small("one", tmp_path))
    with pytest.raises(ValueError, match="both apps serve the path /one/"):
        outer.include("/one", edge.App({"new": Quiet}, static={"/": tmp_path}))
    with pytest.raises(ValueError, match="guests"):
        outer.include("/two", edge.App({}, sessions=edge.Sessions(guests=False)))
    routed = edge.App({})
    routed.route("/rooms-open")(site_of(outer).respond)
    with pytest.raises(ValueError, match="both apps serve the path /one/rooms-open"):
        outer.include("/one", routed)
    with pytest.raises(ValueError, match="API"):
        outer.include("/api", edge.App({}, api_token="a token that nobody guesses"))
    assert set(outer.directory.kinds) == {"outer", "one"}
