"""Every code block of the README and of the docs is run or checked."""

from __future__ import annotations

import ast
import configparser
import json
import re
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import yaml
from playwright.sync_api import expect

import edge
from edge.protocol.codec import JSON
from edge.protocol.events import event_type
from edge.protocol.messages import from_plain
from edge.server.limiter import AddressLimits
from edge.testing import open_rooms
from tests.cluster.servers import open_town

from .browser import GET_CHROMIUM, Tab, chromium, serving

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@attrs.frozen
class Block:
    """One fenced block of a document."""

    document: Path
    language: str
    text: str

    @property
    def file(self) -> str:
        """The name of the file to which the block belongs, from its first line; empty if the block belongs to no
        file."""
        found = re.match(r"# (\w+\.py)", self.text)
        return found[1] if found else ""

    @property
    def page(self) -> str:
        """The name of the page to which the block belongs, from its first line."""
        found = re.match(r"<!-- (\w+\.html) -->", self.text)
        return found[1] if found else "index.html"


def blocks(path: Path) -> Iterator[Block]:
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        yield Block(path, language, text)


BLOCKS = {path.name: list(blocks(path)) for path in DOCUMENTS}


def write_files(document: str, folder: Path, *, until: int = 10**6) -> None:
    """Write the files of a document from its first `until` blocks. A block whose first line contains "instead" replaces
    the earlier blocks of its file."""
    for block in BLOCKS[document][:until]:
        if block.file:
            path = folder / block.file
            before = path.read_text() if path.exists() and "instead" not in block.text.split("\n")[0] else ""
            path.write_text(before + block.text)
        elif block.language == "html":
            (folder / "web").mkdir(exist_ok=True)
            (folder / "web" / block.page).write_text(block.text)


def run_pytest(folder: Path) -> tuple[int, str]:
    if not (folder / "conftest.py").exists():
        (folder / "conftest.py").write_text('pytest_plugins = ["edge.testing.plugin"]\n')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout


def test_every_block_is_of_a_kind_that_is_run() -> None:
    """The documents have code blocks in exactly the listed languages, for which the tests here were written."""
    kinds = {(name, block.language) for name, found in BLOCKS.items() for block in found}
    assert kinds == {
        ("README.md", "python"),
        ("README.md", "sh"),
        ("CONTRIBUTING.md", "sh"),
        ("tutorial.md", "python"),
        ("tutorial.md", "html"),
        ("tutorial.md", "sh"),
        ("how-to.md", "python"),
        ("how-to.md", "html"),
        ("pages.md", "html"),
        ("cancellation.md", "python"),
        ("changing-events.md", "python"),
        ("behind-a-proxy.md", "nginx"),
        ("behind-a-proxy.md", "haproxy"),
        ("inside-your-app.md", "python"),
        ("beside-your-app.md", "python"),
        ("wire.md", "json"),
        ("several-servers.md", "python"),
        ("several-servers.md", "sql"),
        ("monitor.md", "python"),
        ("operations.md", "ini"),
        ("operations.md", "yaml"),
        ("operations.md", "python"),
        ("types.md", "python"),
        ("shared-state.md", "python"),
        ("shared-state.md", "html"),
        ("shared-state.md", "jsx"),  # tests/client/test_npm.py has both of the next
        ("shared-state.md", "js"),
        ("simulation.md", "python"),
        ("simulation.md", "sh"),
        ("architecture.md", "text"),
        ("one-event.md", "python"),
    }


def test_readme(tmp_path: Path) -> None:
    """The room of the README passes its test."""
    write_files("README.md", tmp_path)
    code, output = run_pytest(tmp_path)
    assert code == 0, output
    assert "1 passed" in output


@pytest.mark.slow
def test_types(tmp_path: Path) -> None:
    """The test of docs/types.md passes."""
    write_files("types.md", tmp_path)
    code, output = run_pytest(tmp_path)
    assert code == 0, output


