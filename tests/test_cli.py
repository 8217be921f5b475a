"""The `edge` command: its options, exit codes and output."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import sys
import urllib.request
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import trio

import edge
from edge.cli import main
from edge.client.client import Status
from edge.server.signals import STOP, open_stop_receiver

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
    """`edge run` prints its address, serves, and exits with 0 after a signal, with nothing on stderr."""
    command = [sys.executable, "-m", "edge.cli", "run", "served:app", "--port", "0"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://localhost:\d+/", process.stdout.readline())
        assert found is not None
        with urllib.request.urlopen(found[0] + "livez") as answer:
            assert answer.status == 200
        for each in signals:
            process.send_signal(each)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


BUSY = """
import resource
import trio
import edge

print(resource.getrlimit(resource.RLIMIT_NOFILE), flush=True)

class Room(edge.Room[None, None]):
    seats = edge.Seats(maximum=100)

app = edge.App({"room": Room})

@app.route("/forever")
async def forever(request):
    await trio.sleep_forever()
"""


@pytest.mark.real_time
async def test_a_second_signal_under_load(project: Path) -> None:
    """The first signal starts a drain, which waits for running requests. The second signal ends the drain, with exit
    code 0."""
    (project / "busy.py").write_text(BUSY)
    command = [sys.executable, "-m", "edge.cli", "run", "busy:app", "--port", "0", "--drain", "100000"]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            run = partial(trio.run_process, command, cwd=project, stdout=subprocess.PIPE, check=True)
            process: trio.Process = await nursery.start(run)
            assert process.stdout is not None
            said = b""
            while not (found := re.search(rb"localhost:(\d+)/", said)):
                said += await process.stdout.receive_some()
            port = int(found[1])
            async with await trio.open_tcp_stream("127.0.0.1", port) as asking, AsyncExitStack() as players:
                await asking.send_all(b"GET /forever HTTP/1.1\r\nHost: localhost\r\n\r\n")
                url = f"ws://127.0.0.1:{port}/rooms/room/one"
                joining = [edge.join(url, sends=None, receives=None) for _ in range(50)]
                seated = [await players.enter_async_context(each) for each in joining]
                for client in seated:
                    await client.wait_status(Status.OPEN)
                process.send_signal(signal.SIGTERM)
                for client in seated:
                    await client.wait_status(Status.AWAY)
                assert process.poll() is None
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0


def test_it_may_have_as_many_files_as_the_system_lets_it(project: Path) -> None:
    """`edge run` raises its soft limit of open files to the hard limit, after it has imported the app."""
    (project / "busy.py").write_text(BUSY)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = f"ulimit -Sn 256; exec {sys.executable} -m edge.cli run busy:app --port 0"
    with subprocess.Popen(["sh", "-c", command], cwd=project, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"(256, {hard})\n"
        process.stdout.readline()
        limits = Path(f"/proc/{process.pid}/limits")
        if limits.exists():
            assert re.search(rf"Max open files +{hard} +{hard}", limits.read_text())
        process.terminate()
    assert soft > 256


def test_the_log_as_json(project: Path) -> None:
    """With `--log json`, each record is one line of JSON."""
    (project / "talks.py").write_text(f"import logging\n{APP}\nlogging.getLogger('talks').debug('one\\ntwo')\n")
    options = ["run", "talks:app", "--port", "0", "--log", "json", "--log-level", "debug"]
    command = [sys.executable, "-m", "edge.cli", *options]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [(line["level"], line["message"], line["detail"]) for line in lines if line["logger"] == "talks"] == [
        ("debug", "one", "two")
    ]


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
    """`edge run` exits with 2 and reports the fault if the address of an app is wrong."""
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit) as caught:
        main(["run", where])
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.fixture
def fragile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a module with a correct room, a faulty room, and a function for the option `--play`."""
    (tmp_path / "fragile.py").write_text(ROOMS)
    monkeypatch.chdir(tmp_path)


ROOMS = """
import edge

@edge.event("say")
class Say:
    text: str

class Holds(edge.Room[Say, Say]):
    async def player(self, player):
        async for event in player:
            self.broadcast(event)

class Breaks(Holds):
    def greet(self, player):
        if player.number == 1:
            raise KeyError("the second chair")

async def talk(client):
    client.send(Say("hello"))
    async for _ in client:
        pass

number = 5
"""


def test_soak_reports_what_held(fragile: None, capsys: pytest.CaptureFixture[str]) -> None:
    """A soak without a failure ends with a line that reports its hours, scripts, steps and events."""
    assert main(["soak", "fragile:Holds", "--hours", "0.2", "--play", "fragile:talk"]) == 0
    assert re.search(r"^passed: 0\.\d h, \d+ scripts, \d+ steps, \d+ events in \d+ s$", capsys.readouterr().out, re.M)


def test_soak_prints_a_test_of_what_broke(fragile: None, capsys: pytest.CaptureFixture[str]) -> None:
    """A soak that fails prints the shortest failing script as a test, and the error."""
    assert main(["soak", "fragile:Breaks", "--hours", "1"]) == 1
    printed = capsys.readouterr().out
    assert "the second chair" in printed
    assert printed.count("Join(name=") == 2
    assert "edge.testing.simulate(\n        Breaks," in printed


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["fragile:Nothing"], "no attribute 'Nothing'"),
        (["fragile"], "should be module:Room"),
        (["fragile:number"], "is not a Room class"),
        (["fragile:Holds", "--play", "fragile"], "should be module:function"),
    ],
)
def test_soak_says_what_is_wrong(
    fragile: None, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`edge soak` exits with 2 and reports the fault if its arguments are wrong."""
    with pytest.raises(SystemExit) as caught:
        main(["soak", *arguments])
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_workers_need_a_broker_and_servers_the_same_keys(tmp_path: Path) -> None:
    """`edge run` exits with 2 and reports the fault if options of brokers, workers or keys are missing or wrong."""
    (tmp_path / "app.py").write_text("import edge\n\napp = edge.App({})\n")
    for options, said in (
        (["--workers", "2"], "--broker"),
        (["--broker", "redis://localhost:1/0"], "EDGE_SECRET"),
        (["--broker", "http://localhost:1/0"], "must be redis://"),
        (["--broker", "redis://localhost:65o1/0"], "must be redis://"),
        (["--broker", "redis://localhost/zero"], "must be redis://"),
        (["--broker", "redis://localhost:1/0", "--address", "one.example"], "is not a ws://"),
        (["--workers", "0"], "should be 1 or more"),
    ):
        command = [sys.executable, "-m", "edge.cli", "run", "app:app", "--port", "0", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_a_broker_that_is_not_there(tmp_path: Path) -> None:
    """`edge run` exits with 1 and reports the error without a traceback if it can't reach the broker."""
    (tmp_path / "app.py").write_text(
        "import edge\n\napp = edge.App({}, sessions=edge.Sessions(keys=edge.Keys('k' * 16)))\n"
    )
    command = [sys.executable, "-m", "edge.cli", "run", "app:app", "--port", "0", "--broker", "unix:///nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("edge: Redis: "), done.stderr
    assert "Traceback" not in done.stderr


async def test_a_signal_that_comes_when_all_is_over() -> None:
    """A signal that arrives while a process ends does not kill the process."""
    before = {each: signal.getsignal(each) for each in STOP}
    try:
        with open_stop_receiver() as signals:
            signal.raise_signal(signal.SIGTERM)
            assert await anext(signals) == signal.SIGTERM
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep(1)  # time in which Trio would raise the undelivered signal again
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
