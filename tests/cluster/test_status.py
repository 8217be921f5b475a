"""A test that a malformed status, from a server of another version or from another program, does not disturb any
server."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

import edge
from edge.client.client import Status
from edge.cluster.broker.broker import Broker, News, Stamp, Wish
from edge.cluster.placement import BALANCE_SECONDS
from edge.protocol.codec import MESSAGEPACK
from tests.cluster.servers import one_secret
from tests.endurance.adding import Add, Added, Adding

from .servers import open_town

STRANGE: dict[str, Any] = {
    "older": {},
    "newer": {"rooms": 0, "address": "ws://there.test", "zone": "north", "queue": [1]},
    "of other types": {"rooms": "many", "draining": 0, "address": None},
    "no map": [1, 2],
    "nothing": None,
}


@pytest.mark.parametrize("said", [*map(MESSAGEPACK.encode, STRANGE.values()), b"\xc1"], ids=[*STRANGE, "not readable"])
async def test_a_server_that_says_strange_things_of_itself(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Servers tolerate a malformed status of another server and of its rooms. Each server logs such a status at most
    once."""

    def make_app(broker: Broker) -> edge.App:
        return edge.App(
            {"adding": Adding},
            cluster=edge.Cluster(broker),
            sessions=one_secret(),
        )

    async with trio.open_nursery() as nursery, open_town(make_app) as town:
        place = town.places[0]

        async def stay() -> None:
            stamps = (Stamp(number, number) for number in range(1, 1_000))
            await town.shared.renew("a stranger", next(stamps), said)
            claim = await town.shared.claim("adding/strange", "a stranger", next(stamps))
            for stamp in stamps:
                told = News(Wish.TELL, "adding/strange", claim.fence, said)
                await town.shared.renew("a stranger", stamp, said, [told])
                await trio.sleep(0.7)

        nursery.start_soon(stay)
        with caplog.at_level(logging.WARNING, "edge.servers"):
            await trio.sleep(BALANCE_SECONDS + 1)
        assert "a stranger" in place.node.servers
        (listed,) = await place.app.list_rooms()
        assert (listed.name, listed.seated, listed.server) == ("strange", 0, "a stranger")
        assert len(caplog.records) <= len(town.places), "each server must log the status at most once"
        async with town.join("/rooms/adding/a", place, sends=Add, receives=Added) as client:
            await client.wait_status(Status.OPEN)
        nursery.cancel_scope.cancel("it goes on")
