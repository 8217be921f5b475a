"""Guests are guests, by whatever way they come, and members of one app are strangers to another."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import edge
from edge import Code
from edge.client.client import State
from tests.network import Network, joined, open_network
from tests.rooms.quiet import FromPlayer, Quiet, ToPlayer
from tests.server.http import ask

PAGE = {"edge-session": "tab", "origin": "http://edge.test"}


class Members(Quiet):
    """Lets in whoever the app has vouched for."""

    def admit(self, applicant: edge.Applicant) -> None:
        if applicant.session.guest:
            raise edge.Refused("members only")


def app(name: str, **options: Any) -> edge.App:
    made = edge.App({"quiet": Quiet, "members": Members}, name=name, **options)

    @made.route("/who")
    async def who(request: edge.Request) -> edge.Response:
        session = made.session(request)
        return edge.json_response({"who": session.id if session is not None else None})

    return made


async def answer(network: Network, key: str | None, room: str = "quiet") -> Code | None:
    """Why a client with this key gets no seat; None if it gets one."""
    path = f"/rooms/{room}/one"
    async with joined(network.connect, path, sends=FromPlayer, receives=ToPlayer, key=key) as client:
        with trio.fail_after(5):
            await client.wait_state(State.OPEN, State.CLOSED)
        return client.ending.code if client.ending is not None else None


async def guest_key(network: Network) -> str:
    key: str = (await ask(network, "POST", "/session", PAGE)).json["key"]
    return key


@pytest.fixture(autouse=True)
def _one_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_SECRET", "a secret that all apps share")


async def test_a_guests_key_opens_no_door_that_is_closed_to_guests() -> None:
    """One that the app gave before it was closed, or that another app of the same name and secret gives: not in a
    hello, not for a new key, and not as who sends a request."""
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
    """A room that lets in no guests lets in neither those without a key nor those with one of `POST /session`."""
    async with open_network(app("chat")) as network:
        assert await answer(network, None, "members") is Code.REFUSED
        assert await answer(network, await guest_key(network), "members") is Code.REFUSED
        member = edge.Keys("a secret that all apps share", audience="chat").issue("u1")
        assert await answer(network, member, "members") is None


async def test_a_member_of_one_app_is_a_stranger_to_another() -> None:
    """Apps of different names share a secret, and no people."""
    member = edge.Keys("a secret that all apps share", audience="chat").issue("u1")
    async with open_network(app("shop")) as network:
        assert await answer(network, member) is Code.KEY_INVALID
        assert await answer(network, await guest_key(network)) is None


def test_keys_have_one_audience() -> None:
    """The name is that of the app's own keys: other ones have theirs."""
    with pytest.raises(ValueError, match="audience"):
        edge.App({}, name="chat", keys=edge.Keys("a secret that all apps share"))
