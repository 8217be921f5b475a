"""The small events and rooms that many tests use."""

from __future__ import annotations

import edge


@edge.event("say")
class Say:
    text: str


@edge.event("said")
class Said:
    text: str


class Echo(edge.Room[Say, Said]):
    """Sends each event back to its player. The room sends a request back as the reply."""

    seats = edge.Seats(grace=60)

    async def player(self, player: edge.Player[Say, Said]) -> None:
        async for event in player:
            if not player.reply(event, Said(event.text)):
                player.send(Said(event.text))
