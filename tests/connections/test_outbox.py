"""Tests of the outbox: the messages that wait to be written to one connection."""

from __future__ import annotations

import json

import edge
from edge.connections.outbox import Outbox
from edge.protocol.codec import JSON
from edge.protocol.events import event_type
from edge.protocol.limits import Limits
from edge.protocol.outgoing import Outgoing, outgoing_event


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


def sent(event: object) -> Outgoing:
    return outgoing_event(event, event_type(type(event)))


def taken(outbox: Outbox) -> list[object]:
    return [json.loads(frame) for frame in outbox.take()]


def test_order_and_replacement() -> None:
    """Reliable events keep their order. A newer `latest` value removes the older one and goes to the end. No event is
    written twice."""
    outbox = Outbox(JSON, Limits())
    for event in (Newest("a", 1), Sure(1), Newest("b", 1), Newest("a", 2), Sure(2)):
        outbox.put(sent(event))
    assert taken(outbox) == [
        ["Sure", {"n": 1}],
        ["~Newest", {"who": "b", "n": 1}],
        ["~Newest", {"who": "a", "n": 2}],
        ["Sure", {"n": 2}],
    ]
    assert taken(outbox) == []


def test_volatile_only_when_it_can_be_written_at_once() -> None:
    """A volatile event is dropped while a write is under way or if the outbox is full. It never ends the connection."""
    outbox = Outbox(JSON, Limits(outbox_frames=3))
    for event in (Sure(1), Fleeting(1), Fleeting(2), Fleeting(3)):
        outbox.put(sent(event))
    outbox.writing = True
    assert taken(outbox) == [["Sure", {"n": 1}], ["~Fleeting", {"n": 1}], ["~Fleeting", {"n": 2}]]
    outbox.put(sent(Fleeting(4)))
    assert taken(outbox) == []
    assert outbox.goodbye is None


def test_a_replay_does_not_count() -> None:
    """The messages that a resume repeats are written first, and do not count towards the limit of the outbox."""
    outbox = Outbox(JSON, Limits(outbox_frames=2))
    outbox.put(sent(Sure(10)))
    outbox.put_first(*(sent(Sure(n)).frame(JSON) for n in range(10)))
    outbox.put(sent(Sure(11)))
    assert outbox.goodbye is None
    assert taken(outbox) == [["Sure", {"n": n}] for n in range(12)]


def overfull(limits: Limits) -> tuple[Outbox, list[int]]:
    """Return an outbox with a write under way, and a list. Each call of `on_overfull` appends the length of the outbox
    to the list."""
    outbox, lengths = Outbox(JSON, limits), list[int]()
    outbox.writing = True
    outbox.on_overfull = lambda: lengths.append(len(outbox))
    return outbox, lengths


def test_one_message_always_fits() -> None:
    """A message that is larger than the limit of the outbox does not overfill the outbox if no other message waits."""
    outbox, lengths = overfull(Limits(outbox_bytes=5))
    outbox.put(sent(Sure(1)))
    assert lengths == []
    outbox.put(sent(Sure(2)))
    assert lengths == [2]


def test_bounds_in_frames_and_bytes() -> None:
    """For each message beyond the limit of frames or bytes, the outbox calls `on_overfull`, and still writes the
    message."""
    for limits in (Limits(outbox_frames=3), Limits(outbox_bytes=3 * len('["Sure",{"n":1}]'))):
        outbox, lengths = overfull(limits)
        for n in range(5):
            outbox.put(sent(Sure(n)))
        assert lengths == [4, 5]
        assert taken(outbox) == [["Sure", {"n": n}] for n in range(5)]


def test_a_burst_is_no_slow_reader() -> None:
    """If no write is under way, the outbox accepts any number of messages."""
    outbox = Outbox(JSON, Limits(outbox_frames=3, outbox_bytes=30))
    for n in range(100):
        outbox.put(sent(Sure(n)))
    assert outbox.goodbye is None
    assert taken(outbox) == [["Sure", {"n": n}] for n in range(100)]


def test_replaced_values_do_not_add_up() -> None:
    """A thousand values of one `latest` key do not overfill the outbox, because only the newest value counts."""
    outbox = Outbox(JSON, Limits(outbox_bytes=200))
    for n in range(1000):
        outbox.put(sent(Newest("a", n)))
    assert outbox.goodbye is None
    assert taken(outbox) == [["~Newest", {"who": "a", "n": 999}]]
