"""The npm package, and two apps that are built with it and with Vite: one with React, and one without a framework."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

import edge
from edge.client.build import BUILT
from tests.browser import DESKTOP, GET_CHROMIUM, PHONE, Tab, chromium, serving
from tests.endurance.process import free_port
from tests.test_docs import BLOCKS, write_files

from .test_edge_js import GET_NPM, ROOT

MODULES = ROOT / ".venv/npm/node_modules"
APPS = Path(__file__).parent / "vite"
PACKAGE = ROOT / "edge/client/js"


@pytest.fixture(scope="module")
def package(program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder ``package`` of the packed npm package."""
    program(str(MODULES / ".bin/vite"), GET_NPM)
    folder = tmp_path_factory.mktemp("npm")
    shutil.copytree(PACKAGE, folder / "js")
    (folder / "js/node_modules").symlink_to(MODULES)
    run([program("npm", GET_NPM), "pack", "--silent", "--pack-destination", str(folder)], folder / "js")
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "npm_config_update_notifier": "false"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def install(package: Path, folder: Path) -> None:
    """Give an app all npm packages that the tests have, and the packed one."""
    modules = folder / "node_modules"
    modules.mkdir()
    for installed in MODULES.iterdir():
        (modules / installed.name).symlink_to(installed)
    shutil.copytree(package, modules / "edge-rooms")


def test_the_package(package: Path) -> None:
    """The package has the version of edge, the files that a server serves, the types, and no dependencies."""
    about = json.loads((package / "package.json").read_text())
    assert about["version"] == edge.__version__
    assert "dependencies" not in about
    for target in (path for each in about["exports"].values() for path in each.values()):
        assert (package / target).is_file(), target
    for built in BUILT.glob("*.js"):
        assert (package / "dist" / built.name).read_bytes() == built.read_bytes()
    assert {path.name for path in package.iterdir()} == {"README.md", "dist", "package.json", "src", "types"}


@pytest.mark.parametrize(("app", "page"), [("plain", "main.ts"), ("react", "main.tsx")])
def test_an_app_that_is_built_with_vite(
    app: str, page: str, package: Path, program: Callable[[str, str], str], tmp_path: Path
) -> None:
    """tsc checks the page with the exported types of its room, Vite builds it, and two players play it."""
    shutil.copytree(APPS / app, tmp_path, dirs_exist_ok=True)
    shutil.copy(APPS / "poker.py", tmp_path)
    (tmp_path / "dist").mkdir()
    run([sys.executable, "-m", "edge.cli", "export", "typescript", "poker:app", "-o", "rooms.ts"], tmp_path)
    install(package, tmp_path)
    for resolution in ("bundler", "nodenext"):
        module = "esnext" if resolution == "bundler" else "nodenext"
        checked = [page, "--noEmit", "--strict", "--target", "es2022", "--module", module, "--jsx", "react-jsx"]
        if resolution == "nodenext":  # which needs the ending of a relative module
            text = (tmp_path / page).read_text().replace('"./rooms"', '"./rooms.js"')
            (tmp_path / f"node_{page}").write_text(text)
            (tmp_path / "package.json").write_text('{"type": "module"}')
            checked[0] = f"node_{page}"
        run([str(MODULES / ".bin/tsc"), *checked, "--moduleResolution", resolution], tmp_path)
    run([str(MODULES / ".bin/vite"), "build", "--base", "./", "--logLevel", "warn"], tmp_path)
    with serving("poker:app", folder=tmp_path) as url, chromium(program("chromium", GET_CHROMIUM)) as browser:
        ana, ben = Tab(browser, url, PHONE), Tab(browser, url, DESKTOP)
        for tab, pot in ((ana, 5), (ben, 10)):
            tab.page.click("#bet")
            for each in (ana, ben):
                expect(each.page.locator("#raised")).to_have_text(f"ana {pot}")
                expect(each.page.locator("#bets")).to_have_text(json.dumps({"ana": pot}, separators=(",", ":")))
                expect(each.page.locator("#turn")).to_have_text("ana")
        assert ana.faults == ben.faults == []


@contextmanager
def vite(folder: Path) -> Iterator[str]:
    """Run Vite's own server, and yield its address."""
    port = free_port()
    command = [str(MODULES / ".bin/vite"), "--port", str(port), "--strictPort", "--host", "127.0.0.1"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if "127.0.0.1" in line:
                    break
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


def test_the_react_page_of_the_documents(package: Path, program: Callable[[str, str], str], tmp_path: Path) -> None:
    """The component of docs/shared-state.md works with Vite's own server, which has the configuration of the page."""
    blocks = {block.language: block.text for block in BLOCKS["shared-state.md"] if block.language in ("jsx", "js")}
    write_files("shared-state.md", tmp_path)
    start = 'import { createRoot } from "react-dom/client";\ncreateRoot(document.body.firstChild).render(<Table />);\n'
    (tmp_path / "main.jsx").write_text(blocks["jsx"] + start)
    page = '<link rel="icon" href="data:,"><body><div></div><script type="module" src="/main.jsx"></script>'
    (tmp_path / "index.html").write_text(f"<!doctype html><title>Poker</title>{page}")
    install(package, tmp_path)
    executable = program("chromium", GET_CHROMIUM)
    with serving("poker:app", folder=tmp_path) as url:
        config = blocks["js"].replace("http://localhost:8000", url.rstrip("/"))
        (tmp_path / "vite.config.js").write_text(config)
        with vite(tmp_path) as served, chromium(executable) as browser:
            ana = Tab(browser, served)
            expect(ana.page.locator("button")).to_be_visible()
            ben = Tab(browser, served)  # who is called ana, too
            expect(ana.page.locator("button")).to_have_text("ana")
            ana.page.click("button")
            expect(ben.page.locator("button")).to_have_text("ana ana")
            assert ana.faults == ben.faults == []
