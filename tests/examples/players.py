"""Simulated players of the examples, for the command ``edge soak ... --play tests.examples.players:draw``."""

from __future__ import annotations

from typing import Any

import trio

import edge
from examples.drawing.picture import Stroke
from examples.drawing.room import Drew, Start, TurnDone, YourTurn
from examples.hill.events import Board, Facts, Steer


async def draw(client: edge.Client[Any, Any]) -> None:
    """Start at once, and draw three strokes in each turn."""
    client.send(Start())
    async for event in client:
        if isinstance(event, YourTurn):
            for number in range(3):
                await trio.sleep(1.5)
                client.send(Drew(Stroke(1, 4, [(10 * number, 700), (40, 740 + number)])))
            client.send(TurnDone())


async def steer(client: edge.Client[Any, Any]) -> None:
    """Change the direction once in each second of the board's time."""
    second = 0
    async for event in client:
        if isinstance(event, Board | Facts) and event.tick // 20 > second:
            second = event.tick // 20
            client.send(Steer([(event.tick + 1, 50 * (second % 3 - 1), 30 * (second % 2))]))
