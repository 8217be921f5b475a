"""The messages of a seat are freed when the seat ends, even without a run of the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import trio

import edge
from edge.protocol.outgoing import Outgoing
from edge.testing.harness import EdgeRoom
from tests.abuse.town import frame, town

TEXT = "x" * 20_000


@edge.event("ask")
class Ask:
    pass


@edge.event("large")
class Large:
    number: int
    text: str = TEXT


@edge.event("newest", delivery="latest", key="number")
class Newest:
    number: int
    text: str = TEXT


class Full(edge.Room[Ask | Newest, Large | Newest]):
    """Sends large messages to each player that asks."""

    seats = edge.Seats(minimum=1, maximum=100, grace=1)

    async def player(self, player: edge.Player[Ask | Newest, Large | Newest]) -> None:
        async for _ in player.listen(Ask):
            for number in range(5):
                player.send(Large(number))
                player.send(Newest(number))


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Disable the garbage collector during a test."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def messages_in_memory() -> int:
    return sum(type(each) is Outgoing and each.size > len(TEXT) for each in gc.get_objects())


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("how", ["kicked", "away for too long", "leaves", "kicked while away", "the room closes"])
async def test_a_seat_that_has_ended_holds_no_messages(edge_room: EdgeRoom, how: str) -> None:
    """However a seat ends, all messages that it stored for its client are freed."""
    room = await edge_room(Full)
    ana, _ = await room.join("ana", "ben")
    (player, _) = room.room.players
    ana.send(Ask())
    await trio.sleep(0.1)
    assert messages_in_memory() >= 5, "the seat must store messages before it ends"
    if how == "kicked":
        player.kick()
    elif how == "leaves":
        ana.leave()
    else:
        ana.drop()
        await trio.sleep(0.1)
    if how == "kicked while away":
        player.kick()
    elif how == "the room closes":
        room.room.close()
    await trio.sleep(3)
    assert [each.name for each in room.room.players] == ([] if how == "the room closes" else ["ben"])
    assert messages_in_memory() == 0


@pytest.mark.usefixtures("no_collector")
async def test_a_client_that_reads_nothing_leaves_no_memory_behind() -> None:
    """The stored messages for a client that reads nothing are freed after its connection and its seat have ended."""
    async with town() as here:
        here.server.site.directory.add_kinds({"full": Full})
        for number in range(3):
            raw = await here.websocket(path="/rooms/full/one", client=f"a-client-that-reads-nothing-{number}")
            for _ in range(10):
                await raw.send(frame(["ask", {}]))
            await trio.sleep(0.5)
            await trio.aclose_forcefully(raw.stream)
            await trio.sleep(5)
            room = here.server.site.directory.find("full", "one")
            assert room is None or room.players == ()
        assert messages_in_memory() == 0
