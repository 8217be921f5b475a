"""The connection machine: all rows of its table of states, its codes, and its messages."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from edge.codes import Code, Retry
from edge.errors import LocalProtocolError, RemoteProtocolError
from edge.protocol import messages
from edge.protocol.codec import JSON
from edge.protocol.connection import CONVERSATION, SENDER, Connection, Side, State
from edge.protocol.limits import Limits

SAMPLES: dict[type[messages.Message], messages.Message] = {
    messages.Hello: messages.Hello(name="ana"),
    messages.Welcome: messages.Welcome(resumed=False, why="new", received=0, number=0, heartbeat=20, dead_after=30),
    messages.Bye: messages.Bye(4200),
    messages.Ack: messages.Ack(0),
    messages.Ping: messages.Ping(0),
    messages.Event: messages.Event("a", {}),
    messages.Request: messages.Request("a", {}, 1),
    messages.Reply: messages.Reply("a", {}, 1),
    messages.Part: messages.Part("a", {}, 1),
    messages.Cancel: messages.Cancel(1),
    messages.Error: messages.Error("not_now", "no"),
}


def connection_in(state: State, side: Side) -> Connection:
    connection = Connection(side, JSON, now=0, limits=Limits())
    connection.state = state
    return connection


@pytest.mark.parametrize(("state", "side", "kind"), list(itertools.product(State, Side, SAMPLES)))
def test_the_table_decides_what_may_be_received(state: State, side: Side, kind: type[messages.Message]) -> None:
    """In every state, `receive` accepts a message if the table allows the message from the other side, and otherwise
    raises RemoteProtocolError. A closed connection ignores every message."""
    connection = connection_in(state, side)
    frame = JSON.encode(messages.to_plain(SAMPLES[kind]))
    following = CONVERSATION[state].get(kind)
    if state is State.CLOSED:
        assert connection.receive(frame, now=0) is None
    elif following is not None and SENDER.get(kind) is not side:
        connection.receive(frame, now=0)
        assert connection.state is following
    else:
        with pytest.raises(RemoteProtocolError):
            connection.receive(frame, now=0)
        assert connection.state is state


@pytest.mark.parametrize(
    ("state", "side", "kind"), list(itertools.product(State, Side, [messages.Hello, messages.Welcome, messages.Bye]))
)
def test_the_table_decides_what_may_be_said(state: State, side: Side, kind: type[messages.Message]) -> None:
    """In every state, a hello, welcome or goodbye can be sent if the table allows it from this side. Otherwise `send`
    raises LocalProtocolError."""
    connection = connection_in(state, side)
    sample = SAMPLES[kind]
    assert isinstance(sample, messages.Hello | messages.Welcome | messages.Bye)
    following = CONVERSATION[state].get(kind)
    if following is not None and SENDER.get(kind, side) is side:
        connection.send(sample, now=0)
        assert connection.state is following
    else:
        with pytest.raises(LocalProtocolError):
            connection.send(sample, now=0)


@pytest.mark.parametrize("message", list(SAMPLES.values()), ids=lambda message: type(message).__name__)
def test_a_message_travels(message: messages.Message) -> None:
    """A message is equal to itself after it was encoded and decoded."""
    assert messages.from_plain(JSON.decode(JSON.encode(messages.to_plain(message)))) == message


def test_the_document_shows_the_tables() -> None:
    """The tables of the conversation and of the codes in docs/wire.md equal those in the code."""
    document = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
    for state, row in CONVERSATION.items():
        for kind, following in row.items():
            by = SENDER[kind].value if kind in SENDER else "either"
            assert f"| {state.value} | {kind.__name__.lower()} | {by} | {following.value} |" in document
    for code in Code:
        assert f"| {code.value} | {code.name} | {code.retry.value} |" in document


def test_codes_say_what_to_do_next() -> None:
    """The first two digits of a code (40, 41, 42) decide how a client retries. An unknown code with these digits
    becomes LOST, DRAINING or MALFORMED. Of other codes, 1009 becomes TOO_LARGE, and the rest LOST."""
    assert [code.retry for code in (Code.OVERFLOW, Code.DRAINING, Code.KICKED)] == [
        Retry.RESUME,
        Retry.FRESH,
        Retry.NEVER,
    ]
    assert [Code.of(number) for number in (None, 0, 1000, 1001, 1006, 1009, 4055, 4155, 4255, 9999)] == [
        *[Code.LOST] * 5,
        Code.TOO_LARGE,
        Code.LOST,
        Code.DRAINING,
        Code.MALFORMED,
        Code.LOST,
    ]
