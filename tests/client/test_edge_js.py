"""Tests of edge.js: its test vectors, types and builds, and its rooms in Node with a fake WebSocket."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import edge.protocol
from edge.client.build import BUILT, ENTRIES, SOURCE, build, constants
from edge.protocol.codec import JSON
from edge.shared.differ import Differ
from tests.shared.documents import Log, change_log

pytestmark = pytest.mark.quick

EDGE_JS = BUILT / "edge.js"
VECTORS = Path(edge.protocol.__file__).parent / "vectors.json"
ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent

GET_NODE = "install nodejs from your system's packages"
GET_NPM = "install npm from your system's packages, then: make clean test"

Program = Callable[[str, str], str]


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_vectors(program: Program) -> None:
    """edge.js passes every client case of the test vectors, which the Python connection machine also runs."""
    cases = VECTORS.read_text().count('"side": "client"')
    assert cases > 10
    assert run(program("node", GET_NODE), HERE / "run_vectors.mjs", SOURCE, VECTORS) == f"{cases} cases\n"


def test_a_hostile_server_poisons_nothing(program: Program) -> None:
    """No event name and no body changes a prototype, and an event with a name such as `__proto__` reaches its
    handler."""
    assert run(program("node", GET_NODE), HERE / "run_hostile.mjs", SOURCE) == "110 frames\n"


def test_goodbyes(program: Program) -> None:
    """A goodbye with a 41xx code before the welcome does not end the seat. The same goodbye after the welcome ends the
    seat."""
    run(program("node", GET_NODE), HERE / "run_goodbye.mjs", EDGE_JS)


def test_too_much(program: Program) -> None:
    """Sending a message that is too large for the room raises an error. If too many messages are unacknowledged,
    edge.js drops them and reports an error."""
    run(program("node", GET_NODE), HERE / "run_bounds.mjs", EDGE_JS)


def test_the_life_of_a_page(program: Program) -> None:
    """Every test of run_life.mjs passes. These tests cover sleep, caches, changing networks, missing keys and late
    sends of a page, in virtual time."""
    assert run(program("node", GET_NODE), "--no-warnings", HERE / "run_life.mjs", EDGE_JS) == "22 tests\n"


def test_an_older_page(program: Program) -> None:
    """A page gets one error for each event name without a handler, and `$outdated` once when the room's events have
    changed."""
    run(program("node", GET_NODE), HERE / "run_versions.mjs", EDGE_JS)


def test_mistakes(program: Program) -> None:
    """A wrong option, handler or delivery is an error at the call. A handler's wrong answer refuses the room's
    request."""
    run(program("node", GET_NODE), HERE / "run_mistakes.mjs", EDGE_JS)


def test_waits(program: Program) -> None:
    """A page waits for a room that opens slowly, follows moved deadlines, and gets the data of refusals."""
    run(program("node", GET_NODE), "--no-warnings", HERE / "run_waiting.mjs", EDGE_JS)


def test_constants() -> None:
    """The codes, tables and limits in constants.js equal those in Python."""
    assert (SOURCE / "constants.js").read_text() == constants(), "run: make client"


def test_built(program: Program, tmp_path: Path) -> None:
    """The served files were built from the current modules."""
    build(program("esbuild", GET_NPM), tmp_path)
    for built in (*ENTRIES, *(f"{entry}.map" for entry in ENTRIES)):
        assert sources(tmp_path / built) == sources(BUILT / built), "run: make client"


def sources(path: Path) -> str:
    """Return the text of a built file. In the text of a source map, cut the source paths down to `src/`."""
    return re.sub(r'"[^"]*/src/', '"src/', path.read_text())


def test_size() -> None:
    """Compressed, edge.js has at most 10 KB. The separate file of the HTTP transport, which few pages load, has at most
    2 KB."""
    for built, most in (("edge.js", 10_240), ("edge-http.js", 2_000)):
        assert most / 2 < len(gzip.compress((BUILT / built).read_bytes())) <= most


def test_modules_are_short() -> None:
    """No module is longer than 300 lines."""
    modules = {path.name: path.read_text().count("\n") for path in SOURCE.glob("*.js")}
    assert len(modules) > 15
    assert max(modules.values()) <= 300, modules


def test_types(program: Program, tmp_path: Path) -> None:
    """TypeScript reports no error in the modules of edge.js, nor in the scripts of the examples and the monitor, which
    use the exported types of their rooms."""
    pages = [*(ROOT / "examples").glob("*/web/*.js"), *(ROOT / "edge" / "monitor" / "web").glob("*.js")]
    assert len(pages) >= 10
    checked = []
    for module in SOURCE.glob("*.js"):
        (tmp_path / module.name).write_text(module.read_text())
        checked.append(str(tmp_path / module.name))
    for page in pages:
        folder = tmp_path / page.parents[1].name / "web"
        folder.mkdir(exist_ok=True, parents=True)
        (folder / page.name).write_text(re.sub(r'"\.{1,2}/(edge[a-z-]*\.js)"', r'"../../\1"', page.read_text()))
        checked.append(str(folder / page.name))
        if (page.parents[1] / "rooms.ts").exists():
            (folder.parent / "rooms.ts").write_text((page.parents[1] / "rooms.ts").read_text())
    (tmp_path / "node_modules").symlink_to(ROOT / ".venv/npm/node_modules")
    options = json.loads((SOURCE.parent / "tsconfig.json").read_text())["compilerOptions"]
    unused = ("declaration", "emitDeclarationOnly", "outDir", "rootDir")
    options = {name: value for name, value in options.items() if name not in unused}
    project = {"compilerOptions": {**options, "checkJs": True, "noEmit": True}, "files": checked}
    (tmp_path / "tsconfig.json").write_text(json.dumps(project))
    run(program("tsc", GET_NPM), "--project", str(tmp_path))


def test_shared_state(program: Program, tmp_path: Path) -> None:
    """edge.js applies patches as Python does. A page is told of the parts that it watches."""
    random = Random(7)
    runs = []
    for _ in range(60):
        document, differ = Log(), Differ(Log, "")
        shadow, whole = differ.shadow(document), JSON.decode(JSON.encode(differ.whole(document)))
        steps = []
        for _ in range(20):
            for _ in range(random.randrange(4)):
                change_log(document, random)
            patch = differ.diff(document, shadow)
            if patch is not None:
                steps.append({"patch": patch, "after": differ.whole(document)})
        runs.append({"whole": whole, "steps": JSON.decode(JSON.encode(steps))})
    patches = tmp_path / "patches.json"
    patches.write_text(str(JSON.encode(runs)))
    assert run(program("node", GET_NODE), HERE / "run_state.mjs", SOURCE, patches) == "enough patches\n"
