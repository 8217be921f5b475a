"""The app whose pages are built with Vite."""

import attrs

import edge


@attrs.define
class Table:
    turn: str = "nobody"
    bets: dict[str, int] = attrs.field(factory=dict)


@edge.event("bet")
class Bet:
    amount: int


@edge.event("raised")
class Raised:
    by: str
    pot: int


class Poker(edge.Room[Bet, Raised]):
    table = edge.shared(Table)

    async def player(self, player: edge.Player[Bet, Raised]) -> None:
        async for bet in player:
            self.table.turn = player.name
            self.table.bets[player.name] = self.table.bets.get(player.name, 0) + bet.amount
            self.broadcast(Raised(player.name, sum(self.table.bets.values())))


app = edge.App({"poker": Poker}, static={"/": "dist"})
