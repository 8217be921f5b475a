"""The board: login, rights, changes, saving and cursors, in virtual time, restart included."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import edge
from edge import Code
from edge.testing import AppUnderTest, Browser, EdgeApp, seeds
from examples.board.app import make_app
from examples.board.events import Add, Card, Done, Edit, Move, Point, Remove
from examples.board.store import Store

PASSWORDS = {"ada": "analytical", "ben": "bernoulli"}


async def open_board(edge_app: EdgeApp, path: Path) -> AppUnderTest:
    store = Store(str(path / "boards.sqlite"))
    return await edge_app(partial(make_app, store, keys=edge.Keys("a secret of the board under test")))


async def log_in(app: AppUnderTest, name: str) -> Browser:
    browser = app.browser()
    page = await browser.post("/login", json={"name": name, "password": PASSWORDS[name]})
    assert page.status == 204
    return browser


async def test_only_people_with_a_password_get_in(edge_app: EdgeApp, tmp_path: Path) -> None:
    """A wrong password is refused, and a guest is not admitted. A person may open only the own boards."""
    app = await open_board(edge_app, tmp_path)
    for name, password in (("ada", "bernoulli"), ("eve", "analytical"), ("", "")):
        page = await app.post("/login", json={"name": name, "password": password})
        assert (page.status, page.json()) == (401, {"error": "this name and password do not belong together"})
    assert (await app.get("/me")).json() == {"name": None, "boards": []}
    with pytest.raises(edge.Disconnected) as caught:
        await app.join("/rooms/board/plans")
    assert caught.value.code is Code.KEY_INVALID
    ben = await log_in(app, "ben")
    assert (await ben.get("/me")).json() == {"name": "Ben", "boards": ["plans"]}
    with pytest.raises(edge.Disconnected, match="this board is not yours"):
        await ben.join("/rooms/board/home")
    await ben.post("/logout")
    assert (await ben.get("/me")).json() == {"name": None, "boards": []}


@seeds(20)
async def test_what_one_person_changes_the_other_sees_after_a_restart_too(edge_app: EdgeApp, tmp_path: Path) -> None:
    """Changes reach the other person at once, and are on the board after a restart of the server, even if it began
    right after the change."""
    app = await open_board(edge_app, tmp_path)
    ada = await (await log_in(app, "ada")).join("/rooms/board/plans")
    ben = await (await log_in(app, "ben")).join("/rooms/board/plans")
    assert ben.state.shown.cards == {}
    assert await ada.request(Add("todo", " buy milk "), Done) == Done()
    await ben.wait_state(lambda state: len(state.shown.cards) == 1)
    (card,) = ben.state.shown.cards.values()
    assert card == Card(card.id, "todo", 1.0, "buy milk", "Ada")
    await ben.request(Move(card.id, "done", 0.5), Done)
    await ben.request(Edit(card.id, "buy oat milk"), Done)
    await ada.wait_state(lambda state: state.shown.cards[card.id].text == "buy oat milk")
    await ada.request(Add("todo", "and bread"), Done)
    await app.restart()
    await ada.resume()
    assert sorted((each.column, each.text) for each in ada.state.shown.cards.values()) == [
        ("done", "buy oat milk"),
        ("todo", "and bread"),
    ]
    await ada.request(Remove(card.id), Done)
    await trio.sleep(2)
    await app.restart()
    await ben.resume()
    assert len(ben.state.shown.cards) == 1


async def test_refused_changes(edge_app: EdgeApp, tmp_path: Path) -> None:
    """A change of a card that is gone is refused with its reason; a card without letters is not sent at all."""
    app = await open_board(edge_app, tmp_path)
    ada = await (await log_in(app, "ada")).join("/rooms/board/plans")
    with pytest.raises(edge.RequestFailed, match="this card is gone"):
        await ada.request(Remove("none"), Done)
    with pytest.raises(ValueError, match="between 1 and 300 letters"):
        Add("todo", " ")


def people(state: Any) -> list[tuple[str, bool]]:
    return [(each.name, each.connected) for each in state.shown.people]


async def test_cursors_and_people(edge_app: EdgeApp, tmp_path: Path) -> None:
    """Each person sees where the others point, and who is at the board."""
    app = await open_board(edge_app, tmp_path)
    ada = await (await log_in(app, "ada")).join("/rooms/board/plans")
    ben = await (await log_in(app, "ben")).join("/rooms/board/plans")
    await ada.wait_state(lambda state: people(state) == [("Ada", True), ("Ben", True)])
    ben.send(Point((0.5, 0.25)))
    await ada.wait_state(lambda state: state.shown.cursors == {"1": (0.5, 0.25)})
    ben.send(Point(None))
    await ada.wait_state(lambda state: state.shown.cursors == {})
    ben.drop()
    await ada.wait_state(lambda state: people(state) == [("Ada", True), ("Ben", False)])
