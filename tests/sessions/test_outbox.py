"""What waits for one connection."""

from __future__ import annotations

import json

import edge
from edge.protocol.codec import JSON
from edge.protocol.limits import Limits
from edge.protocol.outgoing import outgoing_event
from edge.sessions.outbox import Outbox


@edge.event
class Sure:
    n: int


@edge.event(delivery="latest", key="who")
class Newest:
    who: str
    n: int


@edge.event(delivery="volatile")
class Fleeting:
    n: int


def taken(outbox: Outbox) -> list[object]:
    return [json.loads(frame) for frame in outbox.take()]


def test_order_and_replacement() -> None:
    """Reliable ones keep their order; a newer value replaces the older one, at the end; nothing is written twice."""
    outbox = Outbox(JSON, Limits())
    for event in (Newest("a", 1), Sure(1), Newest("b", 1), Newest("a", 2), Sure(2)):
        outbox.put(outgoing_event(event))
    assert taken(outbox) == [
        ["Sure", {"n": 1}],
        ["~Newest", {"who": "b", "n": 1}],
        ["~Newest", {"who": "a", "n": 2}],
        ["Sure", {"n": 2}],
    ]
    assert taken(outbox) == []


def test_volatile_only_when_nothing_waits() -> None:
    """The first of two is kept, and one behind anything else is dropped."""
    outbox = Outbox(JSON, Limits())
    for event in (Fleeting(1), Fleeting(2), Sure(1), Fleeting(3)):
        outbox.put(outgoing_event(event))
    assert taken(outbox) == [["~Fleeting", {"n": 1}], ["Sure", {"n": 1}]]


def test_bounds_in_frames_and_bytes() -> None:
    """One too many, by either measure, ends it: what waited is let go, and only the goodbye is left to say."""
    for limits in (Limits(outbox_frames=3), Limits(outbox_bytes=3 * len('["Sure",{"n":1}]'))):
        outbox = Outbox(JSON, limits)
        for n in range(3):
            outbox.put(outgoing_event(Sure(n)))
        assert outbox.goodbye is None
        outbox.put(outgoing_event(Sure(3)))
        assert outbox.goodbye is not None
        assert outbox.goodbye.code == edge.Code.OVERFLOW
        outbox.put(outgoing_event(Sure(4)))
        assert taken(outbox) == []


def test_replaced_values_do_not_add_up() -> None:
    """A thousand values of one key are one frame's worth of bytes."""
    outbox = Outbox(JSON, Limits(outbox_bytes=200))
    for n in range(1000):
        outbox.put(outgoing_event(Newest("a", n)))
    assert outbox.goodbye is None
    assert taken(outbox) == [["~Newest", {"who": "a", "n": 999}]]
