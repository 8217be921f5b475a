"""The layers of the design: imports go only downward, and each foreign library in `HOMES` is imported only in its own
files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge

ROOT = Path(edge.__file__).parent

LAYERS = [
    "version",
    "codes",
    "errors",
    "aio",
    "protocol",
    "shared",
    "requests",
    "transports",
    "connections",
    "rooms",
    "sessions",
    "journal",
    "seats",
    "client",
    "cluster",
    "server",
    "bots",
    "monitor",
    "testing",
    "workers",
    "export",
    "cli",
    "__main__",
]
"""The layers, from the lowest. `client` and `server` are on the same level: neither imports the other."""

HOMES = {
    "trio_websocket": ["transports/websocket/websocket.py"],
    "wsproto": ["transports/websocket/websocket.py"],
    "websockets": ["transports/websocket/framing.py"],
    "coredis": ["cluster/broker/redis.py"],
    "h11": ["transports/http/http.py"],
    "itsdangerous": ["sessions/keys.py"],
    "msgspec": ["protocol/codec.py"],
    "orjson": ["protocol/codec.py"],
    "ormsgpack": ["protocol/codec.py"],
    "cattrs": ["protocol/structure.py", "protocol/unstructure.py"],
    "hypothesis": ["testing/schedule.py", "testing/scripts.py"],
    "outcome": ["aio/wakeup.py", "requests/listening.py", "testing/flaky.py", "testing/schedule.py"],
    "psutil": ["monitor/process.py"],
    "prometheus_client": ["monitor/metrics.py"],
    "pytest": ["testing/plugin.py", "testing/seeds.py"],
    "pytest_trio": ["testing/plugin.py"],
}

FORBIDDEN = {
    "protocol": {"trio", "time", "random", "socket", "secrets", "datetime", "asyncio", "logging"},
    "rooms": {"socket", "time", "datetime", "asyncio"},
}

# Files that may use types of `datetime`. Only `wall_clock.py` reads the clock.
DATETIME = {"protocol/field_kinds.py", "protocol/jsonschema.py", "rooms/wall_clock.py", "rooms/room.py"}

FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, "foreign") or (layer, "edge") for each import of a file."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], "foreign") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module is not None
            yield node.module.split(".")[0], "foreign"
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            yield next(part for part in [*base, node.names[0].name] if part), "edge"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_only_downward(path: Path) -> None:
    """A file imports only its own layer, lower layers, and foreign modules that `HOMES` and `FORBIDDEN` allow to it."""
    relative = path.relative_to(ROOT)
    if relative == Path("__init__.py"):
        return
    layer = relative.parts[0].removesuffix(".py")
    for module, kind in imports(path):
        if kind == "edge":
            assert LAYERS.index(module) <= LAYERS.index(layer), f"{relative} imports {module}"
            assert {layer, module} != {"client", "server"}, f"{relative} imports {module}"
        else:
            assert module != "edge", f"{relative} imports the package edge itself"
            assert str(relative) in HOMES.get(module, [str(relative)]), f"{relative} imports {module}"
            if not (module == "datetime" and str(relative) in DATETIME):
                assert module not in FORBIDDEN.get(layer, set()), f"{relative} imports {module}"


def imported_files(path: Path) -> Iterator[Path]:
    """Yield the files of the package that a file imports, including imports in `TYPE_CHECKING` blocks and functions."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            module = ROOT.joinpath(*base)
            yield from (each for each in (module.with_suffix(".py"),) if each.exists())
            yield from (each for each in (module / f"{alias.name}.py" for alias in node.names) if each.exists())


def test_no_file_imports_itself_by_way_of_others() -> None:
    """No imports are circular: repeatedly removing the files that import none of the rest leaves no file."""
    left = {path: set(imported_files(path)) for path in FILES}
    while free := [path for path, imports in left.items() if not imports & left.keys()]:
        for path in free:
            del left[path]
    assert not left, f"files in or above a cycle of imports: {sorted(str(path.relative_to(ROOT)) for path in left)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_of_trio_live_in_one_file(path: Path) -> None:
    """Private names of Trio are used only in testing/schedule.py, because another test checks that these names
    exist."""
    if path.relative_to(ROOT) != Path("testing/schedule.py"):
        assert not re.search(r"trio\._|\b_core\b", path.read_text())


def test_chance_has_a_seed() -> None:
    """No file of `edge/rooms` contains `import random`, because rooms draw from their own seeded generator."""
    for path in ROOT.joinpath("rooms").glob("*.py"):
        assert "import random" not in path.read_text(), path


def test_every_layer_is_on_the_list() -> None:
    """Every top-level folder and file of the package is in the list of layers."""
    found = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - {"__init__"} == set(LAYERS)


# These folders test behaviour that involves several modules, so they have no counterpart in edge.
ACROSS = {"abuse", "endurance", "examples", "fuzz", "typing"}


def test_the_tests_mirror_edge() -> None:
    """Each folder of tests has the path of a folder of edge, except for those in `ACROSS`."""
    tests = Path(__file__).parent
    folders = {str(path.parent.relative_to(tests)) for path in tests.rglob("test_*.py")}
    assert {folder for folder in folders if not (ROOT / folder).is_dir()} == ACROSS
