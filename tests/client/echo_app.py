"""An app for the tests of edge.js. The app echoes events, sends requests, and cuts connections on request."""

from __future__ import annotations

import trio

import edge
from edge.rooms.player import member_of
from edge.seats.held_seat import HeldSeat


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


@edge.event("wait")
class Wait:
    pass


@edge.event("count")
class Count:
    to: int


@edge.event("given:up")
class GivenUp:
    pass


@edge.event("ask:briefly")
class AskBriefly:
    pass


FromPlayer = Say | Guess | AskMe | Chosen | Cursor | Wait | Count | GivenUp | AskBriefly
ToPlayer = Said | Choose | StateOf
Player = edge.Player[FromPlayer, ToPlayer]


class Echo(edge.Room[FromPlayer, ToPlayer]):
    seats = edge.Seats(maximum=2, grace=30)

    def __init__(self) -> None:
        self.given_up: list[str] = []

    async def player(self, player: Player) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.answer, player)
            nursery.start_soon(self.echo, player)
            nursery.start_soon(self.tell, player)

    async def answer(self, player: Player) -> None:
        """Never answer `wait`, and answer `count` with a stream of numbers. Record each request that the client
        withdraws."""
        async for event in player.listen(Wait, Count):
            with player.answering(event) as answering:
                try:
                    if isinstance(event, Wait):
                        await trio.sleep_forever()
                    else:
                        for number in range(event.to):
                            await answering.send(Said(str(number)))
                except trio.Cancelled:
                    self.given_up.append("wait" if isinstance(event, Wait) else "count")
                    raise

    async def tell(self, player: Player) -> None:
        async for event in player.listen(GivenUp, AskBriefly):
            if isinstance(event, GivenUp):
                player.reply(event, Said(" ".join(self.given_up)))
            else:
                with trio.move_on_after(0.2):
                    await player.ask(Choose([]), Chosen)

    async def echo(self, player: Player) -> None:
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

    def greet(self, player: Player) -> None:
        self.given_up.clear()

    def cut(self, code: edge.Code) -> None:
        """End every connection, but not the seats."""
        for player in self.players:
            seat = member_of(player).seat
            assert isinstance(seat, HeldSeat)
            seat.disconnect(code, "cut by request")


app = edge.App({"echo": Echo})


@app.route("/seats")
async def seats(request: edge.Request) -> edge.Response:
    room = app.directory.find("echo", "one")
    return edge.json_response([player.connected for player in room.players] if room is not None else [])


@app.route("/")
async def page(request: edge.Request) -> edge.Response:
    return edge.Response(200, b'<!doctype html><link rel="icon" href="data:,">', "text/html; charset=utf-8")


@app.route("/cut")
async def cut(request: edge.Request) -> edge.Response:
    room = app.directory.find("echo", "one")
    assert isinstance(room, Echo)
    room.cut(edge.Code[request.query["code"]])
    return edge.json_response({})
