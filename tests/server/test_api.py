"""The HTTP API, with which a separate web app controls rooms."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

import edge
from edge import Code
from edge.client.client import Status
from tests.network import Network, joined, open_network
from tests.rooms.quiet import FromPlayer, Quiet, ToPlayer, Verdict
from tests.server.http import Answer, ask

TOKEN = "a token that nobody guesses"


class Moody(Quiet):
    def publish(self, event: ToPlayer) -> None:
        if event == Verdict(False):
            raise edge.Refused("nothing bad today")
        super().publish(event)


async def call(network: Network, method: str, path: str, body: Any = None, token: str = TOKEN) -> Answer:
    data = json.dumps(body).encode() if body is not None else b""
    return await ask(network, method, f"/edge-api/{path}", {"authorization": f"Bearer {token}"}, data)


async def test_the_api() -> None:
    """A web app can list rooms and seats, publish, kick and revoke."""
    keys = edge.Keys("a secret of thirty-two characters")
    app = edge.App({"moody": Moody}, sessions=edge.Sessions(keys=keys), api_token=TOKEN)
    async with open_network(app) as network:
        assert (await call(network, "GET", "rooms")).json == {"rooms": []}
        path = "/rooms/moody/one"
        async with AsyncExitStack() as stack:
            clients = []
            for id, name in (("u1", "Ana"), ("u2", "Ben")):
                client = joined(
                    network.connect,
                    path,
                    sends=FromPlayer,
                    receives=ToPlayer,
                    key=keys.issue(id, name=name),
                    client=f"the-client-of-{name}",
                )
                clients.append(await stack.enter_async_context(client))
                await clients[-1].wait_status(Status.OPEN)
            ana, ben = clients
            listed = {"kind": "moody", "name": "one", "seated": 2, "maximum": 3, "locked": False, "server": ""}
            assert (await call(network, "GET", "rooms?kind=moody")).json == {"rooms": [listed]}
            assert (await call(network, "GET", "rooms?kind=none")).json == {"rooms": []}
            seats = [
                {"number": 0, "name": "Ana", "session": "u1", "connected": True},
                {"number": 1, "name": "Ben", "session": "u2", "connected": True},
            ]
            assert (await call(network, "GET", "rooms/moody/one")).json == {"name": "moody/one", "seats": seats}
            published = await call(
                network, "POST", "rooms/moody/one/publish", {"event": "Verdict", "body": {"right": True}}
            )
            assert (published.status, published.json) == (200, {"seated": 2})
            assert await ana.receive() == await ben.receive() == Verdict(True)
            await call(network, "POST", "rooms/moody/one/kick", {"session": "u1", "reason": "spam"})
            await ana.wait_status(Status.CLOSED)
            assert ana.ending is not None
            assert (ana.ending.code, ana.ending.reason) == (Code.KICKED, "spam")
            assert (await call(network, "POST", "revoke", {"session": "u2"})).status == 200
            await ben.wait_status(Status.CLOSED)
            assert ben.ending is not None
            assert ben.ending.code is Code.REVOKED


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "rooms/moody/two", None, 404, "no_room"),
        ("POST", "rooms/moody/two/publish", {}, 404, "no_room"),
        ("GET", "nothing", None, 404, "not_found"),
        ("DELETE", "rooms/moody/one", None, 404, "not_found"),
        ("POST", "rooms/moody/one/publish", None, 422, "malformed"),
        ("POST", "rooms/moody/one/publish", {"event": "Nonsense"}, 422, "unknown_event"),
        ("POST", "rooms/moody/one/publish", {"event": "Verdict", "body": {"right": 1}}, 422, "invalid"),
        ("POST", "rooms/moody/one/publish", {"event": "Verdict", "body": {"right": False}}, 409, "refused"),
        ("POST", "rooms/moody/one/kick", {"session": "u9"}, 404, "no_seat"),
        ("POST", "rooms/moody/one/kick", {"number": 1}, 422, "invalid"),
    ],
)
async def test_a_bad_request_is_told(method: str, path: str, body: Any, status: int, code: str) -> None:
    """A bad request to the API gets the expected status, code and message."""
    app = edge.App({"moody": Moody}, api_token=TOKEN)
    async with open_network(app) as network:
        app.directory.open("moody", "one")
        answer = await call(network, method, path, body)
        assert (answer.status, answer.json["code"]) == (status, code)
        assert answer.json["message"]


async def test_only_with_the_token() -> None:
    """The API requires its exact token. Without `api_token`, its paths are answered with 404."""
    app = edge.App({"moody": Moody}, api_token=TOKEN)
    async with open_network(app) as network:
        for token in ("x", "wrong", TOKEN + "x"):
            answer = await call(network, "GET", "rooms", token=token)
            assert (answer.status, answer.json["code"]) == (401, "token")
        assert (await ask(network, "GET", "/edge-api/rooms")).status == 401
        assert (await ask(network, "GET", "/edge-api/rooms", {"authorization": f"Basic {TOKEN}"})).status == 401
    async with open_network(edge.App({"moody": Moody})) as network:
        assert (await call(network, "GET", "rooms")).status == 404
    with pytest.raises(ValueError, match="at least 16 bytes"):
        edge.App({}, api_token="short")
