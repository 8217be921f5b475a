"""Tests of the rights of guests over every way of access, and of keys of other apps."""

from __future__ import annotations

import pytest
import trio

import edge
from edge import Code
from edge.client.client import Status
from tests.network import Network, joined, open_network
from tests.rooms.quiet import FromPlayer, Quiet, ToPlayer
from tests.server.http import ask

PAGE = {"edge-session": "tab", "origin": "http://edge.test"}


class Members(Quiet):
    """Admits only sessions that the app's code has identified."""

    def admit(self, applicant: edge.Applicant) -> None:
        if applicant.session.guest:
            raise edge.Refused("members only")


def app(name: str, *, guests: bool = True) -> edge.App:
    made = edge.App({"quiet": Quiet, "members": Members}, sessions=edge.Sessions(name=name, guests=guests))

    @made.route("/who")
    async def who(request: edge.Request) -> edge.Response:
        session = made.session(request)
        return edge.json_response({"who": session.id if session is not None else None})

    return made


async def answer(network: Network, key: str | None, room: str = "quiet") -> Code | None:
    """Return the code with which a client with this key is refused, or None if it gets a seat."""
    path = f"/rooms/{room}/one"
    async with joined(network.connect, path, sends=FromPlayer, receives=ToPlayer, key=key) as client:
        with trio.fail_after(5):
            await client.wait_status(Status.OPEN, Status.CLOSED)
        return client.ending.code if client.ending is not None else None


async def guest_key(network: Network) -> str:
    key: str = (await ask(network, "POST", "/session", PAGE)).json["key"]
    return key


@pytest.fixture(autouse=True)
def _one_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_SECRET", "a secret that all apps share")


async def test_a_guests_key_opens_no_door_that_is_closed_to_guests() -> None:
    """In an app without guests, a guest's key of an app with the same name and secret is invalid in a hello, in a
    request for a new key, and as the session of a request."""
    async with open_network(app("chat")) as network:
        key = await guest_key(network)
        assert await answer(network, key) is None
    async with open_network(app("chat", guests=False)) as network:
        assert await answer(network, key) is Code.KEY_INVALID
        assert await answer(network, None) is Code.KEY_INVALID
        bearer = {"authorization": f"Bearer {key}"}
        refused = await ask(network, "POST", "/session", {**PAGE, **bearer})
        assert (refused.status, refused.code) == (401, str(Code.KEY_INVALID.value))
        assert (await ask(network, "GET", "/who", bearer)).json == {"who": None}
        assert (await ask(network, "GET", "/who", {"cookie": f"edge_session={key}"})).json == {"who": None}
        member = edge.Keys("a secret that all apps share", audience="chat").issue("u1")
        assert await answer(network, member) is None
        assert (await ask(network, "GET", "/who", {"authorization": f"Bearer {member}"})).json == {"who": "u1"}


async def test_one_attribute_tells_guests_from_members() -> None:
    """A room that refuses guests refuses clients without a key and clients with a guest's key, and admits identified
    clients."""
    async with open_network(app("chat")) as network:
        assert await answer(network, None, "members") is Code.REFUSED
        assert await answer(network, await guest_key(network), "members") is Code.REFUSED
        member = edge.Keys("a secret that all apps share", audience="chat").issue("u1")
        assert await answer(network, member, "members") is None


async def test_a_member_of_one_app_is_a_stranger_to_another() -> None:
    """A key of one app is invalid in an app of another name, even if both share a secret."""
    member = edge.Keys("a secret that all apps share", audience="chat").issue("u1")
    async with open_network(app("shop")) as network:
        assert await answer(network, member) is Code.KEY_INVALID
        assert await answer(network, await guest_key(network)) is None


def test_keys_have_one_audience() -> None:
    """An app refuses a name together with keys, because keys have their own audience."""
    with pytest.raises(ValueError, match="audience"):
        edge.App({}, sessions=edge.Sessions(keys=edge.Keys("a secret that all apps share"), name="chat"))
