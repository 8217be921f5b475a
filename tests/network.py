"""A server in memory and the link of its clients, for tests that cut the link or record its traffic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

import edge
from edge.client.client import Client
from edge.client.fallback import TransportKind
from edge.client.join import open_client
from edge.client.url import UrlConnector
from edge.protocol.codec import JSON
from edge.server.serve import Server, open_server
from edge.testing.network import BOTH, Link, Way
from edge.testing.network import Network as Wires


class Network(Link):
    """The link of all clients to one server.

    Args:
      cut: a direction and a number of bytes, summed over all connections. After this number, the connection that
        carries the next byte is cut.
      half_open: True if the server does not notice the cut. In this case, the server receives nothing more, and
        the bytes that it sends are lost.
    """

    def __init__(self, server: Server, *, cut: tuple[Way, int] | None = None, half_open: bool = False) -> None:
        super().__init__(Wires(server.serve_connection, server.connections))
        self.server = server
        if cut is not None:
            self.cut_after(*cut, noticed_by=frozenset(("client",)) if half_open else BOTH)


@asynccontextmanager
async def open_network(
    app: edge.App, *, cut: tuple[Way, int] | None = None, half_open: bool = False
) -> AsyncIterator[Network]:
    """Run a server in memory, and yield the link of clients to it."""
    async with open_server(app) as server:
        yield Network(server, cut=cut, half_open=half_open)
        server.drain()


@asynccontextmanager
async def joined(
    connect: Callable[[], Awaitable[trio.abc.Stream]],
    path: str,
    *kinds: TransportKind,
    sends: Any,
    receives: Any,
    client: str = "a-client-of-the-network",
    key: str | Callable[[], Awaitable[str]] | None = None,
    wait: float = 0.1,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Client[Any, Any]]:
    """Yield a client that joins a room through `connect`. `path` is the room's path or a whole URL."""

    async def wait_before(attempt: int) -> None:
        await trio.sleep(wait)

    connector = UrlConnector(
        path if "://" in path else f"ws://edge.test{path}",
        codec=JSON,
        limits=edge.Limits(),
        kinds=kinds or tuple(TransportKind),
        headers=headers,
        connect=connect,
    )
    made: Client[Any, Any] = Client(
        connector,
        sends=sends,
        receives=receives,
        name="ana",
        codec=JSON,
        limits=edge.Limits(),
        wait_before=wait_before,
        inbox=1000,
        client=client,
        key=key,
    )
    async with open_client(made):
        yield made
