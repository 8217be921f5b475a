"""A room that uses all features: rounds, turns, requests of both sides, latest values, and an invariant."""

from __future__ import annotations

from typing import Any, TypeAlias

import trio

import edge
from edge.rooms.player import member_of
from tests.small_rooms import Say


@edge.event("guess")
class Guess:
    number: int


@edge.event("answer")
class Answer:
    yes: bool


@edge.event("point", delivery="latest")
class Point:
    x: float


@edge.event("said")
class Said:
    by: int
    text: str


@edge.event("right")
class Right:
    right: bool


@edge.event("question")
class Question:
    number: int


@edge.event("state", delivery="latest")
class State:
    turns: int


FromPlayer: TypeAlias = Say | Guess | Answer | Point
ToPlayer: TypeAlias = Said | Right | Question | State
Player: TypeAlias = edge.Player[FromPlayer, ToPlayer]


class Table(edge.Room[FromPlayer, ToPlayer]):
    seats = edge.Seats(minimum=2, maximum=3, grace=20)

    def __init__(self) -> None:
        self.turns = 0

    def greet(self, player: Player) -> None:
        for number in range(12):
            player.send(Said(player.number, f"rule {number}"))

    async def run(self) -> None:
        while True:
            await self.seats.wait_minimum()
            async with self.open_round(seconds=60) as round:
                round.start_soon(self.tick)
                for player in round.players:
                    with round.turn(player, seconds=10, max_absence=5):
                        await player.ask(Question(self.turns), Answer)
                    self.turns += 1
                    self.broadcast(Said(player.number, "had a turn"))

    async def tick(self) -> None:
        while True:
            await trio.sleep(7)
            self.broadcast(State(self.turns))

    async def player(self, player: Player) -> None:
        self.broadcast(Said(player.number, "joined"))
        try:
            async for event in player.listen(Say, Guess):
                match event:
                    case Say(text):
                        self.broadcast(Said(player.number, text))
                    case Guess(number):
                        player.reply(event, Right(number == 7))
        finally:
            self.broadcast(Said(player.number, "left"))


def turns_belong_to_a_round(room: Table) -> None:
    """Check that at most one turn is open, and none without a round."""
    turns = sum(len(member_of(player).turns) for player in room.players)
    assert turns <= room.has_round


async def play(client: edge.Client[Any, Any]) -> None:
    """Answer three of four questions, so that the other turns time out."""
    async for event in client:
        if isinstance(event, Question) and event.number % 4:
            await trio.sleep(0.5)
            client.reply(event, Answer(True))
