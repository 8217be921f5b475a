"""The test vectors of the wire protocol, run on the Python connection machine. tests/client runs them on edge.js."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

import edge.protocol
from edge.errors import InvalidEvent, RemoteProtocolError
from edge.protocol import messages
from edge.protocol.codec import JSON
from edge.protocol.connection import Connection, Side
from edge.protocol.limits import Limits
from edge.protocol.outgoing import Outgoing

VECTORS = Path(edge.protocol.__file__).parent / "vectors.json"
CASES = json.loads(VECTORS.read_text())["cases"]

WELCOME = messages.Welcome(resumed=False, why="new", received=0, number=0, heartbeat=20, dead_after=30)


class Machine:
    """Runs the steps of one case on a connection machine."""

    def __init__(self, side: str) -> None:
        self.side = Side(side)
        self.now = 0.0
        self.connection = Connection(self.side, JSON, now=0, limits=Limits())

    def step(self, step: dict[str, Any]) -> None:
        self.now = step.get("at", self.now)
        for _ in range(step.get("again", 1)):
            if "error" in step:
                self.check_error(step)
            else:
                self.act(step)
        self.check(step)

    def check_error(self, step: dict[str, Any]) -> None:
        with pytest.raises((InvalidEvent, RemoteProtocolError)) as caught:
            self.act(step)
        exc = caught.value
        assert step["error"] == getattr(exc, "problem", getattr(exc, "code", None))

    def act(self, step: dict[str, Any]) -> None:
        connection, now = self.connection, self.now
        if "open" in step:
            hello, welcome = messages.Hello(name="ana"), WELCOME
            if self.side is Side.CLIENT:
                connection.send(hello, now=now)
                connection.receive(frame(messages.to_plain(welcome)), now=now)
            else:
                connection.receive(frame(messages.to_plain(hello)), now=now)
                connection.send(welcome, now=now)
        elif "reconnect" in step:
            counts = connection.counts
            self.connection = Connection(self.side, JSON, now=now, limits=Limits())
            self.connection.counts = counts
        elif "receive" in step:
            given = connection.receive(frame(step["receive"]), now=now)
            if "gives" in step:
                self.check_given(given, step["gives"])
        elif "due" in step:
            if "ask_clock" in step:
                assert connection.ask_clock(now) is step["ask_clock"]
            if "check" in step:
                assert connection.check(now) is step["check"]
            assert [json.loads(due) for due in connection.due(now)] == step["due"]
        elif "send" in step:
            outgoing = Outgoing.of(messages.from_plain(step["send"]))
            connection.counts.record(outgoing)
            assert json.loads(outgoing.frame(JSON)) == step["frame"]
        elif "clock" not in step:
            (kind,) = step.keys() & {"hello", "welcome", "bye"}
            cls = {"hello": messages.Hello, "welcome": messages.Welcome, "bye": messages.Bye}[kind]
            assert json.loads(connection.send(cls(**step[kind]), now=now)) == step["frame"]

    def check_given(self, given: messages.Message | None, expected: dict[str, Any] | None) -> None:
        if expected is None:
            assert given is None
            return
        assert given is not None
        expected = dict(expected)
        assert type(given).__name__.lower() == expected.pop("kind")
        plain = attrs.asdict(given)
        assert {name: plain[name] for name in expected} == expected

    def check(self, step: dict[str, Any]) -> None:
        counts = self.connection.counts
        for name, value in step.get("counts", {}).items():
            assert getattr(counts, name) == value, name
        if "clock" in step:
            assert self.connection.clock.at(self.now) == pytest.approx(step["clock"])
        if "state" in step:
            assert self.connection.state.value == step["state"]
        if "next_due" in step:
            assert self.connection.next_due == pytest.approx(step["next_due"])
        if "replay" in step:
            assert [json.loads(each.frame(JSON)) for each in counts.unacked()] == step["replay"]


def frame(written: Any) -> str:
    return str(written["raw"]) if isinstance(written, dict) else json.dumps(written)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    """The connection machine gives the expected result for each step of the case."""
    machine = Machine(case["side"])
    for step in case["steps"]:
        machine.step(step)
