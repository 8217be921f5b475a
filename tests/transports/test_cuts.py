"""On every transport, a cut after any byte in either direction loses no message, repeats none and changes no order."""

from __future__ import annotations

import attrs
import pytest
import trio

import edge
from edge.client.fallback import TransportKind
from edge.testing import run_virtual
from edge.testing.network import Way
from tests.network import joined, open_network

WORDS = 3


@edge.event("say")
class Say:
    number: int


@edge.event("ask")
class Ask:
    number: int


@edge.event("said")
class Said:
    number: int


@edge.event("now", delivery="latest")
class Now:
    number: int


@attrs.define(eq=False)
class Record:
    """The messages that the room accepted, and those that the client received."""

    taken: list[tuple[str, int]] = attrs.field(factory=list)
    heard: list[int] = attrs.field(factory=list)
    answers: list[int] = attrs.field(factory=list)
    players: int = 0


class Echo(edge.Room[Say | Ask, Said | Now]):
    seats = edge.Seats(grace=60)
    record: Record

    async def player(self, player: edge.Player[Say | Ask, Said | Now]) -> None:
        self.record.players += 1
        async for event in player.listen(Say, Ask):
            match event:
                case Say(number):
                    self.record.taken.append(("say", number))
                    player.send(Said(number))
                    player.send(Now(number))
                case Ask(number):
                    self.record.taken.append(("ask", number))
                    player.reply(event, Said(100 + number))


async def play(
    kind: TransportKind, cut: tuple[Way, int] | None, half_open: bool = False
) -> tuple[Record, dict[Way, int]]:
    """Run one client, which sends events and requests, and leaves when it has received all answers."""
    record = Record()

    def make() -> Echo:
        room = Echo()
        room.record = record
        return room

    async with open_network(edge.App({"echo": make}), cut=cut, half_open=half_open) as network:
        with trio.fail_after(120):
            async with joined(network.connect, "/rooms/echo/one", kind, sends=Say | Ask, receives=Said | Now) as client:

                async def ask(number: int) -> None:
                    record.answers.append((await client.request(Ask(number), Said)).number)

                async with trio.open_nursery() as nursery:
                    for number in range(WORDS):
                        client.send(Say(number))
                        nursery.start_soon(ask, number)
                        await trio.sleep(0.05)
                    for _ in range(WORDS):
                        record.heard.append((await client.receive(Said)).number)
                while await client.receive(Now) != Now(WORDS - 1):
                    pass
        passed = dict(network.passed)
    return record, passed


def check(record: Record) -> None:
    assert [number for what, number in record.taken if what == "say"] == list(range(WORDS))
    assert sorted(number for what, number in record.taken if what == "ask") == list(range(WORDS))
    assert record.heard == list(range(WORDS))
    assert sorted(record.answers) == [100 + number for number in range(WORDS)]
    assert record.players == 1


def check_cuts(kind: TransportKind, way: Way, *, half_open: bool, step: int = 1) -> None:
    """Run `play` with a cut after 0, `step`, 2 * `step` ... bytes, each time with another seed."""
    record, passed = run_virtual(play, kind, None)
    check(record)
    assert passed[way] > 300
    for offset in range(0, passed[way], step):
        try:
            check(run_virtual(play, kind, (way, offset), half_open, seed=offset)[0])
        except BaseException as exc:
            raise AssertionError(f"{kind}, cut after {offset} of {passed[way]} bytes {way}") from exc


@pytest.mark.slow
@pytest.mark.parametrize("kind", TransportKind)
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_cut_after_every_byte(kind: TransportKind, way: Way) -> None:
    """If the connection is cut after any byte, each event arrives once and in order, each request is answered once, and
    the player stays."""
    check_cuts(kind, way, half_open=False)


@pytest.mark.parametrize(("kind", "step"), [("websocket", 1), ("stream", 5), ("poll", 11)])
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_cut_that_the_server_does_not_notice(kind: str, step: int, way: Way) -> None:
    """If only the client notices a cut, each event arrives once and in order, each request is answered once, and the
    player stays."""
    check_cuts(TransportKind(kind), way, half_open=True, step=step)
