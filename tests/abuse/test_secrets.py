"""Tests that no secret appears in an error, a log line, a repr or a traceback."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
import trio

import edge
import edge.cli
import edge.monitor
from edge.client.client import Status
from edge.client.fallback import TransportKind
from edge.client.url import UrlConnector
from edge.cluster.broker.redis import RedisBroker, _check_url, _Connection
from edge.errors import BrokerDown, EdgeError
from edge.protocol.codec import JSON
from edge.protocol.messages import Hello
from edge.server.api import Api
from edge.server.app import site_of
from tests.abuse.town import frame
from tests.network import joined, open_network
from tests.rooms.quiet import FromPlayer, Quiet, ToPlayer
from tests.server.http import ask

PASSWORD = "hunter2@:/%secret"
QUOTED = quote(PASSWORD, safe="")
SECRET = "the-secret-that-signs-keys"
API_TOKEN = "the-token-of-the-api"
MONITOR_TOKEN = "the-token-of-the-monitor"
KEY = edge.Keys(SECRET).issue("u1", name="Ana")
SECRETS = (PASSWORD, QUOTED, "hunter2", SECRET, API_TOKEN, MONITOR_TOKEN, KEY, KEY.partition(".")[2])

BAD_URLS = [
    f"http://user:{QUOTED}@localhost/0",
    f"redis://user:{QUOTED}@localhost:65o1/0",
    f"redis://user:{QUOTED}@localhost/zero",
    f"redis://localhost:{PASSWORD}",
    f"redis://[{PASSWORD}",
    f"{PASSWORD}",
    f"redis://:{QUOTED}@/0",
]


def told(raised: BaseException) -> str:
    """Return the text of an error, with its traceback, as a log would contain it."""
    return "".join(traceback.format_exception(raised))


def errors() -> Iterator[str]:
    """Yield the texts of errors about invalid secrets, and about values that contain a secret."""
    wrong: list[Callable[[], object]] = [
        *(lambda url=url: _check_url(url) for url in BAD_URLS),
        lambda: edge.Keys("short", SECRET),
        lambda: edge.Keys(SECRET).check(KEY + "x"),
        lambda: edge.Keys(SECRET[::-1]).check(KEY),
        lambda: edge.Keys(SECRET).issue("u1", claims={"key": KEY * 100}),
        lambda: edge.App({}, api_token=API_TOKEN[:15]),
        lambda: edge.monitor.mount(edge.App({}), token=MONITOR_TOKEN[:15]),
        lambda: edge.App({}, sessions=edge.Sessions(keys=edge.Keys(SECRET), name="chat")),
    ]
    for do in wrong:
        with pytest.raises((ValueError, EdgeError)) as caught:
            do()
        yield told(caught.value)


async def test_no_secret_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret appears in an error about it, in the repr of an object that holds it, or in the log of a server and its
    clients."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("EDGE_SECRET", SECRET)
    app = edge.App({"quiet": Quiet}, api_token=API_TOKEN)
    edge.monitor.mount(app, token=MONITOR_TOKEN)
    seen = [*errors()]

    @app.route("/crash")
    async def crash(request: edge.Request) -> edge.Response:
        seen.append(repr(request))
        raise RuntimeError(f"by request of {request!r}")

    async with open_network(app) as network:
        bearer = {"authorization": f"Bearer {KEY}", "cookie": f"edge_session={KEY}", "edge-session": "tab"}
        for headers in (bearer, {"authorization": f"Bearer {API_TOKEN}"}, {"authorization": f"Bearer {MONITOR_TOKEN}"}):
            for method, path in (
                ("GET", "/crash"),
                ("POST", "/session"),
                ("POST", "/edge-monitor/enter"),
                ("GET", "/metrics"),
                ("POST", "/edge-api/revoke"),
                ("GET", "/edge-api/rooms"),
            ):
                answer = await ask(network, method, path, {**headers}, b'{"session": 7}' if method == "POST" else b"")
                if path not in ("/session", "/edge-monitor/enter"):  # these two return a key
                    seen.append(answer.body.decode())
        for kind in TransportKind:
            joining = joined(network.connect, "/rooms/quiet/one", kind, sends=FromPlayer, receives=ToPlayer, key=KEY)
            async with joining as client:
                await client.wait_status(Status.OPEN)
                seen += [repr(client), repr(client.welcome), repr(vars(client)["_connector"])]
        for hello in (
            {"client": "c" * 16, "key": KEY, "attempt": "x"},
            {"client": "c" * 16, "key": [KEY]},
            {"client": KEY, "key": KEY + "x", "nonsense": KEY},
        ):
            async with await network.connect() as stream:
                await stream.send_all(
                    b"GET /rooms/quiet/one HTTP/1.1\r\nHost: edge.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Protocol: edge.1.json\r\n\r\n"
                )
                whole = json.dumps(["$hello", hello]).encode()
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(frame(whole[:20], first=0x01) + frame(whole[20:], first=0x80))
                    with trio.move_on_after(1):
                        while received := await stream.receive_some():
                            seen.append(received.decode(errors="replace"))
    broker = RedisBroker(f"redis://user:{QUOTED}@localhost:1/0")
    url, kinds = f"ws://user:{QUOTED}@edge.test/rooms/quiet/one", (TransportKind.POLL,)
    connector = UrlConnector(url, codec=JSON, limits=edge.Limits(), kinds=kinds, connect=None)
    holders = [app, app.keys, site_of(app)._api, broker, broker._client, connector, Hello(key=KEY), app.keys.check(KEY)]
    seen += [repr(each) for each in holders]
    seen += [record.getMessage() + (record.exc_text or "") for record in caplog.records]
    seen.append(caplog.text)
    assert isinstance(site_of(app)._api, Api)
    for text in seen:
        for secret in SECRETS:
            assert secret not in text, f"{secret} is in {text}"


def test_no_class_shows_what_it_keeps_secret() -> None:
    """A field whose name is key, token, password or secret is not in the repr that attrs writes."""
    modules = [module for name, module in sys.modules.items() if name.startswith("edge.")]
    classes = {
        each for module in modules for each in vars(module).values() if isinstance(each, type) and attrs.has(each)
    }
    shown = {
        f"{cls.__name__}.{field.name}"
        for cls in filter(attrs.has, classes)
        for field in attrs.fields(cls)
        if field.name.strip("_") in ("key", "token", "password", "secret") and field.repr
    }
    assert shown == {"EventType.key"}, "`EventType.key` is the name of a field, and not a secret"


@pytest.mark.real_time
async def test_what_redis_repeats_is_not_told() -> None:
    """A password that Redis repeats in its error message is not in the error of edge."""
    broker = RedisBroker(f"redis://user:{QUOTED}@localhost:1/0")
    said = Exception(f"ERR unknown command `HELLO`, with args beginning with: `3` `AUTH` `user` `{PASSWORD}`, {QUOTED}")

    async def fail(_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise said

    async with trio.open_nursery() as nursery:
        broker._client._connection = _Connection(broker)  # type: ignore[arg-type]  # `fail` ignores the connection
        with pytest.raises(BrokerDown) as caught:
            await broker._client.ask(fail)
        nursery.cancel_scope.cancel()
    assert "unknown command" in str(caught.value)
    assert "hunter2" not in told(caught.value)
    assert "`user`" not in told(caught.value)


def test_workers_are_not_told_by_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers get the broker's password from the environment. Their arguments, which every user of the machine can
    read, do not contain it."""
    (tmp_path / "app.py").write_text("import edge\n\napp = edge.App({})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    monkeypatch.setenv(edge.cli.BROKER, "")  # set the variable, so that monkeypatch restores its value at the end
    commands: list[Sequence[str]] = []

    async def run_workers(
        count: int, host: str, port: int, command: Callable[[int, str], Sequence[str]], _: object
    ) -> None:
        await trio.lowlevel.checkpoint()
        commands.append(command(port, "directory"))

    monkeypatch.setattr("edge.cli.run_workers", run_workers)
    url = f"redis://user:{QUOTED}@localhost:1/0"
    assert edge.cli.main(["run", "app:app", "--workers", "2", "--broker", url]) == 0
    assert os.environ[edge.cli.BROKER] == url
    assert "hunter2" not in " ".join(commands[0])
    assert edge.cli.main(["run", "app:app", "--workers", "2"]) == 0, "the environment must provide the broker's URL"


@pytest.mark.parametrize("option", ["db", "max_connections", "stream_timeout"])
def test_an_invalid_option_of_the_broker_s_url_is_named_without_its_value(option: str) -> None:
    """An option that coredis cannot use is a `ValueError` that has the name of the option, and not the value."""
    with pytest.raises(ValueError, match=f"one of the options {option} ") as caught:
        RedisBroker(f"redis://localhost:1?{option}=hidden")
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None
