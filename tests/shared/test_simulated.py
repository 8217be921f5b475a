"""Simulations of a room with shared documents: no mirror is ever wrong, and no player gets the secrets of another."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel
from hypothesis import strategies as st

import edge
from edge.protocol.outgoing import Outgoing
from edge.rooms.documents import DocumentKind
from edge.rooms.ledger import Member
from edge.rooms.sharing import Sharing, _Copy
from edge.testing import simulate, simulated
from edge.testing.oracle import InvariantBroken
from edge.testing.steps import Drop, Join, Send, Wait
from tests.shared.documents import Log, change_log


@attrs.define
class Hand:
    cards: list[str] = attrs.field(factory=list)


@attrs.define
class Fog:
    lines: list[str] = attrs.field(factory=list)
    named: dict[str, float] = attrs.field(factory=dict)


@edge.event
class Change:
    times: int


@edge.event
class Changed:
    lines: list[str]


def through_fog(log: Log, player: edge.Player[Any, Any]) -> Fog:
    seen = [disc for disc in log.discs if (len(disc.name) + player.number) % 2]
    return Fog(log.lines[-player.number :], {disc.name: disc.at_x for disc in seen})


class Game(edge.Room[Change, Changed]):
    seats = edge.Seats(maximum=4, grace=5)
    log = edge.shared(Log)
    hand = edge.shared(Hand, each=True)
    fog = edge.shared(Log, view=through_fog)

    def greet(self, player: edge.Player[Change, Changed]) -> None:
        self.hand[player].cards.append(f"dealt to {player.number}")

    async def run(self) -> None:
        while True:
            await trio.sleep(self.random.uniform(0.1, 3))
            change_log(self.log, self.random)
            change_log(self.fog, self.random)
            await trio.lowlevel.checkpoint()
            change_log(self.log, self.random)

    async def player(self, player: edge.Player[Change, Changed]) -> None:
        async for change in player:
            for _ in range(change.times):
                change_log(self.log, self.random)
                if self.random.random() < 0.3:
                    self.hand[player].cards.insert(0, f"card of {player.number}")
                if self.random.random() < 0.3:
                    self.broadcast(Changed(self.log.lines))
            if change.times == 3:
                with self.changing():
                    change_log(self.log, self.random)
                    await trio.sleep(0.2)
                    change_log(self.log, self.random)
            change_log(self.fog, self.random)


EVENTS: Any = {Change: st.builds(Change, st.integers(0, 3))}


@simulated(Game, examples=60, events=EVENTS)
def test_no_mirror_is_ever_wrong(room: Game) -> None:
    """On every network, each mirror is what its player may see in its version, and up to date when all is quiet."""


def hunt() -> str:
    """Simulate a game of three players with lost connections under several seeds. Return the fault that is found."""
    joins = [Join(name, "websocket", "json") for name in ("ana", "ben", "cyn")]
    play = [Wait(1.0), *(Send(number, Change(2)) for number in range(3)), Drop(1, "both"), Wait(2.0)]
    for seed in range(36):
        try:
            simulate(Game, [*joins, *play, *play], seed=seed)
        except InvariantBroken as exc:
            return str(exc)
    return "nothing was found"


def test_a_game_without_faults() -> None:
    """`hunt` finds nothing in a room without a planted fault."""
    assert hunt() == "nothing was found"


def skipped(update: Callable[[_Copy, Any], list[Any] | None], copy: _Copy, document: Any) -> list[Any] | None:
    message = update(copy, document)
    return None if copy.version % 5 == 4 else message


def doubled(update: Callable[[_Copy, Any], list[Any] | None], copy: _Copy, document: Any) -> list[Any] | None:
    if copy.version % 5 == 4:
        copy.version -= 1
    return update(copy, document)


@pytest.mark.parametrize("fault", [skipped, doubled])
def test_a_fault_in_a_patch_is_found(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    """A patch that is left out, or has the number of another, is found."""
    update = _Copy.update
    monkeypatch.setattr(_Copy, "update", lambda copy, document: fault(update, copy, document))
    assert re.search("does not fit|does not follow|, and not", hunt())


def test_a_change_that_the_differ_misses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A differ that does not see some changes is found, because the mirror differs from the document."""
    update = _Copy.update

    def missing(copy: _Copy, document: Any) -> list[Any] | None:
        if isinstance(document, Log) and document.ratio == 0 and document.leader is not None:
            document = attrs.evolve(document, leader=None)
        return update(copy, document)

    monkeypatch.setattr(_Copy, "update", missing)
    assert ", and not" in hunt()


def test_a_patch_for_the_neighbour_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch of one player's document that also goes to another player is found."""
    take = Sharing.take_changes

    def broken(sharing: Sharing) -> list[tuple[Member, Outgoing]]:
        messages = take(sharing)
        for member, message in messages:
            others = [each for each in sharing._receivers if each is not member]
            if message.name == "^hand" and others:
                others[0].seat.send(message)
        return messages

    monkeypatch.setattr(Sharing, "take_changes", broken)
    assert re.search("of one player was sent to another|does not follow|, and not", hunt())


def test_the_document_of_the_neighbour_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A room that takes the document of another player is found."""
    shown = Sharing.shown

    def mistaken(sharing: Sharing, kind: DocumentKind, member: Member) -> Any:
        others = [each for each in sharing._receivers if each is not member]
        return shown(sharing, kind, others[0] if kind.each and others else member)

    monkeypatch.setattr(Sharing, "shown", mistaken)
    assert ", and not" in hunt()
