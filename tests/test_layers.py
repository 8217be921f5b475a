"""The house of the design: imports go only downward, and each foreign library lives in its own file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge

ROOT = Path(edge.__file__).parent

LAYERS = [
    "codes",
    "errors",
    "aio",
    "protocol",
    "broker",
    "rooms",
    "sessions",
    "journal",
    "transports",
    "client",
    "server",
    "bots",
    "monitor",
    "testing",
    "workers",
    "cli",
]
"""From the ground up. `client` and `server` are neighbours: neither knows the other."""

HOMES = {
    "trio_websocket": ["transports/websocket.py"],
    "wsproto": ["transports/websocket.py"],
    "websockets": ["transports/lane.py"],
    "coredis": ["broker/redis.py"],
    "h11": ["transports/http.py"],
    "itsdangerous": ["sessions/keys.py"],
    "msgspec": ["protocol/codec.py"],
    "orjson": ["protocol/codec.py"],
    "ormsgpack": ["protocol/codec.py"],
    "cattrs": ["protocol/structure.py", "protocol/unstructure.py"],
    "hypothesis": ["testing/schedule.py", "testing/scripts.py"],
    "psutil": ["monitor/process.py"],
    "prometheus_client": ["monitor/metrics.py"],
    "pytest": ["testing/plugin.py", "testing/seeds.py"],
    "pytest_trio": ["testing/plugin.py"],
}

FORBIDDEN = {
    "protocol": {"trio", "time", "random", "socket", "secrets", "datetime", "asyncio", "logging"},
    "rooms": {"socket", "time", "datetime", "asyncio"},
}

FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, "foreign") or (layer, "edge") of each import of a file."""
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
    """A file imports its own layer or those below; nothing inside imports the package's front door."""
    relative = path.relative_to(ROOT)
    if relative == Path("__init__.py"):
        return
    layer = relative.parts[0].removesuffix(".py")
    for module, kind in imports(path):
        if kind == "edge":
            assert LAYERS.index(module) <= LAYERS.index(layer), f"{relative} imports {module}"
            assert {layer, module} != {"client", "server"}, f"{relative} imports {module}"
        else:
            assert module != "edge", f"{relative} imports the front door"
            assert str(relative) in HOMES.get(module, [str(relative)]), f"{relative} imports {module}"
            assert module not in FORBIDDEN.get(layer, set()), f"{relative} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_of_trio_live_in_one_file(path: Path) -> None:
    """They are watched by a canary there, and nowhere else."""
    if path.relative_to(ROOT) != Path("testing/schedule.py"):
        assert not re.search(r"trio\._|\b_core\b", path.read_text())


def test_chance_has_a_seed() -> None:
    """Rooms draw from a generator of their own, never from the process's."""
    for path in ROOT.joinpath("rooms").glob("*.py"):
        assert "import random" not in path.read_text(), path


def test_every_layer_is_on_the_list() -> None:
    """A new folder or file at the top finds its place in the house first."""
    found = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - {"__init__"} == set(LAYERS)
