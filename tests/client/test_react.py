"""The React hook of edge.js, in a page that is bundled from npm's React."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from edge.client.build import SOURCE
from tests.browser import GET_CHROMIUM, Tab, chromium, serving

from .test_edge_js import GET_NPM, ROOT

MODULES = ROOT / ".venv/npm/node_modules"

APP = """
import attrs
import edge


@attrs.define
class Table:
    turn: str = "nobody"
    bets: dict[str, int] = attrs.field(factory=dict)
    noise: int = 0


@edge.event("bet")
class Bet:
    amount: int


class Poker(edge.Room[Bet, None]):
    table = edge.shared(Table)

    async def player(self, player):
        async for bet in player:
            self.table.noise += 1
            if bet.amount:
                self.table.turn = player.name
                self.table.bets[player.name] = bet.amount


app = edge.App({"poker": Poker}, static={"/": "web"})
"""

PAGE = """
import { createElement as h } from "react";
import { createRoot } from "react-dom/client";
import { join } from "/edge.js";
import { useRoomState } from "HOOK";

const room = join("/rooms/poker/one", { name: "ana", session: "tab" });
globalThis.room = room;
globalThis.renders = 0;

function Table() {
  globalThis.renders += 1;
  const turn = useRoomState(room, (state) => state.table.turn);
  const names = useRoomState(room, (state) => Object.keys(state.table.bets));
  return h("p", { id: "table" }, `${turn} ${names}`);
}

function Turn() {
  globalThis.turns = (globalThis.turns ?? 0) + 1;
  const turn = useRoomState(room, selectTurn);
  return h("button", { id: "bet", onClick: () => room.send("bet", { amount: 3 }) }, turn);
}

const selectTurn = (state) => state.table.turn;
globalThis.noise = () => room.send("bet", { amount: 0 });
createRoot(document.getElementById("root")).render(h("div", null, h(Table), h(Turn)));
"""


def test_a_page_with_react(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """A component is rendered when its part of the state changes, and not by other patches. A selector that makes new
    objects does not loop."""
    esbuild = program(str(MODULES / ".bin/esbuild"), GET_NPM)
    (tmp_path / "served.py").write_text(APP)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text(
        '<!doctype html><title>React</title><link rel="icon" href="data:,"><div id="root"></div>'
        '<script type="module" src="/page.js"></script>'
    )
    (tmp_path / "source.js").write_text(PAGE.replace("HOOK", str(SOURCE / "edge-react.js")))
    bundle = [esbuild, "source.js", "--bundle", "--format=esm", "--external:/edge.js", "--outfile=web/page.js"]
    done = subprocess.run(
        bundle, cwd=tmp_path, env={"NODE_PATH": str(MODULES)}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    executable = program("chromium", GET_CHROMIUM)
    with serving("served:app", folder=tmp_path) as url, chromium(executable) as browser:
        tab = Tab(browser, url)
        expect(tab.page.locator("#bet")).to_have_text("nobody")
        tab.page.click("#bet")
        expect(tab.page.locator("#table")).to_have_text("ana ana")
        expect(tab.page.locator("#bet")).to_have_text("ana")
        turns = tab.page.evaluate("turns")
        for _ in range(5):
            tab.page.evaluate("noise()")
        tab.page.click("#bet")
        expect(tab.page.locator("#table")).to_have_text("ana ana")
        tab.page.wait_for_function("room.state.table.noise === 7")
        assert tab.page.evaluate("turns") == turns, "patches of other parts render nothing"
        assert tab.page.evaluate("renders") < 20
        assert tab.faults == []
