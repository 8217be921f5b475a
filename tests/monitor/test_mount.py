"""The monitor in an app: access control, and metrics under a known load."""

from __future__ import annotations

import logging
import re
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

import edge
import edge.monitor
from edge.client.client import Status
from edge.monitor.dashboard import FromOperator, Overview, ToOperator
from edge.monitor.mount import VARIABLE
from edge.rooms.player import member_of
from tests.network import Network, joined, open_network
from tests.rooms.quiet import Chosen, FromPlayer, Guess, Quiet, ToPlayer, Verdict
from tests.server.http import ask
from tests.server.test_serve import serving

TOKEN = "a token that nobody guesses"
DOCUMENT = Path(__file__).parents[2] / "docs" / "monitor.md"


def monitored() -> edge.App:
    app = edge.App({"quiet": Quiet}, sessions=edge.Sessions(keys=edge.Keys("a secret of thirty-two characters")))
    edge.monitor.mount(app, token=TOKEN)
    return app


def operator(network: Network, key: str | None) -> AbstractAsyncContextManager[Any]:
    """Join the dashboard with this key."""
    path = "/rooms/edge-monitor/main"
    return joined(network.connect, path, sends=FromOperator, receives=ToOperator, key=key)


async def figures(network: Network) -> dict[str, float]:
    """Return every sample of ``/metrics``, by name and labels."""
    answer = await ask(network, "GET", "/metrics", {"authorization": f"Bearer {TOKEN}"})
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


async def test_strangers_get_nothing() -> None:
    """The monitor refuses a page of another site, and a client without a token, with a wrong token, or with a key
    whose claim has a wrong value."""
    app = monitored()
    key = app.keys.issue("u1", name="Ana", claims={"edge-monitor": "yes"})
    async with open_network(app) as network:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {key}"}):
            for method, path in (("GET", "/metrics"), ("POST", "/edge-monitor/enter")):
                answer = await ask(network, method, path, headers)
                assert (answer.status, answer.json["code"]) == (401, "token")
        foreign = {"authorization": f"Bearer {TOKEN}", "origin": "https://evil.example"}
        assert (await ask(network, "POST", "/edge-monitor/enter", foreign)).status == 401
        for offered in (None, key):
            async with operator(network, offered) as stranger:
                with pytest.raises(edge.Disconnected, match="only operators"):
                    await stranger.receive()
        assert app.directory.counters.refused == {edge.Code.REFUSED: 2}


async def test_the_token_and_a_key_of_your_own_open_it() -> None:
    """The metrics and the dashboard accept the key that is issued for the token, and a key that the app has issued with
    the claim."""
    app = monitored()
    async with open_network(app) as network:
        entered = await ask(network, "POST", "/edge-monitor/enter", {"authorization": f"Bearer {TOKEN}"})
        own = app.keys.issue("admin", claims={"edge-monitor": True})
        assert entered.headers["cache-control"] == "no-store"
        for key in (entered.json["key"], own):
            assert (await ask(network, "GET", "/metrics", {"authorization": f"Bearer {key}"})).status == 200
            async with operator(network, key) as looking:
                assert isinstance(await looking.receive(), Overview)
        assert app.keys.check(entered.json["key"]).name == "operator"


