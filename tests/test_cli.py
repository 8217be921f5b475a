"""The `edge` command, as a process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from edge.cli import main

APP = """
import edge

class Room(edge.Room[None, None]):
    pass

app = edge.App({"room": Room})
not_an_app = 7
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "served.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_run_serves_and_a_signal_drains(project: Path, signals: list[signal.Signals]) -> None:
    """It prints its address, serves, and exits 0 when told to stop, with nothing on stderr but the log."""
    command = [sys.executable, "-m", "edge.cli", "run", "served:app", "--port", "0"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://localhost:\d+/", process.stdout.readline())
        assert found is not None
        with urllib.request.urlopen(found[0] + "healthz") as answer:
            assert answer.status == 200
        for each in signals:
            process.send_signal(each)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("served", "should be module:app"),
        ("missing:app", "No module named 'missing'"),
        ("served:app2", "has no attribute 'app2'"),
        ("served:not_an_app", "is a int, not an edge.App"),
    ],
)
def test_run_says_what_is_wrong(
    project: Path, where: str, complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong address of an app is one line, not a traceback."""
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit) as caught:
        main(["run", where])
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err
