"""A test of the largest message of a room, across servers."""

from __future__ import annotations

import pytest

import edge
from edge.client.client import Status
from edge.client.fallback import TransportKind
from edge.cluster.broker.broker import Broker
from edge.sessions.keys import Keys
from tests.cluster.servers import open_town
from tests.transports.test_sizes import Give, Given, Large


@pytest.mark.parametrize("kind", TransportKind)
async def test_the_largest_message_crosses_servers(kind: TransportKind) -> None:
    """The largest message reaches a client that is relayed by another server than the room's server, over each
    transport."""

    def make_app(broker: Broker) -> edge.App:
        return edge.App(
            {"large": Large},
            cluster=edge.Cluster(broker),
            sessions=edge.Sessions(keys=Keys("the secret of these tests")),
        )

    size = (1024 * 1024 - len('["Given",{"text":""}]')) // len("é".encode())
    async with open_town(make_app) as town:
        one, two = town.places
        async with (
            town.join("/rooms/large/a", one, sends=Give, receives=Given) as near,
            town.join("/rooms/large/a", two, sends=Give, receives=Given, kind=kind) as far,
        ):
            await near.wait_status(Status.OPEN)
            await far.wait_status(Status.OPEN)
            for client in (near, far):
                for each in (size, 1):
                    client.send(Give(each))
                assert [len((await client.receive(Given)).text) for _ in range(2)] == [size, 1]
                assert client.lost is None
