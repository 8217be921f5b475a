"""The types that mypy and pyright infer in an author's code. Only the type checkers read this file; no test runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, assert_never, assert_type

import edge
from edge.requests.reply import ReplyScope
from edge.requests.tracker import Replies


@edge.event
class Buzz:
    pass


@edge.event
class Answer:
    text: str


@edge.event
class Hint:
    text: str


@edge.event
class Question:
    text: str


@edge.event
class Scores:
    points: dict[str, int]


@edge.event
class Fold:
    pass


@edge.event
class Raise:
    chips: int


@edge.event
class Call:
    pass


@edge.event
class Check:
    pass


@edge.event
class Show:
    pass


@edge.event
class Leave:
    pass


FromPlayer = Buzz | Answer | Hint
ToPlayer = Question | Scores
Move = Fold | Raise | Call | Check | Show | Leave
Player = edge.Player[FromPlayer, ToPlayer]


class Quiz(edge.Room[FromPlayer, ToPlayer]):
    seats = edge.Seats(minimum=2)

    async def run(self) -> None:
        assert_type(self.players, tuple[Player, ...])
        assert_type(self.seats, edge.Seats)
        async with self.open_round(minimum=2, seconds=60) as round:
            assert_type(round, edge.Round[FromPlayer, ToPlayer])
            assert_type(round.players, tuple[Player, ...])
            async for player, event in self.listen(Buzz):
                assert_type(player, Player)
                assert_type(event, Buzz)
                with round.turn(player, seconds=5) as turn:
                    assert_type(await player.receive(Answer), Answer)
                assert_type(turn.outcome, edge.Outcome | None)
        self.broadcast(Scores({}), exclude=self.players)
        self.broadcast(Buzz())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # players send it

    async def player(self, player: Player) -> None:
        assert_type(await player.receive(Buzz), Buzz)
        assert_type(await player.receive(Buzz, Answer), Buzz | Answer)
        assert_type(await player.receive(Buzz, Answer, Hint), Buzz | Answer | Hint)
        assert_type(player.latest(Hint), Hint | None)
        assert_type(await player.ask(Question("?"), Answer), Answer)
        async for event in player:
            assert_type(event, Buzz | Answer | Hint)
            assert_type(player.reply(event, Question("?")), bool)
            assert_type(player.answering(event), ReplyScope[ToPlayer])
        async for event in player.listen(Buzz, Answer):
            assert_type(event, Buzz | Answer)
        player.send(Answer("no"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # players send it


class Table(edge.Room[Move, Move]):
    async def run(self) -> None:
        async for player, move in self.listen(Fold, Raise, Call, Check, Show, Leave):
            assert_type(player, edge.Player[Move, Move])
            match move:
                case Fold() | Raise() | Call() | Check():
                    pass
                case Show() | Leave():
                    player.refuse(move, "not now", data=Fold())
                case _:
                    assert_never(move)

    async def player(self, player: edge.Player[Move, Move]) -> None:
        assert_type(await player.receive(Fold, Raise, Call, Check), Fold | Raise | Call | Check)
        assert_type(await player.ask(Show(), Fold, Leave), Fold | Leave)
        async for move in player.listen(Fold, Raise, Call, Check, Show, Leave, share=True):
            assert_type(move, Move)
            with player.answering(move) as answering:
                answering.reply(Fold())
                raise edge.RequestRefused("not now", data=Fold())
        player.refuse(Fold(), "no", data=Buzz())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # foreign


async def other_program(client: edge.Client[Move, Move]) -> None:
    """Check the types of requests with several classes of answers."""
    assert_type(
        await client.request(Fold(), Raise, Call, Check, Show, Leave, Fold), Raise | Call | Check | Show | Leave | Fold
    )
    assert_type(await client.receive(Raise, Call, Check, Show), Raise | Call | Check | Show)


async def program(client: edge.Client[FromPlayer, ToPlayer]) -> AsyncIterator[ToPlayer]:
    """Check the types of a client whose event types are declared."""
    assert_type(await client.receive(), Question | Scores)
    assert_type(await client.receive(Scores), Scores)
    assert_type(await client.receive(Scores, Question), Scores | Question)
    assert_type(await client.request(Buzz(), Scores), Scores)
    with client.stream(Buzz(), Question) as questions:
        assert_type(questions, Replies[Question])
        async for question in questions:
            assert_type(question, Question)
    client.send(Question("?"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # rooms send it
    async for event in client:
        assert_type(event, Question | Scores)
        yield event


async def main() -> None:
    """Check the type of the client that `join` yields."""
    async with edge.join("ws://localhost/rooms/quiz/one", sends=FromPlayer, receives=ToPlayer) as client:
        assert_type(client, edge.Client[Any, Any])


def admit(applicant: edge.Applicant) -> None:
    assert_type(applicant.name, str)
    assert_type(applicant.session, edge.Session)


app = edge.App({"quiz": Quiz})


@app.route("/")
async def index(request: edge.Request) -> edge.Response:
    assert_type(app.session(request), edge.Session | None)
    return edge.json_response({})