def test_a_token_is_made_for_a_terminal(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token and with a terminal, `mount` makes a token, prints it, does not log it, and uses it again in
    later calls. Without a terminal, or with a short token, it raises ValueError."""
    monkeypatch.setenv(VARIABLE, "")  # so that monkeypatch restores it
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ValueError, match=f"no terminal.*{VARIABLE}"):
        edge.monitor.mount(edge.App({}))
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout.isatty", lambda: True, raising=False)
        token = edge.monitor.mount(edge.App({}))
    assert token in capsys.readouterr().out
    assert token not in caplog.text
    assert len(token) >= 32
    assert edge.monitor.mount(edge.App({})) == token
    with pytest.raises(ValueError, match="at least 16 bytes"):
        edge.monitor.mount(edge.App({}), token="short")
    app = edge.App({})
    edge.monitor.mount(app)
    with pytest.raises(ValueError, match="/metrics has a route already"):
        edge.monitor.mount(app)


async def test_a_key_goes_with_the_token() -> None:
    """A key that was issued for a previous token is refused, and so is a guest's key with the claim."""
    keys = edge.Keys("a secret of thirty-two characters")

    def make(token: str) -> edge.App:
        app = edge.App({}, sessions=edge.Sessions(keys=keys))
        edge.monitor.mount(app, token=token)
        return app

    async with open_network(make(TOKEN)) as network:
        entered = await ask(network, "POST", "/edge-monitor/enter", {"authorization": f"Bearer {TOKEN}"})
        key = entered.json["key"]
        assert (await ask(network, "GET", "/metrics", {"authorization": f"Bearer {key}"})).status == 200
    guest = keys.issue("g1", claims={"edge-monitor": True}, guest=True)
    async with open_network(make("another token of the monitor")) as network:
        for refused in (key, guest, TOKEN):
            assert (await ask(network, "GET", "/metrics", {"authorization": f"Bearer {refused}"})).status == 401
        for refused in (key, guest):
            async with operator(network, refused) as looking:
                with trio.fail_after(5):
                    await looking.wait_status(Status.CLOSED)
                assert looking.ending is not None
                assert looking.ending.code is edge.Code.REFUSED


@pytest.mark.real_time
async def test_no_page_may_frame_the_dashboard() -> None:
    """The Content-Security-Policy of the dashboard's files forbids that a page puts them in a frame, and allows only
    listed resources."""
    async with serving(monitored()) as served:
        for path in ("/edge-monitor/", "/edge-monitor/dashboard.js"):
            status, headers, _ = await served.get(path)
            assert status == 200
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-frame-options"] == "deny", "edge writes the value in lower case"


async def test_the_figures_against_a_known_load() -> None:
    """The metrics count requests, rooms, seats, events and refusals exactly, and count no crash if none has
    occurred."""
    app = monitored()
    async with open_network(app) as network, AsyncExitStack() as stack:
        before = await figures(network)
        for _ in range(137):
            assert (await ask(network, "GET", "/livez")).status == 200
        clients = []
        for number in range(4):
            name = f"client-number-{number:04}"
            joining = joined(network.connect, "/rooms/quiet/one", sends=FromPlayer, receives=ToPlayer, client=name)
            clients.append(await stack.enter_async_context(joining))
            await clients[-1].wait_status(Status.OPEN if number < 3 else Status.CLOSED)
        room = app.directory.rooms[0]
        listener = room.listen(Guess)
        for client in clients[:3]:
            client.send(Guess("x"))
            client.send(Chosen("nobody asked"))
            await listener.receive()
        for _ in range(10):
            room.broadcast(Verdict(True))
        room.players[0].kick()
        for player in room.players:
            member_of(player).seat.measure()
        await trio.sleep(1)
        clients[2].leave()
        await trio.sleep(0.1)
        after = await figures(network)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown("edge_http_requests_total") == 138  # the request for the metrics is counted, too
    assert grown("edge_rooms_opened_total") == 1
    assert grown("edge_seats_given_total") == 3
    assert grown("edge_events_received_total") == 3
    assert grown("edge_messages_sent_total") == 10 * 3 + 3
    assert grown("edge_refused_total code=full") == 1
    assert grown("edge_left_total code=kicked") == 1
    assert grown("edge_left_total code=left") == 1
    assert grown("edge_messages_refused_total problem=not_now") == 3
    assert after["edge_rooms kind=quiet"] == 1
    assert after["edge_rooms kind=edge-monitor"] == 0
    assert after["edge_seats kind=quiet state=here"] == 1
    assert after["edge_round_trip_seconds quantile=1"] == 0
    assert after["edge_outbox_frames quantile=1"] == 0
    assert after["edge_crashes_total"] == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], {}),
        ([7], {"0.5": 7, "0.9": 7, "1": 7}),
        ([5, 4, 3, 2, 1], {"0.5": 3, "0.9": 5, "1": 5}),
        (list(range(1, 21)), {"0.5": 10, "0.9": 18, "1": 20}),
    ],
)
def test_quantiles(values: list[float], expected: dict[str, float]) -> None:
    """A quantile is the smallest of the values that is not less than the given share of the values."""
    family = edge.monitor.metrics._spread("edge_x", "Some values.", values)
    assert {sample.labels["quantile"]: sample.value for sample in family.samples} == expected


def test_the_names_are_those_of_the_document() -> None:
    """docs/monitor.md lists every metric, and no other."""
    told = set(re.findall(r"^\| `(edge_\w+)`", DOCUMENT.read_text(), re.MULTILINE))
    app = monitored()
    app.directory.counters.refused[edge.Code.FULL] += 1
    page = edge.monitor.metrics.Metrics(lambda: app.directory).page().decode()
    there = {name for name in re.findall(r"^# TYPE (\w+) ", page, re.MULTILINE) if name.startswith("edge_")}
    assert told == there