def test_shared_state(tmp_path: Path, program: Callable[[str, str], str]) -> None:
    """The tests of docs/shared-state.md pass, mypy finds no error, and two people play in its page."""
    write_files("shared-state.md", tmp_path)
    code, output = run_pytest(tmp_path)
    assert code == 0, output
    mypy = [sys.executable, "-m", "mypy", "--strict", "poker.py"]
    done = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    executable = program("chromium", GET_CHROMIUM)
    with serving("poker:app", folder=tmp_path) as url, chromium(executable) as browser:
        ana, ben = Tab(browser, url), Tab(browser, url)
        for tab in (ana, ben):
            expect(tab.page.locator("#turn")).to_have_text(re.compile("player [0-9]+"))
            expect(tab.page.locator("#cards")).to_have_text(re.compile("^([789]|10), ([789]|10)$"))
        name = ana.page.locator("#turn").text_content()
        ana.page.click("#bet")
        ben.page.click("#bet")  # one of the two has the turn, and the bet of the other is refused
        for tab in (ana, ben):
            expect(tab.page.locator("#pot")).to_have_text(re.compile("^(5|10)$"))
            expect(tab.page.locator("#turn")).not_to_have_text(name or "")


@pytest.mark.slow
def test_simulation(tmp_path: Path) -> None:
    """The tests of docs/simulation.md pass, and a soak of half an hour finds no failure."""
    write_files("simulation.md", tmp_path)
    code, output = run_pytest(tmp_path)
    assert code == 0, output
    soak = [sys.executable, "-m", "edge.cli", "soak", "quiz:Quiz", "--hours", "0.5"]
    done = subprocess.run(soak, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert "passed: " in done.stdout


@pytest.mark.slow
def test_tutorial(tmp_path: Path) -> None:
    """One of the tutorial's first two tests fails, as the page says, and the corrected test passes."""
    last = max(index for index, block in enumerate(BLOCKS["tutorial.md"]) if block.file)
    write_files("tutorial.md", tmp_path, until=last)
    code, output = run_pytest(tmp_path)
    assert code == 1, output
    assert "1 failed, 1 passed" in output, output
    assert "--edge-seed=" in output
    assert "not_now" in output or "Deadlock" in output
    write_files("tutorial.md", tmp_path)
    code, output = run_pytest(tmp_path)
    assert (code, "1 passed" in output) == (0, True), output


def test_tutorial_page(tmp_path: Path, program: Callable[[str, str], str]) -> None:
    """Two people play the quiz of the tutorial, in the page of the tutorial."""
    executable = program("chromium", GET_CHROMIUM)
    write_files("tutorial.md", tmp_path)
    with serving("quiz:app", folder=tmp_path) as url, chromium(executable) as browser:
        ana, ben = Tab(browser, url + "?name=ana"), Tab(browser, url + "?name=ben")
        expect(ana.page.locator("#question")).to_have_text("What is the capital of Peru?")
        ben.page.click("#buzz")
        expect(ana.page.locator("#answering")).to_have_text("ben answers…")
        ben.page.fill("[name=answer]", "Lima")
        ben.page.press("[name=answer]", "Enter")
        expect(ana.page.locator("#news")).to_have_text("ben said Lima: right")
        expect(ana.page.locator("#points")).to_have_text('{"ben":1}')
        expect(ana.page.locator("#question")).to_have_text("How many legs has a spider?")
        expect(ana.page.locator("#answering")).to_have_text("")
        assert [ana.faults, ben.faults] == [[], []]


def test_how_to(tmp_path: Path, program: Callable[[str, str], str]) -> None:
    """The how-to's tests pass, mypy finds no error, its client joins over a socket, and its page plays in a browser."""
    write_files("how-to.md", tmp_path)
    code, output = run_pytest(tmp_path)
    assert code == 0, output
    mypy = [sys.executable, "-m", "mypy", "--strict", "howto.py", "join.py", "login.py", "test_howto.py"]
    done = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    (tmp_path / "served.py").write_text(
        "import edge\nfrom howto import Cards, Guessing\n"
        "app = edge.App({'guessing': Guessing, 'cards': Cards}, static={'/': 'web'})\n"
    )
    with serving("served:app", folder=tmp_path) as url:
        socket = url.replace("http", "ws") + "rooms/guessing/one"
        joined = subprocess.run(
            [sys.executable, "join.py", socket], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert joined.stdout == "right\n", joined.stderr
        with chromium(program("chromium", GET_CHROMIUM)) as browser:
            expect(Tab(browser, url).page).to_have_title("verdict true")
            ana, ben = Tab(browser, url + "cards.html?name=ana"), Tab(browser, url + "cards.html?name=ben")
            ana.page.click("text=elk")
            expect(ben.page.locator("#points")).to_have_text('{"ana":1}')
            expect(ana.page.locator("#cards")).to_have_text("owleel")
            expect(ben.page.locator("#cards")).to_have_text("owlelkeel")
            expect(ana.page.locator("#left")).to_have_text(re.compile(r"^[12]\d s$"))
            assert [ana.faults, ben.faults] == [[], []]


def test_logging_in_and_out(tmp_path: Path) -> None:
    """The routes of docs/how-to.md identify a user from login to logout."""
    write_files("how-to.md", tmp_path)
    with serving("login:app", folder=tmp_path) as url:
        jar = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

        def ask(path: str, body: bytes | None = None) -> Any:
            with jar.open(f"{url}{path}", body) as answer:
                return answer.read()

        assert b"<script" in ask("login", b"Ana")  # the page that the login redirects to
        assert json.loads(ask("whoami")) == {"name": "Ana"}
        ask("logout", b"")
        assert json.loads(ask("whoami")) == {"name": None}


def test_pages(tmp_path: Path, program: Callable[[str, str], str]) -> None:
    """The pages of docs/pages.md store a value and join a room of an app that is included below a prefix."""
    write_files("how-to.md", tmp_path)
    for number, block in enumerate(BLOCKS["pages.md"]):
        (tmp_path / "web" / f"{number}.html").write_text('<link rel="icon" href="data:,">' + block.text)
    (tmp_path / "served.py").write_text(
        "import edge\nfrom howto import Guessing\napp = edge.App({})\n"
        "app.include('/play', edge.App({'guessing': Guessing}, static={'/': 'web'}))\n"
    )
    with serving("served:app", folder=tmp_path) as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        tab = Tab(browser, f"{url}play/0.html")
        assert tab.page.evaluate("async () => localStorage.getItem('name')") == "Ana"
        with tab.page.expect_websocket(lambda socket: socket.url.endswith("/play/rooms/guessing/one")):
            tab.page.goto(f"{url}play/1.html")
        assert tab.faults == []


def test_changing_events() -> None:
    """The event of docs/changing-events.md ignores unknown fields."""
    scope: dict[str, Any] = {}
    for block in BLOCKS["changing-events.md"]:
        exec(block.text, scope)
    assert event_type(scope["Said"]).ignores_extra


@edge.event
class Move:
    to: str


@edge.event
class Told:
    text: str


async def test_cancellation_examples() -> None:
    """The rooms of docs/cancellation.md play and end as the page says."""
    saved: list[str] = []

    async def save(name: str) -> None:
        await trio.sleep(1)
        saved.append(name)

    scope: dict[str, type[edge.Room[Move, Told]]] = {}
    for block in BLOCKS["cancellation.md"]:
        exec(block.text, {"edge": edge, "trio": trio, "Move": Move, "Told": Told, "save": save}, scope)
    async with open_rooms() as open_room:
        game = await open_room(scope["Game"])
        ana, ben = await game.join("ana", "ben")
        await trio.sleep(0.1)
        ana.send(Move("e4"))
        assert (await ben.receive()).text == "ana moves to e4"
        assert (await ana.receive()).text == "ana moves to e4"
        assert (await ana.receive()).text == "ben: timeout"
        game.room.reset()
        assert (await ana.receive()).text == "the round ended: reset"
        saving = await open_room(scope["Saved"])
        (cyn,) = await saving.join("cyn")
        cyn.leave()
        await trio.sleep(2)
    assert saved == ["cyn"]


def test_operations(tmp_path: Path) -> None:
    """The recipes of docs/operations.md use existing commands and routes, and their time-outs are longer than a
    drain."""
    unit, manifest, room = BLOCKS["operations.md"]
    recipe = configparser.ConfigParser(strict=False)
    recipe.optionxform = str  # type: ignore[assignment, method-assign]  # keeps the case of the names, as configparser documents
    recipe.read_string(unit.text)
    pod = yaml.safe_load(manifest.text)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    started = [recipe["Service"]["ExecStart"].split()[1:], container["command"][1:]]
    (tmp_path / "app.py").write_text("import edge\n\napp = edge.App({}, hosts=['play.example.org'])\n")
    for arguments, seconds in zip(
        started,
        (
            int(recipe["Service"]["TimeoutStopSec"]),
            pod["terminationGracePeriodSeconds"] - int(container["lifecycle"]["preStop"]["exec"]["command"][1]),
        ),
        strict=True,
    ):
        assert int(arguments[arguments.index("--drain") + 1]) < seconds
        assert arguments[0] == "run"
        options = [each for each in arguments[1:] if each != "app:app"]
        with serving("app:app", folder=tmp_path, options=[*options, "--port", "0"]) as url:
            for probe in ("livenessProbe", "readinessProbe"):
                with urllib.request.urlopen(url.rstrip("/") + container[probe]["httpGet"]["path"]) as answer:
                    assert answer.status == 200
    assert int(recipe["Service"]["LimitNOFILE"]) > 2 * AddressLimits().connections
    scope: dict[str, Any] = {"edge": edge, "trio": trio, "Move": Move, "Told": Told}
    exec(room.text, scope)
    assert scope["Careful"].restarts.most == 0


async def test_several_servers() -> None:
    """The room of docs/several-servers.md continues with its state after its server has died, and the SQL of the page
    rejects writes with an older fence."""
    scope: dict[str, Any] = {}
    update, room = BLOCKS["several-servers.md"]
    exec(room.text, scope)
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE tables (name, state, fence)")
        database.execute("INSERT INTO tables VALUES ('a', '', 0)")
        for fence in (3, 3, 2, 4, 1):
            database.execute(update.text, {"state": f"of {fence}", "fence": fence, "name": "a"})
        assert database.execute("SELECT state, fence FROM tables").fetchall() == [("of 4", 4)]
    async with (
        open_town(
            lambda broker: edge.App(
                {"counter": scope["Counter"]},
                cluster=edge.Cluster(broker),
                sessions=edge.Sessions(keys=edge.Keys("k" * 16)),
            )
        ) as town,
        town.join("/rooms/counter/a", sends=scope["Add"], receives=scope["Total"]) as client,
    ):
        for number in (1, 2):
            client.send(scope["Add"]())
            assert (await client.receive()).number == number
            town.kill(next(place for place in town.places if place.rooms and not place.dead))
            await town.open()


def test_monitor(tmp_path: Path) -> None:
    """The app of docs/monitor.md serves the page of its dashboard, and serves its metrics to a client with the
    token."""
    write_files("monitor.md", tmp_path)
    with serving("watched:app", folder=tmp_path) as url:
        with urllib.request.urlopen(url + "edge-monitor/") as page:
            assert b"edge monitor" in page.read()
        told = {"authorization": "Bearer a long and secret token"}
        with urllib.request.urlopen(urllib.request.Request(url + "metrics", headers=told)) as metrics:
            assert b"edge_rooms_opened_total 0.0" in metrics.read()


def test_wire_examples() -> None:
    """Every complete frame that docs/wire.md shows is a valid message."""
    frames = [line for block in BLOCKS["wire.md"] for line in block.text.splitlines()]
    inline = re.findall(r"`(\[\"[^`]*\])`", (ROOT / "docs" / "wire.md").read_text())
    shown = [*frames, *(frame for frame in inline if "…" not in frame and ", n]" not in frame)]
    assert len(shown) >= 8
    for frame in shown:
        from_plain(JSON.decode(frame))


COMMANDS = {
    "make demo", "make test", "make lint", "make types", "make format", "make constraints",
    "python3 -m venv .venv", ".venv/bin/pip install 'path/to/edge[testing]'",
    ".venv/bin/edge run quiz:app", ".venv/bin/edge soak quiz:Quiz --hours 1", ".venv/bin/python -m pytest",
}  # fmt: skip


def test_commands_are_known() -> None:
    """Shell blocks contain only the commands in `COMMANDS`, and each `make` command is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    for found in BLOCKS.values():
        for line in (line for block in found if block.language == "sh" for line in block.text.splitlines()):
            command = line.split("  #")[0].strip()
            assert command in COMMANDS
            if command.startswith("make "):
                assert f"\n{command.split()[1]}:" in makefile


def test_links_lead_somewhere() -> None:
    """Every link, every path below tests/ and every `make` target in a document exists."""
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
        for target in re.findall(r"`(tests/[^`*]+)`", path.read_text()):
            assert (ROOT / target).exists(), f"{path.name}: {target}"
        for target in re.findall(r"`make (\w+)`", path.read_text()):
            assert f"\n{target}:" in (ROOT / "Makefile").read_text(), f"{path.name}: make {target}"


def test_reference_can_be_built(tmp_path: Path) -> None:
    """The reference has a section for every public name, and every public name has a docstring."""
    command = [sys.executable, "-m", "pdoc", "edge", "edge.testing", "-o", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    page = (tmp_path / "edge.html").read_text()
    undocumented = [name for name in edge.__all__ if not getattr(getattr(edge, name), "__doc__", None)]
    assert undocumented == []
    assert all(f'id="{name}"' in page for name in edge.__all__)


@pytest.mark.real_time
def test_an_event_goes_the_way_that_is_drawn() -> None:
    """The path of an event visits the files of the diagram in docs/architecture.md, in the order of the diagram."""
    (drawn,) = BLOCKS["architecture.md"]
    files = re.findall(r"[a-z_]+(?:/[a-z_]+)+\.py", drawn.text)
    command = [sys.executable, "-m", "benchmarks.walk"]
    walked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    way = iter(line.split()[0] for line in walked.stdout.splitlines())
    assert len(files) == 14
    assert [file for file in files if file not in way] == []


def test_the_excerpts_of_one_event_are_in_the_code() -> None:
    """Each excerpt of docs/one-event.md is in the method that it names. Each file of the diagram in
    docs/architecture.md except protocol/outgoing.py has an excerpt."""
    files = []
    for block in BLOCKS["one-event.md"]:
        head, *wanted = (line.strip() for line in block.text.rstrip("\n").split("\n"))
        file, name = head.removeprefix("# edge/").split(": ")
        files.append(file)
        source = (ROOT / "edge" / file).read_text()
        cls, method = name.split(".")
        (found,) = (
            each
            for node in ast.parse(source).body
            if isinstance(node, ast.ClassDef) and node.name == cls
            for each in node.body
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name == method
        )
        code = [line.strip() for line in source.splitlines()[found.lineno - 1 : found.end_lineno]]
        assert any(code[at : at + len(wanted)] == wanted for at in range(len(code))), block.text
    drawn = re.findall(r"[a-z_]+(?:/[a-z_]+)+\.py", BLOCKS["architecture.md"][0].text)
    assert set(drawn) - set(files) == {"protocol/outgoing.py"}
