"""An app for the tests of edge.js: it echoes, asks, and cuts connections when told to."""

from __future__ import annotations

import edge
from edge.sessions.seat import HeldSeat


@edge.event("say")
class Say:
    text: str


@edge.event("guess")
class Guess:
    word: str


@edge.event("ask:me")
class AskMe:
    pass


@edge.event("chosen")
class Chosen:
    option: str


@edge.event("cursor")
class Cursor:
    x: int


@edge.event("said")
class Said:
    text: str


@edge.event("choose")
class Choose:
    options: list[str]


@edge.event("state", delivery="latest")
class StateOf:
    value: int


FromPlayer = Say | Guess | AskMe | Chosen | Cursor
ToPlayer = Said | Choose | StateOf
Player = edge.Player[FromPlayer, ToPlayer]


class Echo(edge.Room[FromPlayer, ToPlayer]):
    seats = edge.Seats(maximum=2, grace=30)

    async def player(self, player: Player) -> None:
        async for event in player.listen(Say, Guess, AskMe):
            match event:
                case Say("crash"):
                    raise RuntimeError("by request")
                case Say(text):
                    player.send(Said(text))
                    player.send(StateOf(len(text)))
                case Guess(word):
                    player.reply(event, Said(word.upper()))
                case AskMe():
                    answer = await player.ask(Choose(["a", "b"]), Chosen)
                    player.send(Said(f"you chose {answer.option}"))

    def cut(self, code: edge.Code) -> None:
        """End every connection, not the seats."""
        for player in self.players:
            seat = player.seat
            assert isinstance(seat, HeldSeat)
            seat.disconnect(code, "cut by request")


app = edge.App({"echo": Echo})


@app.route("/")
async def page(request: edge.Request) -> edge.Response:
    return edge.Response(200, b'<!doctype html><link rel="icon" href="data:,">', "text/html; charset=utf-8")


@app.route("/cut")
async def cut(request: edge.Request) -> edge.Response:
    room = app.directory.find("echo", "one")
    assert isinstance(room, Echo)
    room.cut(edge.Code[request.query["code"]])
    return edge.json_response({})
