from __future__ import annotations

from typing import Any

import pytest
import trio

import edge
import edge.testing


@edge.event
class Said:
    text: str


@edge.event
class Heard:
    who: str
    text: str


class Chat(edge.Room[Said, Heard]):
    seats = edge.Seats(minimum=1, maximum=3, grace=30)

    async def player(self, player: edge.Player[Said, Heard]) -> None:
        self.broadcast(Heard(player.name, "joined"))
        try:
            async for event in player:
                self.broadcast(Heard(player.name, event.text))
        finally:
            self.broadcast(Heard(player.name, "left"))


@edge.testing.seeds(20)
async def test_chat(edge_room: Any) -> None:
    room = await edge_room(Chat)
    ana, ben = await room.join("ana", "ben")
    assert await ana.receive() == Heard("ana", "joined")
    assert await ana.receive() == Heard("ben", "joined")
    ana.send(Said("hi"))
    assert await ben.receive() == Heard("ben", "joined")
    assert await ben.receive() == Heard("ana", "hi")
    ana.drop()
    ben.send(Said("you there?"))
    await ana.resume()
    assert ana.welcome.resumed
    assert await ana.receive() == Heard("ana", "hi")
    assert await ana.receive() == Heard("ben", "you there?")
    ana.drop()
    start = trio.current_time()
    assert await ben.receive() == Heard("ben", "you there?")
    assert await ben.receive() == Heard("ana", "left")
    assert trio.current_time() - start == pytest.approx(30, abs=0.1)


async def test_deadlock(edge_room: Any) -> None:
    room = await edge_room(Chat)
    with pytest.raises(edge.Disconnected):
        await room.join("ana", "ben", "cyn", "dan")
